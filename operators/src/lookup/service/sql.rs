//! A table of a SQL database: one statement asks for many keys.
//!
//! All values come as text and are read by the declared types, as those of other formats are.

use super::{
    LookupConfig,
    patience::{Patience, Trouble},
};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake},
    expression::type_name,
    format::column_builder::{ColumnBuilder, ValueError},
    lookup::answer::{Told, answer_of},
    schema::ColumnSchema,
    sink::sql::{check_name, location},
    source::column_type::{ColumnType, DeclaredColumn, DeclaredSchema},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use std::{fmt::Write, sync::Arc};
use tokio::sync::Mutex;
use weir_engine::{
    EngineError, Result,
    hidden::{Hidden, without_password},
    operator::LookupService,
    secrets,
};
use weir_store::{
    Connection, Database, Dialect, Fault, Parameters, Role, SqlType, UrlMistake, quoted,
    row::{integer, text_or_null},
};

/// Keys of one statement, at most.
pub const MOST_KEYS: usize = 512;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlLookup {
    /// Where the database is; secrets are references.
    pub url: Hidden<String>,
    /// The table, or the view; a schema may stand before it.
    pub table: String,
    /// Columns of rows, and those of the table that are equal to them. At least one.
    pub on: Vec<(String, String)>,
}

impl SqlLookup {
    pub(super) fn check(&self, given: &ColumnSchema, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if let Err(UrlMistake { message, expected }) = Dialect::of(&self.url) {
            let mistake = Mistake::new(at.key("url"), message).found(format!("{:?}", without_password(&self.url)));
            mistakes.push(match expected {
                None => mistake,
                Some(expected) => mistake.expected(expected),
            });
        }
        if !self.table.is_empty() && self.table.split('.').any(|part| check_name(part).is_err()) {
            let mistake = Mistake::new(at.key("table"), "this can't be the name of a table");
            mistakes.push(mistake.found(format!("{:?}", self.table)).expected("letters, digits and `_`"));
        }
        for (name, _) in &self.on {
            if let Some(column) = given.column(name)
                && key_type(&column.data_type).is_none()
            {
                let message = format!("`{name}` is {}, which no table is asked by", type_name(&column.data_type));
                let mistake = Mistake::new(at.key("on").key(name), message);
                mistakes.push(mistake.expected("a text or an int; a `map` can convert it"));
            }
        }
    }

    pub(super) fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let resolved = secrets::references(&self.url).and_then(|references| match references.is_empty() {
            false if runs_here => secrets::resolve(&self.url).map(|_| ()),
            _ => Ok(()),
        });
        if let Err(wrong) = resolved {
            let shown = format!("{:?}", without_password(&self.url));
            let mistake = Mistake::new(at.key("url"), wrong.message).found(shown);
            mistakes.push(match wrong.expected {
                None => mistake,
                Some(expected) => mistake.expected(expected),
            });
        }
    }

    pub(super) fn locations(&self) -> Result<Vec<Location>> {
        location::of(&self.url)
    }

    pub(super) fn note(&self) -> String {
        let on = |(column, of_table): &(String, String)| match column == of_table {
            true => column.clone(),
            false => format!("{column} = {of_table}"),
        };
        let on: Vec<String> = self.on.iter().map(on).collect();
        format!("the table {} in {} on {}", self.table, without_password(&self.url), on.join(", "))
    }
}

/// What a key of this type is to a database; none: it cannot be asked by.
fn key_type(data_type: &DataType) -> Option<SqlType> {
    let sql_type = SqlType::of(data_type)?;
    let is_number = data_type.is_integer() && sql_type == SqlType::BigInt;
    (is_number || sql_type == SqlType::Text).then_some(sql_type)
}

/// Asks a table, over one connection: a statement after the other.
pub(super) struct SqlService(Arc<Table>);

struct Table {
    lookup: SqlLookup,
    columns: DeclaredSchema,
    database: Database,
    patience: Patience,
    /// None until it is needed, and after a fault.
    connection: Mutex<Option<Connection>>,
}

impl SqlService {
    pub fn new(lookup: &SqlLookup, config: &LookupConfig, patience: Patience) -> Result<Self> {
        let database = Database::new(&lookup.url, Role::Query, &patience.env)?;
        database.resolved()?;
        Ok(SqlService(Arc::new(Table {
            lookup: lookup.clone(),
            columns: config.columns.clone(),
            database,
            patience,
            connection: Mutex::default(),
        })))
    }
}

impl LookupService for SqlService {
    fn ask(&self, keys: RecordBatch) -> BoxFuture<'static, Result<RecordBatch>> {
        let table = self.0.clone();
        async move { table.answer(&keys).await }.boxed()
    }
}

impl Table {
    async fn answer(&self, keys: &RecordBatch) -> Result<RecordBatch> {
        match self.patience.ask(|| self.ask(keys)).await? {
            Ok(answer) => Ok(answer),
            // One of them may be what the database takes amiss.
            Err(_) if keys.num_rows() > 1 => {
                let mut answers = Vec::with_capacity(keys.num_rows());
                for row in 0..keys.num_rows() {
                    answers.push(Box::pin(self.answer(&keys.slice(row, 1))).await?);
                }
                let schema = answers.first().map(RecordBatch::schema);
                let schema = schema.ok_or_else(|| EngineError::internal("a question without keys"))?;
                Ok(arrow::compute::concat_batches(&schema, &answers)?)
            }
            Err(reason) => answer_of(&[Told::Failed(reason)], &RecordBatch::new_empty(self.columns.arrow_schema())),
        }
    }

    async fn ask(&self, keys: &RecordBatch) -> Result<RecordBatch, Trouble> {
        // Statements follow one another, and none is late because of those before it.
        let mut held = self.connection.lock().await;
        self.patience.in_time(self.ask_over(&mut held, keys)).await
    }

    async fn ask_over(&self, held: &mut Option<Connection>, keys: &RecordBatch) -> Result<RecordBatch, Trouble> {
        let connection = match held.take() {
            Some(connection) => Ok(connection),
            None => self.database.connect().await,
        };
        let mut connection = connection.map_err(trouble)?;
        let answer = self.look_up(&mut connection, keys).await;
        // After a fault, and when this is cut short, it is closed: what it would say next answers another question.
        if !matches!(answer, Err(Trouble::Passing { .. })) {
            *held = Some(connection);
        }
        answer
    }

    async fn look_up(&self, connection: &mut Connection, keys: &RecordBatch) -> Result<RecordBatch, Trouble> {
        let columns = keys.columns().iter().map(KeyValues::new).collect::<Result<Vec<_>>>();
        let columns = columns.map_err(Trouble::Lasting)?;
        // Few statements of different lengths, so that a database remembers each.
        let padded = keys.num_rows().next_power_of_two();
        let sql = self.statement(connection.dialect, &columns, padded);
        let mut parameters = Parameters::default();
        for row in 0..padded {
            columns.iter().for_each(|column| column.push(row.min(keys.num_rows() - 1), &mut parameters));
        }
        let rows = connection.query("look keys up", sql, parameters.into()).await.map_err(trouble)?;
        let mut found = Found::new(&self.columns, keys.num_rows()).map_err(Trouble::Lasting)?;
        for row in &rows {
            let number = integer(row, 0).map_err(|error| Trouble::Lasting(error.into()))?;
            let Some(place) = usize::try_from(number).ok().filter(|place| *place < keys.num_rows()) else { continue };
            let value = |at| text_or_null(row, at + 1);
            found.add(place, value).map_err(Trouble::Lasting)?;
        }
        found.into_answer(&self.lookup.table).map_err(Trouble::Lasting)
    }

    /// Asks for so many keys: each row of the answer begins with the number of its key.
    fn statement(&self, dialect: Dialect, keys: &[KeyValues], count: usize) -> String {
        let names: Vec<String> = (0..keys.len()).map(|key| format!("k{key}")).collect();
        let mut sql = format!("WITH asked (n, {}) AS (VALUES ", names.join(", "));
        let mut parameter = 0;
        for number in 0..count {
            let comma = if number == 0 { "" } else { ", " };
            // Writing into memory does not fail.
            let _ = write!(sql, "{comma}(CAST({number} AS BIGINT)");
            for key in keys {
                parameter += 1;
                let place = dialect.parameter(parameter);
                let _ = match dialect {
                    Dialect::Sqlite => write!(sql, ", {place}"),
                    Dialect::Postgres => write!(sql, ", CAST({place} AS {})", dialect.type_name(key.sql_type())),
                };
            }
            sql.push(')');
        }
        let values: Vec<String> = self.columns.columns.iter().map(|column| as_text(dialect, column)).collect();
        let table: Vec<String> = self.lookup.table.split('.').map(quoted).collect();
        let on = self.lookup.on.iter().zip(&names);
        let on: Vec<String> =
            on.map(|((_, of_table), name)| format!("t.{} = asked.{name}", quoted(of_table))).collect();
        let _ = write!(
            sql,
            ") SELECT asked.n, {} FROM asked JOIN {} AS t ON {}",
            values.join(", "),
            table.join("."),
            on.join(" AND ")
        );
        sql
    }
}

/// A column of the table as text that says all there is.
fn as_text(dialect: Dialect, column: &DeclaredColumn) -> String {
    let name = column.path.as_ref().and_then(|path| path.keys().first()).unwrap_or(&column.name);
    let value = format!("t.{}", quoted(name));
    match (dialect, column.column_type) {
        // As a text SQLite has 15 digits of what may need 17.
        (Dialect::Sqlite, ColumnType::Float) => {
            format!("CASE typeof({value}) WHEN 'real' THEN printf('%!.17g', {value}) ELSE CAST({value} AS TEXT) END")
        }
        _ => format!("CAST({value} AS TEXT)"),
    }
}

fn trouble(fault: Fault) -> Trouble {
    match fault {
        Fault::Passing(cause) | Fault::Locked(cause) => Trouble::passing(cause),
        Fault::Refused(refused) => Trouble::Refused(refused.message),
        Fault::Lasting(error) | Fault::Denied(error) => Trouble::Lasting(error),
    }
}

/// A column of keys.
enum KeyValues {
    Text(ArrayRef),
    Integer(ArrayRef),
}

impl KeyValues {
    fn new(column: &ArrayRef) -> Result<Self> {
        Ok(match key_type(column.data_type()) {
            Some(SqlType::Text) => KeyValues::Text(cast(column, &DataType::Utf8)?),
            Some(_) => KeyValues::Integer(cast(column, &DataType::Int64)?),
            None => return Err(EngineError::internal(format!("no table is asked by {}", column.data_type()))),
        })
    }

    fn sql_type(&self) -> SqlType {
        match self {
            KeyValues::Text(_) => SqlType::Text,
            KeyValues::Integer(_) => SqlType::BigInt,
        }
    }

    fn push(&self, row: usize, parameters: &mut Parameters) {
        match self {
            KeyValues::Text(column) => parameters.push(column.as_string::<i32>().value(row).to_owned()),
            KeyValues::Integer(column) => parameters.push(column.as_primitive::<Int64Type>().value(row)),
        }
    }
}

/// What has been found.
struct Found<'a> {
    columns: &'a DeclaredSchema,
    builders: Vec<ColumnBuilder>,
    rows: u32,
    told: Vec<Told>,
}

impl<'a> Found<'a> {
    fn new(columns: &'a DeclaredSchema, keys: usize) -> Result<Self> {
        let builders = columns.columns.iter().map(ColumnBuilder::new).collect::<Result<_, _>>();
        let builders = builders.map_err(|error| EngineError::definition(error.to_string()))?;
        Ok(Found { columns, builders, rows: 0, told: vec![Told::Missing; keys] })
    }

    /// A row for a key.
    fn add<E: Into<EngineError>>(
        &mut self,
        place: usize,
        value: impl Fn(usize) -> Result<Option<String>, E>,
    ) -> Result<()> {
        if self.told[place] != Told::Missing {
            self.told[place] = Told::Failed("there are several such rows, and one is expected".to_owned());
            return Ok(());
        }
        self.told[place] = Told::Found(self.rows);
        self.rows += 1;
        for (at, builder) in self.builders.iter_mut().enumerate() {
            let DeclaredColumn { name, column_type, .. } = &self.columns.columns[at];
            let Some(text) = value(at).map_err(Into::into)? else {
                builder.append_null();
                continue;
            };
            if let Err(error) = append(builder, *column_type, &text) {
                builder.append_null();
                self.told[place] = Told::Failed(format!("`{name}`, which is \"{text}\", {error}"));
            }
        }
        Ok(())
    }

    fn into_answer(mut self, table: &str) -> Result<RecordBatch> {
        for told in &mut self.told {
            if let Told::Failed(reason) = told {
                *reason = format!("the table {table}: {reason}");
            }
        }
        let columns = self.builders.iter_mut().map(ColumnBuilder::finish).collect();
        answer_of(&self.told, &RecordBatch::try_new(self.columns.arrow_schema(), columns)?)
    }
}

/// Appends what a database gave as text.
fn append(builder: &mut ColumnBuilder, column_type: ColumnType, text: &str) -> Result<(), ValueError> {
    match (column_type, text) {
        (ColumnType::Boolean, "1") => builder.append_bool(true),
        (ColumnType::Boolean, "0") => builder.append_bool(false),
        // Milliseconds, where Weir itself has written them.
        (ColumnType::Timestamp, number)
            if number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' && number.starts_with('-')) =>
        {
            builder.append_number(number)
        }
        _ => builder.append_text(text),
    }
}
