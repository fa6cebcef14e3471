//! The manifest: everything that a checkpoint consists of, as JSON.
//!
//! A checkpoint exists when its manifest exists; what no manifest names does not exist. The last member is a checksum of the
//! text before it, so that a damaged manifest is recognised.

use crate::{
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
    key_group::KeyGroupRange,
    operator::{Committable, SplitState},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stored_subtask::StoredSubtask;

mod stored_subtask;

/// Version of the format that this program writes; it reads this and all older ones. Since 2 it notes the lineage and what sinks
/// hold, paths are relative to the storage, and each file is named once; of version 1 there are manifests with some of that. Since
/// 3 positions of splits may lie in files of their own. Of version 4 are those that note an identity.
pub const FORMAT_VERSION: u32 = 4;

/// The version that says what a manifest with this identity, or none, has: earlier programs read all that they understand.
pub fn format_version(identity: Option<&str>) -> u32 {
    if identity.is_some() { FORMAT_VERSION } else { 3 }
}

/// A completed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub weir_version: String,
    /// Name of the job.
    pub job: String,
    /// What record ids are made from, where that is not the name: of a fork, and of a replay. A job goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Fingerprint of the definition, without parallelism and paths of this run.
    pub definition: String,
    /// Which lineage it is of: checkpoints of each are numbered from 1.
    #[serde(default)]
    pub lineage: Lineage,
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// Who took it.
    pub attempt: Attempt,
    /// When it was completed, milliseconds since the epoch; for people.
    pub completed_at_ms: i64,
    /// From trigger to completion, in milliseconds; for people.
    pub duration_ms: u64,
    /// Whether all input had ended before it: the job is finished.
    pub last: bool,
    /// Number of key groups.
    pub max_parallelism: u16,
    /// One entry per node of the job.
    pub operators: Vec<OperatorState>,
    /// What sinks staged for this checkpoint.
    pub committables: Vec<Committable>,
    /// What sinks staged for earlier checkpoints and was not known to be committed yet, in order.
    pub uncommitted: Vec<Committable>,
    /// By sink: the newest checkpoint of the lineage, up to this one, that has results for it, 0 if none has. What sinks hold is
    /// compared with that. Of a sink that is missing it is not known: earlier versions did not note it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: Results,
}

/// By sink: a checkpoint.
pub type Results = BTreeMap<String, CheckpointId>;

/// A node's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorState {
    /// The node's id.
    pub operator: String,
    /// One entry per subtask.
    pub subtasks: Vec<SubtaskState>,
}

/// The state of one subtask of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "StoredSubtask", try_from = "StoredSubtask")]
pub struct SubtaskState {
    /// Index of the subtask.
    pub subtask: usize,
    /// The key groups that it owned.
    pub key_groups: Option<KeyGroupRange>,
    /// Counters as of the barrier.
    pub counters: BTreeMap<String, u64>,
    /// Positions of a source's splits.
    pub splits: Vec<SplitState>,
    /// The same, of those that lie in files of their own.
    pub split_files: Vec<SplitFile>,
    /// Keyed state, by segment.
    pub segments: Vec<SegmentState>,
}

/// The position of a split, in a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitFile {
    /// Identity of the split.
    pub id: String,
    /// The file.
    #[serde(flatten)]
    pub file: FileRef,
}

/// One segment of keyed state: the rows of these parts, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentState {
    /// The segment's name.
    pub id: String,
    /// Where its rows lie.
    pub parts: Vec<FilePart>,
}

/// Row groups of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FilePart {
    /// The file.
    pub file: FileRef,
    /// First row group of the segment.
    pub first_row_group: usize,
    /// Number of row groups.
    pub row_groups: usize,
    /// The key groups whose rows count. Rows of others are another subtask's, which may have replaced them since.
    pub key_groups: KeyGroupRange,
    /// How often parts have been merged into it.
    pub level: u8,
    /// Bytes of these row groups; 0: not known, as in manifests of earlier versions.
    pub part_bytes: u64,
}

impl FilePart {
    /// Bytes that reading it takes: at most those of its file.
    pub fn size(&self) -> u64 {
        if self.part_bytes > 0 { self.part_bytes } else { self.file.bytes }
    }
}

/// A file of the checkpoint store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileRef {
    /// Path within the storage.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3-128 of the content, as 32 hex digits.
    pub checksum: String,
}

impl Manifest {
    /// Notes which results of each sink come before those of this checkpoint, and that these are the newest now.
    pub fn note_results(&mut self, before: &Results) {
        self.results = before.clone();
        for committable in &mut self.committables {
            committable.after = before.get(&committable.sink).copied();
            if !committable.is_without_results {
                self.results.insert(committable.sink.clone(), committable.checkpoint);
            }
        }
    }

    /// As stored.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_string(self)
            .map_err(|error| EngineError::internal(format!("manifest {}: {error}", self.checkpoint)))?;
        text.truncate(text.rfind('}').unwrap_or(text.len()));
        let checksum = checksum(text.as_bytes());
        text.push_str(&format!(",\n  \"checksum\": \"{checksum}\"\n}}\n"));
        Ok(text.into_bytes())
    }

    /// From what was stored.
    ///
    /// # Errors
    /// When it is damaged, or written by a newer program; `path` is named.
    pub fn from_bytes(bytes: &[u8], path: &str) -> Result<Self> {
        let damaged = |what: String| {
            EngineError::corrupt(format!(
                "checkpoint manifest '{path}' is damaged ({what}) and refused. \
                 Restore the object from a backup, or start over with --fresh"
            ))
        };
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let (body, tail) =
            text.rsplit_once(",\n  \"checksum\": \"").ok_or_else(|| damaged("its checksum is missing".into()))?;
        let stated = tail.strip_suffix("\"\n}\n").ok_or_else(|| damaged("it is cut off".into()))?;
        let actual = checksum(body.as_bytes());
        if stated != actual {
            return Err(damaged(format!("checksum {actual} instead of {stated}")));
        }
        let value: serde_json::Value =
            serde_json::from_str(&format!("{body}}}")).map_err(|error| damaged(error.to_string()))?;
        let version = value.get("format_version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version > u64::from(FORMAT_VERSION) {
            return Err(EngineError::corrupt(format!(
                "checkpoint manifest '{path}' has format version {version}; this program reads up to {FORMAT_VERSION}: use a newer one"
            )));
        }
        serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
    }

    /// Every state file that it needs.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let subtasks = self.operators.iter().flat_map(|operator| &operator.subtasks);
        subtasks.flat_map(|subtask| {
            let parts = subtask.segments.iter().flat_map(|segment| &segment.parts).map(|part| &part.file);
            parts.chain(subtask.split_files.iter().map(|split| &split.file))
        })
    }

    /// The same, to change them.
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileRef> {
        let subtasks = self.operators.iter_mut().flat_map(|operator| &mut operator.subtasks);
        subtasks.flat_map(|subtask| {
            let parts = subtask.segments.iter_mut().flat_map(|segment| &mut segment.parts).map(|part| &mut part.file);
            parts.chain(subtask.split_files.iter_mut().map(|split| &mut split.file))
        })
    }

    /// What must be committed when this is the newest checkpoint, oldest first.
    pub fn to_commit(&self) -> impl Iterator<Item = &Committable> {
        self.uncommitted.iter().chain(&self.committables)
    }

    /// Whether it stands for the beginning: nothing had been read, and it was only taken to reserve its number.
    pub fn is_beginning(&self) -> bool {
        self.operators.is_empty()
    }

    /// The state of a node.
    pub fn operator(&self, id: &str) -> Option<&OperatorState> {
        self.operators.iter().find(|operator| operator.operator == id)
    }

    /// Sum of a node's counters over its subtasks.
    pub fn counters(&self, id: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for subtask in self.operator(id).into_iter().flat_map(|operator| &operator.subtasks) {
            for (name, value) in &subtask.counters {
                *sums.entry(name.clone()).or_default() += value;
            }
        }
        sums
    }
}

/// The checksum that manifests use for files and for themselves: XXH3-128 as 32 hex digits.
pub fn checksum(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest(checkpoint: u64, files: &[&str]) -> Manifest {
        let key_groups = KeyGroupRange::all(128);
        let part = |file| FilePart { file, first_row_group: 0, row_groups: 1, key_groups, level: 0, part_bytes: 1 };
        let file = |path: &&str| FileRef { path: (*path).into(), bytes: 1, checksum: checksum(b"x") };
        let parts = files.iter().map(|path| part(file(path))).collect();
        let segments = vec![SegmentState { id: "s".into(), parts }];
        let subtask = SubtaskState { segments, ..SubtaskState::default() };
        Manifest {
            format_version: format_version(None),
            weir_version: "0".into(),
            job: "job".into(),
            identity: None,
            definition: "d".into(),
            lineage: Lineage::NAMELESS,
            checkpoint: CheckpointId(checkpoint),
            attempt: Attempt(1),
            completed_at_ms: 0,
            duration_ms: 0,
            last: false,
            max_parallelism: 128,
            operators: vec![OperatorState { operator: "dedup".into(), subtasks: vec![subtask] }],
            committables: vec![],
            uncommitted: vec![],
            results: Results::new(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let written = manifest(3, &["a", "b"]);
        let bytes = written.to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(&bytes, "m").unwrap(), written);
        serde_json::from_slice::<serde_json::Value>(&bytes).expect("it is plain JSON for everybody else");
    }

    #[test]
    fn a_file_with_many_parts_is_named_once_and_its_parts_are_short() {
        let mut written = manifest(3, &["jobs/job/state/0000000001/0000000003/dedup.unique-0.parquet"]);
        let segment = written.operators[0].subtasks[0].segments[0].clone();
        let other = KeyGroupRange { start: 3, end: 7 };
        let segments = (0..100u8).map(|n| {
            let part = FilePart { level: n % 5, first_row_group: n.into(), ..segment.parts[0].clone() };
            SegmentState { id: n.to_string(), parts: vec![part.clone(), FilePart { key_groups: other, ..part }] }
        });
        written.operators[0].subtasks[0].segments = segments.collect();
        let bytes = written.to_bytes().unwrap();
        assert_eq!(Manifest::from_bytes(&bytes, "m").unwrap(), written);
        assert!(bytes.len() < 20_000, "{}", bytes.len());
    }

    #[test]
    fn splits_that_lie_in_files_are_named_and_their_files_needed() {
        let mut written = manifest(3, &["a"]);
        let file = FileRef { path: "b".into(), bytes: 7, checksum: checksum(b"y") };
        written.operators[0].subtasks[0].split_files = vec![SplitFile { id: "split".into(), file }];
        let read = Manifest::from_bytes(&written.to_bytes().unwrap(), "m").unwrap();
        assert_eq!(read, written);
        assert_eq!(read.files().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        written.files_mut().for_each(|file| file.path.push('2'));
        assert_eq!(written.files().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a2", "b2"]);
    }

    /// As programs wrote it that knew neither lineages nor the list of files.
    pub(crate) fn of_the_first_format(checkpoint: u64, file: &str) -> String {
        let text = r#"{
  "format_version": 1, "weir_version": "0", "job": "job", "definition": "d", "checkpoint": CHECKPOINT, "attempt": 1,
  "completed_at_ms": 0, "duration_ms": 0, "last": false, "max_parallelism": 128,
  "operators": [{ "operator": "dedup", "subtasks": [{
    "subtask": 0, "key_groups": { "start": 0, "end": 128 },
    "segments": [{ "id": "s", "parts": [{
      "path": "FILE", "bytes": 1, "checksum": "c", "first_row_group": 0, "row_groups": 1, "key_groups": { "start": 0, "end": 64 }
    }] }]
  }] }],
  "committables": [], "uncommitted": []"#;
        let text = text.replace("CHECKPOINT", &checkpoint.to_string()).replace("FILE", file);
        format!("{text},\n  \"checksum\": \"{}\"\n}}\n", checksum(text.as_bytes()))
    }

    #[test]
    fn manifests_of_the_first_format_are_read() {
        let stored = of_the_first_format(3, "a");
        let read = Manifest::from_bytes(stored.as_bytes(), "m").unwrap();
        let part = &read.operators[0].subtasks[0].segments[0].parts[0];
        let key_groups = KeyGroupRange { start: 0, end: 64 };
        assert_eq!((part.file.path.as_str(), part.key_groups, part.level, part.size()), ("a", key_groups, 0, 1));
        assert_eq!((read.lineage, read.results), (Lineage::NAMELESS, Results::new()));
        // Those that noted the lineage already.
        let stored = of_the_first_format(3, "a");
        let (body, _) = stored.rsplit_once(",\n  \"checksum\"").unwrap();
        let body = body.replacen('{', "{ \"lineage\": 2,", 1);
        let stored = format!("{body},\n  \"checksum\": \"{}\"\n}}\n", checksum(body.as_bytes()));
        assert_eq!(Manifest::from_bytes(stored.as_bytes(), "m").unwrap().lineage, Lineage(2));
    }

    #[test]
    fn every_damage_is_recognised() {
        let bytes = manifest(3, &["a"]).to_bytes().unwrap();
        for end in 0..bytes.len() {
            let error = Manifest::from_bytes(&bytes[..end], "m").unwrap_err();
            assert_eq!(error.kind, crate::ErrorKind::Corrupt);
        }
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(Manifest::from_bytes(&damaged, "m").is_err(), "bit flipped at {position}");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let mut newer = manifest(1, &[]);
        newer.format_version = FORMAT_VERSION + 1;
        let error = Manifest::from_bytes(&newer.to_bytes().unwrap(), "m").unwrap_err();
        assert!(error.message.contains("use a newer one"), "{error}");
    }
}
