//! Who builds what: from the kind and the configuration that a node of a graph bears to an operator that runs.
//!
//! A graph is data and can be stored or sent to another process; this is the place where it becomes code again. Every kind
//! stands in one line below.

use crate::{
    aggregate,
    confinement::Location,
    dedup, filters, hold, late_gate, map, reduce,
    sink::{console, files, sql},
    source, window_count,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    graph::{Node, NodeRole},
    operator::{Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
};

/// All operators, sources and sinks of this room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registry;

impl Factory for Registry {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        // What does not say where it reads is not built: nobody could confine it.
        locations(NodeRole::Source, node)?;
        match node.kind.as_str() {
            "files" => source::files::source(&node.config, &context),
            "generator" => source::generator::source(&node.config, &context),
            _ => Err(unknown(node, "source")),
        }
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        Ok(match node.kind.as_str() {
            "map" => Box::new(map::Map::new(&config(node)?, &context)?),
            "filters" => Box::new(filters::Filters::new(&config(node)?, &context)?),
            "late_gate" => Box::new(late_gate::LateGate::new(config(node)?, &context)?),
            "merged_late_gate" => Box::new(late_gate::MergedLateGate::new(config(node)?, &context)?),
            "hold" => Box::new(hold::Hold::new(config(node)?, &context)?),
            "dedup" => Box::new(dedup::Dedup::new(config(node)?, &context)?),
            "local_aggregate" => Box::new(aggregate::LocalAggregate::new(config(node)?, &context)?),
            "global_aggregate" => Box::new(aggregate::GlobalAggregate::new(config(node)?, &context)?),
            "session_aggregate" => Box::new(aggregate::SessionAggregate::new(config(node)?, &context)?),
            "window_marks" => Box::new(window_count::WindowMarks),
            "window_count" => Box::new(window_count::WindowCount::new(&config(node)?, &context)?),
            "local_top" => Box::new(reduce::LocalTop::new(config(node)?, &context)?),
            "global_top" => Box::new(reduce::GlobalTop::new(config(node)?, &context)?),
            _ => return Err(unknown(node, "operator")),
        })
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        locations(NodeRole::Sink, node)?;
        match node.kind.as_str() {
            "files" => files::sink(&node.config, &context),
            "console" => console::sink(&node.config, &context),
            "sql" => sql::sink(&node.config, &context),
            _ => Err(unknown(node, "sink")),
        }
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        match node.kind.as_str() {
            "files" => files::committer(&node.config, &context),
            "console" => Ok(console::committer(&context)),
            "sql" => sql::committer(&node.config, context),
            _ => Err(unknown(node, "sink")),
        }
    }
}

/// Where a node reads and writes outside of the cluster, as the connector for such a role understands its settings.
///
/// # Errors
/// When the settings don't fit, or there is no such source or sink.
pub fn locations(role: NodeRole, node: &Node) -> Result<Vec<Location>> {
    let locations = match (role, node.kind.as_str()) {
        (NodeRole::Operator, _) => Ok(Vec::new()),
        (NodeRole::Source, "files") => source::files::locations(&node.config),
        (NodeRole::Source, "generator") | (NodeRole::Sink, "console") => Ok(Vec::new()),
        (NodeRole::Sink, "files") => files::locations(&node.config),
        (NodeRole::Sink, "sql") => sql::locations(&node.config),
        (NodeRole::Source, _) => Err(unknown(node, "source")),
        (NodeRole::Sink, _) => Err(unknown(node, "sink")),
    };
    locations.map_err(|error| error.context(format!("'{}'", node.id)))
}

fn config<T: DeserializeOwned>(node: &Node) -> Result<T> {
    T::deserialize(&node.config).map_err(|error| {
        EngineError::definition(format!("the configuration of '{}', a {}, does not fit: {error}", node.id, node.kind))
    })
}

fn unknown(node: &Node, role: &str) -> EngineError {
    EngineError::definition(format!("'{}' is of kind '{}', but there is no such {role}", node.id, node.kind))
}
