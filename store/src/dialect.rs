//! What the databases differ in. The only place that knows, beside [`role`](crate::role), which has their settings.

use crate::address::UrlMistake;
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// A file on a local disk, written by one process at a time.
    Sqlite,
    /// PostgreSQL, or what speaks like it.
    Postgres,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Sqlite => "SQLite",
            Dialect::Postgres => "PostgreSQL",
        })
    }
}

impl Dialect {
    /// The one that a URL means.
    ///
    /// # Errors
    /// When it is none of those that are known.
    pub fn of(url: &str) -> Result<Self, UrlMistake> {
        let refuse = |why: &str| Err(UrlMistake::new(why));
        if url.starts_with("${") {
            return refuse("the URL of a database begins with its kind, which is no secret");
        }
        match url.split_once(':') {
            Some(("sqlite", "" | "//" | ":memory:" | "//:memory:")) => refuse("the URL names no file"),
            Some(("sqlite", _)) => Ok(Dialect::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Dialect::Postgres),
            Some((scheme, _)) => refuse(&format!("there is no database '{scheme}:'")),
            None => refuse("the URL of a database begins with its kind"),
        }
    }

    /// The type of a column.
    pub fn type_name(self, sql_type: SqlType) -> &'static str {
        match (sql_type, self) {
            (SqlType::BigInt, _) => "BIGINT",
            (SqlType::Double, _) => "DOUBLE PRECISION",
            (SqlType::Text, _) => "TEXT",
            // SQLite's NUMERIC makes floats of what has a point in it.
            (SqlType::Numeric, Dialect::Sqlite) => "TEXT",
            (SqlType::Numeric, Dialect::Postgres) => "NUMERIC",
            (SqlType::Bytes, Dialect::Sqlite) => "BLOB",
            (SqlType::Bytes, Dialect::Postgres) => "BYTEA",
        }
    }

    /// What follows the columns of a table. A table whose key is most of it needs no second tree for its rows.
    pub fn table_options(self) -> &'static str {
        match self {
            Dialect::Sqlite => " WITHOUT ROWID",
            Dialect::Postgres => "",
        }
    }

    /// The place of the `n`-th parameter, from 1. SQLite looks named ones up one by one, and so gets anonymous ones.
    pub fn parameter(self, n: usize) -> String {
        match self {
            Dialect::Sqlite => "?".into(),
            Dialect::Postgres => format!("${n}"),
        }
    }

    /// The same for a value of a type. The driver gives a number that is absent another type than one that is there, which
    /// PostgreSQL takes amiss in a statement that it has seen before: there they travel as texts.
    pub fn value(self, n: usize, sql_type: SqlType) -> String {
        match (self, sql_type) {
            (Dialect::Postgres, SqlType::Double) => format!("CAST(${n}::text AS DOUBLE PRECISION)"),
            (Dialect::Postgres, SqlType::Numeric) => format!("CAST(${n}::text AS NUMERIC)"),
            _ => self.parameter(n),
        }
    }

    /// Parameters that a statement may have.
    pub fn max_parameters(self) -> usize {
        match self {
            Dialect::Sqlite => 32_766,
            Dialect::Postgres => 65_535,
        }
    }

    /// Begins a transaction that will write. SQLite takes its one write lock at once: later it might have to be refused.
    pub fn begin(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        }
    }

    /// Begins a transaction that only reads, all of it the same state.
    pub fn begin_reading(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Makes sure that no other process creates tables at the same time, until the end of the transaction.
    pub fn lock_tables(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            // The number is Weir's own: "weir" in ASCII.
            Dialect::Postgres => Some("SELECT pg_advisory_xact_lock(2003134834)"),
        }
    }

    /// Name, type and place in the primary key (from 1; else 0) of every column of the table whose name is the parameter.
    pub fn columns_of_table(self) -> &'static str {
        match self {
            Dialect::Sqlite => {
                "SELECT CAST(name AS TEXT), CAST(upper(type) AS TEXT), CAST(pk AS BIGINT) FROM pragma_table_info(?) ORDER BY cid"
            }
            Dialect::Postgres => {
                "SELECT a.attname::text, upper(format_type(a.atttypid, NULL)), \
                 COALESCE(array_position(i.indkey::int2[], a.attnum), -1)::bigint + 1 \
                 FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
                 WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
            }
        }
    }

    /// The names of those tables that are there, of so many, which are the parameters.
    pub fn which_tables(self, names: usize) -> String {
        let places: Vec<String> = (1..=names).map(|place| format!("${place}")).collect();
        let places = places.join(", ");
        match self {
            Dialect::Sqlite => format!("{SQLITE_TABLES} AND name IN ({places})"),
            Dialect::Postgres => format!("{POSTGRES_TABLES} AND relname IN ({places})"),
        }
    }

    /// The names of the tables that begin with the parameter.
    pub fn tables_that_begin(self) -> String {
        match self {
            Dialect::Sqlite => format!("{SQLITE_TABLES} AND substr(name, 1, length($1)) = $1 ORDER BY 1"),
            Dialect::Postgres => {
                format!("{POSTGRES_TABLES} AND pg_catalog.starts_with(CAST(relname AS TEXT), $1) ORDER BY 1")
            }
        }
    }

    /// The definitions of the indexes of the table whose name is the parameter.
    pub fn indexes_of_table(self) -> &'static str {
        match self {
            Dialect::Sqlite => {
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL"
            }
            Dialect::Postgres => "SELECT indexdef FROM pg_catalog.pg_indexes WHERE tablename = $1",
        }
    }

    /// The rows of the query `select` are kept from everybody else who writes; none: whoever writes has the store alone.
    pub fn lock_rows(self, select: &str) -> Option<String> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(format!("{select} FOR UPDATE")),
        }
    }

    /// A column of texts in the order of their bytes, whatever language the database speaks.
    pub fn by_bytes(self, column: &str) -> String {
        match self {
            Dialect::Sqlite => column.to_owned(),
            Dialect::Postgres => format!("{column} COLLATE \"C\""),
        }
    }

    /// Whether a text may be there, or asked for. PostgreSQL has none with the character 0 in it.
    pub fn can_hold(self, text: &str) -> bool {
        self == Dialect::Sqlite || !text.contains('\0')
    }
}

/// What a column of the table holds: few types, the same in all databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlType {
    /// Integers; timestamps and dates, as milliseconds since the epoch; truth, as 0 and 1.
    BigInt,
    /// Floating point numbers.
    Double,
    /// Texts.
    Text,
    /// Bytes, such as the sixteen of a record id.
    Bytes,
    /// Decimals, and integers beyond 64 bits with a sign, exact: a number of any length where the database has one, else a text.
    Numeric,
}

impl SqlType {
    /// What a column of a stream becomes in a table; none: such columns cannot be stored.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Boolean | DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some(SqlType::BigInt),
            // Half of its values are beyond the integers of databases.
            DataType::UInt64 => Some(SqlType::Numeric),
            integer if integer.is_integer() => Some(SqlType::BigInt),
            floating if floating.is_floating() => Some(SqlType::Double),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(SqlType::Text),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Some(SqlType::Bytes)
            }
            DataType::Decimal128(..) => Some(SqlType::Numeric),
            DataType::Dictionary(_, values) => SqlType::of(values),
            _ => None,
        }
    }

    /// What a column of a table holds, by the name that the database gives its type; one that Weir makes no columns of is text.
    pub fn of_name(name: &str) -> Self {
        match name {
            "BIGINT" => SqlType::BigInt,
            "DOUBLE PRECISION" => SqlType::Double,
            "NUMERIC" => SqlType::Numeric,
            "BLOB" | "BYTEA" => SqlType::Bytes,
            _ => SqlType::Text,
        }
    }
}

/// A name in a statement.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names with commas between them.
pub fn quoted_list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The names of tables, with conditions to be added.
const SQLITE_TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table'";
const POSTGRES_TABLES: &str = "SELECT CAST(relname AS TEXT) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') \
                               AND pg_catalog.pg_table_is_visible(oid)";

/// Settings of a PostgreSQL session that end a client which was stopped, or cut off, in the middle of a transaction, within
/// seconds: then its locks are released.
const ENDS_WHO_IS_STOPPED: [(&str, &str); 4] = [
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_keepalives_idle", "3s"),
    ("tcp_keepalives_interval", "1s"),
    ("tcp_keepalives_count", "3"),
];

/// The statement with which a PostgreSQL session is set to end a client that was stopped in a transaction.
pub(crate) fn end_who_is_stopped() -> String {
    where_undecided(&ENDS_WHO_IS_STOPPED)
}

/// Sets what has not been configured: a setting that is in the URL (`options=`), or that the role, the database or the server's
/// configuration has, stays. So does what a server does not know.
pub(crate) fn where_undecided(settings: &[(&str, &str)]) -> String {
    let settings: Vec<_> = settings.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    format!(
        "SELECT set_config(name, wanted, false) FROM (VALUES {}) AS settings (name, wanted) \
         JOIN pg_catalog.pg_settings USING (name) WHERE source = 'default'",
        settings.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_which_database_it_is() {
        assert_eq!(Dialect::of("sqlite:out/store.sqlite").unwrap(), Dialect::Sqlite);
        assert_eq!(Dialect::of("sqlite:///tmp/store.sqlite").unwrap(), Dialect::Sqlite);
        assert_eq!(Dialect::of("postgres://t@localhost/t").unwrap(), Dialect::Postgres);
        for wrong in ["mysql://host/db", "out/store.sqlite", "sqlite:", "sqlite::memory:"] {
            assert!(Dialect::of(wrong).unwrap_err().to_string().contains("sqlite:path/of/file"), "{wrong}");
        }
    }

    #[test]
    fn the_types_of_columns_are_known_again() {
        for sql_type in [SqlType::BigInt, SqlType::Double, SqlType::Text, SqlType::Bytes] {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                assert_eq!(SqlType::of_name(dialect.type_name(sql_type)), sql_type, "{dialect}");
            }
        }
        assert_eq!(SqlType::of_name(Dialect::Postgres.type_name(SqlType::Numeric)), SqlType::Numeric);
    }
}
