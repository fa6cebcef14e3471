//! What checkpoints record of a definition: what the state of each node means, so that a job resumes from its checkpoint after
//! a change that leaves that as it is.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_engine::graph::{DefinitionRecord, Edge, JobGraph, Node, NodeRecord, Remembers};
use weir_engine::hash::hash_text;
use weir_engine::hidden::redacted_json;
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowSpec;

use crate::nodes::operator::{Memory, StepColumns};
use crate::nodes::planning::Step;
use weir_operators::definition::duration::show;

/// The record of a graph: of the operators that its nodes are, and the columns around each.
pub(super) fn record(graph: &JobGraph, steps: &[Step], columns: &[StepColumns]) -> DefinitionRecord {
    let told = |(index, (node, (step, columns))): (usize, (&Node, (&Step, &StepColumns)))| {
        let config = redacted_json(&node.config);
        // What stands between the nodes of the definition and remembers nothing follows from them.
        let memory = step.operator.memory(&config, &columns.input)?;
        let meaning = meaning(node, &config, &columns.input, &memory);
        let inputs: Vec<&Edge> = graph.edges.iter().filter(|edge| edge.to == index).collect();
        let from: Vec<_> =
            inputs.iter().map(|edge| (&graph.nodes[edge.from].id, edge.port, &edge.partitioner)).collect();
        // A new password is no other database.
        let rest = serde_json::json!([node.kind, config, format!("{from:?}")]);
        let rest = format!("{:032x}", hash_text(&rest.to_string()));
        Some((node.id.clone(), NodeRecord { remembers: memory.remembers, meaning, rest }))
    };
    let nodes = graph.nodes.iter().zip(steps.iter().zip(columns)).enumerate();
    DefinitionRecord { nodes: nodes.filter_map(told).collect() }
}

/// The settings that say what a node remembers.
fn meaning(node: &Node, config: &Value, input: &ColumnSchema, memory: &Memory) -> BTreeMap<String, String> {
    if memory.remembers == Remembers::Nothing {
        return BTreeMap::new();
    }
    let mut meaning = BTreeMap::from([("connector".to_owned(), node.kind.clone())]);
    for setting in memory.settings {
        if let Some(value) = config.get(*setting).filter(|value| !value.is_null()) {
            let (name, value) = told(setting, value);
            meaning.insert(name, value);
        }
    }
    if memory.typed_key {
        types_of(&config["key"], input, &mut meaning);
    }
    meaning.extend(memory.more.clone());
    meaning
}

/// A setting as a user knows it.
fn told(setting: &str, value: &Value) -> (String, String) {
    let span = |value: &Value| show(std::time::Duration::from_millis(value.as_i64().unwrap_or(0).unsigned_abs()));
    if let Some(name) = setting.strip_suffix("_ms") {
        return (name.to_owned(), span(value));
    }
    let window = serde_json::from_value::<WindowSpec>(value.clone());
    let value = match window {
        Ok(WindowSpec::Tumbling { size_ms }) => format!("tumbling {}", span(&size_ms.into())),
        Ok(WindowSpec::Hopping { size_ms, slide_ms }) => {
            format!("hopping {} by {}", span(&size_ms.into()), span(&slide_ms.into()))
        }
        Ok(WindowSpec::Cumulating { size_ms, step_ms }) => {
            format!("cumulating {} by {}", span(&size_ms.into()), span(&step_ms.into()))
        }
        Ok(WindowSpec::Session { gap_ms }) => format!("session {}", span(&gap_ms.into())),
        Ok(WindowSpec::Global { ttl_ms: None }) => "global".into(),
        Ok(WindowSpec::Global { ttl_ms: Some(ttl_ms) }) => format!("global with a ttl of {}", span(&ttl_ms.into())),
        Err(_) => value.to_string(),
    };
    (setting.to_owned(), value)
}

/// Adds the types of key columns: equal keys of another type are other keys.
fn types_of(key: &Value, input: &ColumnSchema, meaning: &mut BTreeMap<String, String>) {
    let names = key.as_array().into_iter().flatten().filter_map(Value::as_str);
    let types =
        names.filter_map(|name| input.column(name)).map(|column| format!("{} {}", column.name, column.data_type));
    meaning.insert("types of the key".into(), types.collect::<Vec<_>>().join(", "));
}
