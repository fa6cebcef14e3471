//! Runs that crash at named points, one after the other over the same storage, and a last one to the end.
//!
//! Invariant: a scenario follows from its fields alone, as far as a process with threads can be repeated: the same input, the
//! same parallelisms, the same crash points at the same visits.

use crate::{
    bench::Bench,
    job::{JobConfig, Outputs},
    oracle::{Others, WindowJoin},
    workload::{InputFormat, Workload, WorkloadConfig},
};
use anyhow::{Context, Result, bail};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use weir_engine::{
    ErrorKind,
    env::{CrashPlan, Env},
    operator::Factory,
    task::StopSignal,
};

/// How a run is ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// At that visit, from 1, of a crash point.
    Crash(String, u64),
    /// By a stop, so many milliseconds after its start.
    Stop(u64),
}

/// Input, and what happens to the runs over it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seed of the input and of the runs' dice.
    pub seed: u64,
    /// The input.
    pub workload: WorkloadConfig,
    /// The job; every run has its own parallelism.
    pub job: JobConfig,
    /// Parallelism and end of each run but the last.
    pub runs: Vec<(usize, Ending)>,
    /// Parallelism of the last run.
    pub last_parallelism: usize,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} {:?} {:?}, runs {:?}, then at {}",
            self.seed, self.job, self.workload, self.runs, self.last_parallelism
        )
    }
}

/// A small input: a run over it takes some ten batches a file.
pub fn small_workload(seed: u64) -> WorkloadConfig {
    WorkloadConfig {
        seed,
        files: 3,
        lines_per_file: 60,
        ads: 5,
        minutes: 9,
        one_late_in: 12,
        one_broken_in: 20,
        ..WorkloadConfig::default()
    }
}

/// A job that takes a checkpoint every few batches.
pub fn small_job() -> JobConfig {
    JobConfig { batch_rows: 7, checkpoint_interval_ms: 3, with_table: true, ..JobConfig::default() }
}

impl Scenario {
    /// Two runs at 2 that crash, at most, and one at 3.
    pub fn of(seed: u64, endings: impl IntoIterator<Item = Ending>) -> Self {
        Scenario {
            seed,
            workload: small_workload(seed),
            job: small_job(),
            runs: endings.into_iter().map(|ending| (2, ending)).collect(),
            last_parallelism: 3,
        }
    }

    /// Everything random, from one seed: the format, the job, the crash points among `points`, the parallelisms, the workers.
    pub fn random(seed: u64, points: &[&str]) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let ending = |dice: &mut StdRng| {
            if dice.random_range(0..6) == 0 {
                return Ending::Stop(dice.random_range(0..60));
            }
            let most = [1, 3, 40][dice.random_range(0..3)];
            Ending::Crash(points[dice.random_range(0..points.len())].into(), dice.random_range(1..=most))
        };
        let job = JobConfig {
            format: InputFormat::ALL[dice.random_range(0..3)],
            batch_rows: dice.random_range(1..40),
            checkpoint_interval_ms: dice.random_range(1..30),
            channel_bytes: [500, 1 << 20][dice.random_range(0..2)],
            count_all: dice.random_range(0..2) == 0,
            allowed_lateness_minutes: dice.random_range(0..8),
            with_table: dice.random_range(0..2) == 0,
            with_max_jump: dice.random_range(0..2) == 0,
            outputs: Outputs::ALL[(seed % 3) as usize],
            ..JobConfig::default()
        };
        let runs = (0..dice.random_range(1..5)).map(|_| (dice.random_range(1..5), ending(&mut dice))).collect();
        let last_parallelism = dice.random_range(1..9);
        let job = JobConfig {
            workers: NonZeroUsize::MIN.saturating_add(dice.random_range(0..2)),
            others: Others::of_seed(seed),
            window_join: WindowJoin::of_seed(seed),
            ..job
        };
        let one_wrong_in = if job.with_max_jump { 20 } else { 0 };
        let workload = WorkloadConfig { one_wrong_in, ..small_workload(seed) };
        Scenario { seed, workload, job, runs, last_parallelism }
    }

    /// Runs it and checks what is committed at the end. Returns how many crashes really happened.
    ///
    /// # Errors
    /// With this scenario and every difference between results and recount.
    pub async fn run(&self, factory: Arc<dyn Factory>) -> Result<usize> {
        self.try_run(factory).await.with_context(|| self.to_string())
    }

    /// The job of the last run: what is left after the last crash is read in larger steps, since nothing interrupts it.
    fn last_job(&self) -> JobConfig {
        if self.runs.is_empty() {
            return self.job.clone();
        }
        let (batch_rows, checkpoint_interval_ms) =
            (self.job.batch_rows.max(60), self.job.checkpoint_interval_ms.max(25));
        JobConfig { batch_rows, checkpoint_interval_ms, ..self.job.clone() }
    }

    async fn try_run(&self, factory: Arc<dyn Factory>) -> Result<usize> {
        let bench = if self.seed.is_multiple_of(2) { Bench::with_files()? } else { Bench::new()? };
        Workload::generate(&self.workload).write(&bench.input(), self.job.format)?;
        let mut crashes = 0;
        for (run, (parallelism, ending)) in self.runs.iter().enumerate() {
            let config = JobConfig { parallelism: *parallelism, ..self.job.clone() };
            // Two processes never have the same dice.
            let env = Env::seeded(self.seed.wrapping_mul(1_000).wrapping_add(run as u64));
            crashes += usize::from(end_early(&bench, &config, factory.clone(), env, ending).await?);
        }
        let config = JobConfig { parallelism: self.last_parallelism, ..self.last_job() };
        let outcome = bench.run_to_end(&config, factory, self.seed.wrapping_mul(1_000) + 999).await?;
        bench.check(&config, &outcome)?;
        Ok(crashes)
    }
}

async fn end_early(
    bench: &Bench,
    config: &JobConfig,
    factory: Arc<dyn Factory>,
    env: Env,
    ending: &Ending,
) -> Result<bool> {
    let stop = StopSignal::default();
    match ending {
        Ending::Stop(after) => {
            let stopper = stop.clone();
            let (pause, waiting) = (Duration::from_millis(*after), env.clone());
            let stopping = async move {
                waiting.sleep(pause).await;
                stopper.stop();
            };
            let (stopped, ()) = tokio::join!(bench.run(config, factory, env, stop), stopping);
            stopped.map_err(|error| anyhow::anyhow!("a run that was stopped failed: {error}"))?;
            Ok(false)
        }
        Ending::Crash(point, visit) => {
            let plan = CrashPlan::crash_at(point.clone(), *visit);
            let ended = bench.run(config, factory, env.with_crash_plan(plan.clone()), stop).await;
            match ended {
                Err(error) if error.kind != ErrorKind::Crash => bail!("instead of the crash at {point}: {error}"),
                Ok(_) if plan.crashed() => bail!("the crash at {point} went unnoticed"),
                _ => Ok(plan.crashed()),
            }
        }
    }
}

/// The crash points that a job passes, with the number of visits: of a run that is stopped, and the next to the end.
///
/// # Errors
/// When the job fails.
pub async fn crash_points(factory: Arc<dyn Factory>) -> Result<BTreeMap<&'static str, u64>> {
    crash_points_of(&small_job(), factory, [Some(40), None]).await
}

/// The same for any job: `runs` says after how many milliseconds each run is stopped, if it has no end of its own.
///
/// # Errors
/// When the job fails.
pub async fn crash_points_of(
    config: &JobConfig,
    factory: Arc<dyn Factory>,
    runs: [Option<u64>; 2],
) -> Result<BTreeMap<&'static str, u64>> {
    let bench = Bench::new()?;
    Workload::generate(&small_workload(1)).write(&bench.input(), config.format)?;
    let plan = CrashPlan::observe();
    for (run, stop_after) in runs.into_iter().enumerate() {
        let env = Env::seeded(run as u64).with_crash_plan(plan.clone());
        let stop = StopSignal::default();
        let stopping = async {
            if let Some(after) = stop_after {
                env.sleep(Duration::from_millis(after)).await;
                stop.stop();
            }
        };
        let running = bench.run(config, factory.clone(), env.clone(), stop.clone());
        let (ended, ()) = tokio::join!(running, stopping);
        ended.map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(plan.visits())
}
