//! An archive: Parquet files in a folder for each hour of event time, as a sink with `partition_by = "hour"` writes them,
//! read once, in the order of the hours.
//!
//! Reading order: this file (which splits there are), `reader` (how one is read), [`judge`] (which rows belong).
//!
//! Invariants: nothing that is read is ever behind. A split's watermark is the start of its hour from the beginning to the
//! end, and splits that have not been started count too, so that the source's watermark is the start of the oldest hour
//! that is not through: only the windows of about as many hours as there are subtasks are open at a time.
//!
//! Which subtask reads a file at a first start follows from the file's name alone, not from its neighbours. An archive
//! may be written to while it is read, so that two subtasks need not find the same files; each file has one owner all the
//! same. Which files are read is then kept in the checkpoints.

mod judge;
mod parts;
mod reader;
#[cfg(test)]
mod tests;

pub use parts::{ArchivePart, archive_parts};

use super::{
    bounded::{find, read_position},
    listing::{FoundFile, Location, OtherNames, Wanted},
    parquet_split::ParquetSettings,
};
use crate::hour_partition::{HOUR_MS, hour_of};
use crate::source::split_reader::{Connector, Nature, OpenedSplit, RestoredSplit};
use futures::{FutureExt, future::BoxFuture};
use reader::{ArchiveSplitReader, StoredArchiveSplit};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};
use xxhash_rust::xxh3::xxh3_64;

/// Files are put together to a split until it has so many bytes: enough for the checkpoints not to be made of splits, few
/// enough for an hour to be spread over more subtasks later.
const SPLIT_BYTES: u64 = 32 << 20;

/// A range of event time, `[from, to)`, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTimeRange {
    /// The first that is in.
    pub from_ms: i64,
    /// The first that is out again.
    pub to_ms: i64,
}

impl EventTimeRange {
    /// All of event time.
    pub const ALL: EventTimeRange = EventTimeRange { from_ms: i64::MIN, to_ms: i64::MAX };

    /// The part of it that is in the hour that starts at `hour_ms`; none where nothing is.
    pub fn within_hour(self, hour_ms: i64) -> Option<EventTimeRange> {
        let from_ms = self.from_ms.max(hour_ms);
        let to_ms = self.to_ms.min(hour_ms.saturating_add(HOUR_MS));
        (from_ms < to_ms).then_some(EventTimeRange { from_ms, to_ms })
    }

    /// Whether a point in time is in it.
    pub fn contains(self, time_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&time_ms)
    }
}

/// All files of an archive.
pub(super) struct ArchiveFiles {
    pub(super) location: Location,
    /// The location as configured, for messages.
    pub(super) path: String,
    /// Rows outside of it are left out, and hours outside of it are not opened.
    pub(super) range: EventTimeRange,
    pub(super) parquet: Arc<ParquetSettings>,
    pub(super) event_time: String,
    /// A file that cannot be read is an error, and no dead letter.
    pub(super) all_or_nothing: bool,
    pub(super) subtask: usize,
    pub(super) parallelism: usize,
    pub(super) env: Env,
}

impl ArchiveFiles {
    async fn open_all(&self, restored: Vec<RestoredSplit>) -> Result<Vec<OpenedSplit>> {
        let files = match restored.is_empty() {
            true => {
                let files = self.location.list_some(Wanted::Parquet, OtherNames::PassOver).await;
                files.map_err(|error| error.context(format!("path = \"{}\"", self.path)))?
            }
            false => self.location.list(Wanted::Parquet, OtherNames::Keep).await?,
        };
        self.env.crash_point("files.listed")?;
        let splits = match restored.is_empty() {
            true => self.first_splits(&files)?,
            false => self.restored_splits(&files, restored)?,
        };
        Ok(splits.into_iter().map(|(stored, files)| self.open_split(stored, files)).collect())
    }

    /// This subtask's files, put together to splits, in the order of their hours.
    fn first_splits(&self, files: &[FoundFile]) -> Result<Vec<(StoredArchiveSplit, Vec<FoundFile>)>> {
        let mut by_hour: BTreeMap<i64, Vec<FoundFile>> = BTreeMap::new();
        for file in files {
            let hour = hour_of(&file.name).ok_or_else(|| outside_of_hours(&file.name))?;
            if self.range.within_hour(hour).is_some() && self.owns(&file.name) {
                by_hour.entry(hour).or_default().push(file.clone());
            }
        }
        let mut splits = Vec::new();
        for (hour, files) in by_hour {
            let mut bytes = u64::MAX;
            for file in files {
                if bytes >= SPLIT_BYTES {
                    splits.push((StoredArchiveSplit::of(hour, &file.name), Vec::new()));
                    bytes = 0;
                }
                bytes += file.bytes()?;
                if let Some((stored, files)) = splits.last_mut() {
                    stored.files.push(file.name.clone());
                    files.push(file);
                }
            }
        }
        Ok(splits)
    }

    fn owns(&self, name: &str) -> bool {
        xxh3_64(name.as_bytes()) % self.parallelism as u64 == self.subtask as u64
    }

    /// What of the splits of a checkpoint is this subtask's: of those in the order of their hours, every so many.
    fn restored_splits(
        &self,
        files: &[FoundFile],
        restored: Vec<RestoredSplit>,
    ) -> Result<Vec<(StoredArchiveSplit, Vec<FoundFile>)>> {
        let mut all = Vec::with_capacity(restored.len());
        for split in restored {
            all.push((read_position::<StoredArchiveSplit>(&split)?, split.finished));
        }
        all.sort_by(|(a, _), (b, _)| (a.hour_ms, &a.id).cmp(&(b.hour_ms, &b.id)));
        let own = all.into_iter().enumerate().filter(|(index, _)| index % self.parallelism == self.subtask);
        own.map(|(_, (stored, finished))| {
            let found = stored.files.iter().map(|name| find(files, name, finished)).collect::<Result<_>>()?;
            Ok((stored, found))
        })
        .collect()
    }

    fn open_split(&self, stored: StoredArchiveSplit, files: Vec<FoundFile>) -> OpenedSplit {
        OpenedSplit {
            id: stored.id.clone(),
            name: stored.id.clone(),
            newest_before_ms: None,
            oldest_ms: Some(stored.hour_ms),
            reader: Box::new(ArchiveSplitReader {
                files,
                parquet: self.parquet.clone(),
                event_time: self.event_time.clone(),
                all_or_nothing: self.all_or_nothing,
                careful: 0,
                range: self.range,
                stored,
                rows: None,
                last: None,
                env: self.env.clone(),
            }),
        }
    }
}

fn outside_of_hours(name: &str) -> EngineError {
    EngineError::definition(format!(
        "{name} is in no folder such as hour=2022-03-04T00, so the hour of its rows is not known: by_partition is for \
         what a sink with partition_by = \"hour\" has written"
    ))
}

impl Connector for ArchiveFiles {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        async move { self.open_all(restored).await }.boxed()
    }

    fn nature(&self) -> Nature {
        Nature::BOUNDED
    }
}
