//! What a console is to those that check, compile, show and confine jobs.

use super::{ConsoleCommitter, ConsoleOutput, ConsoleSink, ConsoleSinkConfig};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake},
    sink::{Owned, SinkConnector, SinkGiven, SinkJob, SinkKind, StoredSink},
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
    read: |_| Box::new(ConsoleSinkConfig::default()),
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

    fn check(&self, _given: &SinkGiven<'_>, _at: &KeyPath, _mistakes: &mut Vec<Mistake>) {}

    fn owns(&self) -> Option<Owned> {
        None
    }

    fn config(&self, _given: &SinkGiven<'_>, _job: &SinkJob<'_>) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn note(&self) -> String {
        "lines on standard output".into()
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
        Ok(Arc::new(ConsoleCommitter::new(ConsoleOutput::standard(), &context.job, &context.sink)))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        Ok(Vec::new())
    }

    fn shown(&self) -> Option<String> {
        None
    }
}
