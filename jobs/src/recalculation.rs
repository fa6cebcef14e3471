//! What a definition keeps in a store, and how that follows from the raw archive: what replays and recounts go by.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use weir_engine::hidden::Hidden;
use weir_operators::dedup::NullKey;
use weir_operators::map::SelectItem;
use weir_operators::source::files::EventTimeRange;

use crate::compile::compile;
use crate::compile::replay::{Graft, Survey, graft, survey};
use crate::diagnose::{Refusal, without_file};
use crate::job::{CompileOptions, Job};
use crate::load::load_spec;
use crate::spec::{JobSpec, NodeBody, Sink, SinkConnector};
use weir_operators::definition::Severity;

/// A definition whose counts can be recalculated from its raw archive.
#[derive(Debug, Clone)]
pub struct Recalculation {
    spec: JobSpec,
    survey: Survey,
    options: CompileOptions,
}

/// What a replay's job is beside its definition.
#[derive(Debug, Clone, Copy)]
pub struct ReplaySettings<'a> {
    /// Its own name, which keeps its checkpoints and commit marks apart from those of the job that it repeats.
    pub name: &'a str,
    /// Where the archive is: a folder or a URL.
    pub archive: &'a str,
    /// What of it is counted again.
    pub range: EventTimeRange,
    /// Where the store is, whatever the definition says.
    pub store: Option<&'a str>,
}

impl Recalculation {
    /// Reads a definition file, applies the overrides (`KEY=VALUE`), checks everything and looks where its archive comes in.
    ///
    /// # Errors
    /// With every mistake that is in it, or why nothing of it can be recalculated.
    pub fn load(path: &Path, settings: &[String], options: &CompileOptions) -> Result<Self, Refusal> {
        let spec = load_spec(path, settings, options)?;
        let survey = survey(&spec).map_err(|mistake| Refusal { diagnostics: without_file(vec![*mistake]) })?;
        Ok(Recalculation { spec, survey, options: options.clone() })
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.spec.name
    }

    /// Where the definition's own sink writes the archive.
    pub fn archive(&self) -> Option<&str> {
        self.survey.archive.as_deref()
    }

    /// Whether files of an archive are removed when they are old.
    pub fn archive_expires(&self) -> bool {
        self.spec.nodes.iter().any(|node| match &node.body {
            NodeBody::Sink(Sink { connector: SinkConnector::Files(files), .. }) => {
                files.hourly && files.retention.is_some()
            }
            _ => false,
        })
    }

    /// Where checkpoints go, when the definition says so.
    pub fn checkpoint_storage(&self) -> Option<&str> {
        self.spec.checkpoint.storage.as_deref()
    }

    /// How often the job makes checkpoints.
    pub fn checkpoint_interval(&self) -> Duration {
        self.spec.checkpoint.interval
    }

    /// The tables that the job keeps in a store.
    pub fn tables(&self) -> &[StoreTable] {
        &self.survey.tables
    }

    /// Tables of results that are neither replayed nor compared.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.survey.left_out
    }

    /// The same job over the archive, with the tables that `shadow` names in the place of its own.
    ///
    /// # Errors
    /// When the archive is none, or has not the columns that the job needs.
    pub fn replay(&self, settings: &ReplaySettings<'_>, shadow: &dyn Fn(&str) -> String) -> Result<Job, Refusal> {
        let ReplaySettings { name, archive, range, store } = *settings;
        let spec = graft(&self.spec, &self.survey, &Graft { name, archive, range, store, table: shadow });
        let (job, mut mistakes) = compile(&spec, &self.options);
        job.ok_or_else(|| {
            mistakes.retain(|mistake| mistake.severity == Severity::Error);
            Refusal { diagnostics: without_file(mistakes) }
        })
    }
}

/// A table of results that no replay can replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The sink's name.
    pub sink: String,
    /// The table's name.
    pub table: String,
    /// Why it cannot.
    pub why: WhyLeftOut,
}

/// Why a table cannot be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyLeftOut {
    /// It has one row a key, of the newest window.
    KeepsNewest,
    /// A map stands between the table and the aggregate.
    BehindMap,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { sink, table, why } = self;
        let why = match why {
            WhyLeftOut::KeepsNewest => {
                "it keeps the row of the newest window only, and has none of the windows of a range"
            }
            WhyLeftOut::BehindMap => {
                "a map makes its rows of the results, so that they don't tell which counts they are of"
            }
        };
        write!(f, "table '{table}' of sink.{sink} stays as it is: {why}")
    }
}

/// A table that a sink of the job writes, a row for each key and window.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreTable {
    /// The sink's name, such as `store`.
    pub sink: String,
    /// Where the store is.
    pub url: Hidden<String>,
    /// The table's name.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Of these, the ones that identify a row.
    pub key: Vec<String>,
    /// The columns that are added up where minutes become hours; empty: they never do.
    pub sums: Vec<String>,
    /// The windows that its rows are of.
    pub windows: TableWindows,
    /// How long a window is corrected after its end, in milliseconds.
    pub allowed_lateness_ms: i64,
    /// How long rows that are counted may be held back from the archive, in milliseconds of event time.
    pub archive_held_ms: i64,
    /// How its counts are found without the job; none: it holds no plain counts.
    pub counted: Option<CountedTable>,
}

/// How a table says which window a row is of. At least one of the two columns is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableWindows {
    /// The column with the window's start.
    pub start: Option<String>,
    /// The column with its end.
    pub end: Option<String>,
    /// Length of a window, in milliseconds.
    pub size_ms: i64,
    /// From the start of one to that of the next, in milliseconds.
    pub slide_ms: i64,
}

/// How the counts of a table follow from the rows of the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct CountedTable {
    /// What is done with the rows of the archive, in this order.
    pub steps: Vec<RecountStep>,
    /// The event-time column after that.
    pub time: String,
    /// Ids and conditions of the filters; empty: the key has no filter.
    pub filters: Vec<(String, String)>,
    /// The table's column with the filter's id.
    pub filter_column: Option<String>,
    /// The other key columns: what they are called in the rows, and in the table.
    pub keys: Vec<(String, String)>,
    /// The table's column with the count of rows.
    pub count: String,
}

/// Something that is done with the rows of the archive before they are counted.
#[derive(Debug, Clone, PartialEq)]
pub enum RecountStep {
    /// Rows for which the condition is true go on.
    Keep(String),
    /// These columns take the place of the ones before.
    Compute(Vec<SelectItem>),
    /// Of rows that are equal in the key, one goes on.
    Unique {
        /// The columns.
        key: Vec<String>,
        /// Whether rows that are equal in the key happened at the same time, so that it does not matter which one goes on.
        same_event_time: bool,
        /// What became of rows with a null in their key.
        null_key: NullKey,
    },
}
