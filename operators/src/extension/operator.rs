//! What an operator of another crate is to those that check, compile, show and build jobs: its settings.

use crate::{
    definition::{KeyPath, Mistake, Reader},
    schema::ColumnSchema,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc, time::Duration};
use weir_engine::{
    EngineError, Result,
    graph::Node,
    operator::{Operator, OperatorContext},
};

/// An operator as a definition's `[operator.NAME]` has it. The graph keeps the settings as JSON, by serde.
pub trait OperatorSettings: fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What `kind = "..."` calls it: small letters, digits and `_`. Part of graphs and checkpoints.
    const KIND: &'static str;

    /// The settings, by their names in JSON, that say what the operator's state means. A job does not resume from its checkpoint
    /// where one of them, or the key, has changed.
    const MEANING: &'static [&'static str] = &[];

    /// Reads its own keys; those of every operator, `input` and `kind`, are read already. What is wrong is noted at its key.
    fn read(keys: &Reader<'_>) -> Self;

    /// The columns that it emits, of those that come in, and what is wrong with its settings. None where that is not known; there
    /// is a mistake then, here or where the keys were read.
    fn columns(&self, given: &OperatorGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema>;

    /// The columns that rows are spread by over its subtasks, so that one subtask gets all rows with equal values; empty: rows
    /// stay where they are.
    fn key(&self) -> &[String] {
        &[]
    }

    /// What it does with time.
    fn timing(&self) -> Timing {
        Timing::Timeless
    }

    /// Whether it reads results, which later revisions correct and may withdraw: it looks at `record_id`, `revision` and
    /// `withdrawn` itself.
    fn takes_results(&self) -> bool {
        false
    }

    /// What it does, in few words.
    fn note(&self) -> String;

    /// What it remembers between records, in few words; none: nothing, so that it has no part in checkpoints.
    fn state(&self) -> Option<String> {
        None
    }

    /// One subtask's instance.
    ///
    /// # Errors
    /// When the settings contradict each other.
    fn build(&self, input: &OperatorInput, context: &OperatorContext) -> Result<Box<dyn Operator>>;
}

/// What an operator does with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// It has no use for it; what it emits are rows without a time.
    Timeless,
    /// What comes in goes out at once, with its time and what travels with it
    /// ([`Batch::with_columns`](weir_engine::element::Batch::with_columns), `filter`, `take`).
    Passes,
    /// It waits for the watermark, to see rows in the order of their times. A row that is as late as this or later goes to
    /// `NAME.late`, decided where it was read, whatever the parallelism: so at a watermark *w* no row with a time up to
    /// *w* − lateness comes any more ([`OperatorInput::complete_until`]). What it emits are rows without a time.
    Waits {
        /// How late rows may be.
        lateness: Duration,
    },
}

/// What is known of an operator's rows before the job runs.
#[derive(Clone, Copy, Debug)]
pub struct OperatorGiven<'a> {
    /// The columns that come in.
    pub columns: &'a ColumnSchema,
    /// The column that says when a row happened, where rows are events.
    pub event_time: Option<&'a str>,
}

/// What an instance of an operator should know of its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorInput {
    /// The columns that come in. A text may come in any of Arrow's representations, such as a dictionary.
    pub columns: ColumnSchema,
    /// The column that says when a row happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// How late rows may be, in milliseconds, of an operator that waits.
    #[serde(default)]
    pub lateness_ms: i64,
}

impl OperatorInput {
    /// At this watermark all rows have come whose time, in milliseconds since the epoch, is not above what this gives.
    pub fn complete_until(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.lateness_ms)
    }
}

/// The configuration of a graph's node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// The operator's own settings.
    pub settings: serde_json::Value,
    /// The columns that rows are spread by.
    pub key: Vec<String>,
    /// What comes in.
    pub input: OperatorInput,
    /// The columns that go out.
    pub output: ColumnSchema,
}

impl OperatorConfig {
    /// That of a node.
    pub(super) fn read(node: &Node) -> Result<Self> {
        OperatorConfig::deserialize(&node.config).map_err(|error| {
            EngineError::definition(format!(
                "the configuration of '{}', a {}, does not fit: {error}",
                node.id, node.kind
            ))
        })
    }
}

/// A kind of operator.
#[derive(Clone, Copy)]
pub struct OperatorKind {
    /// As `kind = "..."` has it, and the kind of the graph's node.
    pub name: &'static str,
    /// Reads its own keys of an `[operator.NAME]`.
    pub read: fn(&Reader<'_>) -> Arc<dyn AnyOperator>,
    /// Reads the settings that a node keeps.
    pub(super) stored: fn(&serde_json::Value) -> serde_json::Result<Arc<dyn AnyOperator>>,
}

impl OperatorKind {
    pub(super) fn of<T: OperatorSettings>() -> Self {
        OperatorKind {
            name: T::KIND,
            read: |keys| Arc::new(T::read(keys)),
            stored: |settings| Ok(Arc::new(T::deserialize(settings)?)),
        }
    }
}

impl fmt::Debug for OperatorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("OperatorKind").field(&self.name).finish()
    }
}

/// [`OperatorSettings`] of whatever type.
pub trait AnyOperator: fmt::Debug + Send + Sync {
    /// See [`OperatorSettings::KIND`].
    fn kind(&self) -> &'static str;
    /// The settings of [`OperatorSettings::MEANING`], with their values.
    fn meaning(&self) -> Vec<(&'static str, String)>;
    /// See [`OperatorSettings::columns`].
    fn columns(&self, given: &OperatorGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema>;
    /// See [`OperatorSettings::key`].
    fn key(&self) -> &[String];
    /// See [`OperatorSettings::timing`].
    fn timing(&self) -> Timing;
    /// See [`OperatorSettings::takes_results`].
    fn takes_results(&self) -> bool;
    /// See [`OperatorSettings::note`].
    fn note(&self) -> String;
    /// See [`OperatorSettings::state`].
    fn state(&self) -> Option<String>;
    /// The settings as the node keeps them.
    fn to_json(&self) -> serde_json::Value;
    /// See [`OperatorSettings::build`].
    ///
    /// # Errors
    /// When the settings contradict each other.
    fn build(&self, input: &OperatorInput, context: &OperatorContext) -> Result<Box<dyn Operator>>;
}

impl<T: OperatorSettings> AnyOperator for T {
    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn meaning(&self) -> Vec<(&'static str, String)> {
        let settings = self.to_json();
        T::MEANING.iter().map(|name| (*name, settings[*name].to_string())).collect()
    }

    fn columns(&self, given: &OperatorGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        OperatorSettings::columns(self, given, at, mistakes)
    }

    fn key(&self) -> &[String] {
        OperatorSettings::key(self)
    }

    fn timing(&self) -> Timing {
        OperatorSettings::timing(self)
    }

    fn takes_results(&self) -> bool {
        OperatorSettings::takes_results(self)
    }

    fn note(&self) -> String {
        OperatorSettings::note(self)
    }

    fn state(&self) -> Option<String> {
        OperatorSettings::state(self)
    }

    fn to_json(&self) -> serde_json::Value {
        // What cannot be written does not fit when it is read, and is told of there.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn build(&self, input: &OperatorInput, context: &OperatorContext) -> Result<Box<dyn Operator>> {
        OperatorSettings::build(self, input, context)
    }
}
