//! The segments of one operator in one subtask, and where their rows lie: what a manifest says of them.
//!
//! Each checkpoint that adds rows to a segment adds a part, so parts are merged beside the processing ([`merge`](super::merge)):
//! the ledger says which, and takes up what came of it with the next checkpoint.

use super::{
    manifest::{FilePart, FileRef, SegmentState},
    merge::{self, Merged, ToMerge},
    state_file::EncodedSnapshot,
};
use crate::{
    error::{EngineError, Result},
    key_group::KeyGroupRange,
};
use std::collections::BTreeMap;

/// The segments of one operator in one subtask, and where their rows lie.
///
/// Invariant: a row counts in the parts of one subtask only. What is taken over from a checkpoint is narrowed to the subtask's
/// own key groups, so that files that several subtasks continue to use are neither counted twice nor stale when the key groups
/// change hands again.
#[derive(Debug)]
pub struct SegmentLedger {
    key_groups: KeyGroupRange,
    segments: BTreeMap<String, Kept>,
    merging: Merging,
}

#[derive(Debug, Default)]
struct Kept {
    parts: Vec<FilePart>,
    /// Checkpoints since its rows last changed.
    rested: usize,
}

/// One merge at a time: the next one is planned when a checkpoint has taken up what came of this one.
#[derive(Debug)]
enum Merging {
    No,
    Planned,
    /// It failed, and is made again after so many checkpoints. The file may come to be there nevertheless.
    Failed(usize, String),
    Done(Merged),
}

/// Checkpoints that pass after a merge that failed.
const WAIT_AFTER_FAILURE: usize = 60;

/// What a checkpoint's manifest says of the segments.
#[derive(Debug)]
pub struct Recorded {
    /// All of them.
    pub segments: Vec<SegmentState>,
    /// The path of a merged file that no manifest will name: its segments were gone, or rewritten, before a checkpoint came, or
    /// merging failed.
    pub unused: Option<String>,
}

impl SegmentLedger {
    /// For a subtask that owns these key groups.
    pub fn new(key_groups: KeyGroupRange) -> Self {
        SegmentLedger { key_groups, segments: BTreeMap::new(), merging: Merging::No }
    }

    /// Continues segments of a checkpoint, as far as they are this subtask's.
    pub fn restore(&mut self, segments: &[SegmentState]) {
        for segment in segments {
            let own = segment.parts.iter().filter_map(|part| {
                let key_groups = part.key_groups.intersection(self.key_groups)?;
                Some(FilePart { key_groups, ..part.clone() })
            });
            self.segments.entry(segment.id.clone()).or_default().parts.extend(own);
        }
    }

    /// The files that the segments lie in, with repetitions.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.segments.values().flat_map(|segment| &segment.parts).map(|part| &part.file)
    }

    /// Notes what a snapshot wrote to `file`, takes up what was merged meanwhile, and gives the segments as a manifest lists
    /// them. Segments that the snapshot did not mention are forgotten.
    ///
    /// # Errors
    /// When the snapshot continues a segment that was never written.
    pub fn record(&mut self, snapshot: &EncodedSnapshot, file: Option<&FileRef>) -> Result<Recorded> {
        let mut before = std::mem::take(&mut self.segments);
        for segment in &snapshot.segments {
            let mut kept = match (segment.continues, before.remove(&segment.id)) {
                (true, Some(kept)) => kept,
                (true, None) if segment.row_groups == 0 => {
                    return Err(EngineError::internal(format!(
                        "state segment '{}' is reported as unchanged, but was never written",
                        segment.id
                    )));
                }
                _ => Kept::default(),
            };
            let is_same = segment.continues && segment.row_groups == 0;
            kept.rested = if is_same { kept.rested + 1 } else { 0 };
            if let (Some(file), true) = (file, segment.row_groups > 0) {
                kept.parts.push(FilePart {
                    file: file.clone(),
                    first_row_group: segment.first_row_group,
                    row_groups: segment.row_groups,
                    key_groups: self.key_groups,
                    level: 0,
                    part_bytes: segment.bytes,
                });
            }
            self.segments.insert(segment.id.clone(), kept);
        }
        let unused = self.take_up();
        let states = self.segments.iter();
        let segments = states.map(|(id, kept)| SegmentState { id: id.clone(), parts: kept.parts.clone() }).collect();
        Ok(Recorded { segments, unused })
    }

    /// Parts that should become one, of as many segments as need it; none while others are being merged.
    pub fn plan_merge(&mut self) -> Option<Vec<ToMerge>> {
        if !matches!(self.merging, Merging::No) {
            return None;
        }
        let planned = self.segments.iter().filter_map(|(id, kept)| {
            let parts = kept.parts[merge::choose(&kept.parts, kept.rested)?].to_vec();
            Some(ToMerge { segment: id.clone(), parts })
        });
        let mut bytes = 0;
        let fits = |planned: &ToMerge| {
            let is_first = bytes == 0;
            bytes += planned.parts.iter().map(FilePart::size).sum::<u64>();
            is_first || bytes <= merge::MOST_BYTES
        };
        let planned: Vec<ToMerge> = planned.take_while(fits).collect();
        if planned.is_empty() {
            return None;
        }
        self.merging = Merging::Planned;
        Some(planned)
    }

    /// What came of the plan.
    pub fn merged(&mut self, merged: Merged) {
        self.merging = Merging::Done(merged);
    }

    /// Nothing came of the plan for the file at that path.
    pub fn merge_failed(&mut self, path: String) {
        self.merging = Merging::Failed(WAIT_AFTER_FAILURE, path);
    }

    /// Puts merged parts in place of those that they were made from, where these are still there. Gives the path of the file if none are.
    fn take_up(&mut self) -> Option<String> {
        let merged = match std::mem::replace(&mut self.merging, Merging::No) {
            Merging::Done(merged) => merged,
            Merging::Failed(0, path) => return Some(path),
            unfinished => {
                self.merging = match unfinished {
                    Merging::Failed(wait, path) => Merging::Failed(wait - 1, path),
                    other => other,
                };
                return None;
            }
        };
        let mut is_used = false;
        for (from, into) in merged.parts {
            let Some(kept) = self.segments.get_mut(&from.segment) else { continue };
            let found = kept.parts.windows(from.parts.len()).position(|parts| parts == from.parts);
            if let Some(first) = found {
                kept.parts.splice(first..first + from.parts.len(), [into]);
                is_used = true;
            }
        }
        (!is_used).then_some(merged.file.path)
    }
}

#[cfg(test)]
mod tests;
