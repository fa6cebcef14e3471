// Numbers, spans and moments as people read them. Moments are Unix seconds, shown in UTC as the counts are kept.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** `12,345,678` */
export const number = (value) => grouped.format(value);

const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 4 });

/** A number as it is, `1,234` or `0.3333`; what is none, as it is written. */
export const value = (given) => (Number.isFinite(Number(given)) ? exact.format(Number(given)) : String(given));

/** `2022-03-04 00:15`, and its seconds where it is on no minute. */
export function moment(seconds) {
  const at = new Date(seconds * 1000);
  if (Number.isNaN(at.getTime())) return "…";
  const text = at.toISOString().replace("T", " ");
  return text.slice(0, seconds % 60 === 0 ? 16 : Number.isInteger(seconds) ? 19 : 23);
}

/** `2022-03-04 00:15` */
export function minute(seconds) {
  const at = new Date(seconds * 1000);
  // Beyond what a calendar holds lies what has no bound.
  return Number.isNaN(at.getTime()) ? "…" : at.toISOString().slice(0, 16).replace("T", " ");
}

/** `00:15` */
export const timeOfDay = (seconds) => minute(seconds).slice(11);

/** `2022-03-04 00:10 to 00:15` */
export function range(from, to) {
  const [start, end] = [minute(from), minute(to)];
  return start.slice(0, 10) === end.slice(0, 10) ? `${start} to ${end.slice(11)}` : `${start} to ${end}`;
}

/** `0.4 s`, `12 s`, `5 min`, `3 h`, `4 years` */
export function span(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  for (const [size, unit] of [[31_557_600, "year"], [86_400, "day"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) {
      const count = Math.floor(seconds / size);
      return `${count} ${unit}${unit.length > 3 && count > 1 ? "s" : ""}`;
    }
  }
  return `${Math.round(seconds)} s`;
}

/** `1 click`, `2 clicks` */
export const clicks = (count) => `${number(count)} ${count === 1 ? "click" : "clicks"}`;

/** `1 impression`, `2 impressions` */
export const impressions = (count) => `${number(count)} ${count === 1 ? "impression" : "impressions"}`;

const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** A click-through rate, `2.05%`; of an ad that was not shown, a dash. */
export const rate = (clicks, impressions) => (impressions > 0 ? percent.format(clicks / impressions) : "–");

/** `5 minutes`, `1 hour`, `1 day` */
export function minutes(count) {
  for (const [size, unit] of [[1440, "day"], [60, "hour"]]) {
    if (count % size === 0) return `${count / size} ${unit}${count > size ? "s" : ""}`;
  }
  return `${count} minute${count > 1 ? "s" : ""}`;
}
