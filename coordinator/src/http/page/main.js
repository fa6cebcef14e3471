// Asks the coordinator each second, and shows the view that the address names.
//
// What cannot be reached stays as it was last seen, with a word since when: the page outlives its coordinator.

import { jobLink, jobsView, workersView } from "./cluster.js";
import { h, show } from "./dom.js";
import { coarse } from "./format.js";
import { jobView } from "./job.js";
import { askForSecret, request } from "./secret.js";

const INTERVAL_MS = 1000;
const PATIENCE_MS = 5000;
const REMEMBERED = 60;

/** What is known: the newest answers, and how fast jobs have been read lately. */
const known = { cluster: null, job: null, problem: null, lostSince: null, rates: new Map() };
let timer = null;
let round = 0;

const element = (id) => document.getElementById(id);

/** The view that the address names. */
function route() {
  const path = location.hash.slice(1);
  if (path === "/workers") return { view: "workers" };
  const job = path.match(/^\/jobs\/(.+)$/);
  if (job === null) return { view: "jobs" };
  try {
    return { view: "job", id: decodeURIComponent(job[1]) };
  } catch {
    return { view: "job", id: job[1] };
  }
}

// --- asking ---------------------------------------------------------------------------------------------------------

async function ask(path) {
  const response = await request(`api/v1/${path}`, PATIENCE_MS);
  const answer = await response.json();
  return response.ok ? { answer } : { problem: answer };
}

async function poll() {
  clearTimeout(timer);
  round += 1;
  const mine = round;
  const { view, id } = route();
  try {
    const [cluster, job] = await Promise.all([ask("cluster"), view === "job" ? ask(`jobs/${encodeURIComponent(id)}`) : {}]);
    if (mine !== round) return;
    known.cluster = cluster.answer ?? known.cluster;
    known.job = job.answer ?? null;
    known.problem = cluster.problem ?? job.problem ?? null;
    known.lostSince = null;
    remember();
  } catch {
    if (mine !== round) return;
    known.lostSince ??= new Date();
  }
  render();
  timer = setTimeout(poll, INTERVAL_MS);
}

/** Keeps the last minute of throughput, of all jobs together and of each. */
function remember() {
  const jobs = known.cluster?.jobs ?? [];
  const keep = (key, rate) => known.rates.set(key, [...(known.rates.get(key) ?? []), rate].slice(-REMEMBERED));
  keep("", jobs.reduce((sum, job) => sum + job.records_in_per_second, 0));
  for (const job of jobs) keep(`job ${job.id}`, job.records_in_per_second);
}

// --- showing --------------------------------------------------------------------------------------------------------

function render() {
  const current = route();
  show(element("navigation"), tab("#/", "Jobs", current.view !== "workers"), tab("#/workers", "Workers", current.view === "workers"));
  show(element("reach"), known.lostSince && h("p", { class: "notice bad" },
    `Coordinator out of reach since ${known.lostSince.toLocaleTimeString("en-GB")}. `,
    known.cluster ? "Below is its last answer; this page retries every second." : "This page retries every second."));
  document.body.classList.toggle("stale", known.lostSince !== null);
  show(element("coordinator"), known.cluster && coordinator(known.cluster));
  show(element("main"), content(current));
  document.title = title(current);
}

function tab(href, text, isCurrent) {
  return h("a", { href, "aria-current": isCurrent ? "page" : null }, text);
}

function coordinator({ coordinator, as_of_ms: now }) {
  const leads = coordinator.leader === coordinator.node;
  const leader = coordinator.leader === null ? "no leader" : leads ? "leader" : `leader is ${coordinator.leader}`;
  return [
    h("span", { class: known.lostSince ? "pulse lost" : "pulse", "aria-hidden": "true" }),
    h("span", null, `coordinator ${coordinator.node}, ${leader}`),
    h("span", { class: "quiet" }, `up ${coarse(now - coordinator.started_at_ms)}`),
    h("span", { class: "quiet" }, `Weir ${coordinator.version}`),
  ];
}

function content({ view, id }) {
  const { cluster, job, problem } = known;
  if (problem?.status === 401) return locked(problem);
  if (cluster === null) return h("p", { class: "quiet" }, "Asking the coordinator …");
  if (view === "workers") return workersView({ cluster, history: known.rates.get("") ?? [] });
  if (view === "jobs") return jobsView({ cluster, history: known.rates.get("") ?? [] });
  if (job !== null && job.id === id) return jobView({ job, history: known.rates.get(`job ${id}`) ?? [] });
  if (problem === null) return h("p", { class: "quiet" }, "Asking the coordinator …");
  return [
    h("h1", null, problem.title),
    h("p", { class: "notice" }, problem.detail),
    cluster.jobs.length > 0 && h("ul", null, cluster.jobs.map((each) => h("li", null, h("a", { href: jobLink(each.id) }, each.name)))),
  ];
}

function locked(problem) {
  return [
    h("h1", null, "The secret is needed"),
    h("p", { class: "notice" }, problem.detail),
    h("div", { class: "buttons" }, h("button", { type: "button", "data-unlock": true }, "Enter the secret")),
  ];
}

function title({ view, id }) {
  if (view === "workers") return "Workers · Weir";
  if (view === "jobs") return "Jobs · Weir";
  return known.job?.id === id ? `${known.job.name} · ${known.job.state} · Weir` : `${id} · Weir`;
}

// --- doing ----------------------------------------------------------------------------------------------------------

const ACTIONS = {
  cancel: {
    path: "cancel",
    yes: "Cancel the job",
    title: (job) => `Cancel ${job}?`,
    text: "It ends at once. What it read after its last checkpoint has no effect.",
  },
  stop: {
    path: "stop",
    yes: "Stop the job",
    title: (job) => `Stop ${job}?`,
    text: "It takes a last checkpoint and ends. Its open windows stay open: submitted again, it resumes from there.",
  },
  drain: {
    path: "stop?drain=true",
    yes: "Drain and finish",
    title: (job) => `Drain ${job} and finish it?`,
    text: "It reads nothing more, closes all open windows, commits their results, and is finished.",
  },
};

let asked = null;

function confirm(action, job) {
  asked = { action: ACTIONS[action], job };
  element("confirm-title").textContent = asked.action.title(job);
  element("confirm-text").textContent = asked.action.text;
  element("confirm-yes").textContent = asked.action.yes;
  element("confirm").showModal();
}

async function act({ action, job }) {
  try {
    const send = () => request(`api/v1/jobs/${encodeURIComponent(job)}/${action.path}`, 30_000, {
      method: "POST",
      headers: { "content-type": "application/json", "x-weir-request": "1" },
    });
    let response = await send();
    // Nothing was shown that lets act: no secret, another one, or a token for reading.
    while (response.headers.get("www-authenticate") !== null) {
      const { detail } = await response.json();
      if (!await askForSecret(detail)) return say(`${job}: not requested. ${detail}`, true);
      response = await send();
    }
    say(response.ok ? `${job}: requested. Its state shows the progress.` : (await response.json()).detail, !response.ok);
  } catch {
    say("The coordinator did not answer. The job's state will show whether it was done.", true);
  }
  poll();
}

function say(text, isBad) {
  show(element("message"), h("p", { class: isBad ? "notice bad" : "notice well" }, text,
    h("button", { type: "button", class: "close", "aria-label": "Close this message", "data-close": true }, "×")));
}

document.addEventListener("click", ({ target }) => {
  const pressed = target.closest("button");
  if (pressed?.dataset.action) confirm(pressed.dataset.action, pressed.dataset.job);
  if (pressed?.dataset.unlock !== undefined) askForSecret(known.problem?.detail ?? "").then(poll);
  if (pressed?.dataset.close !== undefined) show(element("message"));
});
element("confirm-no").addEventListener("click", () => element("confirm").close());
element("confirm-yes").addEventListener("click", () => {
  element("confirm").close();
  act(asked);
});
window.addEventListener("hashchange", () => {
  show(element("message"));
  window.scrollTo(0, 0);
  poll();
});

poll();
