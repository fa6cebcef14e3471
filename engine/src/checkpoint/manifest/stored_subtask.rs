//! A subtask's state as it is stored: each file is named once, and its parts refer to it by its place in the list. A file's name
//! is longer than all else that there is to say of a part.

use super::{FilePart, FileRef, SegmentState, SplitFile, SubtaskState};
use crate::{key_group::KeyGroupRange, operator::SplitState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

#[derive(Serialize, Deserialize)]
pub(super) struct StoredSubtask {
    subtask: usize,
    key_groups: Option<KeyGroupRange>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    counters: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    splits: Vec<SplitState>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    split_files: Vec<SplitFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    segments: Vec<StoredSegment>,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment {
    id: String,
    parts: Vec<StoredPart>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredPart {
    Listed {
        /// Its place in the list of files.
        file: usize,
        /// The first of them, and how many.
        row_groups: (usize, usize),
        /// None: those of the subtask.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_groups: Option<KeyGroupRange>,
        #[serde(default, skip_serializing_if = "is_zero")]
        level: u8,
        bytes: u64,
    },
    /// Format version 1: with the file itself.
    Whole {
        #[serde(flatten)]
        file: FileRef,
        first_row_group: usize,
        row_groups: usize,
        key_groups: KeyGroupRange,
    },
}

fn is_zero(level: &u8) -> bool {
    *level == 0
}

impl From<SubtaskState> for StoredSubtask {
    fn from(state: SubtaskState) -> Self {
        let SubtaskState { subtask, key_groups: own, counters, splits, split_files, segments } = state;
        let (mut files, mut places) = (Vec::new(), HashMap::new());
        let mut stored = |part: FilePart| {
            let FilePart { file, first_row_group, row_groups, key_groups, level, part_bytes } = part;
            let place = *places.entry(file.clone()).or_insert_with(|| {
                files.push(file);
                files.len() - 1
            });
            let key_groups = Some(key_groups).filter(|key_groups| own.as_ref() != Some(key_groups));
            let row_groups = (first_row_group, row_groups);
            StoredPart::Listed { file: place, row_groups, key_groups, level, bytes: part_bytes }
        };
        let segments = segments.into_iter().map(|segment| StoredSegment {
            id: segment.id,
            parts: segment.parts.into_iter().map(&mut stored).collect(),
        });
        let segments = segments.collect();
        StoredSubtask { subtask, key_groups: own, counters, splits, split_files, files, segments }
    }
}

impl TryFrom<StoredSubtask> for SubtaskState {
    type Error = String;

    fn try_from(stored: StoredSubtask) -> Result<Self, String> {
        let StoredSubtask { subtask, key_groups: own, counters, splits, split_files, files, segments } = stored;
        let part = |part: StoredPart| match part {
            StoredPart::Whole { file, first_row_group, row_groups, key_groups } => {
                Ok(FilePart { file, first_row_group, row_groups, key_groups, level: 0, part_bytes: 0 })
            }
            StoredPart::Listed { file, row_groups: (first_row_group, row_groups), key_groups, level, bytes } => {
                Ok(FilePart {
                    file: files.get(file).cloned().ok_or_else(|| format!("file {file} of {} is named", files.len()))?,
                    first_row_group,
                    row_groups,
                    key_groups: key_groups.or(own).ok_or("a part without key groups")?,
                    level,
                    part_bytes: bytes,
                })
            }
        };
        let segment = |segment: StoredSegment| {
            let parts = segment.parts.into_iter().map(part).collect::<Result<_, String>>()?;
            Ok(SegmentState { id: segment.id, parts })
        };
        let segments = segments.into_iter().map(segment).collect::<Result<_, String>>()?;
        Ok(SubtaskState { subtask, key_groups: own, counters, splits, split_files, segments })
    }
}
