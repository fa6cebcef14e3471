// Clicks per minute of one ad: bars over a scale, and the same as a table.

import { h, s } from "./dom.js";
import { clicks, impressions, minute, number, range, rate, timeOfDay } from "./format.js";

const WIDTH = 720;
const HEIGHT = 300;
const LEFT = 52;
const BOTTOM = 28;
const TOP = 12;
const LINES = 4;

/** The chart of an answer of `counts_per_minute`. The minute that ends at `open` still runs. */
export function chart(answer, open) {
  const total = answer.counts.reduce((sum, count) => sum + count, 0);
  const most = Math.max(...answer.counts);
  const busiest = answer.from + answer.counts.indexOf(most) * 60;
  const shown = answer.impressions?.reduce((sum, count) => sum + count, 0);
  const of = shown === undefined ? "" : ` ${impressions(shown)}, click-through rate ${rate(total, shown)}.`;
  const said = (total === 0
    ? `Nobody clicked ${answer.ad_id} from ${range(answer.from, answer.to)} UTC.`
    : `${clicks(total)} on ${answer.ad_id} from ${range(answer.from, answer.to)} UTC, most at ${timeOfDay(busiest)}: ${number(most)}.`) + of;
  return [
    h("p", { class: "said" }, said),
    drawing(answer, Math.max(most, 1), said, open),
    h("div", { class: "below" },
      h("details", null, h("summary", null, "As a table"), table(answer)),
      h("p", { class: "legend", hidden: open !== answer.to }, "The last bar is the running minute.")),
  ];
}

function drawing({ counts, from, to }, most, said, open) {
  const step = niceStep(most / LINES);
  const top = Math.max(step * Math.ceil(most / step), 1);
  const x = (place) => LEFT + (place / counts.length) * (WIDTH - LEFT - 4);
  const y = (count) => HEIGHT - BOTTOM - (count / top) * (HEIGHT - BOTTOM - TOP);
  const gap = counts.length > 400 ? 0 : Math.min(2, (x(1) - x(0)) * 0.2);
  const lines = Array.from({ length: Math.floor(top / step) + 1 }, (_, line) => line * step);
  return s("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said },
    lines.map((line) => [
      s("line", { class: line === 0 ? "axis" : "grid", x1: LEFT, x2: WIDTH - 4, y1: y(line).toFixed(1), y2: y(line).toFixed(1) }),
      s("text", { x: LEFT - 8, y: (y(line) + 4).toFixed(1), "text-anchor": "end" }, number(line)),
    ]),
    counts.map((count, place) => count > 0 && s("rect", {
      class: from + (place + 1) * 60 === open ? "bar running" : "bar",
      x: (x(place) + gap / 2).toFixed(2),
      y: y(count).toFixed(1),
      width: Math.max(0.5, x(1) - x(0) - gap).toFixed(2),
      height: (HEIGHT - BOTTOM - y(count)).toFixed(1),
    }, s("title", null, `${timeOfDay(from + place * 60)} UTC: ${clicks(count)}`))),
    hours(from, to).map((at) => s("text", {
      x: x((at - from) / 60).toFixed(1), y: HEIGHT - 8, "text-anchor": at === from ? "start" : at === to ? "end" : "middle",
    }, timeOfDay(at))));
}

/** The smallest of 1, 2, 5, 10, 20 … that is not below `least`. */
function niceStep(least) {
  const size = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((each) => each * size).find((each) => each >= least);
}

/** Moments to write below the axis: about six, on round minutes, none beyond the ends. */
function hours(from, to) {
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 240].map((each) => each * 60).find((each) => (to - from) / each <= 6) ?? 14_400;
  const first = Math.ceil(from / step) * step;
  return Array.from({ length: Math.floor((to - first) / step) + 1 }, (_, place) => first + place * step);
}

function table({ counts, impressions: shown, from }) {
  const rows = counts.map((count, place) => [from + place * 60, count, shown?.[place]]).filter(([, ...numbers]) => numbers.some((each) => each > 0));
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Clicks per minute as a table" }, h("table", null,
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Minute, UTC"), h("th", { scope: "col", class: "number" }, "Clicks"),
      shown && ["Impressions", "CTR"].map((name) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", null, rows.map(([at, count, views]) => h("tr", null,
      h("th", { scope: "row" }, minute(at)), h("td", { class: "number" }, number(count)),
      shown && [number(views), rate(count, views)].map((text) => h("td", { class: "number" }, text)))))));
}
