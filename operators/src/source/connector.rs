//! What a source connector is to everybody but the engine: its settings, which know all that there is to know about it.
//!
//! A connector is a folder with a struct of settings that implements [`SourceConnector`], and a [`SourceKind`] in
//! [`crate::connectors`]. Whoever checks a definition, compiles it, runs it or tells people about it asks the settings; nobody
//! else looks into a configuration.

use super::{settings::SourceSettings, settings::WatermarkSettings, split_reader::Nature};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake, Reader},
    look::wait_for,
    schema::ColumnSchema,
};
use futures::future::BoxFuture;
use std::fmt;
use weir_engine::{
    error::Result,
    operator::{OperatorContext, Source},
};

/// A source connector, by its name.
#[derive(Clone, Copy)]
pub struct SourceKind {
    /// As `connector = "..."` has it, and the kind of the graph's node.
    pub name: &'static str,
    /// Reads the connector's own keys of a `[source.NAME]`.
    pub read: fn(&Reader<'_>) -> Box<dyn SourceConnector>,
    /// Reads the configuration of a node, as [`SourceConnector::config`] gave it.
    pub stored: fn(&serde_json::Value) -> serde_json::Result<Box<dyn SourceConnector>>,
    /// The settings, as a configuration has them, that say what positions and times in a checkpoint mean; `event_time` is one.
    pub meaning: &'static [&'static str],
}

/// A source as a definition has it.
pub trait SourceConnector: fmt::Debug + Send + Sync {
    /// Its kind.
    fn kind(&self) -> &'static SourceKind;

    /// Reads what `watermark` says of how the connector reads, if anything.
    fn read_watermark(&mut self, _watermark: &Reader<'_>) {}

    /// Its part of the configuration of the graph's node; [`SourceSettings`] are put beside it.
    fn config(&self) -> serde_json::Value;

    /// Whether it takes a look at the data to know the columns, and looks. That may take a while, and is done before the
    /// definition is checked.
    fn look(&self) -> Option<BoxFuture<'_, Result<ColumnSchema>>> {
        None
    }

    /// The columns that it can give, and what is wrong with its settings. None where that is not known; there is a mistake then,
    /// here or where the keys were read.
    fn columns(&self, given: &SourceGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema>;

    /// Why the event time cannot be computed of its columns, and what is right instead; none: it can.
    fn never_computes_time(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Whether references to secrets are written right; and, where the job runs in this process, whether they lead to
    /// something.
    fn check_secrets(&self, _runs_here: bool, _at: &KeyPath, _mistakes: &mut Vec<Mistake>) {}

    /// How its records come.
    fn nature(&self) -> Nature;

    /// Whether it reads a file at this path or URL, if there is one.
    fn reads_file(&self, _file: &str) -> bool {
        false
    }

    /// Whether its splits say how old their rows can be, so that the watermark follows from that, whatever the rows say.
    fn bounds_time(&self) -> bool {
        false
    }

    /// What it reads, in few words.
    fn note(&self) -> String;

    /// How much there is to read, for progress; none: it has no end, or that can't be told without much ado. Looks at files on
    /// this machine at most.
    fn total(&self) -> Option<Total>;

    /// Where it reads, for a cluster that confines its jobs.
    ///
    /// # Errors
    /// When it names nothing.
    fn locations(&self) -> Result<Vec<Location>>;

    /// The source of one subtask. Nothing is opened yet.
    ///
    /// # Errors
    /// When the settings contradict each other, or what they name cannot be opened.
    fn build(&self, settings: &SourceSettings, context: &OperatorContext) -> Result<Box<dyn Source>>;
}

/// What is said of a source beside its connector's own settings.
#[derive(Clone, Copy, Debug)]
pub struct SourceGiven<'a> {
    /// Whether it says when events happened.
    pub has_event_time: bool,
    /// How time follows from that.
    pub watermark: &'a WatermarkSettings,
    /// What [`SourceConnector::look`] found, or why it found nothing.
    pub looked: Option<&'a Looked>,
}

/// The columns that were found in the data; or why none were.
pub type Looked = std::result::Result<ColumnSchema, String>;

/// How much there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// So many events.
    Events(u64),
    /// So many bytes.
    Bytes(u64),
}

/// Takes a look at the data of a source whose columns are not known without; none: they are. Waits for it.
pub fn look(connector: &dyn SourceConnector) -> Option<Looked> {
    connector.look().map(wait_for)
}

impl fmt::Debug for SourceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SourceKind").field(&self.name).finish()
    }
}
