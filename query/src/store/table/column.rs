//! What a column of a table holds, and how it is read and compared in a statement.

use weir_store::{Dialect, SqlType, quoted};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// What it is to the database.
    pub(super) sql_type: SqlType,
    /// What it is to readers.
    pub holds: Holds,
}

/// What a column holds, for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Moments.
    Time,
    /// Whole numbers of 64 bits.
    Integer,
    /// Floating-point numbers.
    Number,
    /// Numbers of any length, as text.
    Decimal,
    /// Texts.
    Text,
    /// Bytes.
    Bytes,
}

impl Holds {
    pub(super) fn of(sql_type: SqlType) -> Self {
        match sql_type {
            SqlType::BigInt => Holds::Integer,
            SqlType::Double => Holds::Number,
            SqlType::Numeric => Holds::Decimal,
            SqlType::Text => Holds::Text,
            SqlType::Bytes => Holds::Bytes,
        }
    }

    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Holds::Time => "time",
            Holds::Integer => "integer",
            Holds::Number => "number",
            Holds::Decimal => "decimal",
            Holds::Text => "text",
            Holds::Bytes => "bytes",
        }
    }
}

impl TableColumn {
    /// The column of the table `rows`, as an answer has it: of a type that the driver reads.
    pub(super) fn selected(&self) -> String {
        let column = format!("found.{}", quoted(&self.name));
        match self.sql_type {
            SqlType::Numeric => format!("CAST({column} AS TEXT)"),
            _ => column,
        }
    }

    /// The column, as rows are put in order by it.
    pub(super) fn ordered(&self, dialect: Dialect) -> String {
        let column = format!("found.{}", quoted(&self.name));
        match (self.sql_type, dialect) {
            // What is text in SQLite is a number all the same.
            (_, Dialect::Sqlite) if self.holds == Holds::Decimal => format!("CAST({column} AS REAL)"),
            (SqlType::Text, _) => dialect.by_bytes(&column),
            _ => column,
        }
    }

    /// The column, as it is compared with the text or the number of a question.
    pub(super) fn compared(&self, dialect: Dialect) -> String {
        let column = format!("found.{}", quoted(&self.name));
        match (self.sql_type, dialect) {
            (SqlType::Numeric, _) => format!("CAST({column} AS TEXT)"),
            (SqlType::Bytes, Dialect::Sqlite) => format!("lower(hex({column}))"),
            (SqlType::Bytes, Dialect::Postgres) => format!("encode({column}, 'hex')"),
            _ => column,
        }
    }
}
