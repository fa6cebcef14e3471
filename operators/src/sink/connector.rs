//! What a sink connector is to everybody but the engine.
//!
//! A connector is a folder with two structs: its settings as a definition has them ([`SinkConnector`]), which know what is wrong
//! with them and what a graph's node has to be told; and that node's configuration ([`StoredSink`]), which makes the sink and its
//! committer and knows where results are. A [`SinkKind`] in [`crate::connectors`] names both. Nobody else looks into a
//! configuration.

use super::{
    SinkResults,
    read_back::{ReadBack, ReadBackOf},
    sql::TableRule,
};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake, Reader},
    hold::HoldRule,
    look::wait_for,
    schema::ColumnSchema,
};
use futures::future::BoxFuture;
use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};
use weir_engine::{
    error::Result,
    hidden::{Hidden, without_password},
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// A sink connector, by its name.
#[derive(Clone, Copy)]
pub struct SinkKind {
    /// As `connector = "..."` has it, and the kind of the graph's node.
    pub name: &'static str,
    /// Reads the connector's own keys of a `[sink.NAME]`.
    pub read: fn(&Reader<'_>) -> Box<dyn SinkConnector>,
    /// Reads the configuration of a node, as [`SinkConnector::config`] gave it.
    pub stored: fn(&serde_json::Value) -> Result<Box<dyn StoredSink>>,
    /// The settings, as a configuration has them, that say what a checkpoint has committed where.
    pub meaning: &'static [&'static str],
}

/// A sink as a definition has it.
pub trait SinkConnector: fmt::Debug + Send + Sync {
    /// Its kind.
    fn kind(&self) -> &'static SinkKind;

    /// Whether it takes a look outside of the definition before it is checked, and looks. That may take a while. What was found
    /// is kept, and so is why nothing was.
    fn look(&self) -> Option<BoxFuture<'_, Result<()>>> {
        None
    }

    /// Notes what is wrong with its settings, for the rows that it is given.
    fn check(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>);

    /// Whether references to secrets are written right; and, where the job runs in this process, whether they lead to
    /// something.
    fn check_secrets(&self, _runs_here: bool, _at: &KeyPath, _mistakes: &mut Vec<Mistake>) {}

    /// What it writes to and no other sink may; none: it can share that with others.
    fn owns(&self) -> Option<Owned>;

    /// The path or URL of a file such as it writes; none: it writes no files.
    fn example_file(&self) -> Option<String> {
        None
    }

    /// The configuration of the graph's node, where nothing is wrong.
    fn config(&self, given: &SinkGiven<'_>, job: &SinkJob<'_>) -> serde_json::Value;

    /// What it writes, in few words.
    fn note(&self) -> String;

    /// Whether it takes running counts where the definition does not say.
    fn takes_running(&self) -> bool;

    /// Whether each revision stays beside the others, so that rows must say whether they hold. In a table a row takes the place of
    /// the one before.
    fn keeps_revisions(&self) -> bool;

    /// How long rows are held before it; none: they are not.
    fn hold(&self, _rows: &SinkRhythm) -> Option<HoldRule> {
        None
    }

    /// Whether rows may be dead letters before it, although nothing is computed of them.
    fn may_refuse(&self) -> bool {
        false
    }

    /// The rule by which rows are dead letters that it could not take; none: it takes all.
    fn table_rule(&self, _given: &SinkGiven<'_>) -> Option<TableRule> {
        None
    }

    /// The archive that it writes, from which counts can be recalculated; none: it writes none.
    fn archive(&self) -> Option<Archive<'_>> {
        None
    }

    /// The table that it keeps, whose counts can be recalculated; none: it keeps none.
    fn table(&self) -> Option<KeptTable<'_>> {
        None
    }

    /// The same sink with another table beside the one that it keeps; none: it keeps none.
    fn beside(&self, _shadow: &Shadow<'_>) -> Option<Arc<dyn SinkConnector>> {
        None
    }
}

/// Lets a sink take its look, and waits for it. What is wrong is told when it is checked.
pub fn look(connector: &dyn SinkConnector) {
    // Why nothing was found is kept by the sink.
    let _ = connector.look().map(wait_for);
}

/// A sink as the node of a graph keeps it.
pub trait StoredSink: fmt::Debug + Send + Sync {
    /// A subtask's instance.
    ///
    /// # Errors
    /// When the settings don't fit or the target cannot be opened.
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>>;

    /// What commits, from anywhere.
    ///
    /// # Errors
    /// When the settings don't fit or the target cannot be opened.
    fn committer(&self, context: CommitterContext) -> Result<Arc<dyn Committer>>;

    /// Where it writes, and which files it reads secrets from, for a cluster that confines its jobs.
    ///
    /// # Errors
    /// When it names nothing.
    fn locations(&self) -> Result<Vec<Location>>;

    /// Where results are, without passwords; none: they are printed.
    fn shown(&self) -> Option<String>;

    /// Whether standard output is for its rows alone, so that another program can read them.
    fn owns_standard_output(&self) -> bool {
        false
    }

    /// The table that it writes, for queries; none: it writes none.
    fn table(&self) -> Option<WrittenTable<'_>> {
        None
    }

    /// What reads its results back; none: they have gone where nobody can.
    ///
    /// # Errors
    /// When the settings don't fit, or a secret is not there.
    fn read_back(&self, _of: &ReadBackOf<'_>) -> Result<Option<Box<dyn ReadBack>>> {
        Ok(None)
    }

    /// The files with results on this machine, of a sink of a job; none: it writes no files, or elsewhere.
    fn files_here(&self, _job: &str, _sink: &str) -> Option<FilesHere> {
        None
    }
}

/// What is known of a sink's rows before the job runs.
#[derive(Clone, Copy, Debug)]
pub struct SinkGiven<'a> {
    /// The columns that it writes, in order.
    pub columns: &'a ColumnSchema,
    /// The column that says when a row happened, where rows are events.
    pub event_time: Option<&'a str>,
    /// What is known of rows that are results; none: they are events.
    pub results: Option<&'a SinkResults>,
    /// Whether the columns follow from a `select` of its own.
    pub has_select: bool,
}

impl SinkGiven<'_> {
    /// The key that says which columns there are.
    pub fn columns_at(&self, at: &KeyPath) -> KeyPath {
        at.key(if self.has_select { "select" } else { "input" })
    }
}

/// What a sink's job says to the readers of its results.
#[derive(Clone, Copy, Debug)]
pub struct SinkJob<'a> {
    /// Whether it is given running counts.
    pub running: bool,
    /// The job's filters: id and condition.
    pub filters: &'a [(String, String)],
    /// For how long rows are held before the job's archives, in milliseconds of event time.
    pub archive_held_ms: i64,
}

/// When rows come to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkRhythm {
    /// From one checkpoint to the next.
    pub checkpoint_interval: Duration,
    /// Whether it takes running counts.
    pub running: bool,
    /// Whether its rows are of an output beside the main one: late, dead letters.
    pub beside: bool,
}

/// What one sink alone may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The key that says it.
    pub key: &'static str,
    /// As messages have it.
    pub shown: String,
    /// What would be right for another sink.
    pub expected: &'static str,
    /// The places, each with those that it lies in before it.
    pub places: Vec<Vec<String>>,
}

impl Owned {
    /// Whether the two have a place in common, or one lies in the other.
    pub fn meets(&self, other: &Owned) -> bool {
        let meet = |one: &Vec<String>, other: &Vec<String>| one.starts_with(other) || other.starts_with(one);
        self.places.iter().any(|one| other.places.iter().any(|other| meet(one, other)))
    }
}

/// Files by hour that counts can be recalculated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive<'a> {
    /// A folder or a URL.
    pub path: &'a str,
    /// Whether files are removed when they are old.
    pub expires: bool,
}

/// A table that a sink keeps, as a definition has it.
#[derive(Clone, Copy, Debug)]
pub struct KeptTable<'a> {
    /// Where the database is.
    pub url: &'a Hidden<String>,
    /// The table's name.
    pub table: &'a str,
    /// The columns of its key, where the definition names them.
    pub key: &'a [String],
    /// The columns that are added up where minutes become hours; empty: they never do.
    pub sums: &'a [String],
    /// Whether it keeps the newest window of a key alone.
    pub keep_newest: bool,
}

/// What a replay writes to in the place of a job's own tables.
#[derive(Clone, Copy)]
pub struct Shadow<'a> {
    /// The database; none: that of the other one.
    pub store: Option<&'a str>,
    /// Its name, from that of the other one.
    pub table: &'a dyn Fn(&str) -> String,
}

/// A table that a sink writes.
#[derive(Clone, Copy, Debug)]
pub struct WrittenTable<'a> {
    /// Where the database is.
    pub url: &'a Hidden<String>,
    /// The table's name.
    pub table: &'a str,
    /// The columns of its key.
    pub key: &'a [String],
}

/// Files with results on this machine.
#[derive(Debug)]
pub struct FilesHere {
    /// The folder that they are in, or below.
    pub folder: PathBuf,
    /// Those that are committed, by name.
    pub files: io::Result<Vec<PathBuf>>,
}

impl fmt::Debug for SinkKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SinkKind").field(&self.name).finish()
    }
}

impl fmt::Debug for Shadow<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shadow").field("store", &self.store.map(without_password)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_meet_where_one_lies_in_the_other() {
        let of = |place: &str| Owned {
            key: "path",
            shown: place.into(),
            expected: "",
            places: vec![place.split('/').map(str::to_owned).collect()],
        };
        assert!(of("out").meets(&of("out/a")) && of("out/a").meets(&of("out")) && of("out").meets(&of("out")));
        assert!(!of("out").meets(&of("output")) && !of("out/a").meets(&of("out/b")));
    }
}
