//! What checkpoints are told of a definition: what the state of each node means, so that a job goes on from its checkpoint after
//! a change that leaves that as it is.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_engine::graph::{DefinitionRecord, Edge, JobGraph, Node, NodeRecord, Remembers};
use weir_engine::hash::hash_text;
use weir_engine::hidden::redacted_json;
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowSpec;

use super::prune::StepColumns;
use weir_operators::definition::duration::show;

/// The record of a graph; `columns` are those around each of its nodes.
pub(super) fn record(graph: &JobGraph, columns: &[StepColumns]) -> DefinitionRecord {
    // What stands between the nodes of the definition and remembers nothing follows from them.
    let is_between = |node: &Node| matches!(node.kind.as_str(), "late_gate" | "local_aggregate" | "window_marks");
    let nodes = graph.nodes.iter().zip(columns).enumerate().filter(|(_, (node, _))| !is_between(node));
    let nodes = nodes.map(|(index, (node, columns))| {
        let (remembers, meaning) = state(node, &columns.input);
        let inputs: Vec<&Edge> = graph.edges.iter().filter(|edge| edge.to == index).collect();
        let from: Vec<_> =
            inputs.iter().map(|edge| (&graph.nodes[edge.from].id, edge.port, &edge.partitioner)).collect();
        // A new password is no other database.
        let rest = serde_json::json!([node.kind, redacted_json(&node.config), format!("{from:?}")]);
        let rest = format!("{:032x}", hash_text(&rest.to_string()));
        (node.id.clone(), NodeRecord { remembers, meaning, rest })
    });
    DefinitionRecord { nodes: nodes.collect() }
}

/// What a node remembers, and the settings that say what that means.
fn state(node: &Node, input: &ColumnSchema) -> (Remembers, BTreeMap<String, String>) {
    let config = redacted_json(&node.config);
    let mut meaning = BTreeMap::from([("connector".to_owned(), node.kind.clone())]);
    let mut takes = |settings: &[&str]| {
        for setting in settings {
            if let Some(value) = config.get(*setting).filter(|value| !value.is_null()) {
                let (name, value) = told(setting, value);
                meaning.insert(name, value);
            }
        }
    };
    let remembers = match node.kind.as_str() {
        "files" | "generator" if node.role == weir_engine::graph::NodeRole::Source => {
            takes(&["path", "format", "follow", "by_partition", "range", "partitions", "event_time", "stream"]);
            Remembers::State
        }
        "dedup" => {
            takes(&["key", "ttl_ms", "same_event_time"]);
            types_of(&config["key"], input, &mut meaning);
            Remembers::State
        }
        "global_aggregate" | "session_aggregate" => {
            takes(&["key", "window", "allowed_lateness_ms"]);
            types_of(&config["key"], input, &mut meaning);
            let calls = config["aggregates"].as_array().into_iter().flatten();
            let select: Vec<String> = calls.map(|call| call_of(call, input)).collect();
            meaning.insert("select".into(), select.join(", "));
            Remembers::State
        }
        "local_top" | "global_top" => {
            takes(&["key", "by", "per", "n", "window", "slice_ms", "size_ms", "slide_ms", "allowed_lateness_ms"]);
            types_of(&config["key"], input, &mut meaning);
            Remembers::State
        }
        "window_count" => {
            takes(&["windows"]);
            Remembers::State
        }
        "merged_late_gate" => Remembers::State,
        "hold" => {
            let columns: Vec<String> =
                input.columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
            meaning.insert("columns".into(), columns.join(", "));
            Remembers::Rows
        }
        "files" | "sql" | "console" => {
            takes(&["path", "url", "table", "key", "newest_by"]);
            Remembers::Progress
        }
        _ => Remembers::Nothing,
    };
    if remembers == Remembers::Nothing {
        meaning.clear();
    }
    (remembers, meaning)
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
        Ok(WindowSpec::Session { gap_ms }) => format!("session {}", span(&gap_ms.into())),
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

/// A call by its function and the type of its argument, not by how that is computed.
fn call_of(call: &Value, input: &ColumnSchema) -> String {
    let text = |key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let argument = call["argument"].as_str().map(|name| match input.column(name) {
        Some(column) => format!("{}", column.data_type),
        None => "?".into(),
    });
    format!("{} = {}({})", text("output"), text("function"), argument.unwrap_or_else(|| "*".into()))
}
