//! Merging the parts of segments, so that their number depends neither on a job's age nor on how often checkpoints are taken.
//!
//! The rule is size-tiered, as in log-structured stores: some neighbouring parts of one level become one of the next. So a
//! segment that *n* checkpoints added to has at most [`FAN_IN`] − 1 parts of each of log(*n*) levels, and each row is written
//! again once a level. Parts of many megabytes are left as they are. A segment that rests becomes one part, unless a little
//! would cause much to be written again.
//!
//! Nothing waits for it. Merged parts are written to a file of their own and replace their sources in the next
//! checkpoint ([`SegmentLedger`](super::segment_ledger::SegmentLedger)); the sources go with the last manifest that names them.
//! The file carries its attempt: what a dead one has merged is removed like everything else it wrote.
//!
//! Invariant: merged parts have the same key groups, so that what counts in them stays the same; and they follow each other, so
//! that rows keep their order. Sources are read one after the other, each checked, and written on batch by batch.

use super::{
    CheckpointStore,
    draft::Draft,
    manifest::{FilePart, FileRef},
    recent_files::RecentFiles,
    state_file,
};
use crate::{
    env::Env,
    error::{EngineError, Result},
    parquet_pages::PlainParquetWriter,
};
use arrow::record_batch::RecordBatch;
use object_store::path::Path;
use std::ops::Range;

/// Parts of one level that become one of the next.
pub const FAN_IN: usize = 4;
/// Checkpoints after which a segment whose rows did not change rests.
const RESTED: usize = 2 * FAN_IN;
/// A merged file has no more bytes than this: a store that takes objects whole needs them in memory.
pub const MOST_BYTES: u64 = 64 << 20;
/// A part of more bytes is merged no more: there are few of them, whatever the state's size.
const FULL_BYTES: u64 = MOST_BYTES / FAN_IN as u64;
/// Rows that become a row group, or fewer if they are of so many bytes.
const GROUP_ROWS: usize = 1 << 20;
const GROUP_BYTES: usize = 16 << 20;

/// Neighbouring parts of a segment that should become one.
#[derive(Clone, Debug, PartialEq)]
pub struct ToMerge {
    /// The segment.
    pub segment: String,
    /// In their order.
    pub parts: Vec<FilePart>,
}

/// What came of it: one file.
#[derive(Debug)]
pub struct Merged {
    /// The file.
    pub file: FileRef,
    /// What was merged, and the part of the file that takes its place.
    pub parts: Vec<(ToMerge, FilePart)>,
}

/// Which parts of a segment should become one, of one that has not changed for so many checkpoints.
pub fn choose(parts: &[FilePart], rested: usize) -> Option<Range<usize>> {
    let rests = rested >= RESTED;
    mergeable(parts).find_map(|range| {
        let found = of_one_level(parts, range.clone());
        if rests { found.or_else(|| newest(parts, range)) } else { found }
    })
}

/// The longest runs of parts that may become one: with the same key groups, and none of them full.
fn mergeable(parts: &[FilePart]) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        next += parts[next..].iter().take_while(|part| part.size() > FULL_BYTES).count();
        let key_groups = parts.get(next)?.key_groups;
        let belongs = |part: &&FilePart| part.key_groups == key_groups && part.size() <= FULL_BYTES;
        let first = next;
        next += parts[first..].iter().take_while(belongs).count();
        Some(first..next)
    })
}

/// Enough neighbours of the lowest level that has them.
fn of_one_level(parts: &[FilePart], within: Range<usize>) -> Option<Range<usize>> {
    let mut found: Option<Range<usize>> = None;
    let mut first = within.start;
    while first < within.end {
        let level = parts[first].level;
        let of_level = |part: &&FilePart| part.level == level;
        let length = parts[first..within.end].iter().take_while(of_level).count();
        let run = first..first + fitting(parts[first..first + length].iter());
        if run.len() >= FAN_IN && found.as_ref().is_none_or(|found| level < parts[found.start].level) {
            found = Some(run);
        }
        first += length;
    }
    found
}

/// The newest part and those before it, up to one that is so much larger that it would be written again for little.
fn newest(parts: &[FilePart], within: Range<usize>) -> Option<Range<usize>> {
    let mut level = parts[within.end - 1].level;
    let joins = |part: &&FilePart| {
        let joins = part.level <= level + 1;
        level = level.max(part.level);
        joins
    };
    let alike = parts[within.clone()].iter().rev().take_while(joins);
    let length = fitting(alike);
    (length >= 2).then(|| within.end - length..within.end)
}

/// How many parts are not too much together.
fn fitting<'a>(parts: impl Iterator<Item = &'a FilePart>) -> usize {
    let mut bytes = 0;
    parts
        .take_while(|part| {
            bytes += part.size();
            bytes <= MOST_BYTES
        })
        .count()
}

/// Merges, into a file at `path` that must be new.
///
/// # Errors
/// When a part cannot be read or is damaged, or the file cannot be written.
pub async fn merge(store: &CheckpointStore, env: &Env, planned: Vec<ToMerge>, path: &Path) -> Result<Merged> {
    let mut recent = RecentFiles::new(store, env);
    let mut file = MergedFile { draft: Some(store.draft(env, path)), writer: None, row_groups: 0 };
    let mut written = Vec::with_capacity(planned.len());
    for to_merge in planned {
        let (first_row_group, before) = (file.row_groups, file.bytes());
        for part in to_merge.parts.clone() {
            let content = recent.content(&part.file).await?;
            file = env
                .run_blocking(move || {
                    file.append(state_file::read_part(&part, content)?)?;
                    Ok(file)
                })
                .await?;
        }
        written.push((to_merge, first_row_group..file.row_groups, file.bytes() - before));
    }
    drop(recent);
    let draft = env.run_blocking(move || file.finish()).await?;
    let file = FileRef { path: path.to_string(), bytes: draft.bytes(), checksum: draft.checksum() };
    if !store.publish(env, path, draft).await? {
        return Err(EngineError::fenced(format!(
            "state file '{path}' already exists: another process runs this attempt"
        )));
    }
    let parts = written.into_iter().map(|(from, groups, part_bytes)| {
        let highest = from.parts.iter().map(|part| part.level).max().unwrap_or(0);
        let into = FilePart {
            file: file.clone(),
            first_row_group: groups.start,
            row_groups: groups.len(),
            key_groups: from.parts[0].key_groups,
            level: highest.saturating_add(1),
            part_bytes,
        };
        (from, into)
    });
    Ok(Merged { parts: parts.collect(), file })
}

/// A file in the making.
struct MergedFile {
    draft: Option<Draft>,
    writer: Option<PlainParquetWriter<Draft>>,
    row_groups: usize,
}

impl MergedFile {
    fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, PlainParquetWriter::bytes_written)
    }

    /// Writes rows on, in row groups of their own.
    fn append(&mut self, batches: impl Iterator<Item = Result<RecordBatch>>) -> Result<()> {
        let (mut group, mut rows, mut bytes) = (Vec::new(), 0, 0);
        for batch in batches {
            let batch = batch?;
            rows += batch.num_rows();
            bytes += batch.get_array_memory_size();
            group.push(batch);
            if rows >= GROUP_ROWS || bytes >= GROUP_BYTES {
                self.write(&group)?;
                group.clear();
                (rows, bytes) = (0, 0);
            }
        }
        self.write(&group)
    }

    fn write(&mut self, group: &[RecordBatch]) -> Result<()> {
        let Some(first) = group.iter().find(|batch| batch.num_rows() > 0) else { return Ok(()) };
        let failed = |error| EngineError::internal(format!("merging state: {error}"));
        if let Some(draft) = self.draft.take() {
            self.writer = Some(PlainParquetWriter::try_new(draft, first.schema()).map_err(failed)?);
        }
        if let Some(writer) = &mut self.writer {
            writer.write_group(group).map_err(failed)?;
            self.row_groups += 1;
        }
        Ok(())
    }

    fn finish(self) -> Result<Draft> {
        match (self.writer, self.draft) {
            (Some(writer), _) => {
                let finished = writer.finish();
                Ok(finished.map_err(|error| EngineError::internal(format!("merging state: {error}")))?.output)
            }
            (None, Some(draft)) => Ok(draft),
            (None, None) => Err(EngineError::internal("a merged file without a place")),
        }
    }
}

#[cfg(test)]
mod tests;
