//! One transaction that sees one state of the store, and the few differences between the two databases.

use super::{StoreError, catalog, tables::Tables};
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// A file, read in WAL mode.
    Sqlite,
    /// A server.
    Postgres,
}

impl Flavour {
    /// The flavour of an address, and the address as the library wants it.
    pub(super) fn of(url: &str) -> Result<(Self, String), StoreError> {
        if url.starts_with("sqlite:") {
            let separator = if url.contains('?') { '&' } else { '?' };
            let mode = if url.contains("mode=") { String::new() } else { format!("{separator}mode=ro") };
            Ok((Flavour::Sqlite, format!("{url}{mode}")))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok((Flavour::Postgres, url.into()))
        } else {
            // The address itself is not repeated: it may hold a password.
            let scheme = url.split(':').next().unwrap_or_default();
            Err(StoreError::Address(format!(
                "it begins with '{scheme}:'; a store is sqlite:PATH or postgres://USER@HOST/DATABASE"
            )))
        }
    }

    /// Settings of a fresh connection.
    pub(super) async fn prepare(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let settings = match self {
            // The page cache of a connection is emptied by each commit of the writer; pages that are mapped stay.
            Flavour::Sqlite => "PRAGMA query_only = ON; PRAGMA mmap_size = 17179869184; PRAGMA cache_size = -16384",
            Flavour::Postgres => "SET default_transaction_read_only = on; SET jit = off; SET work_mem = '64MB'",
        };
        for setting in settings.split(';') {
            sqlx::query(AssertSqlSafe(setting.trim())).execute(&mut *connection).await?;
        }
        Ok(())
    }

    fn begin(self) -> &'static str {
        match self {
            Flavour::Sqlite => "BEGIN",
            Flavour::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Which tables with so many names are there.
    fn tables(self, names: usize) -> String {
        let places: Vec<String> = (1..=names).map(|place| format!("${place}")).collect();
        let places = places.join(", ");
        match self {
            Flavour::Sqlite => format!("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({places})"),
            Flavour::Postgres => format!(
                "SELECT CAST(relname AS TEXT) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') \
                 AND pg_catalog.pg_table_is_visible(oid) AND relname IN ({places})"
            ),
        }
    }

    /// The definitions of the indexes of a table.
    pub(super) fn indexes(self) -> &'static str {
        match self {
            Flavour::Sqlite => {
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL"
            }
            Flavour::Postgres => "SELECT indexdef FROM pg_catalog.pg_indexes WHERE tablename = $1",
        }
    }
}

/// A value that is put into a statement.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
}

/// One state of the store.
pub(super) struct Snapshot {
    transaction: sqlx::Transaction<'static, Any>,
    flavour: Flavour,
    tables: Tables,
}

impl Snapshot {
    /// Begins, and finds the tables that answer; `chosen` is the table of counts that is wanted.
    pub(super) async fn begin(pool: &AnyPool, flavour: Flavour, chosen: Option<&str>) -> Result<Self, StoreError> {
        let transaction = pool.begin_with(flavour.begin()).await?;
        let mut snapshot = Snapshot { transaction, flavour, tables: Tables::default() };
        snapshot.tables = Tables::find(catalog::sinks(&mut snapshot).await?, chosen)?;
        let possible = snapshot.tables.possible();
        let names: Vec<Value<'_>> = possible.iter().map(|name| Value::Text(name)).collect();
        let rows = snapshot.rows(&flavour.tables(names.len()), &names).await?;
        snapshot.tables.are_there(rows.iter().map(|row| text(row, 0)).collect::<Result<_, _>>()?);
        Ok(snapshot)
    }

    /// The tables that answer.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// All rows of a statement, whose text is ours; what is from outside goes in as values.
    pub(super) async fn rows(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<AnyRow>, StoreError> {
        Ok(bound(sql, values).fetch_all(&mut *self.transaction).await?)
    }

    /// The only row of a statement that always has one.
    pub(super) async fn row(&mut self, sql: &str, values: &[Value<'_>]) -> Result<AnyRow, StoreError> {
        Ok(bound(sql, values).fetch_one(&mut *self.transaction).await?)
    }
}

fn bound<'q>(sql: &str, values: &[Value<'_>]) -> Query<'q, Any, AnyArguments> {
    values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Integer(value) => query.bind(*value),
        Value::Text(value) => query.bind((*value).to_string()),
    })
}

/// A whole number in a row.
pub(super) fn integer(row: &AnyRow, column: usize) -> Result<i64, StoreError> {
    Ok(row.try_get(column)?)
}

/// A whole number in a row, or nothing.
pub(super) fn integer_or_null(row: &AnyRow, column: usize) -> Result<Option<i64>, StoreError> {
    Ok(row.try_get(column)?)
}

/// A text in a row.
pub(super) fn text(row: &AnyRow, column: usize) -> Result<String, StoreError> {
    Ok(row.try_get(column)?)
}
