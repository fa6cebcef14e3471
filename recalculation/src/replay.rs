//! A replay, step by step: it is begun, its job counts a range of the archive again into tables of its own, its counts take the
//! place of those in the store, and what it has made for itself is removed. Who runs it runs the job.
//!
//! Invariant: every step can be interrupted and is repeated by the next run of the same replay: the job resumes from its
//! checkpoint, the replacement from the window that it had come to, and what the replay has made for itself is removed at the
//! end, or by the next replay.

use crate::{
    ground::Chosen,
    place::Place,
    records::{self, Plan, ReplayRecord},
    replacement::{Replacement, ShadowedTable, describe, remove_shadows, shadow_numbers},
};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    graph::JobGraph,
    ids::Attempt,
};
use weir_jobs::{
    Job, Refusal,
    recalculation::{ReplaySettings, StoreTable},
};
use weir_operators::source::files::EventTimeRange;
use weir_store::tables::shadow_of;

/// A replay that was begun.
#[derive(Debug)]
pub struct Replay<'a> {
    place: &'a Place,
    env: &'a Env,
    record: ReplayRecord,
    final_until: Option<i64>,
}

impl<'a> Replay<'a> {
    /// Starts the replay of a range, or resumes it, and removes what others have left behind. `fingerprint` tells
    /// definitions apart.
    ///
    /// # Errors
    /// When store or checkpoints refuse, or the archive is none of this job.
    pub async fn begin(
        place: &'a Place,
        env: &'a Env,
        chosen: Chosen,
        fingerprint: impl Fn(&JobGraph) -> String,
    ) -> Result<Self> {
        let Chosen { range, final_until, .. } = chosen;
        // What the counts follow from, whatever the replay's number.
        let neutral = compile(place, "replay", range, &str::to_owned)?;
        let plan = Plan {
            job: place.recalculation.job().to_owned(),
            definition: fingerprint(&neutral.graph),
            archive: place.archive.clone(),
            range,
        };
        records::prepare(&place.store).await?;
        let record = records::begin(&place.store, &plan, env.wall_clock_ms()).await?;
        for old in records::to_clean(&place.store, &plan.job).await? {
            clean(place, &old, env).await?;
        }
        // One that had not yet noticed that it was replaced may have made its tables once more.
        for number in shadow_numbers(&place.store, &place.tables).await?.into_iter().filter(|n| *n < record.number) {
            remove(place, number, env).await?;
        }
        Ok(Replay { place, env, record, final_until })
    }

    /// As it was when this process started or resumed it.
    pub fn record(&self) -> &ReplayRecord {
        &self.record
    }

    /// The job that counts again. It has to be run to its end.
    ///
    /// # Errors
    /// When the archive has not the columns that the job needs.
    pub fn job(&self) -> Result<Job> {
        let ReplayRecord { plan, number, .. } = &self.record;
        compile(self.place, &job_name(&plan.job, *number), plan.range, &|table| shadow_of(table, *number))
    }

    /// The tables, with those that the job fills.
    pub fn tables(&self) -> Vec<ShadowedTable> {
        let shadowed = |table: &StoreTable| ShadowedTable {
            shadow: shadow_of(&table.table, self.record.number),
            table: table.clone(),
        };
        self.place.tables.iter().map(shadowed).collect()
    }

    /// Once the job has ended: replaces the old counts with its own. `progress` reports how far that has come.
    ///
    /// # Errors
    /// When the store refuses, or a newer replay was begun.
    pub async fn replace(&self, progress: impl FnMut(i64)) -> Result<()> {
        self.env.crash_point("replay.counted")?;
        let tables = self.tables();
        describe(&self.place.store, &self.record.plan.job, &tables).await?;
        let replacement = Replacement::new(&self.place.store, self.env, tables, self.record.clone()).await?;
        replacement.while_final_until(self.final_until).run(progress).await
    }

    /// Removes what the replay has made for itself, and says what it has done.
    ///
    /// # Errors
    /// When store or checkpoints refuse.
    pub async fn finish(self) -> Result<ReplayRecord> {
        let ReplayRecord { plan, number, .. } = &self.record;
        let record = records::find(&self.place.store, &plan.job, *number).await?;
        self.env.crash_point("replay.cleaning")?;
        clean(self.place, &record, self.env).await?;
        Ok(record)
    }
}

/// The name of a replay's job: it keeps its checkpoints and commit marks apart.
fn job_name(job: &str, number: i64) -> String {
    format!("{job}.replay-{number}")
}

/// Whether a job of this name is a replay's.
pub fn is_replay(job: &str) -> bool {
    job.rsplit_once(".replay-").is_some_and(|(_, number)| number.parse::<i64>().is_ok())
}

fn compile(place: &Place, name: &str, range: EventTimeRange, shadow: &dyn Fn(&str) -> String) -> Result<Job> {
    let settings = ReplaySettings { name, archive: &place.archive, range, store: Some(&place.store_url) };
    let refused = |refusal: Refusal| EngineError::definition(format!("the job cannot be replayed:\n{refusal}"));
    place.recalculation.replay(&settings, shadow).map_err(refused)
}

/// Removes what a replay has made for itself.
async fn clean(place: &Place, record: &ReplayRecord, env: &Env) -> Result<()> {
    remove(place, record.number, env).await?;
    records::cleaned(&place.store, record).await
}

async fn remove(place: &Place, number: i64, env: &Env) -> Result<()> {
    let name = job_name(place.recalculation.job(), number);
    let shadows: Vec<String> = place.tables.iter().map(|table| shadow_of(&table.table, number)).collect();
    let checkpoints = place.checkpoints(&name)?;
    // A process that still runs it finds itself replaced before anything of it is removed.
    let claim = checkpoints.claim(env, Attempt(0), true).await?;
    remove_shadows(&place.store, &name, &shadows).await?;
    checkpoints.in_lineage(claim.lineage).remove_left_behind().await?;
    Ok(())
}
