// The newest rows of any table, with bars for the column that they are in order by.

import { h, s } from "./dom.js";
import { moment, value } from "./format.js";

/** The key of a row, as a question has it: the value of the only column, or a JSON array of several. */
export function keyOf(table, row) {
  const parts = table.series.map((name) => row[name]);
  if (parts.length === 0) return "";
  return parts.length === 1 ? String(parts[0]) : JSON.stringify(parts);
}

/** The rows of the newest time; all of them where each key has one row. */
export function newest(table, rows) {
  return table.has_history ? rows.filter((row) => row[table.time] === rows[0][table.time]) : rows;
}

/** The table. `link` makes the address of a key's chart. */
export function list(table, rows, by, chosen, link) {
  const columns = shown(table);
  const most = Math.max(...rows.map((row) => Math.abs(Number(row[by]) || 0)), Number.MIN_VALUE);
  const isNumber = (name) => table.values.includes(name);
  return [
    h("div", { class: "sideways", tabindex: 0, role: "group", "aria-label": "The newest rows" },
      h("table", { "aria-describedby": "moment" },
        h("thead", null, h("tr", null,
          columns.map((name) => h("th", { scope: "col", class: isNumber(name) ? "number" : null, "data-key": name }, name)),
          by && h("th", { scope: "col", class: "share" }, h("span", { class: "unseen" }, "Compared with the largest")))),
        h("tbody", null, rows.map((row) => {
          const key = keyOf(table, row);
          const isChosen = key === chosen && key !== "";
          return h("tr", { class: isChosen ? "chosen" : null },
            columns.map((name, place) => cell(table, row, name, place === 0 && table.series.length > 0 && table.has_history ? link(key) : null, isChosen)),
            by && h("td", { class: "share" }, bar(Math.abs(Number(row[by]) || 0) / most)));
        })))),
    rows.length === 0 && h("p", { class: "nobody" }, "No rows yet."),
  ];
}

/** The columns that are worth a look: what tells rows apart first, then texts, then numbers. What only Weir needs is left out. */
function shown(table) {
  const holds = Object.fromEntries(table.columns.map((column) => [column.name, column.holds]));
  const others = table.columns.map((column) => column.name).filter((name) => !table.series.includes(name) && !table.values.includes(name));
  const told = others.filter((name) => name !== "revision" && holds[name] !== "bytes" && (holds[name] !== "time" || !table.has_history));
  return [...table.series, ...told, ...table.values];
}

function cell(table, row, name, href, isChosen) {
  const { holds } = table.columns.find((column) => column.name === name);
  const text = row[name] === null ? "" : holds === "time" ? moment(row[name]) : table.values.includes(name) ? value(row[name]) : String(row[name]);
  if (href !== null) return h("th", { scope: "row", title: text }, h("a", { href, "aria-current": isChosen ? "true" : null }, text === "" ? "(empty)" : text));
  return h("td", { class: table.values.includes(name) ? "number" : null, title: holds === "text" ? text : null }, text);
}

function bar(share) {
  return s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "bar", width: Math.max(share > 0 ? 1 : 0, share * 100).toFixed(1), height: 8, rx: 1 }));
}
