//! Positions of a source's splits that lie in files of their own: of a source with very many splits, most of what a checkpoint
//! says is what the one before said, and must not be written again with each manifest.
//!
//! Invariant: a state is referred to as a file only while the source hands it over as it was written. One that is large and the
//! same for the second time is written, once in an attempt; all others stand in the manifest itself.

use super::{
    CheckpointStore,
    manifest::{FileRef, SplitFile, SubtaskState},
};
use crate::{
    env::Env,
    error::{EngineError, Result},
    operator::SplitState,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Smaller states stand in the manifest: a reference takes some 200 bytes.
pub const LARGE_BYTES: usize = 4 << 10;

/// The large states of one subtask's splits, as the checkpoint before had them.
#[derive(Debug, Default)]
pub struct SplitLedger(BTreeMap<String, Large>);

#[derive(Debug)]
struct Large {
    state: Value,
    /// None: it was there once.
    file: Option<FileRef>,
}

/// What becomes of the splits in a checkpoint.
#[derive(Debug, Default, PartialEq)]
pub struct Sorted {
    /// They stand in the manifest.
    pub inline: Vec<SplitState>,
    /// They lie in files already.
    pub filed: Vec<SplitFile>,
    /// They are to be written.
    pub settled: Vec<SplitState>,
}

impl SplitLedger {
    /// Sorts what a source has handed over. What it does not hand over any more is forgotten.
    pub fn sort(&mut self, splits: Vec<SplitState>) -> Sorted {
        let mut before = std::mem::take(&mut self.0);
        let mut sorted = Sorted::default();
        for split in splits {
            if text_bytes(&split.state) < LARGE_BYTES {
                sorted.inline.push(split);
                continue;
            }
            let (id, known) = (split.id.clone(), before.remove(&split.id));
            let large = match known.filter(|known| known.state == split.state) {
                Some(known) => {
                    match &known.file {
                        Some(file) => sorted.filed.push(SplitFile { id: split.id, file: file.clone() }),
                        None => sorted.settled.push(split),
                    }
                    known
                }
                None => {
                    let large = Large { state: split.state.clone(), file: None };
                    sorted.inline.push(split);
                    large
                }
            };
            self.0.insert(id, large);
        }
        sorted
    }

    /// One of those that were to be written lies there.
    pub fn written(&mut self, written: &SplitFile) {
        if let Some(large) = self.0.get_mut(&written.id) {
            large.file = Some(written.file.clone());
        }
    }
}

/// About what it takes in a manifest: its texts.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + text_bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// A split's state as the content of a file: JSON, as in a manifest.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn encode(split: &SplitState) -> Result<Vec<u8>> {
    let cannot = |error| EngineError::internal(format!("the state of split '{}': {error}", split.id));
    serde_json::to_vec(split).map_err(cannot)
}

/// All splits of a subtask, wherever their states lie.
///
/// # Errors
/// When a file is not there, cannot be read or is damaged.
pub async fn read(store: &CheckpointStore, env: &Env, subtask: &SubtaskState) -> Result<Vec<SplitState>> {
    let mut splits = subtask.splits.clone();
    for SplitFile { id, file } in &subtask.split_files {
        let content = store.read_state(env, file).await?;
        let unlike = |what: String| EngineError::corrupt(format!("state file '{}': {what}", file.path));
        let split: SplitState = serde_json::from_slice(&content).map_err(|error| unlike(error.to_string()))?;
        if split.id != *id {
            return Err(unlike(format!("it is of split '{}' instead of '{id}'", split.id)));
        }
        splits.push(split);
    }
    Ok(splits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ErrorKind,
        checkpoint::manifest::checksum,
        ids::{Attempt, CheckpointId},
    };
    use serde_json::json;

    fn split(id: &str, letter: &str) -> SplitState {
        SplitState { id: id.into(), state: json!({ "packed": letter.repeat(LARGE_BYTES), "number": 1 }) }
    }

    fn filed(split: &SplitState) -> SplitFile {
        let content = encode(split).unwrap();
        let file = FileRef { path: split.id.clone(), bytes: content.len() as u64, checksum: checksum(&content) };
        SplitFile { id: split.id.clone(), file }
    }

    #[test]
    fn what_is_large_and_stays_is_written_once() {
        let (mut ledger, mut written) = (SplitLedger::default(), 0);
        let small = |offset: u64| SplitState { id: "small".into(), state: json!({ "offset": offset }) };
        for checkpoint in 0..5 {
            let sorted = ledger.sort(vec![small(checkpoint), split("a", "x")]);
            let in_manifest: Vec<&str> = sorted.inline.iter().map(|split| split.id.as_str()).collect();
            assert_eq!(in_manifest, if checkpoint == 0 { vec!["small", "a"] } else { vec!["small"] });
            assert_eq!(sorted.filed.len(), usize::from(checkpoint >= 2), "in checkpoint {checkpoint}");
            for settled in &sorted.settled {
                ledger.written(&filed(settled));
                written += 1;
            }
        }
        assert_eq!(written, 1);
    }

    #[test]
    fn what_has_changed_or_was_away_stands_in_the_manifest_again() {
        let settled = || {
            let mut ledger = SplitLedger::default();
            for _ in 0..2 {
                ledger.sort(vec![split("a", "x")]).settled.iter().for_each(|split| ledger.written(&filed(split)));
            }
            ledger
        };
        let stays = Sorted { filed: vec![filed(&split("a", "x"))], ..Sorted::default() };
        assert_eq!(settled().sort(vec![split("a", "x")]), stays);
        let changed = Sorted { inline: vec![split("a", "y")], ..Sorted::default() };
        assert_eq!(settled().sort(vec![split("a", "y")]), changed);
        let mut ledger = settled();
        assert_eq!(ledger.sort(vec![]), Sorted::default());
        let again = Sorted { inline: vec![split("a", "x")], ..Sorted::default() };
        assert_eq!(ledger.sort(vec![split("a", "x")]), again);
    }

    #[test]
    fn what_could_not_be_written_is_to_be_written_again() {
        let mut ledger = SplitLedger::default();
        ledger.sort(vec![split("a", "x")]);
        for _ in 0..2 {
            assert_eq!(ledger.sort(vec![split("a", "x")]).settled, [split("a", "x")]);
        }
    }

    #[tokio::test]
    async fn what_lies_in_files_is_read_and_checked() {
        let (store, env) = (CheckpointStore::in_memory("job"), Env::default());
        let path = store.layout().split_file(Attempt(1), CheckpointId(1), "source.a", 0, 0);
        let mut named = filed(&split("a", "x"));
        named.file.path = path.to_string();
        store.create(&env, &path, encode(&split("a", "x")).unwrap().into()).await.unwrap();
        let own = SplitState { id: "b".into(), state: json!(3) };
        let subtask = |split_files| SubtaskState { splits: vec![own.clone()], split_files, ..SubtaskState::default() };
        let read_back = read(&store, &env, &subtask(vec![named.clone()])).await.unwrap();
        assert_eq!(read_back, [own.clone(), split("a", "x")]);
        let other = SplitFile { id: "c".into(), ..named.clone() };
        let error = read(&store, &env, &subtask(vec![other])).await.unwrap_err();
        assert!(error.message.contains("of split 'a' instead of 'c'"), "{error}");
        store.delete(&path).await.unwrap();
        store.create(&env, &path, encode(&split("a", "y")).unwrap().into()).await.unwrap();
        let damaged = read(&store, &env, &subtask(vec![named])).await.unwrap_err();
        assert_eq!(damaged.kind, ErrorKind::Corrupt, "{damaged}");
    }
}
