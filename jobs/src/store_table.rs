//! The tables that a definition keeps in a store, and how their counts follow from the raw archive.

use std::fmt;

use weir_engine::hidden::Hidden;
use weir_operators::dedup::NullKey;
use weir_operators::map::SelectItem;

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
    /// It takes the results of several nodes.
    OfSeveral,
    /// Its aggregate counts results of another.
    OfResults,
    /// Its results are those of a join.
    OfJoin,
    /// Its results are of all of event time.
    NoWindow,
    /// What it counts says something of rows before.
    BehindOver,
    /// Its windows are not recounted by a range of event time.
    OtherWindows,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { sink, table, why } = self;
        let why = match why {
            WhyLeftOut::KeepsNewest => {
                "it keeps the row of the newest window only, and has none of the windows of a range"
            }
            WhyLeftOut::NoWindow => {
                "its results are of all events of their keys, and a part of them can't be counted again"
            }
            WhyLeftOut::OfJoin => "its results are of a join, whose inputs are not in one archive",
            WhyLeftOut::OtherWindows => {
                "a replay counts ranges of whole hours in UTC again, and its windows grow, have an `offset` or a `timezone`, or \
                 are no multiple of their slide"
            }
            WhyLeftOut::OfSeveral => {
                "it has results of several nodes, so that its rows don't tell which counts they are of"
            }
            WhyLeftOut::OfResults => {
                "its aggregate counts results of another, and a replay counts only what the archive holds: events"
            }
            WhyLeftOut::BehindOver => {
                "it counts rows behind an over, each of which depends on rows before it, and the first ones of a replay have none"
            }
            WhyLeftOut::BehindMap => {
                "a map computes its rows from the results, so they don't tell which counts they belong to"
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
    /// Keeps the rows for which the condition is true.
    Keep(String),
    /// These columns replace the ones before.
    Compute(Vec<SelectItem>),
    /// Of rows that are equal in the key, one is kept.
    Unique {
        /// The columns.
        key: Vec<String>,
        /// Whether rows that are equal in the key happened at the same time, so that it does not matter which one is kept.
        same_event_time: bool,
        /// What became of rows with a null in their key.
        null_key: NullKey,
    },
}

/// Files by hour that hold the rows of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archive<'a> {
    /// Where they are.
    pub(crate) path: &'a str,
    /// Whether they hold the rows as they came, all columns.
    pub(crate) is_whole: bool,
    /// Whether they are removed when they are old.
    pub(crate) expires: bool,
    /// For how long rows may be held back from them, in milliseconds of event time.
    pub(crate) held_ms: i64,
}
