//! Why a query has no answer, and what its caller can do about it.

use std::fmt;
use weir_store::{
    DAY_MS, Dialect, UrlMistake,
    fault::{Missing, missing, told},
    row::Unreadable,
};

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The address is not that of a store.
    Address(String),
    /// There is no store yet, or nothing in it; the text says how that was seen.
    NothingYet(String),
    /// There are tables, and none of them counts clicks; the text says which there are.
    NoCounts(String),
    /// Clicks are counted in several tables, and none was chosen.
    SeveralTables {
        /// Their names.
        tables: Vec<String>,
    },
    /// The database is down, or too busy; another try may succeed.
    Unavailable(String),
    /// Clicks are not counted under this filter; there are these.
    UnknownFilter {
        /// The one that was asked for.
        asked: String,
        /// Ids of those that there are.
        known: Vec<String>,
    },
    /// No sink fills such a table; there are these.
    UnknownTable {
        /// The one that was asked for.
        asked: String,
        /// The names of those that there are.
        known: Vec<String>,
    },
    /// What is asked for makes no sense for the table; the text says what would.
    Question(String),
    /// A boundary of the range lies within an hour or a day that is kept as one sum.
    Cut {
        /// The boundary, in milliseconds since the epoch.
        at_ms: i64,
        /// The width of the sum, an hour or a day.
        unit_ms: i64,
    },
    /// Minutes were asked for of a time that is kept as hours or days only, up to here.
    RolledUp {
        /// The first millisecond from which there are minutes.
        until_ms: i64,
    },
    /// More minutes would have to be looked at than one question may.
    TooLong {
        /// How many minutes it would be.
        minutes: i64,
        /// How many it may be.
        most: i64,
    },
}

impl StoreError {
    /// What an error of a database means.
    pub(super) fn of(dialect: Dialect, error: &sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return StoreError::Unavailable("no connection to the database could be made in time".into());
        }
        match missing(dialect, error) {
            Some(Missing::File) => StoreError::NothingYet("there is no database file".into()),
            Some(Missing::Table) => StoreError::NothingYet(told(error)),
            Some(Missing::PerhapsTable) | None => StoreError::Unavailable(told(error)),
        }
    }

    /// The nearest boundaries around a cut, in milliseconds.
    pub fn nearest(at_ms: i64, unit_ms: i64) -> (i64, i64) {
        let before = at_ms - at_ms.rem_euclid(unit_ms);
        (before, before + unit_ms)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Address(why) => write!(f, "this is not the URL of a store: {why}"),
            StoreError::NothingYet(why) => write!(f, "nothing has been committed yet: {why}"),
            StoreError::NoCounts(why) => f.write_str(why),
            StoreError::Unavailable(why) => write!(f, "the store does not answer: {why}"),
            StoreError::SeveralTables { tables } => {
                write!(f, "the store has several counts tables: {}; choose one with --table", tables.join(", "))
            }
            StoreError::UnknownFilter { asked, known } => {
                write!(f, "there is no filter '{asked}'; there are: {}", known.join(", "))
            }
            StoreError::UnknownTable { asked, known } if known.is_empty() => {
                write!(f, "there is no table '{asked}', nor any other")
            }
            StoreError::UnknownTable { asked, known } => {
                write!(f, "there is no table '{asked}'; there are: {}", known.join(", "))
            }
            StoreError::Question(why) => f.write_str(why),
            StoreError::Cut { at_ms, unit_ms } => {
                let (before, after) = StoreError::nearest(*at_ms, *unit_ms);
                let unit = if *unit_ms == DAY_MS { "day" } else { "hour" };
                let (at, before, after) = (at_ms / 1000, before / 1000, after / 1000);
                write!(
                    f,
                    "{at} cuts through a {unit} that is stored as one sum; the nearest boundaries are {before} and {after}"
                )
            }
            StoreError::RolledUp { until_ms } => {
                write!(f, "minutes before {} are stored as hours or days only; ask for later ones", until_ms / 1000)
            }
            StoreError::TooLong { minutes, most } => {
                write!(f, "the range spans {minutes} minutes that are counted one by one; at most {most} at once")
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl From<Unreadable> for StoreError {
    fn from(unreadable: Unreadable) -> Self {
        StoreError::Unavailable(unreadable.to_string())
    }
}

impl From<UrlMistake> for StoreError {
    fn from(mistake: UrlMistake) -> Self {
        let expected = "a store is sqlite:PATH or postgres://USER@HOST/DATABASE";
        StoreError::Address(match mistake.expected {
            Some(_) => format!("{}; {expected}", mistake.message),
            None => mistake.message,
        })
    }
}
