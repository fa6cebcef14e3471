//! Input and surroundings as bad as they come: a dead letter or a clear error, never a panic, never a wrong count.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};
use weir_chaos_tests::{
    bench::Bench,
    crash::small_workload,
    job::{JOB, JobConfig},
    results::read_results,
    workload::{InputFormat, Workload, WorkloadConfig},
};
use weir_engine::{ErrorKind, checkpoint::CheckpointStore, env::Env, ids::Attempt, operator::Wait, task::StopSignal};
use weir_local::{OneProcess, Submission};
use weir_operators::Registry;

async fn fails(bench: &Bench, config: &JobConfig) -> weir_engine::EngineError {
    let running = bench.run(config, Arc::new(Registry), Env::seeded(1), StopSignal::default());
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
    let error = ended.expect("it fails, and does not wait for what waiting does not heal").unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::Definition),
        "{:?}: {error}",
        error.kind
    );
    assert!(!error.message.contains("panicked"), "{error}");
    error
}

fn bench_with(format: InputFormat) -> Bench {
    let bench = Bench::new().unwrap();
    Workload::generate(&small_workload(3)).write(&bench.input(), format).unwrap();
    bench
}

fn log_line(time: &str, ad: &str) -> Vec<u8> {
    format!("[AdClickEvent] {ad}, {time}, user 1, 1.2.3.4, USA\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_lines_there_are_each_has_one_class() {
    let long = |length: usize| log_line("2022-03-04 00:03:00", &"a".repeat(length));
    let long_line = long(1 << 20);
    let contents: Vec<(&str, Vec<u8>)> = vec![
        ("0-empty.log", Vec::new()),
        ("1-only-a-line-break.log", b"\n".to_vec()),
        ("2-no-line-break.log", log_line("2022-03-04 00:03:00", "ad1").trim_ascii_end().to_vec()),
        ("3-one-mebibyte.log", [&log_line("2022-03-04 00:03:00", "ad1")[..], &long_line, &log_line("2022-03-04 00:03:00", "ad2")].concat()),
        ("4-longest-and-one-more.log", [long(3_950), long(3_951), long(3_945), long(3_960)].concat()),
        ("5-nul.log", b"\0\0\0\n[AdClickEvent] a\0, 2022-03-04 00:03:00, u, i, USA\n\0".to_vec()),
        ("6-not-utf-8.log", b"[AdClickEvent] \xc3\x28, 2022-03-04 00:03:00, u, i, USA\n\xff\xff\n".to_vec()),
        ("7-1970.log", [log_line("1970-01-01 00:00:00", "ad1"), log_line("1969-12-31 23:59:59", "ad1")].concat()),
        ("8-9999.log", [log_line("9999-12-31 23:59:59", "ad1"), log_line("2199-12-31 23:59:59", "ad1")].concat()),
        ("9-windows.log", b"[AdClickEvent] ad1, 2022-03-04 00:03:00, u, i, USA\r\n\r\n[AdClickEvent] ad1, 2022-03-04 00:03:01, u, i, USA\r\n".to_vec()),
    ];
    for parallelism in [1, 3] {
        let bench = bench_with(InputFormat::ClickLog);
        for (name, content) in &contents {
            fs::write(bench.input().join(name), content).unwrap();
        }
        let config = JobConfig { parallelism, ..JobConfig::default() };
        let outcome = bench.run_to_end(&config, Arc::new(Registry), 1).await.unwrap();
        bench.check(&config, &outcome).unwrap();
    }
}

/// One absurd date in the middle of good lines makes nothing late that comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_dates_spoil_nothing() {
    let bench = Bench::new().unwrap();
    let lines = (0..60).flat_map(|second| match second {
        7 | 20 => log_line("2150-01-01 00:00:00", "absurd"),
        30..34 => log_line("1971-01-01 00:00:00", "absurd"),
        _ => log_line(&format!("2022-03-04 00:{second:02}:00"), "ad1"),
    });
    fs::write(bench.input().join("a.log"), lines.collect::<Vec<u8>>()).unwrap();
    let config = JobConfig::default();
    let outcome = bench.run_to_end(&config, Arc::new(Registry), 1).await.unwrap();
    bench.check(&config, &outcome).unwrap();
    let late = bench.expected(&config).unwrap().late;
    assert!(late.iter().all(|click| click.ad_id == "absurd"), "{late:?}");
}

/// A file that cannot be read is one dead letter by its name, and everything else is as if it were not there.
async fn costs_one_file(what: &str, harm: impl FnOnce(&Path)) {
    const VICTIM: &str = "server-1.parquet";
    let config = JobConfig { format: InputFormat::Parquet, ..JobConfig::default() };
    let bench = bench_with(InputFormat::Parquet);
    harm(&bench.input().join(VICTIM));
    bench.run_to_end(&config, Arc::new(Registry), 1).await.unwrap();
    let results = read_results(&bench.output()).unwrap();
    assert_eq!(results.dead_letters, [(VICTIM.to_owned(), 0)], "{what}");
    let others = bench_with(InputFormat::Parquet);
    fs::remove_file(others.input().join(VICTIM)).unwrap();
    let expected = others.expected(&config).unwrap();
    assert_eq!((results.counts, results.late), (expected.counts, expected.late), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_parquet_is_a_dead_letter_by_name() {
    costs_one_file("truncated", |path| {
        let whole = fs::read(path).unwrap();
        fs::write(path, &whole[..whole.len() / 2]).unwrap();
    })
    .await;
    costs_one_file("not Parquet", |path| fs::write(path, b"not parquet at all").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_the_event_time_is_a_dead_letter_by_name() {
    costs_one_file("without the column", |path| {
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["ad1"]));
        let rows = arrow::array::RecordBatch::try_from_iter([("ad_id", column)]).unwrap();
        let file = fs::File::create(path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_folder_is_named() {
    let bench = bench_with(InputFormat::ClickLog);
    fs::remove_dir_all(bench.input()).unwrap();
    let error = fails(&bench, &JobConfig::default()).await;
    assert!(error.message.contains(&bench.input().display().to_string()), "{error}");
}

/// A file that shrinks or vanishes between two runs, or while it is read, is never counted wrong in silence: an error that names
/// it, or the rest is counted and the loss is a dead letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_shrink_or_vanish_while_followed_cost_no_other_click() {
    for vanish in [false, true] {
        let bench = bench_with(InputFormat::ClickLog);
        let config = JobConfig { follow: true, allowed_lateness_minutes: 60, ..JobConfig::default() };
        let (whole, others) = (bench_with(InputFormat::ClickLog), bench_with(InputFormat::ClickLog));
        let expected = whole.expected(&config).unwrap();
        fs::remove_file(others.input().join("server-1.log")).unwrap();
        let of_others = others.expected(&config).unwrap().valid.len();
        let victim = bench.input().join("server-1.log");
        let stop = StopSignal::default();
        let (stopper, path, output) = (stop.clone(), victim.clone(), bench.output());
        let harming = async move {
            let env = Env::default();
            env.sleep(Duration::from_millis(400)).await;
            if vanish {
                fs::remove_file(&path).unwrap();
            } else {
                // Of more than its first line: one that has no more was written anew, as far as anybody can see.
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(400).unwrap();
            }
            env.sleep(Duration::from_millis(400)).await;
            let mut looks = 0;
            while !read_results(&output).is_ok_and(|results| results.raw.len() >= of_others) && looks < 600 {
                env.sleep(Duration::from_millis(100)).await;
                looks += 1;
            }
            stopper.stop();
        };
        let (ended, ()) = tokio::join!(bench.run(&config, Arc::new(Registry), Env::seeded(1), stop), harming);
        ended.unwrap_or_else(|error| panic!("vanish {vanish}: {error}"));
        let results = read_results(&bench.output()).unwrap();
        let mut sorted = results.raw.clone();
        sorted.dedup();
        for click in &sorted {
            let count = |all: &[_]| all.iter().filter(|other| *other == click).count();
            assert!(count(&results.raw) <= count(&expected.valid), "read twice: {click:?}");
        }
        let untouched = |name: &str| fs::read(whole.input().join(name)).unwrap();
        for name in ["server-0.log", "server-2.log"] {
            assert_eq!(untouched(name), fs::read(bench.input().join(name)).unwrap());
        }
        let of_victim = expected.valid.len() - results.raw.len().min(expected.valid.len());
        assert!(of_victim <= 70, "at most the victim's own rows are missing, not {of_victim}");
    }
}

/// Runs a test as `nobody` where it runs as root, who may read everything. It concerns the files that this thread and those
/// which it starts open or make, and nothing else.
fn without_rights_of_root(test: impl AsyncFnOnce() + Send + 'static) {
    #[cfg(target_os = "linux")]
    const NOBODY: libc::uid_t = 65_534;
    let as_nobody = std::thread::spawn(move || {
        #[cfg(target_os = "linux")]
        // SAFETY: changes a number that the kernel keeps for this thread, and touches no memory of ours.
        unsafe {
            libc::setfsuid(NOBODY)
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test());
    });
    as_nobody.join().unwrap();
}

#[test]
fn an_unreadable_folder_is_named() {
    use std::os::unix::fs::PermissionsExt;
    without_rights_of_root(async || {
        let bench = bench_with(InputFormat::ClickLog);
        fs::set_permissions(bench.input(), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(fs::read_dir(bench.input()).is_err(), "this user may read every folder");
        let error = fails(&bench, &JobConfig::default()).await;
        fs::set_permissions(bench.input(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(error.message.contains("input"), "{error}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_that_cannot_be_written_is_named() {
    let bench = bench_with(InputFormat::ClickLog);
    let file = bench.input().with_file_name("a-file");
    fs::write(&file, "").unwrap();
    let error = CheckpointStore::open(&format!("file://{}/below", file.display()), JOB).unwrap_err();
    assert!(error.message.contains("a-file"), "{error}");
    fs::write(bench.output(), "a file where the sinks' folders should be").unwrap();
    let error = fails(&bench, &JobConfig::default()).await;
    assert!(error.message.contains("output"), "{error}");
}

/// A small file system of its own, where the tests may mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, bytes: usize) -> Option<Self> {
        fs::create_dir_all(path).ok()?;
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output().ok()?;
        mounted.status.success().then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Only tidying.
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// The disk of the sinks is full: the job waits and says so; with room again the same attempt goes on and is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_the_sink_is_waited_out() {
    let bench = Bench::new().unwrap();
    let workload = WorkloadConfig { lines_per_file: 400, ..small_workload(3) };
    Workload::generate(&workload).write(&bench.input(), InputFormat::ClickLog).unwrap();
    let output = bench.output();
    let Some(disk) = SmallDisk::mount(&output, 256 << 10) else {
        weir_test_support::missing("the right to mount a tmpfs", "run the tests as root");
        return;
    };
    let filler = output.join("filler");
    fs::write(&filler, vec![0; 200 << 10]).unwrap();
    let config = JobConfig::default();
    let settings = bench.settings(bench.store.clone(), &config, Arc::new(Registry), Env::seeded(1)).unwrap();
    let process = OneProcess::start(settings).await.unwrap();
    let observers = process.observers();
    let running = tokio::spawn(process.run(Submission::new("test")));
    let mut looks = 0;
    let waiting = loop {
        if let Some((node, wait)) = observers.waits().now().pop_first() {
            break Wait::tell(&node, "", &wait.cause);
        }
        looks += 1;
        assert!(looks < 600 && !running.is_finished(), "it does not wait");
        Env::default().sleep(Duration::from_millis(100)).await;
    };
    assert!(waiting.contains("sink.") && waiting.contains("free some space"), "{waiting}");
    fs::remove_file(&filler).unwrap();
    let enlarged = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&output).status();
    assert!(enlarged.is_ok_and(|status| status.success()), "the file system cannot be enlarged");
    let outcome = running.await.unwrap().unwrap();
    assert_eq!(outcome.manifest.attempt, Attempt(1), "nothing was restarted");
    bench.check(&config, &outcome).unwrap();
    drop(disk);
}
