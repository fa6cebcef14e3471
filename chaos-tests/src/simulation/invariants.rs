//! What must hold at every moment of a simulation, whatever goes wrong.
//!
//! Invariants: of a job that the coordinator knows, attempts, checkpoints and commits only rise, through all its restarts; a
//! checkpoint is committed only after it was recorded as complete, in the catalog and in the sinks' folders; what is
//! committed stays. All but the attempts begin again when the user starts the job over.

use super::{job::checkpoint_of, trace::Trace};
use crate::job::JOB;
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, sync::Arc};
use weir_coordinator::metadata::{Catalog, Job, Metadata};

/// What was seen so far.
#[derive(Default)]
pub struct Invariants {
    catalog: Option<Arc<Catalog>>,
    newest: Option<Job>,
    committed: BTreeSet<String>,
}

impl Invariants {
    /// Looks at what the coordinator has decided, if there is one, and tells the trace what is new.
    ///
    /// # Errors
    /// When something was forgotten or came in a wrong order.
    pub fn look(&mut self, trace: &Trace, metadata: Option<&Metadata>) -> Result<()> {
        let Some(metadata) = metadata else { return Ok(()) };
        let catalog = metadata.catalog();
        if self.catalog.as_ref().is_some_and(|known| Arc::ptr_eq(known, &catalog)) {
            return Ok(());
        }
        let found = catalog.job(JOB).cloned();
        // A coordinator that starts has an empty catalog until it has read its log.
        if found.is_none() && catalog.leader().is_none() {
            return Ok(());
        }
        self.catalog = Some(catalog);
        match (&self.newest, &found) {
            (Some(_), None) => anyhow::bail!("the coordinator has forgotten the job"),
            (Some(before), Some(now)) if now.submissions > before.submissions => {
                ensure!(now.attempt >= before.attempt, "attempt {:?} after {:?}", now.attempt, before.attempt);
                trace.note("the job is submitted again");
                self.committed.clear();
            }
            (Some(before), Some(now)) => compare(before, now)?,
            _ => {}
        }
        if let Some(job) = found {
            tell(trace, self.newest.as_ref(), &job);
            ensure!(
                job.committed <= job.checkpoint,
                "checkpoint {:?} is recorded as committed, the newest complete one is {:?}",
                job.committed,
                job.checkpoint
            );
            self.newest = Some(job);
        }
        Ok(())
    }

    /// Looks at all results that consumers can see.
    ///
    /// # Errors
    /// When some are of a checkpoint that is not complete, or earlier ones are gone.
    pub fn check_committed(&mut self, paths: &[String]) -> Result<()> {
        if self.newest.as_ref().is_some_and(|job| job.fresh_start_pending) {
            // What was before goes at some time.
            return Ok(());
        }
        let complete = self.newest.as_ref().and_then(|job| job.checkpoint).map_or(0, |checkpoint| checkpoint.0);
        for path in paths {
            let checkpoint = checkpoint_of(path).with_context(|| format!("{path} names no checkpoint"))?;
            ensure!(
                checkpoint <= complete,
                "{path} is visible, and the newest checkpoint that is recorded as complete is {complete}"
            );
        }
        let now: BTreeSet<String> = paths.iter().cloned().collect();
        let gone: Vec<&String> = self.committed.difference(&now).collect();
        ensure!(gone.is_empty(), "results that were visible are gone: {gone:?}");
        self.committed = now;
        Ok(())
    }
}

fn compare(before: &Job, now: &Job) -> Result<()> {
    ensure!(now.attempt >= before.attempt, "attempt {:?} comes after {:?}", now.attempt, before.attempt);
    ensure!(now.checkpoint >= before.checkpoint, "checkpoint {:?} after {:?}", now.checkpoint, before.checkpoint);
    ensure!(now.committed >= before.committed, "commit {:?} comes after {:?}", now.committed, before.committed);
    let stop_was_asked = before.stop.is_some();
    ensure!(!stop_was_asked || now.stop.is_some(), "a user's wish to stop is forgotten");
    ensure!(!before.status.is_terminal() || now.status == before.status, "a job that was over goes on");
    Ok(())
}

fn tell(trace: &Trace, before: Option<&Job>, now: &Job) {
    let told = before.and_then(|job| job.transitions.back());
    let news = now.transitions.iter().rev().take_while(|transition| Some(*transition) != told);
    for transition in news.collect::<Vec<_>>().into_iter().rev() {
        trace.note(format!(
            "job {}, attempt {:?}: {}",
            transition.to,
            transition.attempt.map(|a| a.0),
            transition.cause
        ));
    }
    if before.is_none_or(|before| before.checkpoint != now.checkpoint)
        && let Some(newest) = now.checkpoints.back()
    {
        trace.note(format!(
            "checkpoint {} of attempt {} is complete: {:?}",
            newest.checkpoint, newest.attempt, newest.stats
        ));
    }
    if before.is_none_or(|before| before.committed != now.committed) {
        trace.note(format!("checkpoint {:?} is committed", now.committed.map(|checkpoint| checkpoint.0)));
    }
}
