// Asks the query API each second, and shows what the address names: filter, window, number of ads, ad, span.
//
// What cannot be reached stays as it was last seen, with a word since when: the page outlives its service.

import { chart } from "./chart.js";
import { h, show } from "./dom.js";
import { minute, minutes, number, range, span } from "./format.js";
import { list } from "./list.js";
import { askForSecret, request } from "./secret.js";

const INTERVAL_MS = 1000;
const PATIENCE_MS = 10_000;
/** Clicks older than this are history: then "now" is the end of the newest minute that has any. */
const OLD_S = 600;
const USUAL = { filter: "0000", window: "5", count: "10", ad: "", span: "60" };

/** What is known: the newest answers. */
const known = { freshness: null, top: null, counts: null, filters: null, reconciliations: [], problem: null, lostSince: null };
let timer = null;
let round = 0;

const element = (id) => document.getElementById(id);

// --- what is asked for ------------------------------------------------------------------------------------------------

/** The question that the address holds. */
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
  for (const [name, value] of Object.entries(question())) {
    const field = element(name);
    if (field === document.activeElement && field.tagName === "INPUT") continue;
    if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value)) {
      field.append(h("option", { value }, name === "filter" ? value : name === "count" ? value : minutes(Number(value) || 1)));
    }
    field.value = value;
  }
  // Without a choice, the chart follows the first of the list.
  if (question().ad === "" && element("ad") !== document.activeElement) element("ad").value = known.counts?.ad_id ?? "";
}

// --- asking -----------------------------------------------------------------------------------------------------------

async function ask(path, parameters) {
  const response = await request(`v1/${path}?${new URLSearchParams(parameters)}`, PATIENCE_MS);
  const answer = await response.json();
  return response.ok ? { answer } : { problem: answer };
}

/** The end of the window: of the current minute, or of the newest one when time stands: all clicks are old, or no more come. */
function moment({ now, last_minute: newest, ended }) {
  const current = Math.floor(now / 60) * 60 + 60;
  const stands = newest !== undefined && (ended || current - (newest + 60) > OLD_S);
  return { to: stands ? newest + 60 : current, stands };
}

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

/** All answers of one second. A problem of one question leaves the others standing. */
async function askAll({ filter, window, count, ad, span: length }) {
  const [freshness, filters, reconciled] = await Promise.all([ask("freshness"), known.filters ?? ask("filters"), ask("reconciliations")]);
  if (freshness.problem) {
    await leaveForTables();
    return { problem: freshness.problem, freshness: null, top: null, counts: null };
  }
  const { to } = moment(freshness.answer);
  const top = await ask("ads/popular_ads", { count, window, to, filter });
  const shown = ad === "" ? top.answer?.ad_ids[0] ?? known.counts?.ad_id : ad;
  const wanted = { from: to - Number(length) * 60, to, filter };
  const counts = shown === undefined ? {} : await ask(`ads/${encodeURIComponent(shown)}/counts_per_minute`, wanted);
  return {
    freshness: freshness.answer,
    filters: filters.answer ? filters : null,
    reconciliations: reconciled.answer?.reconciliations ?? [],
    top: top.answer ?? null,
    counts: counts.answer ?? null,
    problem: top.problem ?? counts.problem ?? null,
  };
}

/** A store about something else has another page. */
async function leaveForTables() {
  const tables = (await ask("tables", {})).answer?.tables ?? [];
  const isOfCounts = ({ key }) => key.join() === "click_minute,filter_id,ad_id";
  if (tables.length > 0 && !tables.some(isOfCounts) && !location.pathname.endsWith("/clicks")) location.replace("tables");
}

// --- showing ----------------------------------------------------------------------------------------------------------

function render() {
  document.body.classList.toggle("stale", known.lostSince !== null);
  show(element("freshness"), freshness());
  show(element("moment"), where());
  show(element("reconciled"), known.reconciliations.map(reconciled));
  if (known.filters) filterOptions(known.filters.answer.filters);
  fillFields();
  const { count, window, ad, filter } = question();
  const { top, counts, problem } = known;
  show(element("list"), top
    ? list(top, Number(count), counts?.ad_id ?? ad, (each) => link({ ad: each }))
    : waiting(problem));
  show(element("chart"), counts
    ? chart(counts, known.freshness && !known.freshness.ended ? Math.floor(known.freshness.now / 60) * 60 + 60 : null)
    : waiting(problem));
  if (top) {
    element("asked").href = `v1/ads/popular_ads?${new URLSearchParams({ count, window, to: top.to, filter })}`;
    show(element("ads"), top.ad_ids.map((each) => h("option", { value: each })));
  }
}

function freshness() {
  const fact = (name, value, kind) => h("div", { class: kind }, h("dt", null, name), h("dd", null, value));
  if (known.lostSince !== null) {
    return fact("Out of reach for", span((Date.now() - known.lostSince) / 1000), "lost");
  }
  if (known.freshness === null) return fact("Freshness", known.problem ? "nothing yet" : "…");
  const { behind_seconds: behind, job, checkpoint, ended } = known.freshness;
  return [
    fact("Job", `${job}, checkpoint ${checkpoint}`, "wide"),
    ended
      ? fact("Counts include every click that the job read", `It ended ${span(behind)} ago`, "ended")
      : fact("Counts include every click read until", `${span(behind)} ago`, behind < 5 ? "live" : "late"),
  ];
}

/** Of when the counts are. Always one line, so that nothing below it moves. */
function where() {
  const { freshness: answer, problem } = known;
  if (answer === null) {
    if (known.lostSince) return "The service does not answer; this page retries every second.";
    if (problem === null) return "Asking the store …";
    if (problem.status === 401) return [h("strong", null, "The secret is needed. "), h("button", { type: "button", "data-unlock": true }, "Enter it")];
    return [h("strong", null, "No counts. "), `This page retries every second; the service says: ${problem.detail}.`];
  }
  const { to, stands } = moment(answer);
  const window = Number(question().window);
  const what = known.top ? range(known.top.from, known.top.to) : range(to - window * 60, to);
  const title = h("strong", null, answer.ended ? "The job has ended. " : stands ? "Past clicks. " : "Live. ");
  if (stands) return [title, `The newest clicks are of ${minute(to - 60)} UTC, so “now” on this page is ${minute(to)} UTC. List: ${what}.`];
  return [title, answer.ended ? "It counted no clicks." : `List: ${what} UTC, the running minute included.`];
}

/** One sentence of what a comparison with the raw archive has found. */
function reconciled({ made_at: at, from, to, matching, differing }) {
  const ago = span(Math.max(0, (known.freshness?.now ?? at) - at));
  const found = differing === 0 ? `all ${number(matching)} counts agree` : `${number(differing)} counts differ, ${number(matching)} agree`;
  return h("span", { class: differing === 0 ? "agrees" : "differs" }, `Compared with the raw archive ${ago} ago: ${found} (${range(from, to)} UTC). `);
}

/** What stands where an answer will. What the whole page lacks is said once, above. */
function waiting(problem) {
  if (known.freshness === null) return null;
  return h("p", { class: problem ? "notice" : "nobody" }, problem ? problem.detail : "Choose an ad.");
}

function filterOptions(filters) {
  const name = ({ id, predicate }) => `${id} · ${predicate === "true" ? "all clicks" : predicate}`;
  if (filters.length > 0 && element("filter") !== document.activeElement) {
    show(element("filter"), filters.map((filter) => h("option", { value: filter.id }, name(filter))));
  }
}

// --- fields -----------------------------------------------------------------------------------------------------------

for (const name of Object.keys(USUAL)) {
  element(name).addEventListener("change", ({ target }) => {
    location.hash = link({ [name]: target.value.trim() });
  });
}
window.addEventListener("hashchange", () => {
  const { ad, filter } = question();
  show(element("announced"), ad === "" ? `Filter ${filter}` : `Showing ${ad}, filter ${filter}`);
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
