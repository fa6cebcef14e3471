//! What checkpoints know of the definition that they were taken with: of each node what its state means, and whether the rest is
//! the same. So a job resumes from a checkpoint after whatever does not change what is remembered, and is told otherwise what it
//! is that does.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A definition, node by node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionRecord {
    /// By the id of the node.
    pub nodes: BTreeMap<String, NodeRecord>,
}

/// A node of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// What it remembers between records, if anything.
    #[serde(default, skip_serializing_if = "Remembers::is_nothing")]
    pub remembers: Remembers,
    /// The settings that say what this means, as a user knows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meaning: BTreeMap<String, String>,
    /// A checksum of everything else about it.
    pub rest: String,
}

/// What becomes of what a node remembers when it leaves the definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remembers {
    /// It remembers nothing.
    #[default]
    Nothing,
    /// Results depend on it: it can neither come nor go.
    State,
    /// Rows that are still to be written: it may come, and not go.
    Rows,
    /// How far it has written: it may come and go.
    Progress,
}

impl Remembers {
    fn is_nothing(&self) -> bool {
        *self == Remembers::Nothing
    }
}

impl DefinitionRecord {
    /// As a checkpoint holds it.
    pub fn to_text(&self) -> String {
        // Maps in the order of their keys: equal definitions have equal texts.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The names of the nodes that have changed between two such texts, in a way that what is remembered still means the same.
    ///
    /// # Errors
    /// When it does not, with the node and the setting.
    pub fn changes(before: &str, now: &str) -> Result<Vec<String>, String> {
        if before == now {
            return Ok(Vec::new());
        }
        let read = |text: &str| serde_json::from_str::<DefinitionRecord>(text);
        let (Ok(before), Ok(now)) = (read(before), read(now)) else {
            return Err("it was taken by another version of the definition".into());
        };
        let mut changes = Vec::new();
        for (id, was) in &before.nodes {
            match now.nodes.get(id) {
                Some(is) => {
                    was.check(id, is)?;
                    if was != is {
                        changes.push(id.clone());
                    }
                }
                None if matches!(was.remembers, Remembers::State | Remembers::Rows) => {
                    return Err(format!(
                        "`{id}` is no longer in the definition, or has another name, and its state would be lost"
                    ));
                }
                None => changes.push(format!("{id} (gone)")),
            }
        }
        for (id, is) in now.nodes.iter().filter(|(id, _)| !before.nodes.contains_key(*id)) {
            if is.remembers == Remembers::State {
                return Err(format!("`{id}` is new, and would have missed what was read before"));
            }
            changes.push(format!("{id} (new)"));
        }
        Ok(changes)
    }
}

/// The settings that say where a sink writes.
const TARGET: [&str; 4] = ["path", "url", "table", "topic"];

impl DefinitionRecord {
    /// Whether a job of the definition `now` can be a fork of one of `before`: go on with its state, and write elsewhere.
    ///
    /// # Errors
    /// When what is remembered does not mean the same, or a sink writes to where it did, with the node and the setting.
    pub fn check_fork(before: &str, now: &str) -> Result<(), String> {
        let read = |text: &str| serde_json::from_str::<DefinitionRecord>(text);
        let (Ok(before), Ok(now)) = (read(before), read(now)) else {
            return Err("it was taken by another version of the definition".into());
        };
        let sinks = |record: &DefinitionRecord| {
            let sinks = record.nodes.iter().filter(|(_, node)| node.remembers == Remembers::Progress);
            sinks
                .map(|(id, node)| (id.clone(), node.target()))
                .filter(|(_, target)| !target.is_empty())
                .collect::<Vec<_>>()
        };
        let taken = sinks(&before);
        for (id, target) in sinks(&now) {
            if let Some((original, _)) = taken.iter().find(|(_, taken)| *taken == target) {
                let key = TARGET.into_iter().rev().find(|key| target.contains_key(key)).unwrap_or("path");
                let value = &target[key];
                return Err(format!(
                    "`{id}` would write to {value}, as `{original}` of the original does: give the fork another one (--set {id}.{key}=…)"
                ));
            }
        }
        let without_sinks = |record: DefinitionRecord| {
            let nodes = record.nodes.into_iter().filter(|(_, node)| node.remembers != Remembers::Progress).collect();
            DefinitionRecord { nodes }.to_text()
        };
        DefinitionRecord::changes(&without_sinks(before), &without_sinks(now)).map(drop)
    }
}

impl NodeRecord {
    /// Where a sink writes.
    fn target(&self) -> BTreeMap<&'static str, String> {
        TARGET.into_iter().filter_map(|key| Some((key, self.meaning.get(key)?.clone()))).collect()
    }

    /// What this node remembers must mean the same as another version of it.
    fn check(&self, id: &str, other: &NodeRecord) -> Result<(), String> {
        if self.remembers != other.remembers {
            return Err(format!("`{id}` is another kind of node now"));
        }
        let settings = self.meaning.keys().chain(other.meaning.keys());
        for setting in settings {
            let value = |node: &NodeRecord| node.meaning.get(setting).cloned();
            let (was, is) = (value(self), value(other));
            if was != is {
                let shown = |value: Option<String>| value.unwrap_or_else(|| "not set".into());
                return Err(format!(
                    "`{setting}` of `{id}` was {} and is now {}, and its state would no longer fit",
                    shown(was),
                    shown(is)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(remembers: Remembers, key: &str, rest: &str) -> NodeRecord {
        let meaning = [("key".to_owned(), key.to_owned())].into_iter().filter(|(_, key)| !key.is_empty()).collect();
        NodeRecord { remembers, meaning, rest: rest.into() }
    }

    fn text(nodes: &[(&str, NodeRecord)]) -> String {
        DefinitionRecord { nodes: nodes.iter().map(|(id, node)| ((*id).to_owned(), node.clone())).collect() }.to_text()
    }

    fn changes(before: &[(&str, NodeRecord)], now: &[(&str, NodeRecord)]) -> Result<Vec<String>, String> {
        DefinitionRecord::changes(&text(before), &text(now))
    }

    #[test]
    fn what_remembers_nothing_may_change_come_and_go() {
        let (a, b) = (node(Remembers::Nothing, "", "1"), node(Remembers::Nothing, "", "2"));
        assert_eq!(changes(&[("map.a", a.clone())], &[("map.a", a.clone())]), Ok(vec![]));
        assert_eq!(changes(&[("map.a", a.clone())], &[("map.a", b.clone())]), Ok(vec!["map.a".into()]));
        let came_and_went = changes(&[("map.a", a)], &[("map.b", b)]).unwrap();
        assert_eq!(came_and_went, ["map.a (gone)", "map.b (new)"]);
    }

    #[test]
    fn what_remembers_may_change_where_its_meaning_stays() {
        let (a, b) = (node(Remembers::State, "[\"x\"]", "1"), node(Remembers::State, "[\"x\"]", "2"));
        assert_eq!(changes(&[("dedup.d", a.clone())], &[("dedup.d", b)]), Ok(vec!["dedup.d".into()]));
        let other = node(Remembers::State, "[\"y\"]", "1");
        let told = changes(&[("dedup.d", a.clone())], &[("dedup.d", other)]).unwrap_err();
        assert!(told.contains("`key` of `dedup.d` was [\"x\"] and is now [\"y\"]"), "{told}");
        let told = changes(&[("dedup.d", a.clone())], &[("dedup.e", a.clone())]).unwrap_err();
        assert!(told.starts_with("`dedup.d` is no longer in the definition"), "{told}");
        assert!(changes(&[], &[("dedup.d", a.clone())]).unwrap_err().starts_with("`dedup.d` is new"));
        let stateless = node(Remembers::Nothing, "", "1");
        assert!(changes(&[("dedup.d", a)], &[("dedup.d", stateless)]).unwrap_err().contains("another kind"));
    }

    #[test]
    fn sinks_may_come_and_go_and_held_rows_may_not_go() {
        let (sink, held) = (node(Remembers::Progress, "", "1"), node(Remembers::Rows, "", "1"));
        assert!(changes(&[("sink.a", sink.clone())], &[("sink.b", sink)]).is_ok());
        assert!(changes(&[], &[("sink.a.hold", held.clone())]).is_ok());
        assert!(changes(&[("sink.a.hold", held)], &[]).unwrap_err().contains("sink.a.hold"));
    }

    #[test]
    fn what_is_no_record_is_compared_as_it_is() {
        assert_eq!(DefinitionRecord::changes("a", "a"), Ok(vec![]));
        assert!(DefinitionRecord::changes("a", "b").unwrap_err().contains("another version of the definition"));
        assert!(DefinitionRecord::changes("a", &text(&[])).is_err());
    }
}
