// Small charts: bars for checkpoints, a line for throughput.

import { s } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 60;
const SLOTS = 60;

/** Bars, oldest to the left, over a scale from 0; `describe` says what a bar means. */
export function bars(title, items, value, format, describe) {
  const most = Math.max(...items.map(value), 1);
  const step = WIDTH / SLOTS;
  const first = SLOTS - items.length;
  const label = `${title}: newest ${items.length > 0 ? format(value(items[items.length - 1])) : "none"}, most ${format(most)}`;
  return s("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${HEIGHT + 18}`, role: "img", "aria-label": label },
    s("text", { x: 0, y: 11, class: "chart-title" }, title),
    s("text", { x: WIDTH, y: 11, class: "chart-scale", "text-anchor": "end" }, `most ${format(most)}`),
    s("line", { x1: 0, x2: WIDTH, y1: HEIGHT + 16.5, y2: HEIGHT + 16.5, class: "axis" }),
    items.map((item, place) => {
      const height = Math.max(1, (value(item) / most) * (HEIGHT - 4));
      return s("rect", {
        x: ((first + place) * step + 0.6).toFixed(1),
        y: (HEIGHT + 16 - height).toFixed(1),
        width: (step - 1.2).toFixed(1),
        height: height.toFixed(1),
        rx: 1,
        class: item.last ? "bar last" : "bar",
      }, s("title", null, describe(item)));
    }));
}

/** A line through the last values, without a scale: for a glance. */
export function sparkline(values) {
  if (values.length < 5) return null;
  const most = Math.max(...values, 1);
  const x = (place) => ((place + SLOTS - values.length) / (SLOTS - 1)) * 100;
  const y = (value) => 23 - (value / most) * 21;
  const points = values.map((value, place) => `${x(place).toFixed(1)},${y(value).toFixed(1)}`);
  return s("svg", { class: "sparkline", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("polygon", { points: `${x(0).toFixed(1)},24 ${points.join(" ")} 100,24` }),
    s("polyline", { points: points.join(" ") }));
}
