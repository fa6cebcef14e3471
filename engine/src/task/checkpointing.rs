//! What a subtask needs from its surroundings, and the upload of its snapshots beside the processing.

use super::{chain::CapturedLink, observer::Observer};
use crate::{
    checkpoint::{
        CheckpointStore,
        draft::Draft,
        manifest::{FileRef, SplitFile, SubtaskState},
        merge,
        pending::Acknowledgement,
        segment_ledger::{Recorded, SegmentLedger},
        split_files::{self, Sorted, SplitLedger},
        state_file::{self, EncodedSnapshot},
    },
    element::{Barrier, Origin},
    env::{Env, Moment},
    error::{EngineError, ErrorKind, Result},
    ids::{Attempt, CheckpointId, SubtaskId},
    operator::{Committable, SplitState},
    panics::caught,
};
use futures::future::try_join_all;
use object_store::path::Path;
use parking_lot::{Mutex, MutexGuard};
use std::{io::Write, sync::Arc};
use tokio::sync::mpsc;

/// What a subtask reports to the driver of its attempt.
#[derive(Debug)]
pub enum Report {
    /// Its part of a checkpoint is durable.
    Acknowledged(Acknowledgement),
    /// Its source has no more.
    Exhausted(SubtaskId),
    /// Its source's slowest split is at this event time, in milliseconds; none: the other subtasks need not wait for it.
    Paced(SubtaskId, Option<i64>),
    /// It has ended, as it should.
    Finished(SubtaskId),
    /// It failed, and with it the attempt.
    Failed(SubtaskId, EngineError),
}

/// A subtask's surroundings. Cheap to clone.
#[derive(Clone)]
pub struct TaskServices {
    /// Time, chance and planned crashes.
    pub env: Env,
    /// Where snapshots go.
    pub store: CheckpointStore,
    /// The attempt that the subtask belongs to.
    pub attempt: Attempt,
    /// Shows what happens.
    pub observer: Arc<Observer>,
    /// Records that the last attempt failed on.
    pub suspect: Option<Arc<Origin>>,
    /// To the driver of the attempt.
    pub reports: mpsc::UnboundedSender<Report>,
}

impl TaskServices {
    pub(crate) fn report(&self, report: Report) {
        // There is no receiver any more when the runner has given the attempt up.
        let _ = self.reports.send(report);
    }

    pub(crate) fn report_exhausted(&self, subtask: SubtaskId) {
        self.report(Report::Exhausted(subtask));
    }

    pub(crate) fn report_end(&self, subtask: SubtaskId, result: Result<()>) {
        self.report(match result {
            Ok(()) => Report::Finished(subtask),
            Err(error) => Report::Failed(subtask, error),
        });
    }

    pub(crate) fn start_step(&self) -> Moment {
        self.env.now()
    }
}

/// Makes a subtask's snapshot durable and acknowledges it. Then merges parts of its state, if there are many.
pub(crate) async fn upload(
    services: TaskServices,
    subtask: SubtaskId,
    barrier: Barrier,
    captured: Vec<CapturedLink>,
    splits: Vec<SplitState>,
) {
    let checkpoint = barrier.checkpoint;
    let links: Vec<_> = captured.iter().map(|link| (link.node.clone(), link.subtask, link.ledger.clone())).collect();
    let uploading = try_upload(&services, subtask, checkpoint, captured, splits);
    let done = match caught("making a snapshot durable", uploading).await {
        Ok(acknowledgement) => {
            services.report(Report::Acknowledged(acknowledgement));
            // Nothing comes after the last one that could name what is merged.
            if barrier.last { Ok(()) } else { merge_links(&services, checkpoint, &links).await }
        }
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        services.report(Report::Failed(subtask, error.context(format!("checkpoint {checkpoint}"))));
    }
}

/// Merges what the ledgers of some links find to merge.
///
/// # Errors
/// When the attempt is over. That merging fails is no failure of the attempt: the parts stay as they are.
async fn merge_links(
    services: &TaskServices,
    checkpoint: CheckpointId,
    links: &[(String, usize, Arc<Mutex<SegmentLedger>>)],
) -> Result<()> {
    let TaskServices { env, store, attempt, observer, .. } = services;
    for (node, subtask, ledger) in links {
        let Some(planned) = lock(ledger).plan_merge() else { continue };
        env.crash_point("merge.started")?;
        let path = store.layout().merged_file(*attempt, checkpoint, node, *subtask);
        match caught("merging state", merge::merge(store, env, planned, &path)).await {
            Ok(merged) => {
                observer.saw_state_bytes(merged.file.bytes);
                env.crash_point("merge.written")?;
                lock(ledger).merged(merged);
            }
            Err(error) if matches!(error.kind, ErrorKind::Fenced | ErrorKind::Crash) => return Err(error),
            Err(error) => {
                tracing::warn!(node, subtask, %error, "cannot merge state files, they are left as they are for now");
                lock(ledger).merge_failed(path.to_string());
            }
        }
    }
    Ok(())
}

async fn try_upload(
    services: &TaskServices,
    subtask: SubtaskId,
    checkpoint: CheckpointId,
    mut captured: Vec<CapturedLink>,
    mut splits: Vec<SplitState>,
) -> Result<Acknowledgement> {
    services.env.crash_point("upload.started")?;
    let staging: Vec<_> = captured.iter_mut().filter_map(|link| link.staging.take()).collect();
    let states = async {
        let mut states = Vec::with_capacity(captured.len());
        for (index, link) in captured.into_iter().enumerate() {
            // Only the head of a chain can be a source.
            let splits = if index == 0 { std::mem::take(&mut splits) } else { Vec::new() };
            states.push(store_link(services, checkpoint, link, splits).await?);
        }
        Ok(states)
    };
    let staged = try_join_all(staging);
    let (operators, committables): (_, Vec<Vec<Committable>>) = futures::try_join!(states, staged)?;
    services.env.crash_point("upload.durable")?;
    Ok(Acknowledgement { subtask, checkpoint, operators, committables: committables.into_iter().flatten().collect() })
}

async fn store_link(
    services: &TaskServices,
    checkpoint: CheckpointId,
    link: CapturedLink,
    splits: Vec<SplitState>,
) -> Result<(String, SubtaskState)> {
    let CapturedLink { node, subtask, key_groups, counters, snapshot, ledger, splits: split_ledger, staging: _ } = link;
    let (splits, split_files) = store_splits(services, checkpoint, (&node, subtask), splits, &split_ledger).await?;
    let Recorded { segments, unused } = if snapshot.segments.is_empty() {
        lock(&ledger).record(&EncodedSnapshot::default(), None)?
    } else {
        let path = services.store.layout().state_file(services.attempt, checkpoint, &node, subtask);
        let mut draft = services.store.draft(&services.env, &path);
        let writing = services.env.run_blocking(move || Ok((state_file::encode(snapshot, &mut draft)?, draft))).await;
        let (encoded, draft) = writing.map_err(|error| error.context(&node))?;
        let file = match draft.bytes() {
            0 => None,
            _ => Some(publish(services, &path, draft).await?),
        };
        lock(&ledger).record(&encoded, file.as_ref())?
    };
    if let Some(unused) = unused {
        services.store.delete(&Path::from(unused.as_str())).await?;
    }
    let state = SubtaskState { subtask, key_groups: Some(key_groups), counters, splits, split_files, segments };
    Ok((node, state))
}

/// Makes a drafted state file of this attempt durable.
async fn publish(services: &TaskServices, path: &Path, draft: Draft) -> Result<FileRef> {
    let file = FileRef { path: path.to_string(), bytes: draft.bytes(), checksum: draft.checksum() };
    services.observer.saw_state_bytes(file.bytes);
    if !services.store.publish(&services.env, path, draft).await? {
        return Err(EngineError::fenced(format!(
            "state file '{path}' already exists: another process runs attempt {}",
            services.attempt
        )));
    }
    services.env.crash_point("upload.state_file")?;
    Ok(file)
}

/// Writes what has stayed the same of the splits' states to files, each once. Gives what the manifest has, and what it refers to.
async fn store_splits(
    services: &TaskServices,
    checkpoint: CheckpointId,
    (source, subtask): (&str, usize),
    splits: Vec<SplitState>,
    ledger: &Mutex<SplitLedger>,
) -> Result<(Vec<SplitState>, Vec<SplitFile>)> {
    let Sorted { inline, mut filed, settled } = ledger.lock().sort(splits);
    let writing = settled.into_iter().enumerate().map(async |(number, split)| {
        let path = services.store.layout().split_file(services.attempt, checkpoint, source, subtask, number);
        let mut draft = services.store.draft(&services.env, &path);
        let (id, content) = (split.id.clone(), split_files::encode(&split)?);
        let written = services.env.run_blocking(move || {
            let cannot = |error| EngineError::caused_by(&error, format!("the state of split '{}': {error}", split.id));
            draft.write_all(&content).map_err(cannot)?;
            Ok(draft)
        });
        Ok(SplitFile { id, file: publish(services, &path, written.await?).await? })
    });
    let written = try_join_all(writing).await.map_err(|error: EngineError| error.context(source))?;
    let mut ledger = ledger.lock();
    written.iter().for_each(|written| ledger.written(written));
    filed.extend(written);
    Ok((inline, filed))
}

fn lock(ledger: &Mutex<SegmentLedger>) -> MutexGuard<'_, SegmentLedger> {
    ledger.lock()
}
