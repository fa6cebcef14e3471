//! Golden texts.

use super::{
    list::render_cluster,
    render::{render_frame, render_json},
    status::render_job,
};
use weir_coordinator::status::{
    CheckpointView, ClusterStatus, CommitsView, CoordinatorStatus, END_OF_TIME_MS, GraphView, JobStatus, LagView,
    MemberStatus, OperatorView, Restart, RestoringView, Snapshot, SubtaskView, WorkerState, WorkerStatus,
};

const NOW_MS: i64 = 1_763_800_000_000;

fn worker(id: &str, state: WorkerState, free: u32, ago: u64) -> WorkerStatus {
    WorkerStatus {
        id: id.into(),
        data_address: "10.0.0.7:7071".into(),
        state,
        slots: 2,
        slots_free: free,
        last_heartbeat_ms_ago: ago,
        clock_ahead_ms: Some(0),
        subtasks: vec![],
        network_sent_bytes: 4_213_551_004,
        network_received_bytes: 910,
        version: "0.1.0".into(),
    }
}

fn operator(id: &str, role: &str, task: usize, read: u64) -> OperatorView {
    OperatorView {
        id: id.into(),
        kind: role.into(),
        role: role.into(),
        task,
        parallelism: 1,
        records_in: read,
        records_out: read / 2,
        records_in_per_second: read as f64 / 100.0,
        records_out_per_second: read as f64 / 200.0,
        backpressure: 0.57,
        busy: 0.051,
        watermark_ms: Some(NOW_MS - 15_200),
        ..OperatorView::default()
    }
}

fn subtask(task: usize, worker: Option<&str>, operators: &[&str]) -> SubtaskView {
    SubtaskView {
        task,
        index: 0,
        worker: worker.map(Into::into),
        operators: operators.iter().map(ToString::to_string).collect(),
        state: "RUNNING".into(),
        records_in: 1_234_567,
        records_out: 617_283,
        backpressure: 0.57,
        busy: 0.051,
        watermark_ms: Some(NOW_MS - 15_200),
    }
}

fn running() -> JobStatus {
    JobStatus {
        as_of_ms: NOW_MS,
        id: "ad-click".into(),
        name: "ad-click".into(),
        state: "RUNNING".into(),
        submitted_at_ms: NOW_MS - 7_260_000,
        attempt: 2,
        restart_count: 1,
        restarts: vec![Restart { at_ms: NOW_MS - 60_000, attempt: 1, cause: "worker w-3 was lost".into() }],
        graph: GraphView {
            operators: vec![
                operator("source.clicks", "source", 0, 1_234_567),
                operator("map.valid", "operator", 0, 1_234_567),
                operator("sink.counts", "sink", 1, 812),
            ],
            edges: vec![],
        },
        subtasks: vec![
            subtask(0, Some("w-2"), &["source.clicks", "map.valid"]),
            subtask(1, Some("w-1"), &["sink.counts"]),
        ],
        checkpoints: vec![CheckpointView {
            id: 1840,
            attempt: 2,
            completed_at_ms: NOW_MS - 1_240,
            duration_ms: 92,
            bytes: 17_200_000,
            last: false,
        }],
        last_checkpoint: Some(1840),
        committed: Some(1839),
        ..JobStatus::default()
    }
}

fn waiting() -> JobStatus {
    JobStatus {
        as_of_ms: NOW_MS,
        id: "talkingdata".into(),
        name: "talkingdata".into(),
        state: "SCHEDULED".into(),
        waiting_for: Some("needs 4 slots, 2 free".into()),
        submitted_at_ms: NOW_MS - 48_000,
        ..JobStatus::default()
    }
}

fn coordinator() -> CoordinatorStatus {
    CoordinatorStatus { version: "0.1.0".into(), node: 1, leader: Some(1), started_at_ms: NOW_MS - 190_000_000 }
}

fn cluster() -> ClusterStatus {
    let workers = vec![worker("w-1", WorkerState::Available, 1, 180), worker("w-2", WorkerState::Lost, 2, 61_000)];
    Snapshot::new(NOW_MS, coordinator(), workers, [running(), waiting()]).cluster
}

#[test]
fn a_cluster_is_a_table_of_jobs_and_one_of_workers() {
    let expected = "\
coordinator 1 (leader), Weir 0.1.0, up 2 d 4 h; 1 worker, 1 of 2 slots in use

 job          state      read/s  checkpoint  attempt  restarts  submitted
 ad-click     RUNNING    12,346       1,840        2         1  2 h 1 min ago
 talkingdata  SCHEDULED       0        none        0         0  48 s ago       needs 4 slots, 2 free

 worker  state      slots in use  heartbeat        sent  received  data address
 w-1     available  1 of 2        0 s ago        4.2 GB     910 B  10.0.0.7:7071
 w-2     lost       0 of 2        1 min 1 s ago  4.2 GB     910 B  10.0.0.7:7071
";
    assert_eq!(render_cluster(&cluster()), expected);
}

#[test]
fn several_coordinators_are_a_table() {
    let member = |node, role: &str, behind, answered_ms_ago| MemberStatus {
        node,
        address: format!("10.0.0.{node}:7070"),
        role: role.into(),
        behind,
        answered_ms_ago,
    };
    let mut cluster = cluster();
    cluster.coordinators = vec![
        member(1, "leader", Some(0), Some(0)),
        member(2, "voter", Some(3), Some(61_000)),
        member(4, "learner", None, None),
    ];
    let expected = "

 coordinator  role      behind  last answer    address
           1  leader         0                 10.0.0.1:7070
           2  voter          3  1 min 1 s ago  10.0.0.2:7070
           4  learner  unknown  unknown        10.0.0.4:7070

 job ";
    assert!(render_cluster(&cluster).contains(expected), "{}", render_cluster(&cluster));
}

#[test]
fn an_empty_cluster_says_what_to_do() {
    let mut coordinator = coordinator();
    (coordinator.node, coordinator.leader) = (3, None);
    let empty = ClusterStatus { as_of_ms: NOW_MS, coordinator, ..ClusterStatus::default() };
    let expected = "\
coordinator 3 (there is no leader), Weir 0.1.0, up 2 d 4 h; 0 workers, 0 of 0 slots in use

no jobs; submit one with `weir submit JOB`

no workers; start one with `weir worker --coordinator ADDR`
";
    assert_eq!(render_cluster(&empty), expected);
}

#[test]
fn a_job_is_its_facts_and_its_tables() {
    let expected = "\
ad-click: RUNNING, attempt 2, submitted 2 h 1 min ago

  read        1,234,567 records, 12,346 a second
  watermark   15.2 s ago
  checkpoint  1,840, 1 s ago, took 92 ms, wrote 17.2 MB
  committed   1,839
  restarts        1

operators
 operator       task         in    in/s      out  out/s  busy  backpressure  watermark
 source.clicks     0  1,234,567  12,346  617,283  6,173   5 %          57 %  15.2 s ago
 map.valid         0  1,234,567  12,346  617,283  6,173   5 %          57 %  15.2 s ago
 sink.counts       1        812     8.1      406    4.1   5 %          57 %  15.2 s ago

subtasks by worker
 worker  subtask  state           in      out  busy  backpressure  watermark   operators
 w-1     1/0      RUNNING  1,234,567  617,283   5 %          57 %  15.2 s ago  sink.counts
 w-2     0/0      RUNNING  1,234,567  617,283   5 %          57 %  15.2 s ago  source.clicks → map.valid

restarts
 at                       attempt  cause
 2025-11-22 08:25:40 UTC        1  worker w-3 was lost
";
    assert_eq!(render_job(&running()), expected);
}

#[test]
fn a_job_that_waits_says_for_what() {
    let expected = "\
talkingdata: SCHEDULED, submitted 48 s ago
waiting: needs 4 slots, 2 free

  read        0 records, 0 a second
  watermark   none
  checkpoint  none
  committed   none
  restarts    0
";
    assert_eq!(render_job(&waiting()), expected);
}

#[test]
fn a_job_that_restores_says_how_much_is_back() {
    let mut job = running();
    job.restoring = Some(RestoringView { restored_bytes: 1_200_000_000, bytes: 2_000_000_000 });
    let text = render_job(&job);
    assert!(text.contains("  read        restoring 1.2 GB of 2.0 GB\n"), "{text}");
    let cluster = Snapshot::new(NOW_MS, coordinator(), vec![], [job]).cluster;
    assert!(render_cluster(&cluster).contains("ago  restoring 1.2 GB of 2.0 GB\n"), "{}", render_cluster(&cluster));
}

#[test]
fn what_operators_count_besides_is_told() {
    let mut job = running();
    job.graph.operators[1].counters =
        [("duplicates".to_string(), 1_234), ("without_key".into(), 7), ("none".into(), 0)].into();
    let expected = "
counted besides
 operator   counter      value
 map.valid  duplicates   1,234
 map.valid  without_key      7
";
    let text = render_job(&job);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let with_clock = |ahead| {
        let worker = WorkerStatus { clock_ahead_ms: ahead, ..worker("w-1", WorkerState::Available, 2, 100) };
        render_cluster(&Snapshot::new(NOW_MS, coordinator(), vec![worker], []).cluster)
    };
    assert!(with_clock(Some(3_600_000)).contains(" available, clock 1 h ahead "), "{}", with_clock(Some(3_600_000)));
    assert!(with_clock(Some(-1_500)).contains(" available, clock 1.5 s behind "));
    for fine in [Some(900), Some(-900), None] {
        assert!(!with_clock(fine).contains("clock"));
    }
}

#[test]
fn watermarks_of_history_and_of_ended_inputs_are_no_lag() {
    let mut job = running();
    job.graph.operators[0].watermark_ms = Some(END_OF_TIME_MS);
    job.graph.operators[1].watermark_ms = Some(1_646_352_001_000);
    let text = render_job(&job);
    assert!(text.contains("  watermark   2022-03-04 00:00:01 UTC\n"), "{text}");
    assert!(text.contains("%  at its end\n"), "{text}");
    job.graph.operators[2].watermark_ms = None;
    assert!(render_job(&job).contains("  watermark   none\n"), "one has none, so the job has none");
}

#[test]
fn a_hostile_name_moves_no_cursor() {
    let mut job = running();
    let hostile = "a\u{1b}[2J\r\n\u{202e}b".to_string();
    (job.id, job.cause, job.state) = (hostile.clone(), Some(hostile.clone()), hostile.clone());
    job.restarts[0].cause = hostile.clone();
    job.graph.operators[0].id = hostile.clone();
    job.subtasks[0].operators[0] = hostile;
    let cluster = Snapshot::new(NOW_MS, coordinator(), vec![], [job.clone()]).cluster;
    for text in [render_job(&job), render_cluster(&cluster)] {
        assert!(text.contains("a\\u{1b}[2J\\r\\n\\u{202e}b"), "{text}");
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn json_is_the_form_of_rest() {
    let json = render_json(&running()).unwrap();
    assert!(json.ends_with("}\n"));
    assert_eq!(serde_json::from_str::<JobStatus>(&json).unwrap(), running());
}

#[test]
fn a_frame_replaces_the_one_before() {
    assert_eq!(render_frame("a\nb\n"), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
}

#[test]
fn a_source_that_knows_says_what_it_has_not_read_yet() {
    let mut job = running();
    let lags = [("clicks-0", 12, 0), ("clicks-1", 1_204, 1_500)];
    let view = |(split, records, behind_ms): (&str, _, _)| (split.to_owned(), LagView { records, behind_ms });
    job.graph.operators[0].lags = lags.map(view).into();
    let text = render_job(&job);
    let table = text.split("\nnot read yet\n").nth(1).expect("a table").split("\n\n").next().unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(rows[0], ["source", "split", "records", "behind"]);
    assert_eq!(rows[1][..3], ["source.clicks", "clicks-1", "1,204"]);
    assert_eq!(rows[2][..3], ["source.clicks", "clicks-0", "12"]);
}

#[test]
fn a_sink_says_how_often_it_has_committed_and_how_long_that_takes() {
    let mut job = running();
    let kafka = CommitsView {
        commits: 1_822,
        transactions: 1_904,
        transactions_per_second: 1.3,
        duration_us: 80_168_000,
        last_us: 41_200,
        median_us: 40_700,
        longest_us: 1_312_000,
    };
    job.graph.operators[2].commits = Some(kafka);
    let files = CommitsView { commits: 30, last_us: 700, median_us: 700, longest_us: 900, ..CommitsView::default() };
    job.graph.operators.push(OperatorView { commits: Some(files), ..operator("sink.raw", "sink", 1, 812) });
    let expected = "
commits
 sink         commits  transactions  a second    last  median  longest
 sink.counts    1,822         1,904       1.3   41 ms   41 ms    1.3 s
 sink.raw          30          none            0.7 ms  0.7 ms   0.9 ms

subtasks by worker
";
    let text = render_job(&job);
    assert!(text.contains(expected), "{text}");
}
