//! Joins of orders and clicks, in whole jobs that crash: a job for each kind of join, their input, and recounts in words of their own.

mod mutants;
mod oracle;
mod paced;
mod results;
mod windows;
mod workload;

use crate::{crash::Ending, results::held};
use anyhow::{Context, Result, bail, ensure};
use std::{fmt, path::Path, sync::Arc};
use weir_engine::{
    ErrorKind,
    checkpoint::CheckpointStore,
    env::{CrashPlan, Env},
    operator::Factory,
    task::{RunOutcome, StopSignal},
};
use weir_jobs::{CompileOptions, parse};
use weir_local::{Settings, Submission, run};

pub use mutants::{JoinMutant, JoinMutants};
pub use windows::{WindowJoinMutant, WindowJoinMutants};
pub use workload::{Row, Workload};

/// Which right rows fit, and which of them count: the name of the join, how much earlier and later in milliseconds, and its `match`.
pub(crate) const JOINS: [(&str, i64, i64, &str); 3] =
    [("latest", 60_000, 0, "last"), ("earliest", 20_000, 10_000, "first"), ("each", 30_000, 5_000, "all")];

/// The join whose matches are counted, and the windows that they are counted in.
const COUNTED: &str = "earliest";
const COUNTED_MS: i64 = 20_000;

/// How far behind its file a row may be, and how far behind its newest row a file's time is.
pub(crate) const LATENESS_MS: i64 = 45_000;
pub(crate) const DELAY_MS: i64 = 2_000;

/// What is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Orders and clicks by their times.
    Events,
    /// Counts of them by their windows.
    Results,
}

/// A job over random orders and clicks, and what happens to its runs.
#[derive(Debug, Clone)]
pub struct JoinScenario {
    /// What is joined.
    pub joined: Joined,
    /// Of the input and of the runs' dice.
    pub seed: u64,
    /// Parallelism and end of each run but the last.
    pub runs: Vec<(usize, Ending)>,
    /// Parallelism of the last run.
    pub last_parallelism: usize,
    /// Rows of a source's batch at most.
    pub batch_rows: usize,
}

impl fmt::Display for JoinScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JoinScenario { joined, seed, runs, last_parallelism, batch_rows } = self;
        write!(
            f,
            "joins of {joined:?} of seed {seed}, batches of {batch_rows}, runs {runs:?}, then at {last_parallelism}"
        )
    }
}

impl JoinScenario {
    /// Runs it and checks what is committed at the end. Returns how many crashes really happened.
    ///
    /// # Errors
    /// With this scenario and the first difference between results and recount.
    pub async fn run(&self, factory: Arc<dyn Factory>) -> Result<usize> {
        self.try_run(factory).await.with_context(|| self.to_string())
    }

    async fn try_run(&self, factory: Arc<dyn Factory>) -> Result<usize> {
        let folder = tempfile::tempdir()?;
        let workload = Workload::generate(self.seed);
        workload.write(&folder.path().join("in"))?;
        let mut crashes = 0;
        for (run, (parallelism, ending)) in self.runs.iter().enumerate() {
            let Ending::Crash(point, visit) = ending else { bail!("these runs end by crashes alone") };
            let plan = CrashPlan::crash_at(point.clone(), *visit);
            let env = Env::seeded(self.seed.wrapping_mul(1_000).wrapping_add(run as u64)).with_crash_plan(plan.clone());
            match self.run_once(folder.path(), *parallelism, factory.clone(), env).await {
                Err(error) if error.kind != ErrorKind::Crash => bail!("instead of the crash at {point}: {error}"),
                Ok(_) if plan.crashed() => bail!("the crash at {point} went unnoticed"),
                _ => crashes += usize::from(plan.crashed()),
            }
        }
        let env = Env::seeded(self.seed.wrapping_mul(1_000) + 999);
        // What is left after the last crash is read in larger steps: nothing interrupts it.
        let batch_rows = if self.runs.is_empty() { self.batch_rows } else { self.batch_rows.max(40) };
        let last = JoinScenario { batch_rows, ..self.clone() };
        last.run_once(folder.path(), self.last_parallelism, factory, env).await?;
        let out = folder.path().join("out");
        match self.joined {
            Joined::Events => Self::check(&out, &workload)?,
            Joined::Results => windows::check(&out, &workload)?,
        }
        Ok(crashes)
    }

    async fn run_once(
        &self,
        folder: &Path,
        parallelism: usize,
        factory: Arc<dyn Factory>,
        env: Env,
    ) -> weir_engine::Result<RunOutcome> {
        let nodes = match self.joined {
            Joined::Events => JOINS.map(|join| event_join(folder, join)).concat() + &counts(folder),
            Joined::Results => windows::nodes(folder),
        };
        let text = sources(folder, self.batch_rows) + &nodes;
        let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
        let job = parse("joins.toml", &text, &[], &options);
        let job = job.map_err(|refusal| weir_engine::EngineError::internal(refusal.to_string()))?;
        let url = format!("file://{}", folder.join("checkpoints").display());
        let store = CheckpointStore::open(&url, &job.graph.name)?;
        let settings = Settings::new(job.graph, store, env, Arc::new(paced::Paced(factory)));
        run(settings, Submission::new("test"), StopSignal::default()).await.map_err(Into::into)
    }

    fn check(out: &Path, workload: &Workload) -> Result<()> {
        for (name, before, after, matching) in JOINS {
            let expected = oracle::recount(workload, (before, after), matching);
            let matched = held::pairs(&out.join(name))?;
            ensure!(matched == expected.matched, "matched by `{name}`: {}", difference(&matched, &expected.matched));
            let unmatched = held::pairs(&out.join(format!("{name}_unmatched")))?;
            let of = difference(&unmatched, &expected.unmatched);
            ensure!(unmatched == expected.unmatched, "unmatched by `{name}`: {of}");
            if name == COUNTED {
                let counted = held::newest(&out.join("counts"), results::counted)?;
                let expected = oracle::counts(&expected.matched);
                let of = difference(&counted, &expected);
                ensure!(counted == expected, "counts of what `{name}` has matched: {of}");
            }
            for (side, late) in [("orders", &expected.late_orders), ("clicks", &expected.late_clicks)] {
                let found = results::names(&out.join(format!("{name}_late_{side}")), side)?;
                ensure!(found == *late, "late {side} of `{name}`: {}", difference(&found, late));
            }
        }
        Ok(())
    }
}

/// What only one of two sorted lists has, the first of it.
fn difference<T: fmt::Debug + PartialEq>(found: &[T], expected: &[T]) -> String {
    let more = found.iter().find(|one| count(found, one) > count(expected, one));
    let missing = expected.iter().find(|one| count(expected, one) > count(found, one));
    format!("{} for {} expected; too many: {more:?}, missing: {missing:?}", found.len(), expected.len())
}

fn count<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().filter(|other| *other == one).count()
}

/// One source of orders, and one of clicks.
fn sources(folder: &Path, batch_rows: usize) -> String {
    let folder = folder.display();
    let source = |name: &str, user: &str, id: &str| {
        format!(
            "[source.{name}]\nconnector = \"files\"\npath = \"{folder}/in/{name}\"\nformat = \"json\"\n\
             schema = {{ {id} = \"string\", {user} = \"string\", shop = \"int\", at = \"timestamp\" }}\nevent_time = \"at\"\n\
             watermark = {{ delay = \"{DELAY_MS}ms\" }}\nbatch_rows = {batch_rows}\n"
        )
    };
    let job = "[job]\nname = \"joins\"\ncheckpoint = { interval = \"3ms\" }\n".to_owned();
    job + &source("orders", "user", "order") + &source("clicks", "visitor", "click")
}

fn sink(folder: &Path, name: &str, input: &str) -> String {
    let folder = folder.display();
    format!(
        "[sink.{name}]\ninput = \"{input}\"\nconnector = \"files\"\npath = \"{folder}/out/{name}\"\nroll = \"checkpoint\"\n"
    )
}

/// A join of events, and a sink for each of its outputs.
fn event_join(folder: &Path, (name, before, after, matching): (&str, i64, i64, &str)) -> String {
    let select = "order = \"left.order\", ordered = \"left.at\", click = \"right.click\", clicked = \"right.at\"";
    format!(
        "[join.{name}]\nleft = \"orders\"\nright = \"clicks\"\non = {{ user = \"visitor\", shop = \"shop\" }}\n\
         within = {{ before = \"{before}ms\", after = \"{after}ms\", allowed_lateness = \"{LATENESS_MS}ms\" }}\n\
         match = \"{matching}\"\nselect = {{ {select} }}\n{}{}{}{}",
        sink(folder, name, name),
        sink(folder, &format!("{name}_unmatched"), &format!("{name}.unmatched")),
        sink(folder, &format!("{name}_late_orders"), &format!("{name}.late_left")),
        sink(folder, &format!("{name}_late_clicks"), &format!("{name}.late_right")),
    )
}

/// The matches of a join of events, counted in windows.
fn counts(folder: &Path) -> String {
    format!(
        "[aggregate.counts]\ninput = \"{COUNTED}\"\nkey = [\"order\"]\nwindow = {{ tumbling = \"{COUNTED_MS}ms\" }}\n\
         select = {{ n = \"count(*)\", clicks = \"count(distinct click)\" }}\n{}",
        sink(folder, "counts", "counts")
    )
}
