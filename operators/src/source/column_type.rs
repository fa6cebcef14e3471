//! The column types a job definition may declare for text formats, and the Arrow types they become.
//!
//! One owner for this mapping: formats, planners and messages all ask here.

use std::fmt;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The type of a declared column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColumnType {
    /// UTF-8 text.
    #[serde(rename = "string")]
    String,
    /// A signed 64-bit integer.
    #[serde(rename = "int")]
    Integer,
    /// A 64-bit floating-point number.
    #[serde(rename = "float")]
    Float,
    /// True or false.
    #[serde(rename = "bool")]
    Boolean,
    /// A moment in milliseconds since the epoch, UTC.
    #[serde(rename = "timestamp")]
    Timestamp,
    /// A calendar day.
    #[serde(rename = "date")]
    Date,
}

impl ColumnType {
    /// The Arrow type that values of this column type are decoded to.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
        }
    }

    /// The name that a definition uses for this type.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "int",
            Self::Float => "float",
            Self::Boolean => "bool",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A column as declared: its name and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredColumn {
    /// The name, exactly as it stands in the data.
    pub name: String,
    /// What its values are read as.
    pub column_type: ColumnType,
}

/// The declared columns of a source, in the order in which they were declared.
///
/// In configuration it is a map from name to type: `{ "ad_id": "string", "clicked_at": "timestamp" }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeclaredSchema {
    /// The columns; names are unique when read from configuration.
    pub columns: Vec<DeclaredColumn>,
}

impl DeclaredSchema {
    /// Makes a declared schema from pairs of name and type.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, ColumnType)>) -> Self {
        let declare = |(name, column_type): (&str, ColumnType)| DeclaredColumn { name: name.to_owned(), column_type };
        Self { columns: columns.into_iter().map(declare).collect() }
    }

    /// The Arrow schema of all declared columns, each of them nullable.
    pub fn arrow_schema(&self) -> SchemaRef {
        let field = |column: &DeclaredColumn| Field::new(&column.name, column.column_type.data_type(), true);
        Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()).into()
    }

    /// The declared columns that are named, in the order of `names`; the first unknown name is the error.
    pub fn project(&self, names: &[String]) -> Result<Self, String> {
        let find = |name: &String| self.columns.iter().find(|column| &column.name == name).cloned().ok_or(name.clone());
        Ok(Self { columns: names.iter().map(find).collect::<Result<_, _>>()? })
    }
}

impl Serialize for DeclaredSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for column in &self.columns {
            map.serialize_entry(&column.name, &column.column_type)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for DeclaredSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DeclaredSchemaVisitor)
    }
}

struct DeclaredSchemaVisitor;

impl<'de> Visitor<'de> for DeclaredSchemaVisitor {
    type Value = DeclaredSchema;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map from column name to type (string, int, float, bool, timestamp or date)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DeclaredSchema, A::Error> {
        let mut columns: Vec<DeclaredColumn> = Vec::new();
        while let Some((name, column_type)) = map.next_entry::<String, ColumnType>()? {
            if columns.iter().any(|column| column.name == name) {
                return Err(serde::de::Error::custom(format!("the column {name:?} is declared twice")));
            }
            columns.push(DeclaredColumn { name, column_type });
        }
        Ok(DeclaredSchema { columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_schema_is_a_map_in_configuration() {
        let text =
            r#"{"clicked_at":"timestamp","ad_id":"string","price":"float","day":"date","paid":"bool","n":"int"}"#;
        let schema: DeclaredSchema = serde_json::from_str(text).expect("a valid declaration");
        assert_eq!(schema.columns[0].name, "clicked_at");
        assert_eq!(serde_json::to_string(&schema).expect("serialisable"), text);
        let arrow = schema.arrow_schema();
        assert_eq!(arrow.field(0).data_type(), &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
        assert_eq!(arrow.field(4).data_type(), &DataType::Boolean);
    }

    #[test]
    fn a_wrong_declaration_says_what_is_right() {
        let error = serde_json::from_str::<DeclaredSchema>(r#"{"a":"text"}"#).expect_err("no such type");
        assert!(error.to_string().contains("expected one of `string`, `int`"), "{error}");
        let error = serde_json::from_str::<DeclaredSchema>(r#"{"a":"int","a":"int"}"#).expect_err("twice");
        assert!(error.to_string().contains("declared twice"), "{error}");
    }
}
