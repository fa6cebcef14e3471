//! The registry: builds operators from the kind and the configuration of a graph's nodes.
//!
//! A graph is data and can be stored or sent to another process; this is the place where it becomes code again. Every kind of
//! operator stands in one line below, and every connector in one of [`connectors`]. What other crates add is in [`Extensions`].

use crate::{
    aggregate, connectors, dedup, extension::Extensions, filters, hold, join, late_gate, lookup, map, newest_revision,
    over, reduce, window_count, window_join,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    graph::{Node, NodeRole},
    operator::{Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
};

/// All operators, sources and sinks of this room; with those of other crates it is [`Extensions`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Registry;

impl Factory for Registry {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        Factory::source(&Extensions::new(), node, context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        Ok(match node.kind.as_str() {
            "map" => Box::new(map::Map::new(&config(node)?, &context)?),
            "filters" => Box::new(filters::Filters::new(&config(node)?, &context)?),
            "late_gate" => Box::new(late_gate::LateGate::new(config(node)?, &context)?),
            "merged_late_gate" => Box::new(late_gate::MergedLateGate::new(config(node)?, &context)?),
            "hold" => Box::new(hold::Hold::new(config(node)?, &context)?),
            "join" => Box::new(join::Join::new(config(node)?, &context)?),
            "window_join" => Box::new(window_join::WindowJoin::new(config(node)?, &context)?),
            lookup::KIND => {
                let config = config(node)?;
                let service = lookup::service::service(&config, &context)?;
                Box::new(lookup::LookupOperator::new(config, service, &context)?)
            }
            "newest_revision" => Box::new(newest_revision::NewestRevision::new(config(node)?, &context)?),
            "dedup" => Box::new(dedup::Dedup::new(config(node)?, &context)?),
            "local_aggregate" => Box::new(aggregate::LocalAggregate::new(config(node)?, &context)?),
            "global_aggregate" => Box::new(aggregate::GlobalAggregate::new(config(node)?, &context)?),
            "session_aggregate" => Box::new(aggregate::SessionAggregate::new(config(node)?, &context)?),
            "result_aggregate" => Box::new(aggregate::ResultAggregate::new(config(node)?, &context)?),
            "unwindowed_aggregate" => Box::new(aggregate::UnwindowedAggregate::new(config(node)?, &context)?),
            "over" => Box::new(over::Over::new(config(node)?, &context)?),
            "window_marks" => Box::new(window_count::WindowMarks),
            "window_count" => Box::new(window_count::WindowCount::new(&config(node)?, &context)?),
            "local_top" => Box::new(reduce::LocalTop::new(config(node)?, &context)?),
            "global_top" => Box::new(reduce::GlobalTop::new(config(node)?, &context)?),
            _ => return Err(connectors::unknown(node, "operator")),
        })
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        Factory::sink(&Extensions::new(), node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Extensions::new().committer(node, context)
    }
}

/// Whether an operator of this room has such a kind.
pub(crate) fn has_operator(kind: &str) -> bool {
    let (config, role) = (serde_json::Value::Null, NodeRole::Operator);
    let node = Node { id: kind.into(), kind: kind.into(), role, parallelism: 1, config };
    let unknown = connectors::unknown(&node, "operator");
    // One that is there may not like to have no settings.
    match Registry.operator(&node, OperatorContext::single("job", kind)) {
        Ok(_) => true,
        Err(error) => error.message != unknown.message,
    }
}

fn config<T: DeserializeOwned>(node: &Node) -> Result<T> {
    T::deserialize(&node.config).map_err(|error| {
        EngineError::definition(format!("the configuration of '{}', a {}, does not fit: {error}", node.id, node.kind))
    })
}
