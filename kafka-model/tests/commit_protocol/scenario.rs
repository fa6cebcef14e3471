//! A job that commits checkpoints, and what befalls it: its process ends, stands still, or is replaced and lives on; the brokers are
//! away, slow or stand still; requests and answers are lost, or come late; a neighbour leaves transactions open.

use crate::sink::{OUT, PROGRESS, Row, Sink, Wrong, record};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use weir_engine::env::{Door, Env, Moment};
use weir_kafka_model::{Caller, Conditions, Model, Patience};

const CHECKPOINTS: u64 = 40;
/// From one checkpoint to the next.
const INTERVAL: Duration = Duration::from_millis(500);
const PARTITIONS: i32 = 3;
/// How long the job may take at most, of virtual time.
const MUST_END_WITHIN: Duration = Duration::from_secs(600);
/// After this nothing goes wrong any more.
const TROUBLED_FOR: Duration = Duration::from_secs(20);

/// What outlives processes: the rows of each checkpoint, and how far its commits are known to have come.
struct Job {
    began: Moment,
    rows: BTreeMap<u64, Vec<Row>>,
    marked: Mutex<u64>,
}

/// Lets a process stand still.
struct Gate(watch::Sender<bool>);

impl Door for Gate {
    fn pass(&self) -> BoxFuture<'static, ()> {
        let mut frozen = self.0.subscribe();
        async move {
            if frozen.wait_for(|frozen| !*frozen).await.is_err() {
                std::future::pending().await
            }
        }
        .boxed()
    }

    fn request<'a>(&'a self, _what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn answer<'a>(&'a self, _what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

/// A process, which may have been replaced.
struct Process {
    task: JoinHandle<()>,
    gate: Arc<Gate>,
}

/// Runs one seed to its end.
///
/// # Errors
/// With what is wrong with the rows that are there.
pub fn run(seed: u64, wrong: Option<Wrong>) -> Result<(), String> {
    on_paused_time(async move {
        let (model, job) = begin(seed);
        let came_to_its_end = befall(seed, &model, &job, wrong).await;
        check(&model, &job, came_to_its_end)
    })
}

/// All that is there in the end, with its offsets.
pub fn story(seed: u64, wrong: Option<Wrong>) -> String {
    on_paused_time(async move {
        let (model, job) = begin(seed);
        let ended = befall(seed, &model, &job, wrong).await;
        format!("{ended} {:?} {:?}", model.committed(OUT), model.bounds(PROGRESS, 0))
    })
}

fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

fn begin(seed: u64) -> (Model, Arc<Job>) {
    let model = Model::with(seed, Patience { batch: 8, ..Patience::default() });
    model.create(OUT, PARTITIONS, &[]);
    model.create(PROGRESS, 1, &[("cleanup.policy", "compact")]);
    let mut dice = StdRng::seed_from_u64(seed);
    let rows = (1..=CHECKPOINTS).map(|checkpoint| {
        let row = |nth| (dice.random_range(0..PARTITIONS), checkpoint * 1_000 + nth);
        (checkpoint, (0..30).map(row).collect())
    });
    let rows = rows.collect();
    (model, Arc::new(Job { began: Env::default().now(), rows, marked: Mutex::new(0) }))
}

fn start(model: &Model, job: &Arc<Job>, seed: u64, attempt: u64, wrong: Option<Wrong>) -> Process {
    let gate = Arc::new(Gate(watch::Sender::new(false)));
    let caller = Caller::behind(&format!("attempt {attempt}"), gate.clone());
    let dice = StdRng::seed_from_u64(seed ^ (attempt << 32));
    let cluster = model.cluster_for(Arc::new(move || caller.clone()));
    let mut sink = Sink { cluster, attempt, wrong, dice, live: None };
    let job = job.clone();
    let task = tokio::spawn(async move {
        let first = *job.marked.lock() + 1;
        for (checkpoint, rows) in job.rows.range(first..) {
            // The checkpoint is complete then.
            Env::default().sleep_until(job.began + INTERVAL * *checkpoint as u32).await;
            sink.commit(*checkpoint, rows).await;
            let mut marked = job.marked.lock();
            *marked = (*marked).max(*checkpoint);
        }
    });
    Process { task, gate }
}

/// Whether all is committed in the end.
async fn befall(seed: u64, model: &Model, job: &Arc<Job>, wrong: Option<Wrong>) -> bool {
    let (env, mut dice) = (Env::default(), StdRng::seed_from_u64(seed ^ 0xbefa11));
    let began = env.now();
    // Some seeds are about processes, some about what happens between them and the brokers.
    let (weathers, apart_ms) = [(2, 1_000), (6, 2_000), (100, 4_000)][dice.random_range(0..3)];
    let mut processes = vec![start(model, job, seed, 1, wrong)];
    while env.now() < began + TROUBLED_FOR {
        env.sleep(Duration::from_millis(dice.random_range(1..apart_ms))).await;
        let Some(process) = processes.last() else { break };
        match dice.random_range(0..6 + weathers) {
            // It ends in the middle of what it does.
            0 => process.task.abort(),
            // It stands still, is replaced, and goes on some time.
            1 => {
                process.gate.0.send_replace(true);
                thaw_later(process.gate.clone(), Duration::from_millis(dice.random_range(1..6_000)));
                end_later(process, Duration::from_millis(dice.random_range(1..8_000)));
            }
            // It is only believed to have ended, and finds out later.
            2 => end_later(process, Duration::from_millis(dice.random_range(1..3_000))),
            3 => {
                model.compact(dice.random_range(1..6));
                continue;
            }
            4 | 5 => {
                leave_open(model, &mut dice);
                continue;
            }
            _ => {
                model.set(weather(&mut dice));
                continue;
            }
        }
        env.sleep(Duration::from_millis(dice.random_range(0..50))).await;
        let attempt = processes.len() as u64 + 1;
        processes.push(start(model, job, seed, attempt, wrong));
    }
    model.set(Conditions::default());
    processes.iter().for_each(|process| end_later(process, Duration::from_secs(2)));
    let last = processes.len() as u64 + 1;
    processes.push(start(model, job, seed, last, wrong));
    while *job.marked.lock() < CHECKPOINTS && env.now() < began + MUST_END_WITHIN {
        env.sleep(Duration::from_millis(100)).await;
    }
    // Zombies, late requests and open transactions come to their ends.
    env.sleep(Duration::from_secs(60)).await;
    processes.into_iter().for_each(|process| process.task.abort());
    *job.marked.lock() == CHECKPOINTS
}

fn thaw_later(gate: Arc<Gate>, after: Duration) {
    tokio::spawn(async move {
        Env::default().sleep(after).await;
        gate.0.send_replace(false);
    });
}

fn end_later(process: &Process, after: Duration) {
    let ending = process.task.abort_handle();
    tokio::spawn(async move {
        Env::default().sleep(after).await;
        ending.abort();
    });
}

/// Another sink of the job has its transaction open for a while.
fn leave_open(model: &Model, dice: &mut StdRng) {
    let (cluster, lasts) = (model.cluster_of("neighbour"), Duration::from_millis(dice.random_range(2_000..6_000)));
    tokio::spawn(async move {
        let mut producer = cluster.transactional("weir-job-neighbour-0", Duration::from_secs(5))?;
        producer.init().await?;
        producer.begin()?;
        for nth in 0..8 {
            producer.send(record(PROGRESS, 0, b"neighbour/0", &[nth])).await?;
        }
        Env::default().sleep(lasts).await;
        producer.commit().await
    });
}

fn weather(dice: &mut StdRng) -> Conditions {
    let fair = Conditions {
        slowest: [1, 10, 80].map(Duration::from_millis)[dice.random_range(0..3)],
        ..Conditions::default()
    };
    let one_in = [8, 20][dice.random_range(0..2)];
    match dice.random_range(0..7) {
        0 => Conditions { is_down: true, ..fair },
        1 => Conditions { is_frozen: true, ..fair },
        2 => Conditions { lose_one_in: one_in, lose_answer_one_in: one_in, ..fair },
        3 => fair,
        _ => {
            let latest = Duration::from_millis(dice.random_range(1..700));
            // Most give it up, some ask again.
            let asks_again = latest.as_millis().is_multiple_of(3);
            let (late_one_in, overtaken_one_in) = if asks_again { (0, one_in) } else { (one_in, 0) };
            Conditions { late_one_in, overtaken_one_in, latest, ..fair }
        }
    }
}

fn check(model: &Model, job: &Job, came_to_its_end: bool) -> Result<(), String> {
    let written = model.committed(OUT).ok_or("the topic is gone")?;
    let mut counts: BTreeMap<Row, usize> = job.rows.values().flatten().map(|row| (*row, 0)).collect();
    for written in written {
        let value = written.record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let row = (written.partition, value.ok_or("a row without an id")?);
        *counts.entry(row).or_default() += 1;
    }
    let missing = counts.values().filter(|count| **count == 0).count();
    let doubled = counts.values().filter(|count| **count > 1).count();
    match (missing, doubled, came_to_its_end) {
        (0, 0, true) => Ok(()),
        _ => Err(format!("{missing} rows are missing, {doubled} are there twice, all committed: {came_to_its_end}")),
    }
}
