//! A job whose state and results lie on a local disk, and whose machine loses its power again and again: what was synced is
//! left, the rest is not, or is there half.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};
use weir_chaos_tests::{
    bench::Bench,
    crash::{small_job, small_workload},
    faults::disk::{Forgets, UnsyncedDisk},
    job::JobConfig,
    results::visible_files,
    workload::Workload,
};
use weir_engine::{
    ErrorKind,
    env::{CrashPlan, Env},
    task::StopSignal,
};
use weir_operators::Registry;

const POINTS: [&str; 9] = [
    "upload.durable",
    "manifest.before",
    "manifest.created",
    "files_sink.published",
    "files_sink.committed",
    "commit.one_done",
    "commit.marked",
    "recovery.swept",
    "recovery.taken_over",
];

/// What nobody may find gone: results that were visible, and checkpoints that were complete.
fn lasting(bench: &Bench) -> BTreeSet<PathBuf> {
    let mut files: BTreeSet<PathBuf> = visible_files(&bench.output()).unwrap().into_iter().collect();
    let checkpoints = bench.checkpoints().join("jobs/ad-click/checkpoints");
    let lineages = checkpoints.read_dir().into_iter().flatten().flatten();
    let all = lineages.filter_map(|lineage| lineage.path().read_dir().ok()).flatten().flatten();
    files.extend(all.map(|entry| entry.path()).filter(|path| path.extension() == Some("json".as_ref())).max());
    files
}

/// Runs a job whose machine goes dark at a step, three times, and then to its end. Says what is wrong.
fn run(seed: u64, forgets: Forgets) -> Result<(), String> {
    let mut dice = StdRng::seed_from_u64(seed);
    let bench = Bench::with_files().unwrap();
    let disk = UnsyncedDisk::new(&[bench.output(), bench.checkpoints()], forgets);
    let config = JobConfig { with_table: false, ..small_job() };
    Workload::generate(&small_workload(seed)).write(&bench.input(), config.format).unwrap();
    for process in 0..3 {
        let point = POINTS[dice.random_range(0..POINTS.len())];
        let visit = if point.starts_with("recovery.") { 1 } else { dice.random_range(1..=8) };
        let plan = CrashPlan::crash_at(point, visit);
        let env = Env::seeded(seed * 1_000 + process).with_crash_plan(plan);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ended = runtime.block_on(bench.run(&config, Arc::new(Registry), env, StopSignal::default()));
        // What is on its way to the disk comes there.
        drop(runtime);
        if let Err(error) = ended
            && error.kind != ErrorKind::Crash
        {
            return Err(format!("process {process}, to end at {point} {visit}: {error}"));
        }
        let before = lasting(&bench);
        disk.cut(&mut dice).unwrap();
        let gone: Vec<_> = before.into_iter().filter(|file| !file.exists()).collect();
        if !gone.is_empty() {
            return Err(format!("process {process}, ended at {point} {visit}: these are gone: {gone:?}"));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(bench.run_to_end(&config, Arc::new(Registry), seed));
    let outcome = outcome.map_err(|error| format!("the last process: {error:#}"))?;
    bench.check(&config, &outcome).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_was_said_to_last_is_there_after_a_power_cut() {
    for seed in 0..6 {
        if let Err(wrong) = run(seed, Forgets::Nothing) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn a_disk_that_forgets_names_is_noticed() {
    for forgets in [Forgets::Names, Forgets::Folders] {
        let noticed = (0..4).find_map(|seed| Some((seed, run(seed, forgets).err()?)));
        let (seed, how) = noticed.unwrap_or_else(|| panic!("{forgets:?}: not noticed"));
        let how: String = how.chars().take(160).collect();
        println!("{forgets:?}: noticed after {} seeds: {how}", seed + 1);
    }
}
