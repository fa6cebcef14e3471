//! Runs that crash at random, over a service that never gives the same answer twice.

use super::{
    Bench,
    services::{ad_of, doze, json, lookup},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use weir_engine::{
    ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    task::StopSignal,
};
use weir_local::{Settings, Submission, run};
use weir_operators::Registry;
use weir_test_support::web_server::WebServer;

/// Points that every run with a lookup passes.
const POINTS: [&str; 8] = [
    "lookup.answered",
    "lookup.released",
    "subtask.batch",
    "subtask.captured",
    "subtask.barrier_forwarded",
    "upload.durable",
    "manifest.created",
    "source.batch",
];

/// Runs until the end, or until it crashes. Whether it crashed.
fn crashes(bench: &Bench, keys: &str, parallelism: usize, crash: Option<(&str, u64)>, seed: u64) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let job = bench.job(keys, parallelism);
    let store = CheckpointStore::open(&format!("file://{}", bench.checkpoints().display()), &job.graph.name).unwrap();
    let mut env = Env::seeded(seed);
    if let Some((point, visit)) = crash {
        env = env.with_crash_plan(CrashPlan::crash_at(point, visit));
    }
    let settings = Settings::new(job.graph, store, env.clone(), Arc::new(Registry));
    let ended = runtime.block_on(run(settings, Submission::new("test"), StopSignal::default()));
    let has_crashed = env.crash().is_some();
    match ended {
        Ok(_) => {}
        Err(failed) if failed.error.kind == ErrorKind::Crash || has_crashed => {}
        Err(failed) => panic!("{failed}"),
    }
    has_crashed
}

/// Rows numbered from 0, of some ads.
fn ads(count: usize, of: usize) -> Vec<String> {
    (0..count).map(|n| format!("ad{}", (n * 7 + n / 5) % of)).collect()
}

fn check(seed: u64, with_cache: bool) -> usize {
    let server = WebServer::start();
    let serial = AtomicU64::new(0);
    let given: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
    let told = given.clone();
    server.answer(move |posted| {
        doze(Duration::from_micros(seed % 5 * 500));
        let budget = serial.fetch_add(1, Ordering::SeqCst);
        told.lock().unwrap().entry(ad_of(posted)).or_default().insert(budget.to_string());
        json(format!("{{\"budget\": {budget}}}"))
    });
    let names = ads(400, 23);
    let bench = Bench::new(names.iter().map(|name| Some(name.as_str())));
    let cache = if with_cache { "cache = { ttl = \"1h\" }" } else { "" };
    let keys = lookup(&server, &format!("in_flight = {}\n{cache}", 1 + seed % 7));
    let mut crashed = 0;
    for run in 0..4 {
        let point = POINTS[((seed * 5 + run * 3) % POINTS.len() as u64) as usize];
        let visit = 1 + (seed * 13 + run * 7) % 8;
        let parallelism = 1 + ((seed + run) % 3) as usize;
        crashed += usize::from(crashes(&bench, &keys, parallelism, Some((point, visit)), seed * 10 + run));
    }
    crashes(&bench, &keys, 2, None, seed * 10 + 9);
    let (out, given) = (bench.out(), given.lock().unwrap());
    assert_eq!(out.len(), names.len(), "seed {seed}: each row once, {:?}", bench.refused());
    let mut of_ad: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        let row = &out[&(n as i64)];
        assert_eq!(&row["ad_id"], name);
        assert!(given[name].contains(&row["budget"]), "seed {seed}: {name} was never told {}", row["budget"]);
        of_ad.entry(name).or_default().insert(&row["budget"]);
    }
    if with_cache {
        let several: Vec<_> = of_ad.iter().filter(|(_, answers)| answers.len() > 1).collect();
        assert!(several.is_empty(), "seed {seed}: what was committed was answered anew: {several:?}");
    }
    crashed
}

#[test]
fn each_row_is_committed_once_with_an_answer_that_was_given() {
    let crashed: usize = (0..6).map(|seed| check(seed, false)).sum();
    assert!(crashed >= 10, "{crashed}");
}

/// The service says something else each time. What was committed with an answer is in a checkpoint, and so is the answer: all rows of
/// a key have one.
#[test]
fn what_is_remembered_at_a_checkpoint_is_not_asked_again_after_a_crash() {
    let crashed: usize = (20..28).map(|seed| check(seed, true)).sum();
    assert!(crashed >= 12, "{crashed}");
}
