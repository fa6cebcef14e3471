// Asks for any table of the store each second, and shows what the address names: table, order, number of rows, key, times.
//
// What there is to show the tables' descriptions say. What cannot be reached stays as it was last seen, with a word since when.

import { h, show } from "./dom.js";
import { moment, number, span } from "./format.js";
import { keyOf, list, newest } from "./rows.js";
import { askForSecret, request } from "./secret.js";
import { series } from "./series.js";

const INTERVAL_MS = 1000;
const PATIENCE_MS = 10_000;
const USUAL = { table: "", by: "", count: "10", key: "", span: "60" };
const COUNTS_KEY = "click_minute,filter_id,ad_id";

/** What is known: the newest answers. */
const known = { tables: null, table: null, by: "", rows: null, key: "", history: null, problem: null, lostSince: null };
let timer = null;
let round = 0;

const element = (id) => document.getElementById(id);

// --- what is asked for ------------------------------------------------------------------------------------------------

function question() {
  const said = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.keys(USUAL).map((name) => [name, said.get(name) ?? USUAL[name]]));
}

/** The address of the same question with some of it changed. */
function link(changes) {
  const changed = Object.entries({ ...question(), ...changes }).filter(([name, value]) => value !== USUAL[name]);
  return `#${new URLSearchParams(changed)}`;
}

/** Shows the question in the fields; the one that is being typed in is left alone. */
function fillFields() {
  const { table, by } = known;
  const shown = { ...question(), table: table?.name ?? question().table, by, key: known.key };
  options("table", (known.tables ?? []).map((each) => each.name), shown.table);
  options("by", table?.values ?? [], by);
  for (const [name, value] of Object.entries(shown)) {
    const field = element(name);
    if (field === document.activeElement && field.tagName === "INPUT") continue;
    if (field.tagName === "SELECT" && value !== "" && ![...field.options].some((option) => option.value === value)) {
      field.append(h("option", { value }, value));
    }
    field.value = value;
  }
  element("key-field").hidden = table !== null && table.series.length === 0;
  element("by").parentElement.hidden = table !== null && table.values.length === 0;
}

function options(name, values, chosen) {
  if (element(name) === document.activeElement) return;
  const all = chosen === "" || values.includes(chosen) ? values : [chosen, ...values];
  show(element(name), all.map((value) => h("option", { value }, value)));
}

// --- asking -----------------------------------------------------------------------------------------------------------

async function ask(path, parameters) {
  const said = Object.entries(parameters).filter(([, value]) => value !== "");
  const response = await request(`v1/${path}?${new URLSearchParams(said)}`, PATIENCE_MS);
  const answer = await response.json();
  return response.ok ? { answer } : { problem: answer };
}

const rowsOf = (table, parameters) => ask(`tables/${encodeURIComponent(table.name)}`, parameters);

async function poll() {
  clearTimeout(timer);
  round += 1;
  const mine = round;
  try {
    const answers = await askAll(question());
    if (mine !== round) return;
    Object.assign(known, answers, { lostSince: null });
  } catch {
    if (mine !== round) return;
    known.lostSince ??= Date.now();
  }
  render();
  if (!document.hidden) timer = setTimeout(poll, INTERVAL_MS);
}

/** All answers of one second. */
async function askAll(asked) {
  const nothing = { tables: null, table: null, by: "", rows: null, key: "", history: null };
  const described = await ask("tables", {});
  if (described.problem) return { ...nothing, problem: described.problem };
  const { tables } = described.answer;
  const table = asked.table === "" ? tables.find((each) => each.has_history && each.values.length > 0) ?? tables[0]
    : tables.find((each) => each.name === asked.table);
  if (table === undefined) {
    const detail = `there is no table '${asked.table}'; there are: ${tables.map((each) => each.name).join(", ")}`;
    return { ...nothing, tables, problem: { detail } };
  }
  const by = asked.by === "" ? table.values[0] ?? "" : asked.by;
  const found = await rowsOf(table, { by, limit: asked.count });
  if (found.problem) return { ...nothing, tables, table, by, problem: found.problem };
  const rows = found.answer.rows.length === 0 ? [] : newest(table, found.answer.rows);
  // Without a choice, the chart follows the first of the list.
  const key = asked.key !== "" || rows.length === 0 ? asked.key : keyOf(table, rows[0]);
  const isCharted = table.has_history && by !== "" && (key !== "" || table.series.length === 0);
  const history = isCharted ? await rowsOf(table, { key: table.series.length === 0 ? "" : key, limit: asked.span }) : {};
  return { tables, table, by, rows, key, history: history.answer?.rows ?? null, problem: history.problem ?? null };
}

// --- showing ----------------------------------------------------------------------------------------------------------

function render() {
  const { table, by, rows, key, history, problem } = known;
  document.body.classList.toggle("stale", known.lostSince !== null);
  document.title = table === null ? "Tables · Weir" : `${table.name} · Weir`;
  show(element("name"), table === null ? "Tables" : table.name);
  show(element("freshness"), freshness());
  show(element("moment"), where());
  fillFields();
  element("clicks").hidden = !(known.tables ?? []).some((each) => each.key.join() === COUNTS_KEY);
  show(element("list"), rows !== null ? list(table, rows, by, key, (each) => link({ key: each })) : waiting(problem));
  show(element("chart"), chart());
  if (table === null || rows === null) return;
  const asked = Object.entries({ by, limit: question().count }).filter(([, value]) => value !== "");
  element("asked").href = `v1/tables/${encodeURIComponent(table.name)}?${new URLSearchParams(asked)}`;
  show(element("keys"), table.series.length === 0 ? null : rows.map((row) => h("option", { value: keyOf(table, row) })));
}

function chart() {
  const { table, by, rows, key, history, problem } = known;
  if (history !== null) return series(table, history, by, key, rows?.[0]?.[table.time] ?? null);
  if (problem !== null || table === null) return waiting(problem);
  if (!table.has_history) return h("p", { class: "nobody" }, "This table has one row a key, and no history to chart.");
  if (by === "") return h("p", { class: "nobody" }, "This table has no numbers to chart.");
  return h("p", { class: "nobody" }, "No rows yet.");
}

function freshness() {
  const fact = (name, value, kind) => h("div", { class: kind }, h("dt", null, name), h("dd", null, value));
  if (known.lostSince !== null) return fact("Out of reach for", span((Date.now() - known.lostSince) / 1000), "lost");
  if (known.table === null) return fact("Freshness", known.problem ? "nothing yet" : "…");
  const { behind_seconds: behind, job, checkpoint, ended } = known.table;
  if (checkpoint === 0) return [fact("Job", job, "wide"), fact("Rows", "none committed yet", "late")];
  return [
    fact("Job", `${job}, checkpoint ${number(checkpoint)}`, "wide"),
    ended
      ? fact("Rows include everything that the job read", `It ended ${span(behind)} ago`, "ended")
      : fact("Rows include everything read until", `${span(behind)} ago`, behind < 5 ? "live" : "late"),
  ];
}

/** Of when the rows are. Always one line, so that nothing below it moves. */
function where() {
  const { table, rows, problem } = known;
  if (table === null) {
    if (known.lostSince) return "The service does not answer; this page retries every second.";
    if (problem === null) return "Asking the store …";
    if (problem.status === 401) return [h("strong", null, "The secret is needed. "), h("button", { type: "button", "data-unlock": true }, "Enter it")];
    return [h("strong", null, "No rows. "), `This page retries every second; the service says: ${problem.detail}.`];
  }
  if (rows === null || rows.length === 0) return "Nothing has been committed to this table yet.";
  if (!table.has_history) return "One row a key.";
  const running = rows.some((row) => row.revision < 0) ? " It is not over." : "";
  const windows = table.window_seconds ? `, windows of ${span(table.window_seconds).replace(/\.0 s$/, " s")}` : "";
  return [h("strong", null, `${table.time} ${moment(rows[0][table.time])} UTC`), `${windows}.${running}`];
}

/** What stands where an answer will. What the whole page lacks is said once, above. */
function waiting(problem) {
  if (known.table === null && known.tables === null) return null;
  return h("p", { class: problem ? "notice" : "nobody" }, problem ? problem.detail : "…");
}

// --- fields -----------------------------------------------------------------------------------------------------------

for (const name of Object.keys(USUAL)) {
  element(name).addEventListener("change", ({ target }) => {
    // Columns and keys are those of a table.
    const changes = name === "table" ? { table: target.value, by: "", key: "" } : { [name]: target.value.trim() };
    location.hash = link(changes);
  });
}
window.addEventListener("hashchange", () => {
  const { table, key } = question();
  show(element("announced"), key === "" ? `Table ${table}` : `Showing ${key}`);
  poll();
});
document.addEventListener("click", ({ target }) => {
  if (target.dataset.unlock !== undefined) askForSecret(known.problem?.detail ?? "").then(poll);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll();
});
fillFields();
poll();
