//! The sink `lines`: a JSON object a row, in a file for each checkpoint that has any. Exactly once.
//!
//! What came since the last barrier is *staged* with the checkpoint (here in its manifest, since it is little), and written when the
//! checkpoint is complete. A file's name follows from the checkpoint and the subtask, and it appears in one step: a commit that is
//! repeated after a crash writes the same file again.

use serde::{Deserialize, Serialize};
use std::{fs, io, path::PathBuf, sync::Arc};
use weir::{
    EngineError, Result,
    arrow::{json::LineDelimitedWriter, record_batch::RecordBatch},
    settings::{KeyPath, Mistake, Reader},
    sink::{
        Attempt, Barrier, Batch, BoxFuture, CheckpointId, CommitOutcome, Committable, Committer, CommitterContext,
        Lineage, Location, OperatorContext, Owned, Sink, SinkConnector, SinkGiven, SinkJob, SinkKind, StoredSink,
        SweepScope,
    },
};

/// What `connector = "lines"` is.
pub static KIND: SinkKind = SinkKind {
    name: "lines",
    read: |keys| Box::new(Lines::read(keys)),
    stored: |config| {
        let lines = Lines::deserialize(config);
        Ok(Box::new(lines.map_err(|error| EngineError::definition(format!("lines: {error}")))?))
    },
    meaning: &["path"],
};

/// What is staged for one checkpoint, in bytes at most: it goes through the manifest.
const MOST_BYTES: usize = 4 << 20;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lines {
    /// The folder.
    pub path: PathBuf,
}

impl Lines {
    fn read(keys: &Reader<'_>) -> Self {
        Lines { path: keys.required_text("path", "\"out/pauses\"").into() }
    }
}

/// As a definition has it.
impl SinkConnector for Lines {
    fn kind(&self) -> &'static SinkKind {
        &KIND
    }

    fn check(&self, _given: &SinkGiven<'_>, _at: &KeyPath, _mistakes: &mut Vec<Mistake>) {}

    /// Two sinks with one folder would replace each other's files.
    fn owns(&self) -> Option<Owned> {
        let shown = self.path.display().to_string();
        let place = std::iter::once("lines".to_owned()).chain(shown.split('/').map(str::to_owned)).collect();
        Some(Owned { key: "path", shown, expected: "a folder of its own", places: vec![place] })
    }

    fn config(&self, _given: &SinkGiven<'_>, _job: &SinkJob<'_>) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn note(&self) -> String {
        format!("lines of JSON in {}", self.path.display())
    }

    fn takes_running(&self) -> bool {
        false
    }

    fn keeps_revisions(&self) -> bool {
        true
    }
}

/// As the graph keeps it.
impl StoredSink for Lines {
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>> {
        let (sink, subtask, attempt) = (context.operator.clone(), context.subtask, context.attempt);
        Ok(Box::new(LinesSink { sink, subtask, attempt, text: Vec::new() }))
    }

    fn committer(&self, _context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(LinesCommitter { folder: self.path.clone() }))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        Ok(vec![Location::path("path", &self.path)])
    }

    fn shown(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }
}

/// The first phase, in one subtask.
struct LinesSink {
    sink: String,
    subtask: usize,
    attempt: Attempt,
    text: Vec<u8>,
}

/// What is staged.
#[derive(Serialize, Deserialize)]
struct Staged {
    attempt: Attempt,
    subtask: usize,
    text: String,
}

impl LinesSink {
    fn take(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut writer = LineDelimitedWriter::new(&mut self.text);
        writer.write(rows)?;
        writer.finish()?;
        if self.text.len() > MOST_BYTES {
            let most = MOST_BYTES >> 20;
            return Err(EngineError::definition(format!(
                "'{}': more than {most} MiB between two checkpoints",
                self.sink
            )));
        }
        Ok(())
    }

    fn staged(&mut self, checkpoint: CheckpointId) -> Result<Vec<Committable>> {
        if self.text.is_empty() {
            return Ok(Vec::new());
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned();
        let staged = Staged { attempt: self.attempt, subtask: self.subtask, text };
        Ok(vec![Committable::new(&self.sink, checkpoint, serde_json::json!(staged))])
    }
}

impl Sink for LinesSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        let taken = self.take(&batch.columns);
        Box::pin(async { taken })
    }

    fn stage(&mut self, barrier: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let staged = self.staged(barrier.checkpoint);
        Box::pin(async { staged })
    }
}

/// The second phase, anywhere, again and again.
struct LinesCommitter {
    folder: PathBuf,
}

impl LinesCommitter {
    fn commit(&self, committable: &Committable) -> Result<CommitOutcome> {
        let staged = Staged::deserialize(&committable.payload).map_err(|error| {
            EngineError::corrupt(format!("checkpoint {} has no lines: {error}", committable.checkpoint))
        })?;
        let file = self.folder.join(format!("{:08}-{}.jsonl", committable.checkpoint.0, staged.subtask));
        if file.exists() {
            return Ok(CommitOutcome::AlreadyDone);
        }
        let hidden = self.folder.join(format!(".{:08}-{}", committable.checkpoint.0, staged.subtask));
        let write = || {
            fs::create_dir_all(&self.folder)?;
            fs::write(&hidden, &staged.text)?;
            fs::File::open(&hidden)?.sync_all()?;
            fs::rename(&hidden, &file)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error: io::Error| EngineError::io(format!("cannot write '{}': {error}", file.display())))?;
        Ok(CommitOutcome::Done)
    }

    fn remove_all(&self) -> io::Result<u64> {
        let mut removed = 0;
        let Ok(entries) = fs::read_dir(&self.folder) else { return Ok(0) };
        for entry in entries {
            fs::remove_file(entry?.path())?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl Committer for LinesCommitter {
    fn commit<'a>(
        &'a self,
        _checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        let committed = || {
            let mut outcome = CommitOutcome::AlreadyDone;
            for committable in committables {
                if self.commit(committable)? == CommitOutcome::Done {
                    outcome = CommitOutcome::Done;
                }
            }
            Ok(outcome)
        };
        let committed = committed();
        Box::pin(async { committed })
    }

    /// What is staged is in manifests alone, and goes with them.
    fn sweep<'a>(&'a self, _scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async { Ok(0) })
    }

    /// The job starts over. (A target that others write to, too, would have to know which lineage a file is of.)
    fn reset(&self, _lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        let removed = self.remove_all();
        let folder = self.folder.display().to_string();
        Box::pin(async move { removed.map_err(|error| EngineError::io(format!("cannot empty '{folder}': {error}"))) })
    }
}
