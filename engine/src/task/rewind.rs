//! The start of a job from a savepoint of its own, instead of from its newest checkpoint.
//!
//! Nothing is taken back: the job's next checkpoint holds the savepoint's state and, for each sink, what is visible now. So numbers
//! keep rising, recovery starts from the newest checkpoint as ever, and no sink meets a number twice. What the sinks show of later
//! checkpoints than the savepoint comes again, under higher numbers; where it does, the start is refused unless the user
//! accepts that, and in any case where a target cannot show results twice without getting them wrong.
//!
//! Invariants: the commit point is the creation of that checkpoint's manifest; until then the job is where it was, and done again it
//! changes nothing. What the newest checkpoint had decided is committed before.

use super::{
    attempt::ControlPlane,
    recovery::{self, unchanged},
};
use crate::{
    checkpoint::{
        CheckpointStore, Manifest,
        manifest::Results,
        savepoint::{self, Repeated},
    },
    env::Env,
    error::{EngineError, Result},
    graph::JobGraph,
    ids::{Attempt, CheckpointId},
    operator::ShownResults,
};
use std::collections::BTreeMap;

/// Makes a savepoint what the job goes on from, whose files are in its storage. Returns what comes a second time, by sink.
///
/// # Errors
/// When it does not fit the definition; when results would come again and `accepts_repeated` does not say that they may, or
/// a sink cannot show them twice; or storage or a sink refuses.
pub async fn start_from(
    savepoint: &Manifest,
    accepts_repeated: bool,
    store: &CheckpointStore,
    env: &Env,
    control: &dyn ControlPlane,
    (graph, definition): (&JobGraph, &str),
    attempt: Attempt,
) -> Result<Repeated> {
    recovery::check(savepoint, graph, definition)?;
    loop {
        let newest = recovery::commit_newest(store, control, graph, definition, attempt, false).await?;
        let shown = control.shown().await?;
        let visible = visible(newest.as_ref(), &shown);
        let repeated = savepoint::repeated(savepoint, &visible);
        if newest.as_ref().is_some_and(|newest| holds(newest, savepoint)) && is_known(newest.as_ref(), &visible) {
            return Ok(Repeated::new());
        }
        if !repeated.is_empty() && !accepts_repeated {
            return Err(savepoint::refuse(savepoint, &repeated));
        }
        refuse_unrepeatable(savepoint, &repeated, &shown)?;
        env.crash_point("rewind.checked")?;
        // No former attempt can complete a checkpoint after this one.
        let taken = unchanged(newest, env, graph, definition, attempt);
        let taken = Manifest { lineage: store.layout().lineage(), ..taken };
        if !store.create(env, &store.layout().manifest(taken.checkpoint), taken.to_bytes()?.into()).await? {
            continue;
        }
        env.crash_point("rewind.taken_over")?;
        control.completed(&taken).await?;
        let rewound = rewound(savepoint, taken, visible);
        let path = store.layout().manifest(rewound.checkpoint);
        if !store.create(env, &path, rewound.to_bytes()?.into()).await? {
            return Err(EngineError::fenced(format!("'{path}' was made by another process: this one stops")));
        }
        env.crash_point("rewind.created")?;
        control.completed(&rewound).await?;
        return Ok(repeated);
    }
}

/// By sink: the newest checkpoint that has results there, as the newest manifest and the sinks themselves say.
fn visible(newest: Option<&Manifest>, shown: &BTreeMap<String, ShownResults>) -> Results {
    let mut visible = newest.map(|newest| newest.results.clone()).unwrap_or_default();
    for (sink, found) in shown.iter().filter_map(|(sink, shown)| Some((sink, shown.newest?))) {
        let known = visible.entry(sink.clone()).or_insert(found);
        *known = found.max(*known);
    }
    visible
}

/// Whether a checkpoint holds the very state of a savepoint.
fn holds(newest: &Manifest, savepoint: &Manifest) -> bool {
    newest.operators == savepoint.operators && newest.identity == savepoint.identity
}

/// Whether sinks show nothing that the newest checkpoint does not know of.
fn is_known(newest: Option<&Manifest>, visible: &Results) -> bool {
    let known = |sink: &String| newest.and_then(|newest| newest.results.get(sink)).copied();
    visible.iter().all(|(sink, visible)| known(sink).is_none_or(|known| known >= *visible))
}

fn refuse_unrepeatable(
    savepoint: &Manifest,
    repeated: &Repeated,
    shown: &BTreeMap<String, ShownResults>,
) -> Result<()> {
    let why = |sink: &String| shown.get(sink).and_then(|shown| shown.unrepeatable.clone());
    match repeated.iter().find_map(|(sink, repeat)| Some((sink, repeat, why(sink)?))) {
        None => Ok(()),
        Some((sink, repeat, why)) => Err(EngineError::definition(format!(
            "checkpoint {} of job '{}' cannot be gone back to: '{sink}' shows results up to checkpoint {}, and {why}. Nothing was changed. \
             Bring the target back to checkpoint {}; or start with --fork, as a job of its own with another name and other outputs",
            savepoint.checkpoint, savepoint.job, repeat.up_to, repeat.after
        ))),
    }
}

/// The checkpoint that the job goes on from: above everything that a sink or the storage knows.
fn rewound(savepoint: &Manifest, taken: Manifest, visible: Results) -> Manifest {
    let highest = visible.values().copied().max().unwrap_or(CheckpointId(0));
    let checkpoint = taken.checkpoint.max(highest).max(savepoint.checkpoint).next();
    Manifest {
        checkpoint,
        definition: savepoint.definition.clone(),
        identity: savepoint.identity.clone(),
        operators: savepoint.operators.clone(),
        results: visible,
        ..taken
    }
}
