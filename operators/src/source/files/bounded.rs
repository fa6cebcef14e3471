//! Files that are read once, from beginning to end: a split is a file, or for Parquet some row groups of one.
//!
//! Invariant: which splits there are is decided once, at the first start, and kept in the checkpoints; the n-th of them by
//! name belongs to subtask n modulo the parallelism. A file that has come since is not read, one that has gone is an error.

use super::{
    lines::{LinePosition, LineSettings, Lines},
    listing::{FoundFile, Location, Place, cannot_read},
    parquet_split::{ParquetSettings, ParquetSplitReader, StoredParquetSplit},
};
use crate::dead_letters::DeadLetter;
use crate::source::split_reader::{Connector, OpenedSplit, RestoredSplit, SplitEvent, SplitReader};
use futures::{FutureExt, future::BoxFuture};
use object_store::ObjectStoreExt;
use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path, sync::Arc};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

/// Bytes read at once from a local file; less where a subtask reads many files side by side.
const LOCAL_CHUNK_BYTES: usize = 512 << 10;
/// Bytes fetched at once from an object store, where every request takes its time.
const OBJECT_CHUNK_BYTES: usize = 4 << 20;
/// The least bytes read at once.
const LEAST_CHUNK_BYTES: usize = 16 << 10;
/// Bytes that the files of a subtask hold in memory together, more or less.
const CHUNKS_BYTES: usize = 64 << 20;

/// How the records of bounded files are read.
#[derive(Clone, Debug)]
pub(super) enum RecordSettings {
    Lines(Arc<LineSettings>),
    Parquet(Arc<ParquetSettings>),
}

/// All files of a source.
pub(super) struct BoundedFiles {
    pub(super) location: Location,
    /// The location as configured, for messages.
    pub(super) path: String,
    pub(super) records: RecordSettings,
    pub(super) subtask: usize,
    pub(super) parallelism: usize,
    pub(super) env: Env,
}

impl BoundedFiles {
    async fn open_all(&self, restored: Vec<RestoredSplit>) -> Result<Vec<OpenedSplit>> {
        let ending = matches!(self.records, RecordSettings::Parquet(_)).then_some("parquet");
        let files = self.location.list(ending).await?;
        self.env.crash_point("files.listed")?;
        if restored.is_empty() && files.is_empty() {
            let what = ending.map_or("files", |_| "files that end in .parquet");
            return Err(EngineError::definition(format!("path = \"{}\": there are no {what} to read", self.path)));
        }
        match &self.records {
            RecordSettings::Lines(settings) => self.open_lines(&files, restored, settings),
            RecordSettings::Parquet(settings) => self.open_parquet(&files, restored, settings).await,
        }
    }

    /// What of all splits is this subtask's.
    fn own<T>(&self, all: impl IntoIterator<Item = T>) -> Vec<T> {
        let own = |(index, _): &(usize, T)| index % self.parallelism == self.subtask;
        all.into_iter().enumerate().filter(own).map(|(_, split)| split).collect()
    }

    fn open_lines(
        &self,
        files: &[FoundFile],
        restored: Vec<RestoredSplit>,
        settings: &Arc<LineSettings>,
    ) -> Result<Vec<OpenedSplit>> {
        let splits: Vec<(FoundFile, LinePosition)> = if restored.is_empty() {
            self.own(files.iter().cloned()).into_iter().map(|file| (file, LinePosition::default())).collect()
        } else {
            let mut positions = BTreeMap::new();
            for split in restored {
                let file = find(files, &split.id, split.finished)?;
                positions.insert(split.id.clone(), (file, read_position(&split)?));
            }
            warn_of_new_files(files, |name| positions.contains_key(name));
            self.own(positions.into_values())
        };
        let share = (CHUNKS_BYTES / splits.len().max(1)).max(LEAST_CHUNK_BYTES);
        let open = |(file, position): (FoundFile, LinePosition)| OpenedSplit {
            id: file.name.clone(),
            name: file.name.clone(),
            reader: Box::new(FileReader::new(file, settings.clone(), position, share, self.env.clone())),
            newest_before_ms: None,
            oldest_ms: None,
        };
        Ok(splits.into_iter().map(open).collect())
    }

    async fn open_parquet(
        &self,
        files: &[FoundFile],
        restored: Vec<RestoredSplit>,
        settings: &Arc<ParquetSettings>,
    ) -> Result<Vec<OpenedSplit>> {
        let mut splits = Vec::new();
        if restored.is_empty() {
            for file in files {
                splits.extend(settings.plan(file).await?);
            }
        } else {
            let mut positions = BTreeMap::new();
            for split in restored {
                let stored: StoredParquetSplit = read_position(&split)?;
                let file = find(files, &stored.file, split.finished)?;
                positions.insert((stored.file.clone(), stored.first_row), (file, stored));
            }
            warn_of_new_files(files, |name| positions.keys().any(|(file, _)| file == name));
            splits.extend(positions.into_values());
        }
        let open = |(file, stored): (FoundFile, StoredParquetSplit)| OpenedSplit {
            id: stored.id(),
            name: file.name.clone(),
            newest_before_ms: stored.newest_before_ms(),
            oldest_ms: None,
            reader: Box::new(ParquetSplitReader::new(file, settings.clone(), stored, self.env.clone())),
        };
        Ok(self.own(splits).into_iter().map(open).collect())
    }
}

impl Connector for BoundedFiles {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        async move { self.open_all(restored).await }.boxed()
    }
}

/// The file of a split in a checkpoint. It may have gone only if it had been read to its end.
pub(super) fn find(files: &[FoundFile], name: &str, finished: bool) -> Result<FoundFile> {
    if let Ok(index) = files.binary_search_by(|file| file.name.as_str().cmp(name)) {
        return Ok(files[index].clone());
    }
    if finished {
        return Ok(FoundFile { name: name.to_owned(), place: Place::Local(name.into()) });
    }
    Err(EngineError::io(format!(
        "{name} is not there any more, but the checkpoint that the job goes on from has not read it to its end: bring the \
         file back, or start the job afresh without the checkpoint"
    )))
}

pub(super) fn read_position<T: serde::de::DeserializeOwned>(split: &RestoredSplit) -> Result<T> {
    serde_json::from_value(split.position.clone())
        .map_err(|error| EngineError::corrupt(format!("the position of split '{}' cannot be read: {error}", split.id)))
}

fn warn_of_new_files(files: &[FoundFile], known: impl Fn(&str) -> bool) {
    let new: Vec<&str> = files.iter().map(|file| file.name.as_str()).filter(|name| !known(name)).collect();
    if !new.is_empty() {
        tracing::warn!(
            files = new.join(", "),
            "files that came after the job's first start are not read; use follow = true for growing sets of files"
        );
    }
}

/// Reads the lines of one file to its end.
struct FileReader {
    file: FoundFile,
    lines: Lines,
    chunk_bytes: usize,
    /// The end of the file has been seen.
    at_end: bool,
    open: Option<File>,
    checked: bool,
    env: Env,
}

impl FileReader {
    fn new(file: FoundFile, settings: Arc<LineSettings>, position: LinePosition, share: usize, env: Env) -> Self {
        let most = match &file.place {
            Place::Local(_) => LOCAL_CHUNK_BYTES,
            Place::Object { .. } => OBJECT_CHUNK_BYTES,
        };
        let lines = Lines::new(&file.name, settings, position);
        FileReader { file, lines, chunk_bytes: share.min(most), at_end: false, open: None, checked: false, env }
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        loop {
            if let Some(event) = self.lines.take(max_rows, self.at_end)? {
                return Ok(event);
            }
            if self.at_end {
                self.open = None;
                return Ok(SplitEvent::Finished);
            }
            self.at_end = self.read().await? == 0;
        }
    }

    /// Reads on; zero at the end.
    async fn read(&mut self) -> Result<usize> {
        let offset = self.lines.read_offset();
        match &self.file.place {
            Place::Local(path) => {
                let file = match self.open.take() {
                    Some(file) => file,
                    None => {
                        self.env.crash_point("files.opening")?;
                        let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
                        self.env.crash_point("files.opened")?;
                        file
                    }
                };
                if !self.checked {
                    let bytes = file.metadata().map_err(|error| cannot_read(path, &error))?.len();
                    check_not_shrunk(&self.file.name, bytes, offset)?;
                    self.checked = true;
                }
                let read = self.lines.fill(self.chunk_bytes, |space| read_at(&file, space, offset));
                let read = read.map_err(|error| cannot_read(path, &error))?;
                // Of many files not all are kept open: there is a limit to it, and opening again is cheap.
                if self.chunk_bytes == LOCAL_CHUNK_BYTES {
                    self.open = Some(file);
                }
                if read == 0 {
                    self.check_shrinking(path, offset)?;
                }
                Ok(read)
            }
            Place::Object { store, path, bytes } => {
                check_not_shrunk(&self.file.name, *bytes, offset)?;
                let end = bytes.min(&(offset + self.chunk_bytes as u64)).to_owned();
                if end == offset {
                    return Ok(0);
                }
                let fetched = store.get_range(path, offset..end).await.map_err(|error| {
                    EngineError::io(format!("cannot read {} from byte {offset} on: {error}", self.file.name))
                })?;
                let fill = |space: &mut [u8]| {
                    let length = fetched.len().min(space.len());
                    space[..length].copy_from_slice(&fetched[..length]);
                    Ok::<_, EngineError>(length)
                };
                self.lines.fill(fetched.len(), fill)
            }
        }
    }

    /// Nothing more to read may also mean that the file was cut off while it was read.
    fn check_shrinking(&self, path: &Path, offset: u64) -> Result<()> {
        let bytes = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?.len();
        check_not_shrunk(&self.file.name, bytes, offset)
    }
}

fn check_not_shrunk(name: &str, bytes: u64, offset: u64) -> Result<()> {
    if offset <= bytes {
        return Ok(());
    }
    Err(EngineError::io(format!(
        "{name} has {bytes} bytes, but has been read to byte {offset} already: it has shrunk or been replaced. Bring the file \
         back as it was, or start the job afresh without the checkpoint"
    )))
}

/// Like `read_at`, but goes on after an interruption.
pub(super) fn read_at(file: &File, space: &mut [u8], offset: u64) -> std::io::Result<usize> {
    loop {
        match file.read_at(space, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl SplitReader for FileReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(self.lines.position())
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        self.lines.locate_rows(rows)
    }

    fn bytes_behind(&self) -> u64 {
        self.lines.position().offset
    }
}
