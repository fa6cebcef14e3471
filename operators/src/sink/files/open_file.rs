//! One file on its way: rows are encoded and written by a task beside the processing, which waits when too much of them is
//! in flight.

use super::{
    committable::{StagedFile, checksum_text},
    config::FilesSinkConfig,
    encoder::Encoder,
    storage::{NewFile, Storage},
};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, Receiver, Sender},
    },
    task::JoinHandle,
};
use weir_engine::error::{EngineError, Result};
use xxhash_rust::xxh3::Xxh3;

/// Rows on their way to the storage, over all files of a subtask, in KiB of memory.
const IN_FLIGHT_KIB: usize = 16 << 10;

/// Messages to the task. That the channel ends without `Finish` means that the attempt is over.
enum Message {
    /// Rows, and their share of what may be in flight.
    RowGroup(Vec<RecordBatch>, OwnedSemaphorePermit),
    Finish,
}

/// What may be in flight in a subtask.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn new() -> Self {
        Budget(Arc::new(Semaphore::new(IN_FLIGHT_KIB)))
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let share = (bytes >> 10).clamp(1, IN_FLIGHT_KIB) as u32;
        let taken = Arc::clone(&self.0).acquire_many_owned(share).await;
        taken.map_err(|_| EngineError::internal("the budget of a sink is closed"))
    }
}

/// A file that takes rows.
pub(super) struct OpenFile {
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    budget: Budget,
    /// Row groups go here; a full channel is what slows the job down.
    messages: Sender<Message>,
    task: JoinHandle<Result<WrittenFile>>,
    written: Arc<AtomicU64>,
}

/// A file that takes no more rows, and is being made durable.
pub(super) struct ClosingFile {
    /// Folder of the final name.
    pub folder: Option<String>,
    task: JoinHandle<Result<WrittenFile>>,
}

/// A file that is durable.
pub(super) struct WrittenFile {
    /// Folder of the final name.
    pub folder: Option<String>,
    staged: String,
    bytes: u64,
    checksum: u64,
    rows: u64,
}

/// What a file is made with.
pub(super) struct FileParameters {
    pub storage: Arc<dyn Storage>,
    pub path: String,
    pub schema: SchemaRef,
    pub config: Arc<FilesSinkConfig>,
}

impl OpenFile {
    /// Begins a file. Its errors show at a later write.
    pub fn create(parameters: FileParameters, budget: Budget) -> Self {
        let (messages, received) = mpsc::channel(1);
        let written = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(write_file(parameters, received, Arc::clone(&written)));
        OpenFile { pending: Vec::new(), pending_bytes: 0, budget, messages, task, written }
    }

    /// Takes rows of the file's columns; `bytes` is their size in memory.
    pub fn push(&mut self, rows: RecordBatch, bytes: usize) {
        self.pending_bytes += bytes;
        self.pending.push(rows);
    }

    /// Bytes of rows that are collected for the next row group.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Hands what is collected to the task, as a row group.
    pub async fn send_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let share = self.budget.take(self.pending_bytes).await?;
        self.pending_bytes = 0;
        let rows = std::mem::take(&mut self.pending);
        self.send(Message::RowGroup(rows, share)).await
    }

    /// Ends the file; it is made durable beside the processing.
    pub async fn close(mut self, folder: Option<String>) -> Result<ClosingFile> {
        self.send_pending().await?;
        self.send(Message::Finish).await?;
        Ok(ClosingFile { folder, task: self.task })
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        if self.messages.send(message).await.is_ok() {
            return Ok(());
        }
        // The task takes messages until it fails.
        match (&mut self.task).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(EngineError::internal("a file was ended while it took rows")),
            Err(error) => Err(EngineError::internal(format!("writing a file: {error}"))),
        }
    }
}

impl ClosingFile {
    /// Waits until the file is durable.
    pub async fn finish(self) -> Result<WrittenFile> {
        self.task.await.map_err(|error| EngineError::internal(format!("writing a file: {error}")))?.map(|mut file| {
            file.folder = self.folder;
            file
        })
    }
}

impl WrittenFile {
    /// With the name that it is to get.
    pub fn into_staged(self, root: String, path: String) -> StagedFile {
        let checksum = checksum_text(self.checksum);
        StagedFile { root, staged: self.staged, path, bytes: self.bytes, checksum, rows: self.rows }
    }
}

/// The task of one file.
async fn write_file(
    parameters: FileParameters,
    mut messages: Receiver<Message>,
    written: Arc<AtomicU64>,
) -> Result<WrittenFile> {
    let encoder = Encoder::new(&parameters.schema, &parameters.config)?;
    let mut file =
        HashedFile { file: parameters.storage.create(&parameters.path).await?, hasher: Xxh3::new(), written };
    let rows = match write_rows(&mut file, encoder, &mut messages).await {
        Ok(rows) => rows,
        Err(error) => {
            file.file.abort().await;
            return Err(error);
        }
    };
    let (bytes, checksum) = (file.written.load(Ordering::Relaxed), file.hasher.digest());
    file.file.finish().await?;
    Ok(WrittenFile { folder: None, staged: parameters.path, bytes, checksum, rows })
}

/// Writes what the messages bring, and the footer. Returns the number of rows.
async fn write_rows(file: &mut HashedFile, mut encoder: Encoder, messages: &mut Receiver<Message>) -> Result<u64> {
    let mut rows = 0;
    loop {
        match messages.recv().await {
            Some(Message::RowGroup(group, _share)) => {
                rows += group.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
                for part in encoder.parts(group) {
                    file.write(encoder.row_group(&part)?).await?;
                }
            }
            Some(Message::Finish) => break,
            None => return Err(EngineError::internal("the attempt ended before its checkpoint")),
        }
    }
    file.write(encoder.finish()?).await?;
    Ok(rows)
}

/// A file whose bytes are counted and hashed on their way.
struct HashedFile {
    file: Box<dyn NewFile>,
    hasher: Xxh3,
    written: Arc<AtomicU64>,
}

impl HashedFile {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write(bytes).await
    }
}
