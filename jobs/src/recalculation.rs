//! What a definition keeps in a store, and how that follows from the raw archive: what replays and recounts go by.

use weir_operators::map::SelectItem;

/// A table that a sink of the job writes, a row for each key and window.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreTable {
    /// The sink's name, such as `store`.
    pub sink: String,
    /// Where the store is.
    pub url: String,
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
    },
}
