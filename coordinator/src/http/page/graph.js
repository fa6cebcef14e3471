// Draws a job's graph: a box for each task, its fused operators in it, and the streams between tasks with their partitioner.
//
// Layout: tasks in layers by their longest way from a source, each as high as the operators that feed it; on a narrow screen
// one below the other. Within a task the operators form a tree: the way on stands below its producer, side outputs are set in.

import { s } from "./dom.js";
import { compact, earliest, percent, watermark } from "./format.js";

const TASK_WIDTH = 252;
const TASK_GAP_X = 112;
const TASK_GAP_Y = 26;
const STACK_GAP = 46;
const LANE = 22;
const HEADER = 58;
const PADDING = 10;
const OPERATOR_HEIGHT = 42;
const OPERATOR_GAP = 8;
const INSET = 22;
const SPINE = 9;
const MARGIN = 8;
/** Weighs more than any chain is long. */
const LEADS_OUT = 1000;
/** Below this share of its size the text of the graph is too small to read: then it is scrolled. */
const LEAST_SCALE = 0.75;

/** The graph of a job as an SVG element, a little smaller than life where `available` pixels ask for it. */
export function drawGraph(graph, nowMs, available) {
  const isNarrow = available < 2 * TASK_WIDTH + TASK_GAP_X;
  const tasks = isNarrow ? stack(graph) : arrange(graph);
  const width = Math.max(...tasks.map((task) => task.x + TASK_WIDTH)) + MARGIN + (isNarrow ? LANE : 0);
  const height = Math.max(...tasks.map((task) => task.y + task.height)) + MARGIN;
  const scale = Math.min(1, Math.max(LEAST_SCALE, available / width));
  const size = { width: Math.floor(width * scale), height: Math.floor(height * scale) };
  const label = `Graph of ${graph.operators.length} operators in ${tasks.length} tasks; the table of operators says the same`;
  return s("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, ...size, role: "img", "aria-label": label },
    s("defs", null,
      s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        s("path", { d: "M0 0.5 L7.5 4 L0 7.5 Z", class: "arrow" }))),
    crossings(graph, tasks).map(isNarrow ? drawDescent : drawCrossing),
    tasks.map((task) => drawTask(task, nowMs)));
}

// --- where things stand ---------------------------------------------------------------------------------------------

function arrange(graph) {
  const tasks = fuse(graph);
  const layers = layer(graph, tasks);
  layers.forEach((members, depth) => {
    const wish = (task) => wishedTop(graph, tasks, task);
    const inOrder = members.map((task) => [task, depth === 0 ? 0 : wish(task)]).sort((a, b) => a[1] - b[1]);
    let free = depth === 0 ? 0 : -Infinity;
    for (const [task, wished] of inOrder) {
      task.x = MARGIN + depth * (TASK_WIDTH + TASK_GAP_X);
      task.y = Math.max(wished, free);
      free = task.y + task.height + TASK_GAP_Y;
    }
  });
  const top = Math.min(...tasks.map((task) => task.y));
  for (const task of tasks) task.y += MARGIN - top;
  return tasks;
}

/** One task below the other, producers first. */
function stack(graph) {
  const tasks = layer(graph, fuse(graph)).flat();
  let free = MARGIN;
  tasks.forEach((task, order) => {
    Object.assign(task, { x: MARGIN, y: free, order });
    free += task.height + STACK_GAP;
  });
  return tasks;
}

/** The tasks with their operators, each at its place within the task. */
function fuse(graph) {
  const byNumber = new Map();
  for (const operator of graph.operators) {
    if (!byNumber.has(operator.task)) byNumber.set(operator.task, []);
    byNumber.get(operator.task).push(operator);
  }
  return [...byNumber].map(([number, operators]) => {
    const ids = new Set(operators.map((operator) => operator.id));
    const inner = graph.edges.filter((edge) => ids.has(edge.from) && ids.has(edge.to));
    const leads = new Set(graph.edges.filter((edge) => ids.has(edge.from) && !ids.has(edge.to)).map((edge) => edge.from));
    const places = [];
    climb(operators[0].id, 0, null, { operators, inner, leads, places });
    const height = HEADER + places.length * (OPERATOR_HEIGHT + OPERATOR_GAP) - OPERATOR_GAP + PADDING;
    return { number, places, height, x: 0, y: 0 };
  });
}

function climb(id, inset, parent, tree) {
  const operator = tree.operators.find((candidate) => candidate.id === id);
  const place = { operator, inset, parent, row: tree.places.length };
  tree.places.push(place);
  const children = tree.inner.filter((edge) => edge.from === id).map((edge) => edge.to);
  if (children.length === 0) return;
  // The way on is the child that leads out of the task, else the longest; it stays on the spine, below the others. Where this
  // operator itself leads out, its children may all be side outputs.
  const heaviest = children.reduce((best, child) => (weight(child, tree) > weight(best, tree) ? child : best));
  const onward = tree.leads.has(id) && weight(heaviest, tree) < LEADS_OUT ? null : heaviest;
  for (const child of children) if (child !== onward) climb(child, inset + 1, place, tree);
  if (onward !== null) climb(onward, inset, place, tree);
}

function weight(id, tree) {
  const below = tree.inner.filter((edge) => edge.from === id).map((edge) => weight(edge.to, tree));
  return (tree.leads.has(id) ? LEADS_OUT : 0) + 1 + Math.max(0, ...below);
}

/** Tasks by their longest way from a source. Tasks are numbered producers first, so one pass is enough. */
function layer(graph, tasks) {
  const depth = new Map(tasks.map((task) => [task.number, 0]));
  const taskOf = new Map(graph.operators.map((operator) => [operator.id, operator.task]));
  for (const task of [...tasks].sort((a, b) => a.number - b.number)) {
    for (const edge of graph.edges) {
      const [from, to] = [taskOf.get(edge.from), taskOf.get(edge.to)];
      if (from === task.number && to !== from) depth.set(to, Math.max(depth.get(to), depth.get(from) + 1));
    }
  }
  const layers = [];
  for (const task of tasks) (layers[depth.get(task.number)] ??= []).push(task);
  return layers;
}

/** The top at which a task's head is level with what feeds it. */
function wishedTop(graph, tasks, task) {
  const head = task.places[0].operator.id;
  const levels = graph.edges.filter((edge) => edge.to === head).map((edge) => {
    const producer = find(tasks, edge.from);
    return producer.task.y + rowTop(producer.place.row);
  });
  const level = levels.reduce((sum, y) => sum + y, 0) / Math.max(1, levels.length);
  return level - rowTop(0);
}

const rowTop = (row) => HEADER + row * (OPERATOR_HEIGHT + OPERATOR_GAP);

function find(tasks, id) {
  for (const task of tasks) {
    const place = task.places.find((candidate) => candidate.operator.id === id);
    if (place !== undefined) return { task, place };
  }
  throw new Error(`an edge names '${id}', which is no operator`);
}

function crossings(graph, tasks) {
  return graph.edges.flatMap((edge) => {
    const [from, to] = [find(tasks, edge.from), find(tasks, edge.to)];
    return from.task === to.task ? [] : [{ edge, from, to }];
  });
}

// --- how they look --------------------------------------------------------------------------------------------------

/** What an edge is, in full. */
function explain(edge) {
  const port = edge.port === "main" ? "" : `${edge.port.replace("_", " ")}, `;
  return `${port}${edge.partitioner}${edge.key.length > 0 ? ` by ${edge.key.join(", ")}` : ""}`;
}

/** A stream between stacked tasks: straight down to the next one, or past the others on a lane beside them. */
function drawDescent({ edge, from, to }) {
  const title = s("title", null, `${edge.from} → ${edge.to}: ${explain(edge)}`);
  if (to.task.order === from.task.order + 1) {
    const x = MARGIN + PADDING + SPINE;
    const y = to.task.y - STACK_GAP / 2;
    return s("g", { class: "edge" }, title,
      s("path", { d: `M${x} ${from.task.y + from.task.height} V${to.task.y}`, "marker-end": "url(#arrow)" }),
      s("text", { x: x + 12, y: y + 4 }, cut(explain(edge), 34)));
  }
  const right = MARGIN + TASK_WIDTH;
  const [y1, y2] = [from, to].map((end) => end.task.y + rowTop(end.place.row) + OPERATOR_HEIGHT / 2);
  const path = `M${right - PADDING} ${y1} H${right + LANE / 2} V${y2} H${right - PADDING + 1}`;
  return s("g", { class: "edge" }, title, s("path", { d: path, "marker-end": "url(#arrow)" }));
}

function drawCrossing({ edge, from, to }) {
  const middle = OPERATOR_HEIGHT / 2;
  const [x1, y1] = [from.task.x + TASK_WIDTH, from.task.y + rowTop(from.place.row) + middle];
  const [x2, y2] = [to.task.x - 1, to.task.y + rowTop(to.place.row) + middle];
  const bend = (x2 - x1) / 2;
  const port = edge.port === "main" ? "" : `${edge.port.replace("_", " ")}, `;
  const x = to.task.x - 12;
  return s("g", { class: "edge" },
    s("title", null, `${edge.from} → ${edge.to}: ${explain(edge)}`),
    s("path", { d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, "marker-end": "url(#arrow)" }),
    s("text", { x, y: y2 - 8, "text-anchor": "end" }, cut(port + edge.partitioner, 15)),
    edge.key.length > 0 && s("text", { x, y: y2 + 15, "text-anchor": "end", class: "key" }, cut(edge.key.join(", "), 15)));
}

function drawTask(task, nowMs) {
  const operators = task.places.map((place) => place.operator);
  const pressure = Math.max(...operators.map((operator) => operator.backpressure));
  const busy = Math.max(...operators.map((operator) => operator.busy));
  const behind = watermark(earliest(operators.map((operator) => operator.watermark_ms)), nowMs);
  return s("g", { class: "task", transform: `translate(${task.x} ${task.y})` },
    s("rect", { class: `frame ${level(pressure)}`, width: TASK_WIDTH, height: task.height, rx: 10 }),
    s("text", { x: PADDING + 2, y: 20, class: "task-title" }, `Task ${task.number}`,
      s("tspan", { class: "times", dx: 6 }, `× ${operators[0].parallelism}`)),
    s("text", { x: TASK_WIDTH - PADDING - 2, y: 20, "text-anchor": "end", class: "task-watermark" }, behind,
      s("title", null, "Watermark: event time up to which everything has come")),
    gauge(PADDING + 2, "busy", busy, "busy"),
    gauge(TASK_WIDTH / 2 + 4, "backpressure", pressure, level(pressure)),
    task.places.map((place) => drawOperator(place, nowMs)));
}

function gauge(x, name, share, kind) {
  const width = TASK_WIDTH / 2 - PADDING - 6;
  return s("g", { class: `gauge ${kind}` },
    s("text", { x, y: 38 }, name),
    s("text", { x: x + width, y: 38, "text-anchor": "end", class: "share" }, percent(share)),
    s("rect", { x, y: 43, width, height: 4, rx: 2, class: "whole" }),
    s("rect", { x, y: 43, width: (Math.min(1, Math.max(0, share)) * width).toFixed(1), height: 4, rx: 2, class: "part" }));
}

function drawOperator(place, nowMs) {
  const { operator, inset, parent } = place;
  const left = PADDING + inset * INSET;
  const top = rowTop(place.row);
  const width = TASK_WIDTH - PADDING - left;
  return s("g", { class: `operator ${operator.role} ${level(operator.backpressure)}`, "data-operator": operator.id },
    s("title", null, describe(operator, nowMs)),
    parent && connector(place),
    s("rect", { class: "box", x: left, y: top, width, height: OPERATOR_HEIGHT, rx: 6 }),
    s("rect", { class: "pressure", x: left, y: top + 6, width: 4, height: OPERATOR_HEIGHT - 12, rx: 2 }),
    s("text", { class: "name", x: left + 12, y: top + 17 }, cut(operator.id, Math.floor((width - 18) / 7.3))),
    s("text", { class: "rate", x: left + 12, y: top + 33 }, rates(operator)));
}

/** From the operator above: straight down the spine for the way on, round the corner for a side output. */
function connector({ inset, parent, row }) {
  const spine = PADDING + parent.inset * INSET + SPINE;
  const from = rowTop(parent.row) + OPERATOR_HEIGHT;
  if (inset === parent.inset) return s("path", { class: "inner", d: `M${spine} ${from} V${rowTop(row)}` });
  const level = rowTop(row) + OPERATOR_HEIGHT / 2;
  return s("path", { class: "inner", d: `M${spine} ${from} V${level - 5} Q${spine} ${level} ${spine + 5} ${level} H${PADDING + inset * INSET}` });
}

function rates(operator) {
  const taken = `${compact(operator.records_in_per_second)} in/s`;
  const given = `${compact(operator.records_out_per_second)} out/s`;
  if (operator.role === "source") return `${compact(operator.records_in_per_second)} read/s`;
  if (operator.role === "sink") return taken;
  return `${taken}  →  ${given}`;
}

function describe(operator, nowMs) {
  return [
    `${operator.id} (${operator.kind}) × ${operator.parallelism}`,
    `records in ${operator.records_in}, out ${operator.records_out}`,
    `busy ${percent(operator.busy)}, backpressure ${percent(operator.backpressure)}`,
    `watermark ${watermark(operator.watermark_ms, nowMs)}`,
  ].join("\n");
}

/** How much somebody waits for those downstream: below a tenth nobody notices, from a half on it sets the pace. */
export const level = (share) => (share >= 0.5 ? "high" : share >= 0.1 ? "some" : "low");

const cut = (text, length) => (text.length > length ? `${text.slice(0, Math.max(1, length - 1))}…` : text);
