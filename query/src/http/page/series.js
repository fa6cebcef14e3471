// One value of one key over time: bars over a scale of moments, and the same as a table.

import { h, s } from "./dom.js";
import { moment, value } from "./format.js";

const WIDTH = 720;
const HEIGHT = 300;
const LEFT = 64;
const BOTTOM = 28;
const TOP = 12;
const LINES = 4;
/** Steps of the scale of moments, in seconds. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000, 31_536_000];

/** The chart of rows of one key, the newest first; `end` is the newest time of the table. */
export function series(table, rows, by, name, end) {
  const points = rows.map((row) => ({ at: row[table.time], value: Number(row[by]), isRunning: row.revision < 0 }))
    .filter((point) => point.at !== null && Number.isFinite(point.value)).reverse();
  const what = name === "" ? by : `${by} of ${name}`;
  if (points.length === 0) return h("p", { class: "nobody" }, `There is no ${what} in these windows.`);
  const most = points.reduce((best, point) => (point.value > best.value ? point : best));
  const [first, last] = [points[0].at, Math.max(end ?? 0, points.at(-1).at)];
  const said = `${what} from ${moment(first)} to ${moment(last)} UTC, most at ${moment(most.at)}: ${value(most.value)}.`;
  return [
    h("p", { class: "said" }, said),
    drawing(points, first, last, width(table, points), said, by),
    h("div", { class: "below" },
      h("details", null, h("summary", null, "As a table"), asTable(table, points, by)),
      h("p", { class: "legend", hidden: !points.some((point) => point.isRunning) }, "Windows that are not over.")),
  ];
}

/** Seconds that a bar is wide: as long as a window, or less where windows overlap. */
function width(table, points) {
  const gaps = points.slice(1).map((point, place) => point.at - points[place].at).filter((gap) => gap > 0);
  const least = gaps.length > 0 ? gaps.reduce((one, other) => Math.min(one, other)) : Infinity;
  const wide = Math.min(table.window_seconds || Infinity, least);
  return Number.isFinite(wide) ? wide : 1;
}

function drawing(points, first, last, wide, said, by) {
  const values = points.map((point) => point.value);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const step = niceStep((high - low) / LINES);
  const [bottom, top] = [Math.floor(low / step) * step, Math.max(Math.ceil(high / step) * step, low === high ? step : 0)];
  const to = last + wide;
  const x = (at) => LEFT + ((at - first) / (to - first)) * (WIDTH - LEFT - 4);
  const y = (amount) => HEIGHT - BOTTOM - ((amount - bottom) / (top - bottom)) * (HEIGHT - BOTTOM - TOP);
  const gap = Math.min(2, (x(first + wide) - x(first)) * 0.2);
  const lines = Array.from({ length: Math.round((top - bottom) / step) + 1 }, (_, line) => bottom + line * step);
  return s("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said },
    lines.map((line) => [
      s("line", { class: Math.abs(line) < step / 2 ? "axis" : "grid", x1: LEFT, x2: WIDTH - 4, y1: y(line).toFixed(1), y2: y(line).toFixed(1) }),
      s("text", { x: LEFT - 8, y: (y(line) + 4).toFixed(1), "text-anchor": "end" }, value(line)),
    ]),
    points.map((point) => point.value !== 0 && s("rect", {
      class: point.isRunning ? "bar running" : "bar",
      x: (x(point.at) + gap / 2).toFixed(2),
      y: Math.min(y(point.value), y(0)).toFixed(1),
      width: Math.max(0.5, x(point.at + wide) - x(point.at) - gap).toFixed(2),
      height: Math.max(0.5, Math.abs(y(point.value) - y(0))).toFixed(1),
    }, s("title", null, `${moment(point.at)} UTC: ${by} ${value(point.value)}`))),
    ticks(first, to).map(({ at, text }) => s("text", { x: x(at).toFixed(1), y: HEIGHT - 8, "text-anchor": at === first ? "start" : "middle" }, text)));
}

/** The smallest of … 0.1, 0.2, 0.5, 1, 2, 5, 10 … that is not below `least`. */
function niceStep(least) {
  if (!(least > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((each) => each * size).find((each) => each >= least * 0.999_999);
}

/** Moments to write below the axis: about five, on round steps. */
function ticks(first, to) {
  const step = STEPS.find((each) => (to - first) / each <= 5) ?? STEPS.at(-1) * Math.ceil((to - first) / STEPS.at(-1) / 5);
  const start = Math.ceil(first / step) * step;
  const count = Math.floor((to - start) / step) + 1;
  const part = (at) => (step >= 86_400 ? moment(at).slice(0, 10) : moment(at).slice(11));
  return Array.from({ length: Math.max(0, count) }, (_, place) => start + place * step).filter((at) => at <= to - step * 0.2 || at === start)
    .map((at) => ({ at, text: part(at) }));
}

function asTable(table, points, by) {
  const rows = [...points].reverse();
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${by} as a table` }, h("table", null,
    h("thead", null, h("tr", null, h("th", { scope: "col" }, `${table.time}, UTC`), h("th", { scope: "col", class: "number" }, by))),
    h("tbody", null, rows.map((point) => h("tr", null,
      h("th", { scope: "row" }, moment(point.at)), h("td", { class: "number" }, value(point.value)))))));
}
