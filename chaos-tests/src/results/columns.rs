//! The columns of results, in files of Parquet and of text alike.

use super::records::{RecordVersion, bytes_of_uuid};
use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimestampMillisecondType},
};

/// Columns by name, whatever their encoding.
pub(crate) struct Columns<'a>(pub(crate) &'a RecordBatch);

impl Columns<'_> {
    fn as_type(&self, name: &str, data_type: &DataType) -> Result<ArrayRef> {
        let column = self.0.column_by_name(name).with_context(|| {
            let schema = self.0.schema();
            let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            format!("the results have no column {name}, but {}", found.join(", "))
        })?;
        Ok(cast(column, data_type)?)
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<Option<String>>> {
        let column = self.as_type(name, &DataType::Utf8)?;
        Ok(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let column = self.as_type(name, &DataType::Int64)?;
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        Ok(column.as_primitive::<Int64Type>().values().to_vec())
    }

    pub(crate) fn integers_or_null(&self, name: &str) -> Result<Vec<Option<i64>>> {
        Ok(self.as_type(name, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect())
    }

    pub(super) fn floats(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.as_type(name, &DataType::Float64)?;
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        Ok(column.as_primitive::<Float64Type>().values().to_vec())
    }

    /// Lists of texts; in a file of text they are JSON.
    pub(super) fn lists(&self, name: &str) -> Result<Vec<Vec<String>>> {
        if let Some(texts) = self.0.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()) {
            return texts.iter().map(|text| Ok(serde_json::from_str(text.context("no list")?)?)).collect();
        }
        let column = self.as_type(name, &DataType::new_list(DataType::Utf8, true))?;
        let texts = |row: usize| {
            let list = column.as_list::<i32>().value(row);
            list.as_string::<i32>().iter().map(|text| text.map(str::to_owned).context("a null in a list")).collect()
        };
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        (0..column.len()).map(texts).collect()
    }

    /// Values of results, which those that are withdrawn have not.
    pub(super) fn values(&self, name: &str) -> Result<Vec<Option<i64>>> {
        let values = self.integers_or_null(name)?;
        for (value, withdrawn) in values.iter().zip(self.booleans("withdrawn")?) {
            ensure!(withdrawn == value.is_none(), "{name} is {value:?} where withdrawn is {withdrawn}");
        }
        Ok(values)
    }

    pub(super) fn booleans(&self, name: &str) -> Result<Vec<bool>> {
        let column = self.as_type(name, &DataType::Boolean)?;
        column.as_boolean().iter().map(|value| value.with_context(|| format!("{name} is null somewhere"))).collect()
    }

    pub(super) fn times(&self, name: &str) -> Result<Vec<i64>> {
        let milliseconds = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into()));
        let column = self.as_type(name, &milliseconds)?;
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        Ok(column.as_primitive::<TimestampMillisecondType>().values().to_vec())
    }

    pub(super) fn records(&self) -> Result<Vec<RecordVersion>> {
        let revisions = self.integers("revision")?;
        if self.0.column_by_name("record_id").is_some_and(|ids| *ids.data_type() == DataType::Utf8) {
            let ids = self.texts("record_id")?.into_iter().map(|id| bytes_of_uuid(&id.unwrap_or_default()));
            return ids.zip(revisions).map(|(id, revision)| Ok((id?, revision))).collect();
        }
        let ids = self.as_type("record_id", &DataType::FixedSizeBinary(16))?;
        let ids = ids.as_fixed_size_binary();
        Ok((0..ids.len()).map(|row| (ids.value(row).to_vec(), revisions[row])).collect())
    }
}
