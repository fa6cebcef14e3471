// The view of one job: its graph, its subtasks, its checkpoints, its restarts and their causes.

import { bars, sparkline } from "./charts.js";
import { NOT_WELL, tile } from "./cluster.js";
import { h } from "./dom.js";
import { ago, bytes, clock, compact, countOf, earliest, meter, number, restoring, span, state, watermark } from "./format.js";
import { drawGraph, level } from "./graph.js";

const ENDED = new Set(["FINISHED", "FAILED", "CANCELED"]);
const SHOWN_CHECKPOINTS = 8;

/** Everything about a job. */
export function jobView({ job, history }) {
  const now = job.as_of_ms;
  return [
    h("p", { class: "trail" }, h("a", { href: "#/" }, "Jobs")),
    h("div", { class: "title" },
      h("h1", null, job.name),
      state(job.state),
      job.name !== job.id && h("span", { class: "quiet" }, job.id),
      buttons(job)),
    job.waiting_for && h("p", { class: "notice" }, h("strong", null, "Waiting: "), job.waiting_for),
    NOT_WELL.has(job.state) && job.cause && h("p", { class: job.state === "FAILED" ? "notice bad" : "notice" }, h("strong", null, "Cause: "), job.cause),
    tiles(job, now, history),
    graphSection(job, now),
    h("div", { class: "columns" }, checkpointSection(job, now), restartSection(job, now)),
    operatorSection(job, now),
    commitSection(job),
    subtaskSection(job, now),
    transitionSection(job, now),
    job.definition && h("details", { class: "definition" }, h("summary", null, "Definition"), h("pre", null, h("code", null, job.definition))),
  ];
}

function buttons(job) {
  if (ENDED.has(job.state)) return null;
  const button = (action, text, kind) => h("button", { type: "button", class: kind, "data-action": action, "data-job": job.id }, text);
  return h("div", { class: "buttons" },
    button("drain", "Drain and finish"), button("stop", "Stop"), button("cancel", "Cancel", "danger"));
}

function tiles(job, now, history) {
  const sources = job.graph.operators.filter((operator) => operator.role === "source");
  const total = (value) => sources.reduce((sum, source) => sum + value(source), 0);
  const last = job.checkpoints[job.checkpoints.length - 1];
  const event = earliest(job.graph.operators.map((operator) => operator.watermark_ms));
  return h("dl", { class: "tiles" },
    tile("Records read", restoring(job) ?? `${compact(total((source) => source.records_in_per_second))}/s`, `${number(total((source) => source.records_in))} in this attempt`, sparkline(history)),
    tile("Watermark", watermark(event, now), "of the operator furthest behind"),
    tile("Checkpoint", last ? number(last.id) : "none yet", last && [ago(last.completed_at_ms, now), `, ${span(last.duration_ms)}`]),
    tile("Committed", job.committed === null ? "none yet" : number(job.committed), "newest checkpoint whose results are visible"),
    tile("Restarts", number(job.restart_count), `attempt ${number(job.attempt)}, submitted `, h("span", { class: "detail" }, ago(job.submitted_at_ms, now))));
}

function section(id, title, ...content) {
  return h("section", { "aria-labelledby": id, "data-key": id }, h("h2", { id }, title), content);
}

function table(label, head, body) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    h("table", null,
      h("thead", null, h("tr", null, head.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
      body));
}

/** Pixels between the edges of the graph's frame. */
function roomForGraph() {
  const page = Math.min(document.documentElement.clientWidth, 1440);
  return page - (page <= 600 ? 56 : 74);
}

function graphSection(job, now) {
  if (job.graph.operators.length === 0) return null;
  const legend = [["low", "below 10 %"], ["some", "10 to 50 %"], ["high", "50 % and more"]];
  return section("graph-title", "Graph",
    h("div", { class: "scroll drawing", tabindex: 0, role: "region", "aria-label": "Graph" }, drawGraph(job.graph, now, roomForGraph())),
    h("p", { class: "legend" }, "Backpressure, the share of time spent waiting for those downstream: ",
      legend.map(([kind, text]) => h("span", { class: `key ${kind}` }, text))));
}

// --- checkpoints and restarts ---------------------------------------------------------------------------------------

function checkpointSection(job, now) {
  const newest = [...job.checkpoints].reverse().slice(0, SHOWN_CHECKPOINTS);
  const totals = job.checkpoint_totals;
  const describe = (checkpoint) => `Checkpoint ${checkpoint.id}: ${span(checkpoint.duration_ms)}, ${bytes(checkpoint.bytes)}`;
  if (newest.length === 0) return section("checkpoints-title", "Checkpoints", h("p", { class: "quiet" }, "None is complete yet."));
  return section("checkpoints-title", "Checkpoints",
    h("div", { class: "charts" },
      bars("Duration", job.checkpoints, (checkpoint) => checkpoint.duration_ms, span, describe),
      bars("Written", job.checkpoints, (checkpoint) => checkpoint.bytes, bytes, describe)),
    h("p", { class: "quiet" }, `${countOf(totals.completed, "checkpoint")}, ${bytes(totals.bytes)} in all, ${span(totals.duration_ms / Math.max(1, totals.completed))} on average`),
    table("Checkpoints", [["Checkpoint"], ["Attempt", "number"], ["Complete"], ["Duration", "number"], ["Written", "number"]],
      h("tbody", null, newest.map((checkpoint) => h("tr", { "data-key": checkpoint.id },
        h("th", { scope: "row" }, number(checkpoint.id), checkpoint.last && h("span", { class: "tag" }, "last")),
        h("td", { class: "number" }, number(checkpoint.attempt)),
        h("td", null, clock(checkpoint.completed_at_ms, now)),
        h("td", { class: "number" }, span(checkpoint.duration_ms)),
        h("td", { class: "number" }, bytes(checkpoint.bytes)))))));
}

function restartSection(job, now) {
  if (job.restarts.length === 0) return section("restarts-title", "Restarts", h("p", { class: "quiet" }, "It has never failed."));
  return section("restarts-title", "Restarts",
    table("Restarts", [["When"], ["Attempt", "number"], ["Cause"]],
      h("tbody", null, [...job.restarts].reverse().map((restart) => h("tr", { "data-key": restart.attempt },
        h("td", null, clock(restart.at_ms, now)),
        h("td", { class: "number" }, number(restart.attempt)),
        h("td", { class: "cause" }, restart.cause))))));
}

// --- operators and subtasks -----------------------------------------------------------------------------------------

function operatorSection(job, now) {
  if (job.graph.operators.length === 0) return null;
  return section("operators-title", "Operators",
    table("Operators",
      [["Operator"], ["Kind"], ["Task", "number"], ["In", "number"], ["In/s", "number"], ["Out", "number"], ["Out/s", "number"], ["Watermark"], ["Counts"]],
      h("tbody", null, job.graph.operators.map((operator) => h("tr", { "data-key": operator.id },
        h("th", { scope: "row" }, operator.id),
        h("td", { class: "quiet" }, operator.kind),
        h("td", { class: "number" }, operator.task),
        h("td", { class: "number" }, number(operator.records_in)),
        h("td", { class: "number" }, compact(operator.records_in_per_second)),
        h("td", { class: "number" }, number(operator.records_out)),
        h("td", { class: "number" }, compact(operator.records_out_per_second)),
        h("td", null, watermark(operator.watermark_ms, now)),
        h("td", { class: "quiet counters" }, Object.entries(operator.counters).map(([name, value]) => h("span", null, `${name.replaceAll("_", " ")} ${number(value)}`)), lag(operator)))))));
}

// How much a source has not read yet, where it knows that.
function lag(operator) {
  const splits = Object.values(operator.lags ?? {});
  if (splits.length === 0) return null;
  const records = splits.reduce((sum, split) => sum + split.records, 0);
  const behind = Math.max(...splits.map((split) => split.behind_ms)) / 1000;
  return h("span", null, records === 0 ? "lag 0" : `lag ${number(records)}, ${behind.toFixed(1)} s`);
}

// How often sinks have made results visible, and how long that takes.
function commitSection(job) {
  const sinks = job.graph.operators.filter((operator) => operator.commits);
  if (sinks.length === 0) return null;
  const took = (us) => h("td", { class: "number" }, us < 10_000 ? `${(us / 1000).toFixed(1)} ms` : span(us / 1000));
  return section("commits-title", "Commits",
    table("Commits",
      [["Sink"], ["Commits", "number"], ["Transactions", "number"], ["Now", "number"], ["Last", "number"], ["Median", "number"], ["Longest", "number"]],
      h("tbody", null, sinks.map(({ id, commits }) => h("tr", { "data-key": id },
        h("th", { scope: "row" }, id),
        h("td", { class: "number" }, number(commits.commits)),
        h("td", { class: "number" }, commits.transactions === 0 ? "none" : number(commits.transactions)),
        h("td", { class: "number" }, commits.transactions === 0 ? "" : `${compact(commits.transactions_per_second)}/s`),
        took(commits.last_us), took(commits.median_us), took(commits.longest_us))))),
    h("p", { class: "quiet" }, "Since this coordinator began. The median and the longest are those of the newest hundred; waiting for the target is part of a commit."));
}

function subtaskSection(job, now) {
  if (job.subtasks.length === 0) return null;
  const byWorker = new Map();
  for (const subtask of job.subtasks) {
    const worker = subtask.worker ?? "";
    if (!byWorker.has(worker)) byWorker.set(worker, []);
    byWorker.get(worker).push(subtask);
  }
  const groups = [...byWorker].sort(([a], [b]) => (a < b ? -1 : 1));
  return section("subtasks-title", "Subtasks by worker",
    table("Subtasks by worker",
      [["Subtask"], ["Operators"], ["State"], ["In", "number"], ["Out", "number"], ["Busy"], ["Backpressure"], ["Watermark"]],
      groups.map(([worker, subtasks]) => h("tbody", { "data-key": worker },
        h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: 8 }, worker === "" ? "not placed" : worker,
          h("span", { class: "quiet" }, ` ${countOf(subtasks.length, "subtask")}`))),
        subtasks.map((subtask) => subtaskRow(subtask, now))))));
}

function subtaskRow(subtask, now) {
  return h("tr", { "data-key": `${subtask.task}/${subtask.index}` },
    h("th", { scope: "row" }, `${subtask.task}/${subtask.index}`),
    h("td", { class: "chain" }, subtask.operators.join(" → ")),
    h("td", null, state(subtask.state)),
    h("td", { class: "number" }, number(subtask.records_in)),
    h("td", { class: "number" }, number(subtask.records_out)),
    h("td", null, meter(subtask.busy, "busy")),
    h("td", null, meter(subtask.backpressure, level(subtask.backpressure))),
    h("td", null, watermark(subtask.watermark_ms, now)));
}

function transitionSection(job, now) {
  if (job.transitions.length === 0) return null;
  return section("transitions-title", "History",
    h("ol", { class: "transitions" }, [...job.transitions].reverse().map((transition) => h("li", { "data-key": `${transition.at_ms} ${transition.to}` },
      h("span", { class: "when" }, clock(transition.at_ms, now)), state(transition.to), h("span", { class: "cause" }, transition.cause)))));
}
