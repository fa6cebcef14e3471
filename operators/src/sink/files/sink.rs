//! The first phase: rows into staged files.
//!
//! Invariant: every row of a file came between the same two barriers, so that a file belongs to one checkpoint.

use super::{
    committable::Staged,
    config::FilesSinkConfig,
    encoder::file_schema,
    naming::{Ending, Naming},
    open_file::{Budget, ClosingFile, FileParameters, OpenFile, WrittenFile},
    partition,
    storage::Storage,
};
use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use futures::{
    FutureExt,
    future::{BoxFuture, try_join_all},
};
use std::{collections::VecDeque, sync::Arc};
use weir_engine::{
    element::{Barrier, Batch},
    env::Env,
    error::Result,
    ids::{Attempt, Lineage},
    operator::{Committable, OperatorContext, Sink},
};

/// Rows of one file are written as a row group once they take so many bytes of memory.
pub(super) const ROW_GROUP_BYTES: usize = 4 << 20;

/// Rows of all files that wait for their row group may take so much; then the largest go out.
const PENDING_BYTES: usize = 32 << 20;

/// Files that are open at a time; beyond that the one that has waited longest is closed.
const OPEN_FILES: usize = 64;

/// Closed files that may still be on their way to the storage.
const CLOSING_FILES: usize = 8;

/// Writes rows to files, in one subtask.
pub struct FilesSink {
    config: Arc<FilesSinkConfig>,
    storage: Arc<dyn Storage>,
    naming: Naming,
    sink: String,
    subtask: usize,
    attempt: Attempt,
    lineage: Lineage,
    env: Env,
    /// Number of the next staged file of this attempt.
    next: u64,
    /// By folder and columns; the one written last is last.
    open: Vec<(Target, OpenFile)>,
    /// Of the current checkpoint, in the order in which they were closed: those under way, and before them those done.
    closing: VecDeque<ClosingFile>,
    written: Vec<WrittenFile>,
    budget: Budget,
}

/// Which file a row goes to.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    folder: Option<String>,
    schema: SchemaRef,
}

impl FilesSink {
    /// For one subtask.
    pub fn new(config: FilesSinkConfig, storage: Arc<dyn Storage>, context: &OperatorContext) -> Self {
        FilesSink {
            config: Arc::new(config),
            storage,
            naming: Naming::new(&context.job, &context.operator),
            sink: context.operator.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            lineage: context.staging.lineage(),
            env: context.env.clone(),
            next: 0,
            open: Vec::new(),
            closing: VecDeque::new(),
            written: Vec::new(),
            budget: Budget::new(),
        }
    }

    async fn write_rows(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (rows, bytes) = (batch.len(), batch.bytes());
        let schema = Arc::new(file_schema(&batch.columns.schema()));
        for (folder, part) in partition::split(&self.config, batch.columns)? {
            let part_bytes = bytes * part.num_rows() / rows;
            self.write_part(Target { folder, schema: Arc::clone(&schema) }, part, part_bytes).await?;
        }
        Ok(())
    }

    async fn write_part(&mut self, target: Target, rows: RecordBatch, bytes: usize) -> Result<()> {
        let mut file = match self.open.iter().position(|(open, _)| *open == target) {
            Some(position) => self.open.remove(position).1,
            None => {
                self.make_room().await?;
                self.create(&target.schema)
            }
        };
        file.push(rows, bytes);
        if file.pending_bytes() >= ROW_GROUP_BYTES {
            file.send_pending().await?;
        }
        if file.bytes() >= self.config.roll_bytes {
            self.close(target.folder, file).await?;
        } else {
            self.open.push((target, file));
        }
        self.bound_pending().await
    }

    /// Sends the largest row group when too much is pending in all.
    async fn bound_pending(&mut self) -> Result<()> {
        let pending: usize = self.open.iter().map(|(_, file)| file.pending_bytes()).sum();
        let largest = self.open.iter_mut().max_by_key(|(_, file)| file.pending_bytes());
        match largest {
            Some((_, file)) if pending >= PENDING_BYTES => file.send_pending().await,
            _ => Ok(()),
        }
    }

    fn create(&mut self, schema: &Arc<Schema>) -> OpenFile {
        let path = self.naming.staged(self.attempt, self.subtask, self.next, Ending::of(&self.config));
        self.next += 1;
        let parameters = FileParameters {
            storage: Arc::clone(&self.storage),
            path,
            schema: Arc::clone(schema),
            config: Arc::clone(&self.config),
        };
        OpenFile::create(parameters, self.budget.clone())
    }

    async fn make_room(&mut self) -> Result<()> {
        if self.open.len() >= OPEN_FILES {
            let (target, file) = self.open.remove(0);
            self.close(target.folder, file).await?;
        }
        Ok(())
    }

    async fn close(&mut self, folder: Option<String>, file: OpenFile) -> Result<()> {
        self.closing.push_back(file.close(folder).await?);
        if self.closing.len() > CLOSING_FILES
            && let Some(oldest) = self.closing.pop_front()
        {
            self.written.push(oldest.finish().await?);
        }
        Ok(())
    }
}

impl Sink for FilesSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.write_rows(batch).boxed()
    }

    fn stage(&mut self, Barrier { checkpoint, last }: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (mut written, closing) = (std::mem::take(&mut self.written), std::mem::take(&mut self.closing));
        let open = std::mem::take(&mut self.open);
        let (naming, sink, subtask, lineage) = (self.naming.clone(), self.sink.clone(), self.subtask, self.lineage);
        let (root, ending) = (self.storage.describe(""), Ending::of(&self.config));
        let env = self.env.clone();
        let ended = last && self.next > 0;
        async move {
            env.crash_point("files_sink.staging")?;
            let closing = closing.into_iter().map(|file| file.finish().boxed());
            let open = open
                .into_iter()
                .map(|(target, file)| async { file.close(target.folder).await?.finish().await }.boxed());
            written.extend(try_join_all(closing.chain(open)).await?);
            env.crash_point("files_sink.staged")?;
            let named = written.into_iter().enumerate().map(|(k, file)| {
                let path = naming.committed(file.folder.as_deref(), (lineage, checkpoint), (subtask, k), ending);
                file.into_staged(root.clone(), path).into_committable(&sink, checkpoint)
            });
            let ended = ended.then(|| Ok(Staged::ended(&sink, checkpoint)));
            named.chain(ended).collect()
        }
        .boxed()
    }
}
