//! A cluster in the midst of things: a job that runs and was restarted, one that waits, one that failed, one that is done.

use crate::status::{
    CheckpointTotals, CheckpointView, CommitsView, CoordinatorStatus, END_OF_TIME_MS, GraphView, JobStatus, LagView,
    Restart, Snapshot, SubtaskRef, SubtaskView, Transition, WorkerState, WorkerStatus,
};
use weir_engine::{
    element::Port,
    graph::{ExecutionGraph, JobGraph, Node, NodeRole, Partitioner},
};

/// The moment of the snapshot.
pub(super) const NOW_MS: i64 = 1_763_800_000_000;

/// What an attacker would call a job.
pub(super) const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\">'&\"</script><script>alert(1)</script>\\\n";

pub(super) fn snapshot() -> Snapshot {
    let jobs = vec![running(), waiting(), failed(), finished()];
    Snapshot::new(NOW_MS, coordinator(), workers(&jobs[0]), jobs)
}

/// The same with every text that a user or an error can choose turned against us.
pub(super) fn hostile_snapshot() -> Snapshot {
    let text = || HOSTILE.to_string();
    let mut job = running();
    job.id = text();
    job.name = text();
    job.cause = Some(text());
    job.waiting_for = Some(text());
    job.definition = text();
    job.restarts.iter_mut().for_each(|restart| restart.cause = text());
    job.transitions.iter_mut().for_each(|transition| transition.cause = text());
    for operator in &mut job.graph.operators {
        operator.id.push_str(HOSTILE);
        operator.kind = text();
        operator.counters.insert(text(), 7);
        operator.lags.insert(text(), LagView { records: 7, behind_ms: 8 });
    }
    for edge in &mut job.graph.edges {
        edge.from.push_str(HOSTILE);
        edge.to.push_str(HOSTILE);
        edge.key = vec![text()];
    }
    for subtask in &mut job.subtasks {
        subtask.worker = Some(text());
        subtask.operators = vec![text()];
    }
    let mut workers = workers(&job);
    workers[0].id = text();
    workers[0].data_address = text();
    Snapshot::new(NOW_MS, coordinator(), workers, [job])
}

fn coordinator() -> CoordinatorStatus {
    CoordinatorStatus { version: "0.1.0".into(), node: 1, leader: Some(1), started_at_ms: NOW_MS - 7_400_000 }
}

fn workers(job: &JobStatus) -> Vec<WorkerStatus> {
    let worker = |id: &str, port: u16, state, free, ago| WorkerStatus {
        id: id.into(),
        data_address: format!("10.0.0.{port}:7071"),
        state,
        slots: 4,
        slots_free: free,
        last_heartbeat_ms_ago: ago,
        clock_ahead_ms: Some(if port == 12 { 3_600_000 } else { 0 }),
        subtasks: job
            .subtasks
            .iter()
            .filter(|subtask| subtask.worker.as_deref() == Some(id))
            .map(|subtask| SubtaskRef { job: job.id.clone(), task: subtask.task, index: subtask.index })
            .collect(),
        network_sent_bytes: 48_213_551_004 / u64::from(port),
        network_received_bytes: 47_900_120_311 / u64::from(port),
        version: "0.1.0".into(),
    };
    vec![
        worker("w-1f3a90", 11, WorkerState::Available, 0, 180),
        worker("w-77c2e4", 12, WorkerState::Available, 0, 420),
        worker("w-b0d518", 13, WorkerState::Lost, 4, 48_300),
    ]
}

fn node(id: &str, kind: &str, role: NodeRole) -> Node {
    Node { id: id.into(), kind: kind.into(), role, parallelism: 2, config: serde_json::Value::Null }
}

/// The graph of the clicks, as `jobs/ad_click.toml` becomes it.
pub(super) fn graph() -> ExecutionGraph {
    let mut graph = JobGraph::new("ad-click");
    let operator = |id: &str, kind: &str| node(id, kind, NodeRole::Operator);
    let sink = |id: &str| node(id, "files", NodeRole::Sink);
    let nodes = [
        node("source.clicks", "files", NodeRole::Source),
        operator("map.valid", "map"),
        sink("sink.dead_letters"),
        operator("late_gate.unique", "late_gate"),
        sink("sink.raw"),
        sink("sink.late"),
        operator("dedup.unique", "dedup"),
        operator("filters.clicks_per_minute", "filters"),
        operator("aggregate.clicks_per_minute.local", "local_aggregate"),
        operator("aggregate.clicks_per_minute", "aggregate"),
        operator("reduce.top_ads.local", "local_top"),
        operator("sink.counts.select", "select"),
        sink("sink.counts"),
        operator("reduce.top_ads", "top"),
        sink("sink.top_ads"),
    ];
    for node in nodes {
        graph.add_node(node);
    }
    let hash = |key: &[&str]| Partitioner::Hash { key: key.iter().map(ToString::to_string).collect() };
    let edges = [
        (0, Port::MAIN, 1, Partitioner::Forward),
        (0, Port::named("dead_letters"), 2, Partitioner::Forward),
        (1, Port::MAIN, 3, Partitioner::Forward),
        (1, Port::MAIN, 4, Partitioner::Forward),
        (3, Port::named("late"), 5, Partitioner::Forward),
        (3, Port::MAIN, 6, hash(&["ad_id", "click_timestamp", "user_id", "ip"])),
        (6, Port::MAIN, 7, Partitioner::Forward),
        (7, Port::MAIN, 8, Partitioner::Forward),
        (8, Port::MAIN, 9, hash(&["ad_id", "filter_id"])),
        (9, Port::MAIN, 10, Partitioner::Forward),
        (9, Port::MAIN, 11, Partitioner::Forward),
        (11, Port::MAIN, 12, Partitioner::Forward),
        (10, Port::MAIN, 13, hash(&["window_start", "window_end", "filter_id"])),
        (13, Port::MAIN, 14, Partitioner::Forward),
    ];
    for (from, port, to, partitioner) in edges {
        graph.add_edge(from, port, to, partitioner);
    }
    ExecutionGraph::new(graph).unwrap()
}

/// Records in and out of each operator, in thousands a second.
const RATES: [(f64, f64); 15] = [
    (412.4, 412.3),
    (412.3, 396.0),
    (0.1, 0.1),
    (396.0, 395.1),
    (396.0, 396.0),
    (0.9, 0.9),
    (395.1, 361.7),
    (361.7, 470.2),
    (470.2, 58.9),
    (58.9, 4.2),
    (4.2, 1.1),
    (4.2, 4.2),
    (4.2, 4.2),
    (1.1, 0.2),
    (0.2, 0.2),
];

fn running_graph() -> GraphView {
    let mut view = GraphView::new(&graph());
    for (operator, (taken, given)) in view.operators.iter_mut().zip(RATES) {
        operator.records_in_per_second = taken * 1000.0;
        operator.records_out_per_second = given * 1000.0;
        operator.records_in = (taken * 1_800_000.0) as u64;
        operator.records_out = (given * 1_800_000.0) as u64;
        (operator.backpressure, operator.busy) = [(0.57, 0.38), (0.18, 0.81), (0.02, 0.44), (0.0, 0.06)][operator.task];
        operator.watermark_ms = Some(NOW_MS - 15_200 - 300 * operator.task as i64);
    }
    for (id, counter, value) in [
        ("source.clicks", "dead_letters", 212),
        ("source.clicks", "bytes_in", 51_882_114_031),
        ("map.valid", "filtered_out", 29_340_000),
        ("late_gate.unique", "late", 1_620_412),
        ("dedup.unique", "duplicates", 60_120_881),
        ("aggregate.clicks_per_minute", "corrections", 8_220),
        ("aggregate.clicks_per_minute", "windows", 1_044),
    ] {
        let operator = view.operators.iter_mut().find(|operator| operator.id == id).unwrap();
        operator.counters.insert(counter.into(), value);
    }
    let source = view.operators.iter_mut().find(|operator| operator.role == "source").unwrap();
    source.lags.insert("clicks-3".into(), LagView { records: 1_204, behind_ms: 1_500 });
    let sink = |view: &mut GraphView, id: &str, commits| {
        view.operators.iter_mut().find(|operator| operator.id == id).unwrap().commits = Some(commits);
    };
    let counts = CommitsView {
        commits: 1_822,
        transactions: 1_904,
        transactions_per_second: 1.3,
        duration_us: 80_168_000,
        last_us: 41_200,
        median_us: 40_700,
        longest_us: 312_000,
    };
    sink(&mut view, "sink.counts", counts);
    sink(
        &mut view,
        "sink.raw",
        CommitsView { commits: 30, duration_us: 21_000, last_us: 700, ..CommitsView::default() },
    );
    view
}

fn subtasks(graph: &GraphView) -> Vec<SubtaskView> {
    let hundredths = |share: f64| (share * 100.0).round() / 100.0;
    let subtask = |task: usize, index: usize| {
        let fused: Vec<_> = graph.operators.iter().filter(|operator| operator.task == task).collect();
        SubtaskView {
            task,
            index,
            worker: Some(["w-1f3a90", "w-77c2e4"][index].into()),
            operators: fused.iter().map(|operator| operator.id.clone()).collect(),
            state: "RUNNING".into(),
            records_in: fused[0].records_in / 2 + index as u64 * 1_311,
            records_out: fused[0].records_out / 2 + index as u64 * 1_298,
            backpressure: hundredths((fused[0].backpressure - 0.04 * index as f64).max(0.0)),
            busy: hundredths(fused[0].busy - 0.03 * index as f64),
            watermark_ms: fused[0].watermark_ms.map(|watermark| watermark + 120 * index as i64),
        }
    };
    (0..4).flat_map(|task| (0..2).map(move |index| (task, index))).map(|(task, index)| subtask(task, index)).collect()
}

fn checkpoints() -> Vec<CheckpointView> {
    let wave = |n: u64| (n * 37) % 23;
    (1781..=1840)
        .map(|id| CheckpointView {
            id,
            attempt: 3,
            completed_at_ms: NOW_MS - (1840 - id as i64) * 1000 - 240,
            duration_ms: if id == 1802 { 411 } else { 92 + 3 * wave(id) },
            bytes: 6_100_000 + 110_000 * wave(id + 3) + if id % 20 == 0 { 9_000_000 } else { 0 },
            last: false,
        })
        .collect()
}

fn transitions(steps: &[(i64, &str, &str)]) -> Vec<Transition> {
    let mut before = None;
    steps
        .iter()
        .map(|(ago_ms, to, cause)| Transition {
            at_ms: NOW_MS - ago_ms,
            from: before.replace((*to).to_string()),
            to: (*to).into(),
            cause: (*cause).into(),
        })
        .collect()
}

fn running() -> JobStatus {
    let graph = running_graph();
    JobStatus {
        as_of_ms: NOW_MS,
        id: "ad-click".into(),
        name: "ad-click".into(),
        state: "RUNNING".into(),
        submitted_at_ms: NOW_MS - 7_260_000,
        attempt: 3,
        restart_count: 2,
        restarts: vec![
            Restart {
                at_ms: NOW_MS - 1_920_000,
                attempt: 1,
                cause: "worker w-03ee71: its connection broke, and it sent no heartbeat for 3.0 s".into(),
            },
            Restart {
                at_ms: NOW_MS - 48_300,
                attempt: 2,
                cause: "worker w-b0d518: its connection broke, and it sent no heartbeat for 3.0 s".into(),
            },
        ],
        transitions: transitions(&[
            (7_260_000, "CREATED", "submitted"),
            (7_259_800, "SCHEDULED", "8 subtasks in 4 of 12 slots"),
            (7_259_100, "RUNNING", "all subtasks run"),
            (48_300, "RESTARTING", "worker w-b0d518 was lost"),
            (47_900, "RESTORING", "attempt 3, from checkpoint 1794"),
            (47_100, "RUNNING", "all subtasks run"),
        ]),
        subtasks: subtasks(&graph),
        graph,
        checkpoints: checkpoints(),
        checkpoint_totals: CheckpointTotals { completed: 1_840, duration_ms: 237_360, bytes: 13_340_220_112 },
        last_checkpoint: Some(1840),
        committed: Some(1839),
        definition: include_str!("../../../../jobs/ad_click.toml").into(),
        ..JobStatus::default()
    }
}

fn waiting() -> JobStatus {
    JobStatus {
        as_of_ms: NOW_MS,
        id: "talkingdata".into(),
        name: "talkingdata".into(),
        state: "SCHEDULED".into(),
        waiting_for: Some("needs 4 slots, 0 free".into()),
        submitted_at_ms: NOW_MS - 64_000,
        transitions: transitions(&[(64_000, "CREATED", "submitted"), (63_900, "SCHEDULED", "waits for slots")]),
        graph: GraphView::new(&graph()),
        ..JobStatus::default()
    }
}

fn failed() -> JobStatus {
    let cause = "operator map.revenue: cannot read 'price' of the record at offset 118,220 of clicks/2025-11-22.log: \
                 'twelve' is not a number (failed 5 times in a row)";
    JobStatus {
        as_of_ms: NOW_MS,
        id: "revenue".into(),
        name: "revenue".into(),
        state: "FAILED".into(),
        cause: Some(cause.into()),
        submitted_at_ms: NOW_MS - 3_600_000,
        attempt: 5,
        restart_count: 4,
        transitions: transitions(&[(3_600_000, "CREATED", "submitted"), (3_500_000, "FAILED", cause)]),
        ..JobStatus::default()
    }
}

fn finished() -> JobStatus {
    let mut graph = GraphView::new(&graph());
    graph.operators.iter_mut().for_each(|operator| operator.watermark_ms = Some(END_OF_TIME_MS));
    let last = CheckpointView {
        id: 61,
        attempt: 1,
        completed_at_ms: NOW_MS - 86_300_000,
        duration_ms: 131,
        bytes: 2_204_118,
        last: true,
    };
    JobStatus {
        as_of_ms: NOW_MS,
        id: "backfill-2025-10".into(),
        name: "backfill-2025-10".into(),
        state: "FINISHED".into(),
        submitted_at_ms: NOW_MS - 86_400_000,
        attempt: 1,
        graph,
        checkpoints: vec![last],
        checkpoint_totals: CheckpointTotals { completed: 61, duration_ms: 7_991, bytes: 134_451_198 },
        last_checkpoint: Some(61),
        committed: Some(61),
        ..JobStatus::default()
    }
}
