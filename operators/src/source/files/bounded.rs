//! Files that are read once, from beginning to end: a split is a file, or for Parquet some row groups of one.
//!
//! Invariant: which splits there are is decided once, at the first start, and kept in the checkpoints; the n-th of them by
//! name belongs to subtask n modulo the parallelism. A file that has come since is not read, one that has gone is an error.
//! Subtasks look at the files one after the other, or on several machines, while others may be writing them: so that all count
//! through the same list, they agree on that of the first; of Parquet files, also on how it has cut each.

use super::{
    avro_split::{AvroFileSettings, AvroPosition, AvroSplitReader},
    empty_columns::{EmptyColumns, ToldFiles},
    file_reader::{FilePosition, FileReader},
    lines::LineSettings,
    listing::{FoundFile, Location, OtherNames, Place, Wanted},
    parquet_split::{ParquetSettings, ParquetSplitReader, PlannedFile, StoredParquetSplit},
    passed_over::Teller,
};
use crate::source::split_reader::{Connector, Nature, OpenedSplit, RestoredSplit};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
};
use weir_engine::{
    checkpoint::Staging,
    env::Env,
    error::{EngineError, Result},
    ids::Attempt,
};

/// The least bytes read at once.
const LEAST_CHUNK_BYTES: usize = 16 << 10;
/// Bytes that the files of a subtask hold in memory together, more or less.
const CHUNKS_BYTES: usize = 64 << 20;

/// How the records of bounded files are read.
#[derive(Clone, Debug)]
pub(super) enum RecordSettings {
    Lines(Arc<LineSettings>),
    Parquet(Arc<ParquetSettings>),
    Avro(Arc<AvroFileSettings>),
}

/// What subtasks agree on about Parquet files. Versions before this one agree on names alone: where their workers and ours start
/// one attempt together, each subtask cuts the files itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Agreed {
    Planned { files: Vec<PlannedFile> },
    Named(Vec<String>),
}

/// The same as it is written.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    files: &'a [PlannedFile],
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
    pub(super) attempt: Attempt,
    /// Where subtasks agree.
    pub(super) staging: Staging,
}

impl BoundedFiles {
    async fn open_all(&self, restored: Vec<RestoredSplit>) -> Result<Vec<OpenedSplit>> {
        let wanted = match &self.records {
            RecordSettings::Lines(_) => Wanted::Lines,
            RecordSettings::Parquet(_) => Wanted::Parquet,
            RecordSettings::Avro(_) => Wanted::Avro,
        };
        let files = if restored.is_empty() {
            self.first_files(wanted).await.map_err(|error| error.context(format!("path = \"{}\"", self.path)))?
        } else {
            self.list_again(wanted, &restored).await?
        };
        self.env.crash_point("files.listed")?;
        match &self.records {
            RecordSettings::Lines(settings) => self.open_lines(&files, restored, settings),
            RecordSettings::Parquet(settings) => {
                let splits = match restored.is_empty() {
                    true => self.first_splits(files, settings).await?,
                    false => restored_splits(&files, restored)?,
                };
                Ok(self.open_parquet(splits, settings))
            }
            RecordSettings::Avro(settings) => self.open_avro(&files, restored, settings),
        }
    }

    /// The files that there are at the first start, for all subtasks. On Parquet files they agree [later](Self::first_splits).
    async fn first_files(&self, wanted: Wanted) -> Result<Vec<FoundFile>> {
        let files = self.location.list_some(wanted, OtherNames::PassOver).await?;
        if self.parallelism == 1 || wanted == Wanted::Parquet {
            return Ok(files);
        }
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let agreed: Option<Vec<String>> = self.agree(as_json(&names)?).await?;
        match agreed {
            None => Ok(files),
            Some(agreed) => self.files_of(&agreed, wanted).await,
        }
    }

    /// The splits of Parquet files that there are at the first start, for all subtasks. A file that is being written can be read
    /// as a whole by one of them, and has not been readable for another one before: with splits of its own each would also count
    /// those of the files behind it in another way.
    async fn first_splits(
        &self,
        files: Vec<FoundFile>,
        settings: &ParquetSettings,
    ) -> Result<Vec<(FoundFile, StoredParquetSplit)>> {
        let planned = plan_all(&files, settings).await?;
        if self.parallelism == 1 {
            return Ok(splits_of(files, planned));
        }
        let agreed: Option<Agreed> = self.agree(as_json(&Planned { files: &planned })?).await?;
        match agreed {
            None => Ok(splits_of(files, planned)),
            Some(Agreed::Planned { files: agreed }) => {
                let names: Vec<String> = agreed.iter().map(|planned| planned.file.clone()).collect();
                Ok(splits_of(self.files_of(&names, Wanted::Parquet).await?, agreed))
            }
            Some(Agreed::Named(names)) => {
                let files = self.files_of(&names, Wanted::Parquet).await?;
                let planned = plan_all(&files, settings).await?;
                Ok(splits_of(files, planned))
            }
        }
    }

    /// What another subtask has said before this one did; none: it has said the same, or nothing.
    async fn agree<T: DeserializeOwned>(&self, said: Vec<u8>) -> Result<Option<T>> {
        let agreed = self.staging.agree(&self.env, self.attempt, said.clone().into()).await?;
        if agreed == said {
            return Ok(None);
        }
        let unreadable = |error: serde_json::Error| {
            EngineError::corrupt(format!("the list of files that subtasks agree on: {error}"))
        };
        serde_json::from_slice(&agreed).map(Some).map_err(unreadable)
    }

    /// The files that subtasks have agreed on. Some have come or gone since another subtask has looked, or since this one has.
    async fn files_of(&self, agreed: &[String], wanted: Wanted) -> Result<Vec<FoundFile>> {
        let now = self.location.list(wanted, OtherNames::PassOver).await?;
        let found = |name: &String| match now.binary_search_by(|file| file.name.as_str().cmp(name)) {
            Ok(index) => Ok(now[index].clone()),
            Err(_) => Err(EngineError::io(format!("{name} was there when the job was started, and is gone"))),
        };
        agreed.iter().map(found).collect()
    }

    /// The files that there are at a restart. One that a checkpoint knows is among them by the name that it has there.
    async fn list_again(&self, wanted: Wanted, restored: &[RestoredSplit]) -> Result<Vec<FoundFile>> {
        let mut files = self.location.list(wanted, OtherNames::PassOver).await?;
        let known = |split: &RestoredSplit| match &self.records {
            RecordSettings::Lines(_) | RecordSettings::Avro(_) => split.id.clone(),
            RecordSettings::Parquet(_) => split.id.rsplit_once('#').map_or("", |(file, _)| file).to_owned(),
        };
        let known: BTreeSet<String> = restored.iter().map(known).collect();
        let found: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let missing: Vec<&String> = known.iter().filter(|name| !found.contains(name.as_str())).collect();
        if !missing.is_empty() {
            let all = self.location.clone().telling(Teller::default()).list(wanted, OtherNames::Keep).await?;
            let more: Vec<FoundFile> = all.into_iter().filter(|file| missing.contains(&&file.name)).collect();
            files.extend(more);
            files.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(files)
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
        let splits: Vec<(FoundFile, FilePosition)> = self.whole_files(files, restored)?;
        let share = (CHUNKS_BYTES / splits.len().max(1)).max(LEAST_CHUNK_BYTES);
        let told = ToldFiles::default();
        let open = |(file, position): (FoundFile, FilePosition)| {
            let (id, name) = (file.name.clone(), file.name.clone());
            let empty_columns =
                if settings.format.declares_columns() { EmptyColumns::of_file(&told) } else { EmptyColumns::untold() };
            let reader = FileReader::new(file, settings.clone(), position, share, empty_columns, self.env.clone());
            OpenedSplit { id, name, reader: Box::new(reader), newest_before_ms: None, oldest_ms: None }
        };
        Ok(splits.into_iter().map(open).collect())
    }

    fn open_avro(
        &self,
        files: &[FoundFile],
        restored: Vec<RestoredSplit>,
        settings: &Arc<AvroFileSettings>,
    ) -> Result<Vec<OpenedSplit>> {
        let open = |(file, position): (FoundFile, AvroPosition)| {
            let (id, name) = (file.name.clone(), file.name.clone());
            let reader = AvroSplitReader::new(file, settings.clone(), position, self.env.clone());
            OpenedSplit { id, name, reader: Box::new(reader), newest_before_ms: None, oldest_ms: None }
        };
        Ok(self.whole_files(files, restored)?.into_iter().map(open).collect())
    }

    /// This subtask's files, where each is one split, and where to continue in them.
    fn whole_files<P: Default + DeserializeOwned>(
        &self,
        files: &[FoundFile],
        restored: Vec<RestoredSplit>,
    ) -> Result<Vec<(FoundFile, P)>> {
        if restored.is_empty() {
            return Ok(self.own(files.iter().cloned()).into_iter().map(|file| (file, P::default())).collect());
        }
        let mut positions = BTreeMap::new();
        for split in restored {
            let file = find(files, &split.id, split.finished)?;
            positions.insert(split.id.clone(), (file, read_position(&split)?));
        }
        warn_of_new_files(files, |name| positions.contains_key(name));
        Ok(self.own(positions.into_values()))
    }

    /// This subtask's splits, out of all.
    fn open_parquet(
        &self,
        splits: Vec<(FoundFile, StoredParquetSplit)>,
        settings: &Arc<ParquetSettings>,
    ) -> Vec<OpenedSplit> {
        let open = |(file, stored): (FoundFile, StoredParquetSplit)| {
            stored.tell_unreadable();
            OpenedSplit {
                id: stored.id(),
                name: file.name.clone(),
                newest_before_ms: stored.newest_before_ms(),
                oldest_ms: None,
                reader: Box::new(ParquetSplitReader::new(file, settings.clone(), stored, self.env.clone())),
            }
        };
        self.own(splits).into_iter().map(open).collect()
    }
}

fn as_json(said: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(said).map_err(|error| EngineError::internal(error.to_string()))
}

/// How each file is cut.
async fn plan_all(files: &[FoundFile], settings: &ParquetSettings) -> Result<Vec<PlannedFile>> {
    let mut planned = Vec::with_capacity(files.len());
    for file in files {
        planned.push(settings.plan(file).await?);
    }
    Ok(planned)
}

/// The splits of files, which are planned in this order.
fn splits_of(files: Vec<FoundFile>, planned: Vec<PlannedFile>) -> Vec<(FoundFile, StoredParquetSplit)> {
    let mut splits = Vec::new();
    for (file, planned) in files.into_iter().zip(planned) {
        splits.extend(planned.into_splits().into_iter().map(|split| (file.clone(), split)));
    }
    splits
}

/// All splits of a checkpoint, in the order that there was at the first start.
fn restored_splits(files: &[FoundFile], restored: Vec<RestoredSplit>) -> Result<Vec<(FoundFile, StoredParquetSplit)>> {
    let mut positions = BTreeMap::new();
    for split in restored {
        let stored: StoredParquetSplit = read_position(&split)?;
        let file = find(files, &stored.file, split.finished)?;
        positions.insert((stored.file.clone(), stored.first_row), (file, stored));
    }
    let known: BTreeSet<&str> = positions.keys().map(|(file, _)| file.as_str()).collect();
    warn_of_new_files(files, |name| known.contains(name));
    Ok(positions.into_values().collect())
}

impl Connector for BoundedFiles {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        async move { self.open_all(restored).await }.boxed()
    }

    fn nature(&self) -> Nature {
        Nature::BOUNDED
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
        "{name} is not there any more, but the checkpoint that the job resumes from has not read it to its end: bring the \
         file back, or start the job over without the checkpoint"
    )))
}

pub(super) fn read_position<T: DeserializeOwned>(split: &RestoredSplit) -> Result<T> {
    serde_json::from_value(split.position.clone())
        .map_err(|error| EngineError::corrupt(format!("the position of split '{}' cannot be read: {error}", split.id)))
}

fn warn_of_new_files(files: &[FoundFile], known: impl Fn(&str) -> bool) {
    let new: Vec<&str> = files.iter().map(|file| file.name.as_str()).filter(|name| !known(name)).collect();
    if !new.is_empty() {
        tracing::warn!(
            files = new.join(", "),
            "files that came after the job's first start are not read; use follow = true to read new files"
        );
    }
}

/// Like `read_at`, but continues after an interruption.
pub(super) fn read_at(file: &File, space: &mut [u8], offset: u64) -> std::io::Result<usize> {
    loop {
        match file.read_at(space, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Fills the space from `offset` on, or as much of it as the file has.
pub(super) fn read_fully(file: &File, space: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while read < space.len() {
        match read_at(file, &mut space[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
