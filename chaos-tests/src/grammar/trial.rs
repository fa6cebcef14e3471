//! One case: the job is run, ended early now and then and continued at another parallelism, and what it has written is judged.

use super::{
    draw::Case,
    judge::{Judge, Verdict},
    sql::Span,
    written::{NAME, definition},
};
use crate::crash::Ending;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Duration};
use weir_engine::{
    ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    task::StopSignal,
};
use weir_jobs::{CompileOptions, Job as Compiled, parse};
use weir_local::{Settings, Submission, run_apart};
use weir_operators::Registry;

/// How the runs of a case go.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Parallelism and end of each run but the last.
    pub early: Vec<(usize, Ending)>,
    /// Parallelism of the last.
    pub last: usize,
    /// Workers of each.
    pub workers: NonZeroUsize,
}

impl Runs {
    /// Those of a seed; they crash at some of these points.
    pub fn draw(seed: u64, points: &[&str]) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0x5EED_0F0C_4A5E);
        let ending = |dice: &mut StdRng| match dice.random_range(0..5) {
            0 => Ending::Stop(dice.random_range(0..60)),
            _ => {
                let most = [1, 3, 20][dice.random_range(0..3)];
                Ending::Crash(points[dice.random_range(0..points.len())].into(), dice.random_range(1..=most))
            }
        };
        let early = (0..dice.random_range(0..4)).map(|_| (dice.random_range(1..9), ending(&mut dice))).collect();
        let workers = NonZeroUsize::MIN.saturating_add(dice.random_range(0..2));
        Runs { early, last: dice.random_range(1..9), workers }
    }
}

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What was found.
    pub verdict: Verdict,
    /// How many runs really crashed.
    pub crashes: usize,
}

impl Case {
    /// From the first to the last event; of no events any.
    pub fn span(&self) -> Span {
        let times = || self.input.rows().map(|row| row.happened);
        Span { from_ms: times().min().unwrap_or(0), to_ms: times().max().unwrap_or(0) }
    }

    /// Runs the job below a folder, and has it judged.
    ///
    /// # Errors
    /// When the definition is refused, a run fails, or nobody can judge.
    pub async fn try_in(&self, folder: &Path, runs: &Runs, judge: &mut Judge) -> Result<Outcome> {
        let (input, output) = (folder.join("input"), folder.join("output"));
        self.input.write(&input, &self.job.sources)?;
        std::fs::create_dir_all(&output)?;
        let text = definition(&self.job, &input, &output);
        std::fs::write(folder.join("job.toml"), &text)?;
        let store = CheckpointStore::over(Arc::new(object_store::memory::InMemory::new()), NAME);
        let mut crashes = 0;
        for (number, (parallelism, ending)) in runs.early.iter().enumerate() {
            let settings = settings(compiled(&text, *parallelism)?, &store, runs.workers);
            let env = Env::seeded(self.seed.wrapping_mul(1_000).wrapping_add(number as u64));
            crashes += usize::from(end_early(settings, env, ending).await?);
        }
        let settings = settings(compiled(&text, runs.last)?, &store, runs.workers);
        let outcome = run_apart(2, settings, Submission::new("drawn"), StopSignal::default()).await;
        let outcome = outcome.map_err(|error| anyhow!("the last run fails: {error}"))?;
        ensure!(outcome.manifest.last, "the last run ended before its input");
        let verdict = judge.compare(&self.job, self.span(), &input, &output)?;
        Ok(Outcome { verdict, crashes })
    }
}

/// The job of a definition.
///
/// # Errors
/// When it is refused.
pub fn compiled(text: &str, parallelism: usize) -> Result<Compiled> {
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    parse("job.toml", text, &[], &options).map_err(|refusal| anyhow!("the definition is refused: {refusal}"))
}

fn settings(job: Compiled, store: &CheckpointStore, workers: NonZeroUsize) -> Settings {
    Settings { workers, ..Settings::new(job.graph, store.clone(), Env::default(), Arc::new(Registry)) }
}

/// One run that is ended before its time. Returns whether it crashed.
async fn end_early(settings: Settings, env: Env, ending: &Ending) -> Result<bool> {
    let stop = StopSignal::default();
    match ending {
        Ending::Stop(after) => {
            let (stopper, waiting, pause) = (stop.clone(), env.clone(), Duration::from_millis(*after));
            let stopping = async move {
                waiting.sleep(pause).await;
                stopper.stop();
            };
            let running = run_apart(2, Settings { env, ..settings }, Submission::new("drawn"), stop);
            let (stopped, ()) = tokio::join!(running, stopping);
            stopped.map_err(|error| anyhow!("a run that was stopped failed: {error}"))?;
            Ok(false)
        }
        Ending::Crash(point, visit) => {
            let plan = CrashPlan::crash_at(point.clone(), *visit);
            let settings = Settings { env: env.with_crash_plan(plan.clone()), ..settings };
            match run_apart(2, settings, Submission::new("drawn"), stop).await {
                Err(error) => {
                    let error = weir_engine::EngineError::from(error);
                    if error.kind != ErrorKind::Crash {
                        bail!("instead of the crash at {point}: {error}");
                    }
                }
                Ok(_) if plan.crashed() => bail!("the crash at {point} went unnoticed"),
                Ok(_) => {}
            }
            Ok(plan.crashed())
        }
    }
}

/// A folder for a case, in memory where that is possible. Removed when dropped.
///
/// # Errors
/// When none can be made.
pub fn folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.context("cannot make a folder")
}
