// The views of the whole cluster: its jobs, its workers.

import { sparkline } from "./charts.js";
import { h } from "./dom.js";
import { ago, bytes, coarse, compact, countOf, number, restoring, span, state } from "./format.js";

/** A job's address within the page. */
export const jobLink = (id) => `#/jobs/${encodeURIComponent(id)}`;

/** States that want a reason. */
export const NOT_WELL = new Set(["FAILING", "RESTARTING", "FAILED"]);

const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);

/** A number with its name. */
export function tile(name, value, detail, ...more) {
  return h("div", { class: "tile" },
    h("dt", null, name),
    h("dd", null, h("span", { class: "value" }, value), detail && h("span", { class: "detail" }, detail), more));
}

function tiles(cluster, history) {
  const usable = cluster.workers.filter((worker) => worker.state === "available");
  const running = cluster.jobs.filter((job) => job.state === "RUNNING").length;
  const slots = sum(usable, (worker) => worker.slots);
  const free = sum(usable, (worker) => worker.slots_free);
  const lost = cluster.workers.filter((worker) => worker.state === "lost").length;
  return h("dl", { class: "tiles" },
    tile("Jobs running", number(running), `of ${number(cluster.jobs.length)}`),
    tile("Records read", `${compact(sum(cluster.jobs, (job) => job.records_in_per_second))}/s`, null, sparkline(history)),
    tile("Workers", number(usable.length), lost > 0 ? `${number(lost)} out of reach` : "all in reach"),
    tile("Slots in use", number(slots - free), `of ${number(slots)}`));
}

/** What somebody who sees a job in its state will ask: what it waits for, or why it is not well. */
function trouble(job) {
  return job.waiting_for ?? restoring(job) ?? (NOT_WELL.has(job.state) ? job.cause : null);
}

/** All jobs. */
export function jobsView({ cluster, history }) {
  return [
    h("h1", null, "Jobs"),
    tiles(cluster, history),
    cluster.jobs.length === 0
      ? h("div", { class: "empty" }, h("p", null, "There are no jobs yet."), h("p", null, "Submit one: ", h("code", null, "weir submit jobs/ad_click.toml")))
      : h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Jobs" }, jobsTable(cluster)),
  ];
}

function jobsTable({ jobs, as_of_ms: now }) {
  return h("table", null,
    h("thead", null, h("tr", null,
      h("th", { scope: "col" }, "Job"), h("th", { scope: "col" }, "State"),
      h("th", { scope: "col", class: "number" }, "Read/s"), h("th", { scope: "col", class: "number" }, "Checkpoint"),
      h("th", { scope: "col", class: "number" }, "Attempt"), h("th", { scope: "col", class: "number" }, "Restarts"),
      h("th", { scope: "col", class: "number" }, "Submitted"))),
    h("tbody", null, jobs.map((job) => h("tr", { "data-key": job.id },
      h("th", { scope: "row" }, h("a", { href: jobLink(job.id) }, job.name),
        job.name !== job.id && h("div", { class: "quiet" }, job.id)),
      h("td", null, state(job.state), trouble(job) && h("div", { class: "why" }, trouble(job))),
      h("td", { class: "number" }, compact(job.records_in_per_second)),
      h("td", { class: "number" }, job.last_checkpoint === null ? "none yet" : number(job.last_checkpoint)),
      h("td", { class: "number" }, number(job.attempt)),
      h("td", { class: "number" }, number(job.restart_count)),
      h("td", { class: "number" }, ago(job.submitted_at_ms, now))))));
}

/** All workers. */
export function workersView({ cluster, history }) {
  return [
    h("h1", null, "Workers"),
    tiles(cluster, history),
    cluster.workers.length === 0
      ? h("div", { class: "empty" }, h("p", null, "No workers have joined yet."), h("p", null, "Start one: ", h("code", null, "weir worker --coordinator ADDR")))
      : h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Workers" }, workersTable(cluster)),
    ...coordinators(cluster),
  ];
}

/** When a coordinator has answered the leader. */
function answered({ role, answered_ms_ago: ago }) {
  if (role === "leader") return "";
  return ago === null ? "unknown" : `${coarse(ago)} ago`;
}

/** Where there are several. */
function coordinators({ coordinators: members = [] }) {
  if (members.length < 2) return [];
  return [
    h("h2", { class: "below" }, "Coordinators"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Coordinators" }, h("table", null,
      h("thead", null, h("tr", null,
        h("th", { scope: "col" }, "Coordinator"), h("th", { scope: "col" }, "Role"),
        h("th", { scope: "col", class: "number" }, "Decisions behind"), h("th", { scope: "col", class: "number" }, "Last answer"))),
      h("tbody", null, members.map((member) => h("tr", { "data-key": String(member.node) },
        h("th", { scope: "row" }, String(member.node), h("div", { class: "quiet" }, member.address)),
        h("td", null, member.role),
        h("td", { class: "number" }, member.behind === null ? "unknown" : number(member.behind)),
        h("td", { class: "number" }, answered(member))))))),
  ];
}

function workersTable({ workers }) {
  return h("table", null,
    h("thead", null, h("tr", null,
      h("th", { scope: "col" }, "Worker"), h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Slots in use"),
      h("th", { scope: "col", class: "number" }, "Heartbeat"), h("th", { scope: "col", class: "number" }, "Sent"),
      h("th", { scope: "col", class: "number" }, "Received"), h("th", { scope: "col" }, "Runs"),
      h("th", { scope: "col" }, "Version"))),
    h("tbody", null, workers.map((worker) => h("tr", { "data-key": worker.id },
      h("th", { scope: "row" }, worker.id, h("div", { class: "quiet" }, worker.data_address)),
      h("td", null, state(worker.state), clock(worker) && h("div", { class: "why" }, clock(worker))),
      h("td", null, slots(worker)),
      h("td", { class: "number" }, `${coarse(worker.last_heartbeat_ms_ago)} ago`),
      h("td", { class: "number" }, bytes(worker.network_sent_bytes)),
      h("td", { class: "number" }, bytes(worker.network_received_bytes)),
      h("td", null, runs(worker)),
      h("td", { class: "quiet" }, worker.version)))));
}

/** What is wrong with the clock of a worker, if it is by more than a second. */
function clock(worker) {
  const ahead = worker.clock_ahead_ms ?? 0;
  if (Math.abs(ahead) <= 1000) return null;
  return `its clock is ${span(Math.abs(ahead))} ${ahead > 0 ? "ahead" : "behind"}`;
}

/** The slots of a worker, a square each while there are few. */
function slots(worker) {
  const used = worker.slots - worker.slots_free;
  const squares = worker.slots <= 16
    ? Array.from({ length: worker.slots }, (_, place) => h("i", { class: place < used ? "slot used" : "slot" }))
    : [];
  return h("span", { class: "slots" }, h("span", { "aria-hidden": "true" }, squares), `${number(used)} of ${number(worker.slots)}`);
}

/** How many subtasks of which jobs a worker runs. */
function runs(worker) {
  if (worker.subtasks.length === 0) return h("span", { class: "quiet" }, "nothing");
  const byJob = new Map();
  for (const subtask of worker.subtasks) byJob.set(subtask.job, (byJob.get(subtask.job) ?? 0) + 1);
  return [...byJob].map(([job, count]) => h("div", null, h("a", { href: jobLink(job) }, job), `: ${countOf(count, "subtask")}`));
}
