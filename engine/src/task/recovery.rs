//! Recovery by a new attempt: commits what earlier attempts decided, then removes their leftovers.
//!
//! Invariants: nothing of a new attempt runs before every committable of the newest completed checkpoint is visible; nothing
//! is swept away before no former attempt can complete a checkpoint any more. An attempt that is frozen just before it creates
//! its manifest may continue at any time: so the new one first takes that number itself, with a checkpoint that changes nothing
//! (in [`recover`]).
//!
//! Invariants of a commit: what becomes visible was decided by a manifest that is complete, and in the storage from which it is
//! committed; each sink's checkpoints become visible in order, whatever the other sinks do; a mark is set only when all sinks have the
//! checkpoint, and marks are set in order. So after a crash in between, all is committed again from the same manifests, which changes
//! nothing where it had been done, and a sink that was ahead is not ahead of the newest manifest, which `compare` relies on.

use super::attempt::{ControlPlane, refuse_if_replaced};
use crate::{
    checkpoint::{
        CheckpointStore, Claim, Manifest, Staging, committed,
        manifest::{FORMAT_VERSION, Results, format_version},
        retire,
    },
    env::{Env, Moment},
    error::{EngineError, ErrorKind, Result},
    graph::{DefinitionRecord, JobGraph, NodeRole},
    ids::{Attempt, CheckpointId, Lineage},
    operator::{
        CommitOutcome, Committable, Committer, CommitterContext, ExpectedResults, Factory, ShownResults, SinkCommit,
        SweepScope, ToCommit, Waits,
    },
};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long the other sinks may go on with a commit when one of them has failed: to end transactions that are open. What they don't
/// get done is done again.
const FINISH: Duration = Duration::from_secs(10);

/// The committers of a job's sinks, by node id.
pub type Committers = BTreeMap<String, Arc<dyn Committer>>;

/// Opens the committer of every sink of a job.
///
/// # Errors
/// When a sink's configuration does not fit or its target cannot be opened.
pub fn committers(
    graph: &JobGraph,
    factory: &dyn Factory,
    store: &CheckpointStore,
    env: &Env,
    waits: &Waits,
) -> Result<Committers> {
    let sinks = graph.nodes.iter().filter(|node| node.role == NodeRole::Sink);
    sinks
        .map(|node| {
            let context = CommitterContext {
                job: graph.name.clone(),
                sink: node.id.clone(),
                env: env.clone(),
                staging: Staging::new(store.clone(), &node.id),
                waits: waits.clone(),
            };
            let committer = factory.committer(node, context).map_err(|error| error.context(&node.id))?;
            Ok((node.id.clone(), committer))
        })
        .collect()
}

/// Whether a checkpoint can be continued by this graph.
///
/// # Errors
/// When it is another job's or another definition's, saying what can be done.
pub fn check(manifest: &Manifest, graph: &JobGraph, definition: &str) -> Result<()> {
    changes(manifest, graph, definition).map(|_| ())
}

/// The same; gives the nodes of the definition that have changed since, in a way that its state still means the same.
fn changes(manifest: &Manifest, graph: &JobGraph, definition: &str) -> Result<Vec<String>> {
    let refuse = |what: String| {
        Err(EngineError::definition(format!(
            "checkpoint {} of job '{}' {what}; use another --data-dir, or --fresh to discard it and start over",
            manifest.checkpoint, manifest.job
        )))
    };
    if manifest.format_version > FORMAT_VERSION {
        return refuse(format!("has format version {}", manifest.format_version));
    }
    if manifest.job != graph.name {
        return refuse(format!("cannot be continued by job '{}'", graph.name));
    }
    if manifest.max_parallelism != graph.max_parallelism {
        return refuse(format!(
            "has max_parallelism {}, the job now {}",
            manifest.max_parallelism, graph.max_parallelism
        ));
    }
    // Nothing has been read yet under a definition that a checkpoint without state names.
    if manifest.is_beginning() {
        return Ok(Vec::new());
    }
    DefinitionRecord::changes(&manifest.definition, definition).map_err(|why| {
        EngineError::definition(format!(
            "checkpoint {} of job '{}' cannot be continued by this definition: {why}. Restore the old definition; or start over with \
             --fresh, which discards what was counted and written; or give the job another name or --data-dir, and other outputs",
            manifest.checkpoint, manifest.job
        ))
    })
}

/// Makes the committables visible that the manifests of `attempt` decided on for these checkpoints, which are in order, and marks that
/// they are. Doing it again changes nothing. Where they are inherited from a former attempt, what is staged is looked at closely first.
/// Returns the commits that made something visible.
///
/// Sinks commit side by side, each of them one checkpoint after the other. So one sink may show some checkpoints more than another
/// for a while, but none more than is complete. A mark stands for all sinks, and the one of the newest checkpoint for all before it.
///
/// # Errors
/// When a sink refuses, in which case the others have [a moment](FINISH) for what they have begun; or this storage has not got the
/// newest of the checkpoints; or a checkpoint was forgotten in a fresh start.
pub async fn commit(
    store: &CheckpointStore,
    env: &Env,
    committers: &Committers,
    checkpoints: &[CheckpointId],
    attempt: Attempt,
    committables: &[Committable],
    is_inherited: bool,
) -> Result<Vec<SinkCommit>> {
    let Some(newest) = checkpoints.last().copied() else { return Ok(Vec::new()) };
    if committed::is_marked(store, newest, attempt).await? {
        return Ok(Vec::new());
    }
    check_decided(store, newest, attempt).await?;
    env.crash_point("commit.started")?;
    let mut of_sinks = Vec::new();
    for (sink, several) in by_sink(committables) {
        let committer = committers.get(sink).ok_or_else(|| {
            let checkpoint = several.first().map_or(newest, |first| first.checkpoint);
            EngineError::definition(format!(
                "checkpoint {checkpoint} has results for the sink '{sink}', which the definition no longer has"
            ))
        })?;
        of_sinks.push(commit_sink(env, committer.as_ref(), sink, several, is_inherited));
    }
    let commits = side_by_side(env, of_sinks).await?;
    for checkpoint in checkpoints {
        committed::mark(store, env, *checkpoint, attempt).await?;
    }
    env.crash_point("commit.marked")?;
    expire(committers, newest).await;
    Ok(commits.into_iter().flatten().collect())
}

/// Whether the manifest of `attempt` that decides a commit is in this storage, from which it is not removed before the commit is marked.
/// Where it is not, as on a machine on which the storage is not mounted, what sinks have staged is not either, and they would take
/// that for a sign that it is visible.
async fn check_decided(store: &CheckpointStore, checkpoint: CheckpointId, attempt: Attempt) -> Result<()> {
    if store.exists(&store.layout().manifest(checkpoint)).await? {
        return Ok(());
    }
    match store.attempt_after(attempt).await? {
        // It has gone on since: nobody waits for this commit any more.
        Some(later) => Err(EngineError::fenced(format!(
            "checkpoint {checkpoint} of attempt {attempt} is gone: attempt {later} has committed or discarded it"
        ))),
        None => Err(EngineError::unavailable(format!(
            "the storage '{}' lacks checkpoint {checkpoint} here (is it mounted?): nothing is committed",
            store.url()
        ))),
    }
}

/// Lets all work in this one task, in an order that depends on nothing else. After a failure the others have a moment; after a crash
/// they have none, for the process is gone.
async fn side_by_side<T>(env: &Env, work: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let mut running: FuturesUnordered<_> = work.into_iter().collect();
    let mut done = Vec::new();
    let mut failed: Option<(Moment, EngineError)> = None;
    loop {
        let enough = failed.as_ref().map_or_else(|| env.now(), |(enough, _)| *enough);
        tokio::select! {
            biased;
            next = running.next() => match next {
                Some(Ok(one)) => done.push(one),
                Some(Err(error)) if error.kind == ErrorKind::Crash => return Err(error),
                Some(Err(error)) => {
                    failed.get_or_insert_with(|| (env.now() + FINISH, error));
                }
                None => break,
            },
            () = env.sleep_until(enough), if failed.is_some() => break,
        }
    }
    match failed {
        Some((_, error)) => Err(error),
        None => Ok(done),
    }
}

/// Commits what one sink has staged, in the order of checkpoints.
async fn commit_sink(
    env: &Env,
    committer: &dyn Committer,
    sink: &str,
    several: Vec<ToCommit>,
    is_inherited: bool,
) -> Result<Vec<SinkCommit>> {
    let in_context = |error: EngineError, checkpoint: CheckpointId| {
        error.context(format!("committing checkpoint {checkpoint} of '{sink}'"))
    };
    let (mut rest, mut commits) = (several.as_slice(), Vec::new());
    if is_inherited {
        for ToCommit { checkpoint, committables } in rest {
            committer.verify(committables).await.map_err(|error| in_context(error, *checkpoint))?;
        }
    }
    while let Some(ToCommit { checkpoint, .. }) = rest.first() {
        let (began, before) = (env.now(), committer.transactions());
        let committed = committer.commit_together(rest).await;
        let (many, outcome) = committed.map_err(|error| in_context(error, *checkpoint))?;
        if many == 0 || many > rest.len() {
            let problem = format!("the sink says that it has committed {many} checkpoints of {}", rest.len());
            return Err(in_context(EngineError::internal(problem), *checkpoint));
        }
        match outcome {
            CommitOutcome::Done => commits.push(SinkCommit {
                sink: sink.into(),
                took: env.now().saturating_duration_since(began),
                transactions: committer.transactions() - before,
            }),
            CommitOutcome::AlreadyDone => tracing::debug!(sink, %checkpoint, many, "was committed before"),
        }
        env.crash_point("commit.one_done")?;
        rest = &rest[many..];
    }
    Ok(commits)
}

/// Removes what is past its retention. That it cannot be removed now is no reason to end a job.
async fn expire(committers: &Committers, committed: CheckpointId) {
    for (sink, committer) in committers {
        match committer.expire(committed).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(sink, removed, "removed results that are past their retention"),
            Err(error) => tracing::warn!(sink, %error, "results that are past their retention stay for now"),
        }
    }
}

/// What each sink is to commit, in the order of checkpoints.
fn by_sink(committables: &[Committable]) -> BTreeMap<&str, Vec<ToCommit>> {
    let mut groups: BTreeMap<(&str, CheckpointId), Vec<Committable>> = BTreeMap::new();
    for committable in committables {
        let group = groups.entry((committable.sink.as_str(), committable.checkpoint)).or_default();
        group.push(committable.clone());
    }
    let mut sinks: BTreeMap<&str, Vec<ToCommit>> = BTreeMap::new();
    for ((sink, checkpoint), committables) in groups {
        sinks.entry(sink).or_default().push(ToCommit { checkpoint, committables });
    }
    sinks
}

/// Whether what lineages before a claim's have left, in storage and sinks, is to go before anything else: its lineage was begun by
/// a start-over, and no attempt in it has reached a checkpoint yet. It may have been interrupted, whoever started it.
///
/// # Errors
/// When the store refuses.
pub async fn starts_over(store: &CheckpointStore, claim: Claim) -> Result<bool> {
    Ok(claim.starts_over && store.checkpoints().await?.is_empty())
}

/// What a new attempt does before anything of it runs: finishes what the newest checkpoint decided, makes sure that no former
/// attempt can complete another, sweeps away what they left; where it may be that somebody has brought back an older state
/// (`is_compared`) it compares what sinks show with what the checkpoint says. Returns what to go on from.
///
/// # Errors
/// When the newest checkpoint cannot be continued, or storage or a sink refuses.
pub async fn recover(
    store: &CheckpointStore,
    env: &Env,
    control: &dyn ControlPlane,
    graph: &JobGraph,
    definition: &str,
    attempt: Attempt,
    is_compared: bool,
) -> Result<Option<Manifest>> {
    let newest = take_over(store, env, control, graph, definition, attempt, is_compared).await?;
    let keep: Vec<Committable> = newest.iter().flat_map(Manifest::to_commit).cloned().collect();
    let results = newest.as_ref().map_or_else(|| no_results(graph), |manifest| manifest.results.clone());
    let results = is_compared.then_some(ExpectedResults { newest: results, is_committed: true });
    if let Err(error) = control.sweep(SweepScope { attempt, keep, results }).await {
        // What does not fit may be a successor's.
        refuse_if_replaced(store, attempt).await?;
        return Err(error);
    }
    env.crash_point("recovery.swept")?;
    let removed = retire::sweep(store, env, graph.checkpoint.retain, attempt).await?;
    if removed > 0 {
        tracing::info!(removed, "removed state files of dead attempts");
    }
    env.crash_point("recovery.done")?;
    Ok(newest)
}

/// What sinks hold when a lineage begins.
pub(super) fn no_results(graph: &JobGraph) -> Results {
    let sinks = graph.nodes.iter().filter(|node| node.role == NodeRole::Sink);
    sinks.map(|node| (node.id.clone(), CheckpointId(0))).collect()
}

/// Finishes what the newest checkpoint decided, and takes the number after it, so that no former attempt can complete a
/// checkpoint any more. Returns what to resume from; nothing if there is nothing to resume from and no earlier attempt.
async fn take_over(
    store: &CheckpointStore,
    env: &Env,
    control: &dyn ControlPlane,
    graph: &JobGraph,
    definition: &str,
    attempt: Attempt,
    is_compared: bool,
) -> Result<Option<Manifest>> {
    loop {
        let newest = commit_newest(store, control, graph, definition, attempt, is_compared).await?;
        env.crash_point("recovery.committed")?;
        let is_first = newest.is_none() && store.layout().lineage().was_begun_by(attempt);
        if is_first || newest.as_ref().is_some_and(|manifest| manifest.last) {
            return Ok(newest);
        }
        let same = Manifest { lineage: store.layout().lineage(), ..unchanged(newest, env, graph, definition, attempt) };
        if store.create(env, &store.layout().manifest(same.checkpoint), same.to_bytes()?.into()).await? {
            env.crash_point("recovery.taken_over")?;
            control.completed(&same).await?;
            return Ok(Some(same));
        }
        // A former attempt was faster: its checkpoint is the newest now.
        tracing::info!(checkpoint = %same.checkpoint, "an earlier attempt has completed one more checkpoint");
    }
}

/// Makes visible what the newest checkpoint decided, if it is this job's to commit, and, where that `is_compared`, sinks show nothing
/// newer.
///
/// # Errors
/// When it cannot be continued or does not fit the sinks, in which case nothing is committed; or storage or a sink refuses.
pub async fn commit_newest(
    store: &CheckpointStore,
    control: &dyn ControlPlane,
    graph: &JobGraph,
    definition: &str,
    attempt: Attempt,
    is_compared: bool,
) -> Result<Option<Manifest>> {
    loop {
        let Some(newest) = store.newest().await? else { return Ok(None) };
        let changes = changes(&newest, graph, definition)?;
        if !changes.is_empty() {
            let (checkpoint, changes) = (newest.checkpoint, changes.join(", "));
            tracing::warn!(job = graph.name, "definition changed: {changes}; resumes from checkpoint {checkpoint}");
        }
        if is_compared && !fits(store, control, &newest, attempt).await? {
            continue;
        }
        // Its creator may have died before it could take it down.
        control.completed(&newest).await?;
        let committables = newest.to_commit().cloned().collect();
        control.commit(vec![newest.checkpoint], newest.attempt, committables).await?;
        return Ok(Some(newest));
    }
}

/// Whether sinks show nothing newer than a checkpoint that is to be resumed from, before anything of it is committed: a commit
/// that finds newer results takes its own for done, and would not be made again when older ones are put in their place. `false`:
/// a former attempt has completed another checkpoint meanwhile, whose results these may be.
async fn fits(
    store: &CheckpointStore,
    control: &dyn ControlPlane,
    newest: &Manifest,
    attempt: Attempt,
) -> Result<bool> {
    let results = Some(ExpectedResults { newest: newest.results.clone(), is_committed: false });
    let Err(error) = control.sweep(SweepScope { attempt, keep: Vec::new(), results }).await else { return Ok(true) };
    refuse_if_replaced(store, attempt).await?;
    // Results are visible only after the manifest that decided them is there.
    if store.checkpoints().await?.last().is_some_and(|last| *last > newest.checkpoint) {
        return Ok(false);
    }
    Err(error)
}

/// What record ids are made from, where that is not the job's name: what they were made from until the newest checkpoint.
pub fn identity(newest: Option<&Manifest>, graph: &JobGraph) -> Option<String> {
    newest.and_then(|newest| newest.identity.clone()).or_else(|| graph.identity.clone())
}

/// The checkpoint after `newest` if nothing happens in between.
pub(super) fn unchanged(
    newest: Option<Manifest>,
    env: &Env,
    graph: &JobGraph,
    definition: &str,
    attempt: Attempt,
) -> Manifest {
    let checkpoint = newest.as_ref().map_or(CheckpointId(1), |manifest| manifest.checkpoint.next());
    let identity = identity(newest.as_ref(), graph);
    Manifest {
        format_version: format_version(identity.as_deref()),
        weir_version: env!("CARGO_PKG_VERSION").into(),
        job: graph.name.clone(),
        identity,
        definition: definition.into(),
        lineage: Lineage::NAMELESS,
        checkpoint,
        attempt,
        completed_at_ms: env.wall_clock_ms(),
        duration_ms: 0,
        last: false,
        max_parallelism: graph.max_parallelism,
        results: newest.as_ref().map_or_else(|| no_results(graph), |manifest| manifest.results.clone()),
        operators: newest.map(|manifest| manifest.operators).unwrap_or_default(),
        committables: Vec::new(),
        uncommitted: Vec::new(),
    }
}

/// What every sink shows, made ready for that.
///
/// # Errors
/// When a sink refuses, or it is another's.
pub async fn shown(committers: &Committers) -> Result<BTreeMap<String, ShownResults>> {
    let mut shown = BTreeMap::new();
    for (sink, committer) in committers {
        committer.prepare().await.map_err(|error| error.context(sink))?;
        shown.insert(sink.clone(), committer.shown().await.map_err(|error| error.context(sink))?);
    }
    Ok(shown)
}

/// Removes what lineages before `lineage` have left in the sinks. Returns how much.
///
/// # Errors
/// When a sink refuses.
pub async fn reset(committers: &Committers, lineage: Lineage) -> Result<u64> {
    let mut removed = 0;
    for (sink, committer) in committers {
        let reset = committer.reset(lineage).await;
        removed += reset.map_err(|error| error.context(format!("starting over, '{sink}'")))?;
    }
    Ok(removed)
}

/// Makes every sink ready, compares what it shows with what it should, and removes what dead attempts have staged, unless only the
/// comparison is asked for. None of them can complete a checkpoint any more: see [`recover`]. Returns how much was removed.
///
/// # Errors
/// When a sink refuses, or shows something else.
pub async fn sweep(committers: &Committers, scope: &SweepScope) -> Result<u64> {
    let mut removed = 0;
    for (sink, committer) in committers {
        committer.prepare().await.map_err(|error| error.context(sink))?;
        // What others have staged is written in a way of their own.
        let own = scope.keep.iter().filter(|committable| committable.sink == *sink).cloned().collect();
        if let Some(ExpectedResults { newest, is_committed }) = &scope.results {
            if let Some(newest) = newest.get(sink) {
                committer.compare(*newest, *is_committed).await.map_err(|error| error.context(sink))?;
            }
            if !is_committed {
                continue;
            }
        }
        let scope = SweepScope { attempt: scope.attempt, keep: own, results: None };
        let swept = committer.sweep(&scope).await.map_err(|error| error.context(format!("sweeping '{sink}'")))?;
        if swept > 0 {
            tracing::info!(sink, swept, "removed what dead attempts had staged");
        }
        removed += swept;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
