//! The part of the API that knows nothing of clicks: which tables there are, and the newest rows of one.

use super::{
    Service,
    api::Answer,
    described::{NoTable, OfTable, Refused, WhichRows},
    parameters::Parameters,
};
use crate::store::{Cell, Table, TableColumn, TableRows};
use axum::extract::{Path, RawQuery, State, rejection::PathRejection};
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use weir_http::{JsonLine, Problem};

/// The routes, with their description.
pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(tables)).routes(routes!(rows))
}

/// The tables that jobs write.
#[utoipa::path(
    get,
    path = "/v1/tables",
    tag = "tables",
    responses((status = 200, body = Tables), Refused)
)]
async fn tables(State(service): State<Service>, RawQuery(query): RawQuery) -> Answer<Tables> {
    Parameters::read(query.as_deref(), &[])?;
    let now_ms = service.env.wall_clock_ms();
    let tables = service.store.tables().await?;
    Ok(JsonLine(Tables { tables: tables.into_iter().map(|table| DescribedTable::new(table, now_ms)).collect() }))
}

/// The newest rows of a table: the newest window first, and of a window the largest first if `by` names a column.
#[utoipa::path(
    get,
    path = "/v1/tables/{name}",
    tag = "tables",
    params(OfTable, WhichRows),
    responses((status = 200, body = Rows), Refused, NoTable)
)]
async fn rows(
    State(service): State<Service>,
    name: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Answer<Rows> {
    let Path(name) = name.map_err(|rejection| {
        Problem::bad_request(format!("the table's name cannot be decoded: {}", rejection.body_text()))
    })?;
    let parameters = Parameters::read(query.as_deref(), &["key", "from", "to", "by", "limit"])?;
    let TableRows { table, rows } = service.store.rows(&parameters.rows(name)?).await?;
    let columns: Vec<String> = table.columns.into_iter().map(|column| column.name).collect();
    let rows = rows.into_iter().map(|cells| Row(columns.iter().cloned().zip(cells).collect())).collect();
    Ok(JsonLine(Rows { table: table.name, rows }))
}

/// All tables.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tables {
    /// By name.
    tables: Vec<DescribedTable>,
}

/// A table, and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
struct DescribedTable {
    /// What it is called.
    #[schema(example = "ad_counts")]
    name: String,
    /// The job that writes it.
    #[schema(example = "ad-click")]
    job: String,
    /// Its columns, in their order.
    columns: Vec<DescribedColumn>,
    /// The columns of its primary key.
    #[schema(example = json!(["click_minute", "filter_id", "ad_id"]))]
    key: Vec<String>,
    /// The column by which rows follow one another, such as the start of a window; absent where they don't.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "click_minute")]
    time: Option<String>,
    /// The columns that tell rows of one time apart: their values are the `key` of a question.
    #[schema(example = json!(["filter_id", "ad_id"]))]
    series: Vec<String>,
    /// The columns with numbers to be compared.
    #[schema(example = json!(["count"]))]
    values: Vec<String>,
    /// Whether a key has a row for each of several times; else it has one.
    has_history: bool,
    /// The length of a window in seconds; absent where rows are events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, example = 60)]
    window_seconds: Option<f64>,
    /// Whether windows that are not over are in it, too: their `revision` is below 0.
    running: bool,
    /// Everything that the job had read by then is in: Unix seconds, with milliseconds; 0 before the first commit.
    #[schema(minimum = 0, example = 1646352061.25)]
    read_until: f64,
    /// Seconds since then.
    #[schema(minimum = 0, example = 0.42)]
    behind_seconds: f64,
    /// The newest checkpoint that is in it; 0 before the first commit.
    #[schema(minimum = 0, example = 120)]
    checkpoint: i64,
    /// Whether the job has ended with that checkpoint.
    ended: bool,
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
struct DescribedColumn {
    /// What it is called.
    #[schema(example = "count")]
    name: String,
    /// What it holds: `time` (Unix seconds), `integer`, `number`, `decimal` (exact, as text), `text` or `bytes` (hexadecimal).
    #[schema(example = "integer")]
    holds: String,
}

/// Rows of a table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rows {
    /// The table.
    #[schema(example = "ad_counts")]
    table: String,
    /// The rows, each an object with a value for each column.
    #[schema(value_type = Vec<Object>, example = json!([{ "click_minute": 1646352000, "filter_id": "0000", "ad_id": "ad001", "count": 7, "revision": 0 }]))]
    rows: Vec<Row>,
}

/// A row: names and values in the table's order.
#[derive(Debug)]
struct Row(Vec<(String, Cell)>);

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in &self.0 {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl DescribedTable {
    fn new(table: Table, now_ms: i64) -> Self {
        let column = |column: TableColumn| DescribedColumn { holds: column.holds.name().into(), name: column.name };
        DescribedTable {
            has_history: table.has_history(),
            name: table.name,
            job: table.job,
            columns: table.columns.into_iter().map(column).collect(),
            key: table.key,
            time: table.shape.time,
            series: table.shape.series,
            values: table.shape.values,
            window_seconds: table.window_ms.map(|ms| ms as f64 / 1000.0),
            running: table.running,
            read_until: table.read_until_ms as f64 / 1000.0,
            // Clocks of two machines differ by a little.
            behind_seconds: (now_ms - table.read_until_ms).max(0) as f64 / 1000.0,
            checkpoint: table.checkpoint,
            ended: table.ended,
        }
    }
}
