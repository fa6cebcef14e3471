//! The rows of a table again, as the columns of its sink: for whoever shows results. A table holds what is true now, one row a key, so
//! that all of it is given out whenever a checkpoint has come in.

use super::config::{SqlColumn, SqlSinkConfig};
use crate::{
    columns::WITHDRAWN,
    sink::read_back::{ReadBack, ReadBackOf, fit, shown_schema},
};
use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    },
    compute::cast,
    datatypes::{DataType, SchemaRef, TimeUnit},
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{Row, any::AnyRow};
use std::sync::Arc;
use weir_engine::{
    error::{EngineError, Result},
    hidden::without_password,
};
use weir_store::{
    Dialect, Readers, Reading, SqlType, Value,
    fault::{missing, told},
    quoted,
    tables::SINKS,
};

/// Reads the table of one sink.
pub(super) struct SqlReadBack {
    config: SqlSinkConfig,
    schema: SchemaRef,
    readers: Readers,
    /// The checkpoint that was in when it was read last.
    checkpoint: Option<i64>,
}

impl SqlReadBack {
    pub fn new(config: SqlSinkConfig, of: &ReadBackOf<'_>) -> Result<Self> {
        let readers = Readers::open(&config.url, 1)?;
        Ok(SqlReadBack { config, schema: shown_schema(of.columns), readers, checkpoint: None })
    }

    async fn read_changed(&mut self) -> Result<Vec<RecordBatch>> {
        match self.try_read().await {
            Ok(rows) => Ok(rows.into_iter().collect()),
            // Before the first start of the job there is no such table, or no file.
            Err(error) if missing(self.readers.dialect(), &error).is_some() => Ok(Vec::new()),
            Err(error) => {
                let url = without_password(&self.config.url);
                Err(EngineError::io(format!("'{}' in '{url}' cannot be read: {}", self.config.table, told(&error))))
            }
        }
    }

    async fn try_read(&mut self) -> sqlx::Result<Option<RecordBatch>> {
        let mut reading = self.readers.begin().await?;
        let checkpoint = self.newest(&mut reading).await?;
        if checkpoint.is_some() && checkpoint == self.checkpoint {
            return Ok(None);
        }
        let sql = self.select(reading.dialect());
        let rows = reading.rows(sql, &[]).await?;
        let read = self.batch(&rows)?;
        self.checkpoint = checkpoint;
        Ok(Some(read))
    }

    /// The newest checkpoint that is in.
    async fn newest(&self, reading: &mut Reading) -> sqlx::Result<Option<i64>> {
        let sql = format!("SELECT checkpoint FROM {SINKS} WHERE table_name = {}", reading.dialect().parameter(1));
        let rows = reading.rows(sql, &[Value::from(&self.config.table)]).await?;
        rows.first().map(|row| row.try_get(0)).transpose()
    }

    fn select(&self, dialect: Dialect) -> String {
        let column = |column: &SqlColumn| match column.sql_type {
            // The driver knows no numbers of any length.
            SqlType::Numeric => format!("CAST({} AS {})", quoted(&column.name), dialect.type_name(SqlType::Text)),
            _ => quoted(&column.name),
        };
        let columns: Vec<String> = self.config.columns.iter().map(column).collect();
        format!("SELECT {} FROM {}", columns.join(", "), quoted(&self.config.table))
    }

    fn batch(&self, rows: &[AnyRow]) -> sqlx::Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.config.columns.len());
        for (place, column) in self.config.columns.iter().enumerate() {
            let wanted = self.schema.field_with_name(&column.name).map(|field| field.data_type().clone());
            let values = values(rows, place, column.sql_type)?;
            let values = match wanted {
                Ok(wanted) => as_stored(&values, &wanted).unwrap_or(values),
                Err(_) => values,
            };
            columns.push((column.name.as_str(), values, true));
        }
        // What is withdrawn is taken out of the table.
        if self.schema.field_with_name(WITHDRAWN).is_ok() && self.config.columns.iter().all(|one| one.name != WITHDRAWN)
        {
            let none: ArrayRef = Arc::new(BooleanArray::from(vec![false; rows.len()]));
            columns.push((WITHDRAWN, none, true));
        }
        let unreadable = |error: String| sqlx::Error::Decode(error.into());
        let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| unreadable(error.to_string()))?;
        fit(&batch, &self.schema).map_err(|error| unreadable(error.message))
    }
}

/// A column of what the database says.
fn values(rows: &[AnyRow], place: usize, sql_type: SqlType) -> sqlx::Result<ArrayRef> {
    Ok(match sql_type {
        SqlType::BigInt => {
            Arc::new(rows.iter().map(|row| row.try_get::<Option<i64>, _>(place)).collect::<sqlx::Result<Int64Array>>()?)
        }
        SqlType::Double => Arc::new(
            rows.iter().map(|row| row.try_get::<Option<f64>, _>(place)).collect::<sqlx::Result<Float64Array>>()?,
        ),
        SqlType::Text | SqlType::Numeric => Arc::new(
            rows.iter().map(|row| row.try_get::<Option<String>, _>(place)).collect::<sqlx::Result<StringArray>>()?,
        ),
        SqlType::Bytes => {
            let values = rows.iter().map(|row| row.try_get::<Option<Vec<u8>>, _>(place));
            let values = values.collect::<sqlx::Result<Vec<_>>>()?;
            let sixteen = |value: &Option<Vec<u8>>| value.as_ref().is_none_or(|value| value.len() == 16);
            match FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.iter().map(Option::as_ref), 16) {
                Ok(ids) if values.iter().all(sixteen) => Arc::new(ids),
                _ => Arc::new(values.iter().map(Option::as_deref).collect::<BinaryArray>()),
            }
        }
    })
}

/// The values as the stream had them: days and moments are milliseconds in a table.
fn as_stored(values: &ArrayRef, wanted: &DataType) -> Option<ArrayRef> {
    let moment = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    match wanted {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            cast(&cast(values, &moment).ok()?, wanted).ok()
        }
        _ => None,
    }
}

impl ReadBack for SqlReadBack {
    fn identity(&self) -> Vec<String> {
        self.config.key.clone()
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<RecordBatch>>> {
        self.read_changed().boxed()
    }
}
