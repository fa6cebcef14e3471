//! Columns as configuration: a list of name, Arrow type and nullability that survives JSON.

use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir_engine::{EngineError, Result as EngineResult};

/// The columns that an operator is given, in order.
///
/// In JSON a list of `{"name": "cost", "type": "Int64", "nullable": true}`; types are written as Arrow prints them.
/// Every kind of text is declared as `Utf8`; batches may carry it in any representation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnSchema {
    /// The columns; their names are unique.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name, as written in the data.
    pub name: String,
    /// Its Arrow type.
    #[serde(rename = "type", serialize_with = "write_type", deserialize_with = "read_type")]
    pub data_type: DataType,
    /// Whether it may hold nulls.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub nullable: bool,
}

impl ColumnSchema {
    /// The same columns as Arrow's schema.
    pub fn to_arrow(&self) -> Schema {
        let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), column.nullable);
        Schema::new(self.columns.iter().map(field).collect::<Vec<_>>())
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl From<&Schema> for ColumnSchema {
    fn from(schema: &Schema) -> Self {
        let column = |field: &std::sync::Arc<Field>| Column {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
        };
        ColumnSchema { columns: schema.fields().iter().map(column).collect() }
    }
}

/// The named columns of a batch, in that order.
///
/// # Errors
/// When one is not there.
pub fn project(batch: &RecordBatch, names: &[String]) -> EngineResult<RecordBatch> {
    let schema = batch.schema_ref();
    let position = |name: &String| {
        schema.index_of(name).map_err(|_| {
            let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            EngineError::internal(format!("there is no column '{name}' among {}", found.join(", ")))
        })
    };
    let positions: Vec<usize> = names.iter().map(position).collect::<EngineResult<_>>()?;
    Ok(batch.project(&positions)?)
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn write_type<S: Serializer>(data_type: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(data_type)
}

fn read_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| serde::de::Error::custom(format!("`{text}` is not an Arrow type: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn every_type_that_flows_survives_json() {
        let types = [
            DataType::Utf8,
            DataType::Int32,
            DataType::Int64,
            DataType::UInt64,
            DataType::Float64,
            DataType::Boolean,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::FixedSizeBinary(16),
            DataType::Decimal128(20, 4),
            DataType::Binary,
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            DataType::List(std::sync::Arc::new(Field::new("item", DataType::Utf8, true))),
            DataType::Duration(TimeUnit::Second),
            DataType::Time64(TimeUnit::Microsecond),
        ];
        let fields: Vec<Field> =
            types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), i % 2 == 0)).collect();
        let schema = ColumnSchema::from(&Schema::new(fields.clone()));
        let json = serde_json::to_string(&schema).unwrap();
        let back: ColumnSchema = serde_json::from_str(&json).unwrap();
        assert_eq!(back.to_arrow(), Schema::new(fields), "{json}");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = serde_json::from_str::<ColumnSchema>(r#"[{"name":"a","type":"Text"}]"#).unwrap_err().to_string();
        assert!(error.contains("`Text` is not an Arrow type"), "{error}");
    }
}
