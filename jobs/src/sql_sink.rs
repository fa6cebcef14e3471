//! A sink that keeps a table, as a definition has it.

use std::time::Duration;

use weir_engine::hidden::Hidden;

use crate::spec::{Sink, SinkConnector};

/// A table of a SQL database.
#[derive(Debug, Clone)]
pub(crate) struct SqlSink {
    pub(crate) url: Hidden<String>,
    pub(crate) table: String,
    /// None: `record_id`.
    pub(crate) key: Option<Vec<String>>,
    /// Of results with the same key, whether that of the newest window stays.
    pub(crate) keep_newest: bool,
    pub(crate) indexes: Vec<TableIndex>,
    pub(crate) retention: Option<TableRetention>,
}

/// An index of a table.
#[derive(Debug, Clone)]
pub struct TableIndex {
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// Only rows that this SQL condition of the database holds for are in it.
    pub condition: Option<String>,
}

/// When old rows of a table are added up, and when they go.
#[derive(Debug, Clone)]
pub struct TableRetention {
    /// The first column of the key, a timestamp.
    pub time: String,
    /// The columns that are added up.
    pub sum: Vec<String>,
    /// Hours that are older go to a table of hours.
    pub minutes: Duration,
    /// Days that are older go on to a table of days.
    pub hours: Duration,
    /// Days that are older are removed.
    pub days: Duration,
}

impl Sink {
    /// A table in the database at a URL, `sqlite:path/of/file` or `postgres://user@host/database`. It takes running counts
    /// unless it is told not to ([`Sink::running`]).
    pub fn sql(input: impl Into<String>, url: impl Into<String>, table: impl Into<String>) -> Self {
        let (url, table) = (Hidden::from(url.into()), table.into());
        let sql = SqlSink { url, table, key: None, keep_newest: false, indexes: Vec::new(), retention: None };
        Sink::new(input.into(), SinkConnector::Sql(sql))
    }

    /// The columns of the table's primary key; of two rows with the same key the one with the higher revision stays. Without
    /// effect on files and consoles.
    #[must_use]
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        if let SinkConnector::Sql(sql) = &mut self.connector {
            sql.key = Some(columns.into_iter().map(Into::into).collect());
        }
        self
    }

    /// The table keeps, of each key, the result of the newest window: for a key without the window. Without effect on files and
    /// consoles.
    #[must_use]
    pub fn keep_newest(mut self) -> Self {
        if let SinkConnector::Sql(sql) = &mut self.connector {
            sql.keep_newest = true;
        }
        self
    }

    /// Adds an index to the table. Without effect on files and consoles.
    #[must_use]
    pub fn index(mut self, index: TableIndex) -> Self {
        if let SinkConnector::Sql(sql) = &mut self.connector {
            sql.indexes.push(index);
        }
        self
    }

    /// When old rows of the table are added up, and when they go. Without effect on files and consoles.
    #[must_use]
    pub fn retention(mut self, retention: TableRetention) -> Self {
        if let SinkConnector::Sql(sql) = &mut self.connector {
            sql.retention = Some(retention);
        }
        self
    }
}
