//! Followed files: they grow in pieces that end anywhere, are rotated, and new ones come, while the job is stopped, crashes
//! and is started again. In the end it reads what is left as bounded input, and the recount of all files decides.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use weir_chaos_tests::{
    bench::Bench,
    crash::{crash_points_of, small_workload},
    job::JobConfig,
    results::{Results, read_results},
    workload::{InputFormat, Workload, WorkloadConfig, line_bytes},
};
use weir_engine::{
    ErrorKind,
    env::{CrashPlan, Env},
    task::{RunOutcome, StopSignal},
};
use weir_operators::Registry;

/// Nothing is late enough to be refused here: a file that joins late begins at the time of the others.
fn config() -> JobConfig {
    JobConfig { follow: true, allowed_lateness_minutes: 60, checkpoint_interval_ms: 10, ..JobConfig::default() }
}

/// A server that appends to its log, a few bytes at a time.
struct Server {
    path: PathBuf,
    rest: Vec<u8>,
}

impl Server {
    fn new(folder: &Path, name: &str, content: Vec<u8>) -> Self {
        Server { path: folder.join(name), rest: content }
    }

    /// Completes the line that it has begun, as a server does before it opens another log.
    fn end_line(&mut self) {
        let ends = fs::read(&self.path).is_ok_and(|written| written.is_empty() || written.ends_with(b"\n"));
        if let (false, Some(end)) = (ends, self.rest.iter().position(|byte| *byte == b'\n')) {
            self.append(end + 1);
        }
    }

    /// Appends some bytes, which may end in the middle of a line. `false`: there is nothing left.
    fn append(&mut self, bytes: usize) -> bool {
        let piece: Vec<u8> = self.rest.drain(..bytes.min(self.rest.len())).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        file.write_all(&piece).unwrap();
        !self.rest.is_empty()
    }
}

fn servers(bench: &Bench, seed: u64) -> Vec<Server> {
    let workload = Workload::generate(&WorkloadConfig { one_late_in: 0, ..small_workload(seed) });
    let content = |lines: &[_]| lines.iter().flat_map(|line| line_bytes(line, InputFormat::ClickLog)).collect();
    workload
        .files
        .iter()
        .map(|(name, lines)| Server::new(&bench.input(), &format!("{name}.log"), content(lines)))
        .collect()
}

/// How logs are rotated.
#[derive(Clone, Copy)]
enum Rotation {
    Rename,
    /// `copytruncate`.
    Copy,
}

/// Appends to all logs until nothing is left, while the job runs, is stopped, or crashes.
async fn write_all(mut servers: Vec<Server>, rotation: Option<Rotation>, done: Arc<AtomicBool>) {
    let env = Env::default();
    let (mut open, mut round) = (true, 0);
    while open {
        open = false;
        for server in &mut servers {
            open |= server.append(331);
        }
        round += 1;
        if let Some(rotation) = rotation.filter(|_| round % 6 == 0) {
            rotate(&mut servers, round, rotation);
        }
        env.sleep(Duration::from_millis(15)).await;
    }
    done.store(true, Ordering::SeqCst);
}

/// Runs again and again, ended in turn by a stop and by a crash, until everything is written and read.
async fn follow(seed: u64, rotation: Option<Rotation>) {
    let bench = Bench::new().unwrap();
    let config = config();
    let done = Arc::new(AtomicBool::new(false));
    let servers = servers(&bench, seed);
    // The files are there when the first run begins, if empty: none joins late.
    servers.iter().for_each(|server| fs::write(&server.path, "").unwrap());
    let writing = tokio::spawn(write_all(servers, rotation, done.clone()));
    let points = ["manifest.before", "commit.started", "source.batch", "upload.durable", "manifest.created"];
    let mut run = 0;
    while !done.load(Ordering::SeqCst) {
        let env = Env::seeded(seed * 1_000 + run);
        let stop = StopSignal::default();
        let config = JobConfig { parallelism: 1 + run as usize % 3, ..config.clone() };
        if run % 2 == 0 {
            let point = points[run as usize / 2 % points.len()];
            let plan = CrashPlan::crash_at(point, 4);
            let error = bench.run(&config, Arc::new(Registry), env.with_crash_plan(plan), stop).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Crash, "{error}");
        } else {
            let (waiting, stopper) = (env.clone(), stop.clone());
            let stopping = async move {
                waiting.sleep(Duration::from_millis(80)).await;
                stopper.stop();
            };
            let (stopped, ()) = tokio::join!(bench.run(&config, Arc::new(Registry), env, stop), stopping);
            let stopped = stopped.unwrap_or_else(|error| panic!("seed {seed}, run {run}: {error}"));
            assert!(!stopped.manifest.last, "a followed source has no end");
        }
        run += 1;
    }
    writing.await.unwrap();
    read_the_rest(&bench, &config, seed).await;
}

/// Every named point that a followed job passes ends a run of it, a few in a row over the same files while they grow and are
/// rotated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_of_a_followed_job() {
    let config = JobConfig { batch_rows: 7, ..config() };
    let points = crash_points_of(&config, Arc::new(Registry), [Some(600), Some(600)]).await.unwrap();
    for expected in ["source.discovering", "source.discovered", "source.position_taken", "files.listed", "files.opened"]
    {
        assert!(points.contains_key(expected), "{expected} is not among {points:?}");
    }
    let points: Vec<(&str, u64)> = points.into_iter().collect();
    let mut missed = Vec::new();
    for (seed, group) in points.chunks(6).enumerate() {
        let seed = seed as u64 + 40;
        let bench = Bench::new().unwrap();
        let mut servers = servers(&bench, seed);
        servers.iter().for_each(|server| fs::write(&server.path, "").unwrap());
        for (run, (point, visits)) in group.iter().enumerate() {
            servers.iter_mut().for_each(|server| {
                server.append(500);
            });
            let visit = (visits / 6).clamp(1, 5);
            let mut crashed = crash_at(&bench, &config, seed * 100 + run as u64, point, visit, 500).await;
            // A slow machine may not have come so far: there is more time, above all for what every run passes, and more to read.
            let longer: &[u64] = if point.starts_with("source") { &[2_000, 8_000] } else { &[2_000] };
            for longer_ms in longer.iter().copied() {
                if !crashed {
                    servers.iter_mut().for_each(|server| _ = server.append(200));
                    crashed = crash_at(&bench, &config, seed * 100 + run as u64, point, 1, longer_ms).await;
                }
            }
            if !crashed {
                missed.push(*point);
            }
            if run == 2 {
                rotate(&mut servers, run, Rotation::Rename);
            }
        }
        servers.iter_mut().for_each(|server| while server.append(1_000) {});
        read_the_rest(&bench, &config, seed).await;
    }
    // What only happens where the attempt before has left something behind is passed in some of the runs.
    assert!(
        missed.len() <= 4 && !missed.iter().any(|point| point.starts_with("source")),
        "never crashed at {missed:?}"
    );
}

/// Whether a run came to the visit of that point before it was stopped.
async fn crash_at(bench: &Bench, config: &JobConfig, seed: u64, point: &str, visit: u64, stop_after_ms: u64) -> bool {
    let plan = CrashPlan::crash_at(point, visit);
    let env = Env::seeded(seed).with_crash_plan(plan.clone());
    let (waiting, stop) = (Env::default(), StopSignal::default());
    let stopper = stop.clone();
    let stopping = async move {
        waiting.sleep(Duration::from_millis(stop_after_ms)).await;
        stopper.stop();
    };
    let running = bench.run(config, Arc::new(Registry), env, stop);
    let ended = tokio::select! {
        ended = running => ended,
        never = async { stopping.await; std::future::pending().await } => never,
    };
    match ended {
        Err(error) if error.kind == ErrorKind::Crash => true,
        Err(error) => panic!("instead of the crash at {point}: {error}"),
        Ok(_) => plan.crashed(),
    }
}

/// As logrotate does it: each log gets another name, and its server opens a new one; or it is copied, and goes on empty.
fn rotate(servers: &mut [Server], round: usize, rotation: Rotation) {
    for server in servers {
        server.end_line();
        let name = server.path.file_name().unwrap().to_string_lossy().into_owned();
        let rotated = server.path.with_file_name(format!("{round}-{name}"));
        match rotation {
            Rotation::Rename => fs::rename(&server.path, rotated).unwrap(),
            Rotation::Copy => {
                fs::copy(&server.path, rotated).unwrap();
                fs::write(&server.path, "").unwrap();
            }
        }
    }
}

/// A dead letter names its file as it was called when the line was read, which may have been before or after a rotation.
fn forget_rotations(dead_letters: &mut [(String, i64)]) {
    for (file, _) in dead_letters.iter_mut() {
        let original = file.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        *file = original;
    }
    dead_letters.sort();
}

/// Follows until the raw archive has every valid line, then stops: windows that are still open are not compared.
async fn read_the_rest(bench: &Bench, config: &JobConfig, seed: u64) {
    let mut expected = bench.expected(config).unwrap();
    forget_rotations(&mut expected.dead_letters);
    let (valid, dead) = (expected.valid.len(), expected.dead_letters.len());
    let stop = StopSignal::default();
    let (stopper, output) = (stop.clone(), bench.output());
    let waiting = async move {
        let env = Env::default();
        // The last line may be one that is no click, and dead letters may be shown at the end only.
        let mut looks_for_dead_letters = 40;
        for _ in 0..400 {
            env.sleep(Duration::from_millis(50)).await;
            let Ok(results) = read_results(&output) else { continue };
            if results.raw.len() >= valid {
                looks_for_dead_letters -= 1;
                if results.dead_letters.len() >= dead || looks_for_dead_letters == 0 {
                    break;
                }
            }
        }
        stopper.stop();
    };
    let (outcome, ()) = tokio::join!(bench.run(config, Arc::new(Registry), Env::seeded(seed + 77), stop), waiting);
    let outcome = outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let mut results = read_results(&bench.output()).unwrap();
    forget_rotations(&mut results.dead_letters);
    let mut differences = weir_chaos_tests::check::differences(&expected, &results);
    // The minutes that are still open, and corrections for which time has not moved on, come with the next clicks.
    const OF_MINUTES: [&str; 6] = [
        "counts are wrong",
        "minutes of everybody are wrong",
        "top ads are wrong",
        "shares behind maps are wrong",
        "top ads behind a map are wrong",
        "blocks behind a map are wrong",
    ];
    differences.retain(|difference| !OF_MINUTES.iter().any(|kind| difference.contains(kind)));
    // The counters know of them already.
    differences.extend(weir_chaos_tests::check::counter_differences(&expected, &outcome.manifest));
    for (key, count) in &results.counts {
        if expected.counts.get(key).is_none_or(|expected| expected < count) {
            differences.push(format!("{key:?} was counted {count} times instead of {:?}", expected.counts.get(key)));
        }
    }
    assert!(differences.is_empty(), "seed {seed}:\n{}", differences.join("\n"));
    assert!(!results.counts.is_empty(), "seed {seed}: no minute was closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_files_are_counted_once_over_stops_and_crashes() {
    for seed in 1..4 {
        follow(seed, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_files_are_counted_once_over_stops_and_crashes() {
    follow(11, Some(Rotation::Rename)).await;
    follow(12, Some(Rotation::Copy)).await;
}

/// Files that fall silent and come back when their windows were closed without them, which may be after a stop or a crash.
struct Silence {
    bench: Bench,
    config: JobConfig,
}

/// How often it is looked, 25 ms apart, whether something has happened.
const PATIENCE: usize = 800;

/// What happens while the files are silent.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    Stop,
    Crash,
}

impl Silence {
    const FILES: usize = 5;

    fn new(dedup: bool) -> Self {
        let config = JobConfig {
            idle_after_ms: Some(100),
            allowed_lateness_minutes: 2,
            parallelism: 3,
            without_dedup: !dedup,
            ..config()
        };
        Silence { bench: Bench::new().unwrap(), config }
    }

    fn append(&self, file: &str, minute: usize, second: usize) {
        let path = self.bench.input().join(file);
        let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
        log.write_all(&click(file, &format!("{minute:02}:{second:02}"))).unwrap();
    }

    /// Runs until `is_so` of what is committed, then stops.
    async fn run_until(&self, seed: u64, is_so: impl Fn(&Results) -> bool) -> RunOutcome {
        let stop = StopSignal::default();
        let (stopper, output, busy) = (stop.clone(), self.bench.output(), self.bench.input().join("busy.log"));
        let waiting = async move {
            let env = Env::default();
            for _ in 0..PATIENCE {
                env.sleep(Duration::from_millis(25)).await;
                // Never silent: when all are, time stands still.
                OpenOptions::new().append(true).open(&busy).unwrap().write_all(&click("busy", "29:59")).unwrap();
                if read_results(&output).is_ok_and(|results| is_so(&results)) {
                    break;
                }
            }
            stopper.stop();
        };
        let running = self.bench.run(&self.config, Arc::new(Registry), Env::seeded(seed), stop);
        let (outcome, ()) = tokio::join!(running, waiting);
        outcome.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn crash(&self) {
        let env = Env::seeded(5).with_crash_plan(CrashPlan::crash_at("manifest.before", 6));
        let ended = self.bench.run(&self.config, Arc::new(Registry), env, StopSignal::default()).await;
        assert_eq!(ended.unwrap_err().kind, ErrorKind::Crash);
    }
}

async fn come_back_late(dedup: bool, meanwhile: Meanwhile) {
    let silence = Silence::new(dedup);
    let files: Vec<String> = (0..Silence::FILES).map(|file| format!("silent-{file}.log")).collect();
    for second in 0..10 {
        files.iter().for_each(|file| silence.append(file, 0, second));
    }
    for tick in 0..180 {
        silence.append("busy.log", tick / 6, tick % 6 * 10);
    }
    let minute = |minute: i64| 1_646_352_000_000 + minute * 60_000;
    let closed = move |results: &Results| results.counts.keys().any(|(_, at, _)| *at >= minute(25));
    let back = |results: &Results| {
        let on_time = results.raw.iter().filter(|click| click.ad_id.starts_with("on-time"));
        on_time.count() == Silence::FILES
    };
    if matches!(meanwhile, Meanwhile::Nothing) {
        // Both in one run: the lines come when the windows are known to be closed.
        let bench = silence.bench.output();
        let coming = async {
            let env = Env::default();
            for _ in 0..PATIENCE {
                if read_results(&bench).is_ok_and(|results| closed(&results)) {
                    break;
                }
                env.sleep(Duration::from_millis(25)).await;
            }
        };
        let appending = {
            let files = files.clone();
            let input = silence.bench.input();
            async move {
                coming.await;
                for file in &files {
                    let mut log = OpenOptions::new().append(true).open(input.join(file)).unwrap();
                    log.write_all(&late_and_on_time(file)).unwrap();
                }
            }
        };
        let (outcome, ()) = tokio::join!(silence.run_until(1, back), appending);
        check_silence(&silence, &outcome, &files, "in one run");
        return;
    }
    let first = silence.run_until(1, closed).await;
    assert!(!first.manifest.last);
    for file in &files {
        let mut log = OpenOptions::new().append(true).open(silence.bench.input().join(file)).unwrap();
        log.write_all(&late_and_on_time(file)).unwrap();
    }
    if matches!(meanwhile, Meanwhile::Crash) {
        silence.crash().await;
    }
    let outcome = silence.run_until(2, back).await;
    check_silence(&silence, &outcome, &files, &format!("{meanwhile:?}"));
}

/// A click of a minute that was closed long ago, and one of a minute that is still open.
fn late_and_on_time(file: &str) -> Vec<u8> {
    [click(&format!("late-{file}"), "01:30"), click(&format!("on-time-{file}"), "29:45")].concat()
}

fn click(ad: &str, time: &str) -> Vec<u8> {
    format!("[AdClickEvent] {ad}, 2022-03-04 00:{time}, user 1, 1.2.3.4, USA, e\n").into_bytes()
}

fn check_silence(silence: &Silence, outcome: &RunOutcome, files: &[String], scenario: &str) {
    let results = read_results(&silence.bench.output()).unwrap();
    let late: Vec<&str> = results.late.iter().map(|click| click.ad_id.as_str()).collect();
    let expected: Vec<String> = files.iter().map(|file| format!("late-{file}")).collect();
    assert_eq!(late, expected, "{scenario}: each once, and none that was on time");
    for click in &results.late {
        assert!(results.raw.contains(click), "{scenario}: with all its columns: {click:?}");
    }
    let mut valid = [results.late.as_slice(), &results.on_time].concat();
    valid.sort();
    assert_eq!(valid, results.raw, "{scenario}: each line is late or on time");
    let sum = |prefix: &str, name: &str| -> u64 {
        let operators = outcome.manifest.operators.iter().filter(|operator| operator.operator.starts_with(prefix));
        // Without a dedup each aggregate has a gate of its own.
        let operators = operators.filter(|operator| !operator.operator.contains("everybody"));
        let subtasks = operators.flat_map(|operator| &operator.subtasks);
        subtasks.filter_map(|subtask| subtask.counters.get(name)).sum()
    };
    let lines = results.raw.len() as u64;
    assert_eq!(sum("source", "events_in"), lines, "{scenario}");
    assert_eq!(sum("", "late"), files.len() as u64, "{scenario}");
    let counted = sum("filters", "rows_in");
    assert_eq!(counted + sum("", "late") + sum("", "duplicates"), lines, "{scenario}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_of_files_that_were_silent_are_late_with_all_their_columns() {
    for dedup in [true, false] {
        for meanwhile in [Meanwhile::Nothing, Meanwhile::Stop, Meanwhile::Crash] {
            come_back_late(dedup, meanwhile).await;
        }
    }
}
