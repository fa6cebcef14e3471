//! The door for code: operators, sources and sinks of other crates, beside those that are compiled in.
//!
//! [`Extensions`] is plain data that a program makes at its start and hands down to whoever reads definitions, builds operators
//! or looks into graphs; nothing is global. A source is a [`SourceKind`], a sink a [`SinkKind`], as those here are; an operator
//! is whatever implements [`OperatorSettings`].

mod declared;
mod operator;

pub use operator::{AnyOperator, OperatorConfig, OperatorGiven, OperatorInput, OperatorKind, OperatorSettings, Timing};

use crate::{
    confinement::Location,
    connectors::{self, SINKS, SOURCES},
    definition::Reader,
    lookup,
    registry::{Registry, has_operator},
    sink::{SinkKind, StoredSink},
    source::{SourceConnector, SourceKind, settings::SourceSettings},
};
use declared::Declared;
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    graph::{Node, NodeRole},
    operator::{Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
};

/// What a program adds to what is compiled in. Builds all of it.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    operators: Vec<OperatorKind>,
    sources: Vec<&'static SourceKind>,
    sinks: Vec<&'static SinkKind>,
}

impl Extensions {
    /// Nothing.
    pub fn new() -> Self {
        Extensions::default()
    }

    /// Adds an operator, which definitions name as `[operator.NAME]` with its `kind`.
    #[must_use]
    pub fn operator<T: OperatorSettings>(mut self) -> Self {
        self.operators.push(OperatorKind::of::<T>());
        self
    }

    /// Adds a source, which definitions name as `connector` of a `[source.NAME]`.
    #[must_use]
    pub fn source(mut self, kind: &'static SourceKind) -> Self {
        self.sources.push(kind);
        self
    }

    /// Adds a sink, which definitions name as `connector` of a `[sink.NAME]`.
    #[must_use]
    pub fn sink(mut self, kind: &'static SinkKind) -> Self {
        self.sinks.push(kind);
        self
    }

    /// Whether each has a name of its own: two would be taken for each other in graphs and checkpoints.
    ///
    /// # Errors
    /// Naming the one that is taken.
    pub fn check(&self) -> Result<()> {
        let operators = || self.operators.iter().map(|kind| kind.name);
        if let Some(taken) = operators().find(|name| has_operator(name)) {
            return Err(EngineError::definition(format!("'{taken}' is the kind of an operator that Weir has already")));
        }
        let sources = self.all_sources().map(|kind| kind.name);
        let sinks = self.all_sinks().map(|kind| kind.name);
        each_once("operator", operators())?;
        each_once("source", sources)?;
        each_once("sink", sinks)
    }

    fn all_sources(&self) -> impl Iterator<Item = &'static SourceKind> {
        SOURCES.into_iter().chain(self.sources.iter().copied())
    }

    fn all_sinks(&self) -> impl Iterator<Item = &'static SinkKind> {
        SINKS.into_iter().chain(self.sinks.iter().copied())
    }

    /// Whether there is an operator of another crate.
    pub fn has_operators(&self) -> bool {
        !self.operators.is_empty()
    }

    /// The source that the key `connector` names.
    pub fn chosen_source(&self, keys: &Reader<'_>) -> Option<&'static SourceKind> {
        connectors::chosen("connector", keys, self.all_sources().map(|kind| (kind.name, kind)))
    }

    /// The sink that the key `connector` names.
    pub fn chosen_sink(&self, keys: &Reader<'_>) -> Option<&'static SinkKind> {
        connectors::chosen("connector", keys, self.all_sinks().map(|kind| (kind.name, kind)))
    }

    /// The operator that the key `kind` names.
    pub fn chosen_operator(&self, keys: &Reader<'_>) -> Option<OperatorKind> {
        connectors::chosen("kind", keys, self.operators.iter().map(|kind| (kind.name, *kind)))
    }

    /// The source that a node is, as its configuration says.
    ///
    /// # Errors
    /// When there is no such connector, or the configuration is none of it.
    pub fn stored_source(&self, node: &Node) -> Result<Box<dyn SourceConnector>> {
        connectors::stored_source_of(self.all_sources(), node)
    }

    /// The sink that a node is, as its configuration says.
    ///
    /// # Errors
    /// When there is no such connector, or the configuration is none of it.
    pub fn stored_sink(&self, node: &Node) -> Result<Box<dyn StoredSink>> {
        connectors::stored_sink_of(self.all_sinks(), node)
    }

    /// Where a node reads and writes outside of the cluster, as the connector for such a role understands its settings.
    ///
    /// # Errors
    /// When the settings don't fit, or there is no such source or sink.
    pub fn locations(&self, role: NodeRole, node: &Node) -> Result<Vec<Location>> {
        match role {
            // What it does is decided by its kind, whatever the graph says that it is.
            NodeRole::Operator | NodeRole::Lookup => lookup::locations(node),
            NodeRole::Source => self.stored_source(node)?.locations(),
            NodeRole::Sink => self.stored_sink(node)?.locations(),
        }
        .map_err(|error| error.context(format!("'{}'", node.id)))
    }
}

impl Factory for Extensions {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        let connector = self.stored_source(node)?;
        // A source that does not say where it reads is not built: it could not be confined.
        connector.locations()?;
        connector.build(&SourceSettings::read(&node.config, &context)?, &context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        let Some(kind) = self.operators.iter().find(|kind| kind.name == node.kind) else {
            return Registry.operator(node, context);
        };
        let config = OperatorConfig::read(node)?;
        let settings = (kind.stored)(&config.settings).map_err(|error| {
            EngineError::definition(format!("the settings of '{}', a {}, do not fit: {error}", node.id, node.kind))
        })?;
        let operator = settings.build(&config.input, &context).map_err(|error| error.context(&node.id))?;
        Ok(Box::new(Declared::new(operator, config.output, node)))
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        let sink = self.stored_sink(node)?;
        sink.locations()?;
        sink.sink(&context).map_err(|error| error.context(&node.id))
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        self.stored_sink(node)?.committer(context).map_err(|error| error.context(&node.id))
    }
}

fn each_once(what: &str, names: impl Iterator<Item = &'static str>) -> Result<()> {
    let mut known = Vec::new();
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(EngineError::definition(format!(
                "'{name}' cannot be the kind of a {what}; small letters, digits and '_' can"
            )));
        }
        if known.contains(&name) {
            return Err(EngineError::definition(format!("there are two kinds of {what} called '{name}'")));
        }
        known.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
