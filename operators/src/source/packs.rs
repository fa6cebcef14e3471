//! The states of splits that do not change, in short: most of the many files of a folder are at rest, and a checkpoint says of
//! each what the one before said.
//!
//! Invariant: the state of a split is the one that stands by itself if there is one, else that in the newest pack. A pack is
//! put together once and handed over again as it is; what has changed since stands by itself, until half of a pack has.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use weir_engine::{
    error::{EngineError, Result},
    operator::SplitState,
};

/// Fewer states than this stand by themselves.
pub(super) const LEAST_STATES: usize = 64;
/// At most so many states make a pack.
pub(super) const MOST_STATES: usize = 1_024;
/// The key under which a pack has its states.
const PACKED: &str = "packed";
const NUMBER: &str = "number";

/// A pack that checkpoints hold.
pub(super) struct Pack {
    number: u64,
    text: String,
    members: usize,
    /// How many of them have not changed since.
    unchanged: usize,
}

/// The packs of a subtask.
#[derive(Default)]
pub(super) struct Packs {
    packs: Vec<Pack>,
    next: u64,
}

impl Packs {
    /// Packs states, each with the id of its split; returns the number of the pack.
    pub(super) fn pack<S: Serialize>(&mut self, states: &[(&str, S)]) -> Result<u64> {
        let cannot = |error: &dyn std::fmt::Display| {
            EngineError::internal(format!("the states of splits cannot be packed: {error}"))
        };
        let json = serde_json::to_vec(states).map_err(|error| cannot(&error))?;
        let packed = zstd::encode_all(json.as_slice(), 3).map_err(|error| cannot(&error))?;
        self.next += 1;
        let (members, text) = (states.len(), BASE64_STANDARD.encode(packed));
        self.packs.push(Pack { number: self.next, text, members, unchanged: members });
        Ok(self.next)
    }

    /// A member of a pack has changed.
    pub(super) fn changed(&mut self, number: u64) {
        if let Some(pack) = self.packs.iter_mut().find(|pack| pack.number == number) {
            pack.unchanged = pack.unchanged.saturating_sub(1);
        }
    }

    /// A member of a pack is forgotten, and must not come back: it is packed again.
    pub(super) fn forgotten(&mut self, number: u64) {
        if let Some(pack) = self.packs.iter_mut().find(|pack| pack.number == number) {
            pack.unchanged = 0;
        }
    }

    /// Drops packs half of which has changed. Their other members stand by themselves again.
    pub(super) fn drop_stale(&mut self) -> Vec<u64> {
        let is_stale = |pack: &Pack| pack.unchanged * 2 < pack.members;
        let stale = self.packs.iter().filter(|pack| is_stale(pack)).map(|pack| pack.number).collect();
        self.packs.retain(|pack| !is_stale(pack));
        stale
    }

    /// The packs as states, of the subtask that they belong to.
    pub(super) fn states(&self, subtask: usize) -> impl Iterator<Item = SplitState> {
        self.packs.iter().map(move |pack| SplitState {
            id: format!("{PACKED}-{subtask}-{}", pack.number),
            state: json!({ PACKED: pack.text, NUMBER: pack.number }),
        })
    }
}

/// The states of a checkpoint, each by itself.
///
/// # Errors
/// When a pack is damaged.
pub fn unpack(states: Vec<SplitState>) -> Result<Vec<SplitState>> {
    let (mut packs, mut unpacked): (Vec<SplitState>, Vec<SplitState>) =
        states.into_iter().partition(|state| state.state.get(PACKED).is_some());
    if packs.is_empty() {
        return Ok(unpacked);
    }
    packs.sort_by_key(|pack| pack.state[NUMBER].as_u64());
    let mut packed: HashMap<String, Value> = HashMap::new();
    for pack in packs {
        let corrupt = |error: &dyn std::fmt::Display| {
            EngineError::corrupt(format!("the states of splits in '{}' cannot be read: {error}", pack.id))
        };
        let text = pack.state[PACKED].as_str().unwrap_or_default();
        let bytes = BASE64_STANDARD.decode(text).map_err(|error| corrupt(&error))?;
        let json = zstd::decode_all(bytes.as_slice()).map_err(|error| corrupt(&error))?;
        let pairs: Vec<(String, Value)> = serde_json::from_slice(&json).map_err(|error| corrupt(&error))?;
        packed.extend(pairs);
    }
    for state in &unpacked {
        packed.remove(&state.id);
    }
    let mut packed: Vec<SplitState> = packed.into_iter().map(|(id, state)| SplitState { id, state }).collect();
    packed.sort_by(|a, b| a.id.cmp(&b.id));
    unpacked.extend(packed);
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: usize, value: usize) -> SplitState {
        SplitState {
            id: format!("split-{id}"),
            state: json!({ "position": { "offset": value, "path": "/var/log/a" } }),
        }
    }

    fn pack(packs: &mut Packs, states: impl Iterator<Item = SplitState>) -> u64 {
        let states: Vec<SplitState> = states.collect();
        let pairs: Vec<(&str, &Value)> = states.iter().map(|state| (state.id.as_str(), &state.state)).collect();
        packs.pack(&pairs).expect("packed")
    }

    fn value(states: &[SplitState], id: usize) -> u64 {
        let found: Vec<_> = states.iter().filter(|state| state.id == format!("split-{id}")).collect();
        assert_eq!(found.len(), 1);
        found[0].state["position"]["offset"].as_u64().expect("a number")
    }

    #[test]
    fn what_stands_by_itself_or_in_a_newer_pack_is_the_state() {
        let mut packs = Packs::default();
        pack(&mut packs, (0..100).map(|id| state(id, 1)));
        pack(&mut packs, (90..120).map(|id| state(id, 2)));
        let mut states: Vec<SplitState> = packs.states(0).collect();
        states.reverse();
        states.push(state(95, 3));
        let states = unpack(states).expect("sound");
        assert_eq!(states.len(), 120);
        assert_eq!([89, 90, 95, 119].map(|id| value(&states, id)), [1, 2, 3, 2]);
    }

    #[test]
    fn packs_are_short_and_dropped_when_half_has_changed() {
        let mut packs = Packs::default();
        let number = pack(&mut packs, (0..1_000).map(|id| state(id, id)));
        let bytes = serde_json::to_string(&packs.states(3).collect::<Vec<_>>()).expect("JSON").len();
        assert!(bytes < 8_000, "{bytes}");
        (0..500).for_each(|_| packs.changed(number));
        assert!(packs.drop_stale().is_empty());
        packs.changed(number);
        assert_eq!(packs.drop_stale(), [number]);
        assert_eq!(packs.states(3).count(), 0);
    }

    #[test]
    fn a_damaged_pack_is_named() {
        let pack = SplitState { id: "packed-0-1".into(), state: json!({ PACKED: "AAAA", NUMBER: 1 }) };
        assert!(unpack(vec![pack]).expect_err("damaged").message.contains("'packed-0-1'"));
    }
}
