//! Sinks made in Rust: what their connectors write to.

use std::time::Duration;

use weir_engine::hidden::Hidden;

use super::super::inputs::Inputs;
use super::connector::SinkConnector;
use super::definition::Sink;
use super::files::{Compression, FilesSink, Roll};
use super::sql::{SqlSink, TableIndex, TableRetention};

impl Sink {
    /// Parquet files in a folder, or below a URL.
    pub fn files(input: impl Into<Inputs>, path: impl Into<String>) -> Self {
        Sink::new(input.into(), SinkConnector::Files(FilesSink::at(path.into())))
    }

    /// How the files are compressed. Without effect on a console.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.compression = compression.name();
        }
        self
    }

    /// A folder for every hour of a timestamp column; of the event time, or the window's start, when none is named.
    /// Without effect on a console.
    #[must_use]
    pub fn partition_by_hour(mut self, column: Option<String>) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.hourly = true;
            files.partition_column = column;
        }
        self
    }

    /// When files are begun. Not said: once a minute, every ten minutes for late rows, dead letters and what came on time, and with
    /// every checkpoint for running counts. Without effect on a console.
    #[must_use]
    pub fn roll(mut self, roll: Roll) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.roll = Some(roll);
        }
        self
    }

    /// Removes files so long after they were written. Without effect on a console.
    #[must_use]
    pub fn keep_files_for(mut self, retention: Duration) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.retention = Some(retention);
        }
        self
    }

    /// A table in the database at a URL, `sqlite:path/of/file` or `postgres://user@host/database`. It takes running counts
    /// unless it is told not to ([`Sink::running`]).
    pub fn sql(input: impl Into<Inputs>, url: impl Into<String>, table: impl Into<String>) -> Self {
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
