// Numbers, sizes, spans and moments as people read them.

import { h, s } from "./dom.js";

/** Event time at its end: JSON's i64::MAX, which is not exact in JavaScript. */
const END_OF_TIME = 9e18;

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** `12,345,678` */
export const number = (value) => grouped.format(value);

/** `1.2 M` */
export function compact(value) {
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (value >= size) {
      const scaled = value / (unit === "k" ? 1e3 : size);
      return `${scaled.toFixed(scaled < 100 ? 1 : 0)} ${unit}`;
    }
  }
  return value > 0 && value < 10 ? String(Math.round(value * 10) / 10) : number(value);
}

/** `1.4 MB`, in powers of ten. */
export function bytes(value) {
  if (value < 1000) return `${value} B`;
  let size = value;
  for (const unit of ["kB", "MB", "GB"]) {
    size /= 1000;
    if (size < 999.95) return `${size.toFixed(1)} ${unit}`;
  }
  return `${(size / 1000).toFixed(1)} TB`;
}

/** How much of a job's state is back, while it is restored. */
export function restoring(job) {
  return job.restoring && `restoring ${bytes(job.restoring.restored_bytes)} of ${bytes(job.restoring.bytes)}`;
}

/** `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h` */
export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  return coarse(ms);
}

/** The same without fractions. */
export function coarse(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(seconds, 60, "min", 1, "s");
  if (seconds < 86_400) return pair(seconds, 3600, "h", 60, "min");
  return pair(seconds, 86_400, "d", 3600, "h");
}

function pair(seconds, large, largeUnit, small, smallUnit) {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${largeUnit}${rest > 0 ? ` ${rest} ${smallUnit}` : ""}`;
}

/** `42 %` */
export const percent = (share) => `${Math.round(Math.min(1, Math.max(0, share)) * 100)} %`;

/** How much of something, as a bar with its number. */
export function meter(share, kind) {
  const width = Math.min(1, Math.max(0, share)) * 100;
  return h("span", { class: `meter ${kind}` },
    s("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "whole", width: 100, height: 6 }),
      s("rect", { class: "part", width: width.toFixed(0), height: 6 })),
    h("span", { class: "share" }, percent(share)));
}

/** A moment as a time of day, with the date when it is not today's. */
export function clock(ms, nowMs) {
  const at = new Date(ms);
  const text = new Date(nowMs).toDateString() === at.toDateString()
    ? at.toLocaleTimeString("en-GB")
    : `${at.toLocaleDateString("en-CA")} ${at.toLocaleTimeString("en-GB")}`;
  return h("time", { datetime: iso(ms), title: iso(ms) }, text);
}

/** `3 s ago` */
export const ago = (ms, nowMs) => h("time", { datetime: iso(ms), title: iso(ms) }, `${coarse(nowMs - ms)} ago`);

function iso(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? `${ms} ms since 1970` : at.toISOString();
}

/** A watermark in event time: how far it is behind the clock. */
export function watermark(ms, nowMs) {
  if (ms === null || ms === undefined) return "none yet";
  if (ms >= END_OF_TIME) return "at its end";
  const behind = nowMs - ms;
  // History that is replayed is years behind: then the moment itself says more.
  if (behind > 86_400_000 || behind < 0) return iso(ms).replace("T", " ").replace(/\.\d+Z$/, "");
  return `${span(behind)} ago`;
}

/** The earliest of some watermarks; null when one of them is missing. */
export function earliest(watermarks) {
  return watermarks.length === 0 || watermarks.some((ms) => ms === null || ms === undefined)
    ? null
    : Math.min(...watermarks);
}

/** `1 job`, `2 jobs` */
export const countOf = (count, one) => `${number(count)} ${one}${count === 1 ? "" : "s"}`;

const CALM = new Set(["FINISHED", "CANCELED"]);
const BAD = new Set(["FAILED", "FAILING", "lost"]);
const WELL = new Set(["RUNNING", "available"]);

/** The state of a job, subtask or worker, coloured by what it means. */
export function state(name) {
  const mood = WELL.has(name) ? "well" : BAD.has(name) ? "bad" : CALM.has(name) ? "calm" : "busy";
  return h("span", { class: `state ${mood}` }, name);
}
