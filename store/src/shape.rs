//! Which columns of a table say what, for readers that know nothing of the job: the page and the API of any table.

use serde::{Deserialize, Serialize};

/// What the columns of a table are to its readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The time by which its rows follow one another: the window's start or end, or when an event happened; none: they don't.
    pub time: Option<String>,
    /// All columns that are times, in milliseconds since the epoch.
    pub times: Vec<String>,
    /// The columns that tell the rows of one time apart, in order; empty: there is one row a time.
    pub series: Vec<String>,
    /// The columns with numbers to be compared and charted.
    pub values: Vec<String>,
}
