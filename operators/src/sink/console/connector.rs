//! What a console is to those that check, compile, show and confine jobs.

use super::{ConsoleCommitter, ConsoleFormat, ConsoleOutput, ConsoleSink, ConsoleSinkConfig};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake},
    expression::type_name,
    sink::{Owned, SinkConnector, SinkGiven, SinkJob, SinkKind, StoredSink, json_rows::can_be_written},
};
use serde::Deserialize;
use std::sync::Arc;
use weir_engine::{
    error::{EngineError, Result},
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// Standard output.
pub const KIND: SinkKind = SinkKind {
    name: "console",
    read: |keys| {
        let format = keys.choice("format", &ConsoleFormat::NAMES).unwrap_or_default();
        Box::new(ConsoleSinkConfig { format })
    },
    stored: |config| {
        let config = ConsoleSinkConfig::deserialize(config);
        Ok(Box::new(config.map_err(|error| EngineError::definition(format!("console sink: {error}")))?))
    },
    meaning: &[],
};

impl SinkConnector for ConsoleSinkConfig {
    fn kind(&self) -> &'static SinkKind {
        &KIND
    }

    fn check(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if self.format != ConsoleFormat::Json {
            return;
        }
        for column in given.columns.columns.iter().filter(|column| !can_be_written(&column.data_type)) {
            let message = format!("`{}` is {}, which JSON has no words for", column.name, type_name(&column.data_type));
            let expected = "a `select` without it, or a `map` that converts it";
            mistakes.push(Mistake::new(given.columns_at(at), message).expected(expected));
        }
    }

    fn owns(&self) -> Option<Owned> {
        None
    }

    fn config(&self, _given: &SinkGiven<'_>, _job: &SinkJob<'_>) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn note(&self) -> String {
        match self.format {
            ConsoleFormat::Table => "lines on standard output".into(),
            ConsoleFormat::Json => "JSON lines on standard output".into(),
        }
    }

    fn takes_running(&self) -> bool {
        false
    }

    fn keeps_revisions(&self) -> bool {
        true
    }
}

impl StoredSink for ConsoleSinkConfig {
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(ConsoleSink::new(self.clone(), context)))
    }

    /// To standard output.
    fn committer(&self, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(ConsoleCommitter::new(ConsoleOutput::standard(), context)))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        Ok(Vec::new())
    }

    fn shown(&self) -> Option<String> {
        None
    }

    fn owns_standard_output(&self) -> bool {
        self.format == ConsoleFormat::Json
    }
}
