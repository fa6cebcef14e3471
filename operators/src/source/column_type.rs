//! What a definition may declare about the columns of a source: their types, where they stand, how times are written.
//!
//! One owner for this mapping: formats, planners and messages all ask here.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::field_path::FieldPath;
use super::times::TimeForm;

/// The type of a declared column. In configuration it is its name, as in `"string"` or `"decimal(12, 2)"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// A signed 64-bit integer.
    Integer,
    /// A 64-bit floating-point number.
    Float,
    /// True or false.
    Boolean,
    /// A moment in milliseconds since the epoch, UTC.
    Timestamp,
    /// A calendar day.
    Date,
    /// An exact number.
    Decimal {
        /// How many digits it has, 1 to 38.
        precision: u8,
        /// How many of them are after the point.
        scale: u8,
    },
}

/// The types without parameters.
const PLAIN: [ColumnType; 6] = [
    ColumnType::String,
    ColumnType::Integer,
    ColumnType::Float,
    ColumnType::Boolean,
    ColumnType::Timestamp,
    ColumnType::Date,
];

impl ColumnType {
    /// What a definition may write, for messages.
    pub const NAMES: [&str; 7] = ["string", "int", "float", "bool", "timestamp", "date", "decimal(18, 2)"];

    /// The Arrow type that values of this column type are decoded to.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::String => "string",
            Self::Integer => "int",
            Self::Float => "float",
            Self::Boolean => "bool",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Decimal { precision, scale } => return write!(formatter, "decimal({precision}, {scale})"),
        })
    }
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(plain) = PLAIN.into_iter().find(|plain| plain.to_string() == text) {
            return Ok(plain);
        }
        let Some(parameters) = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) else {
            return Err(format!("there is no type `{text}`"));
        };
        let wrong = || {
            format!("`{text}` is not a decimal: 1 to {DECIMAL128_MAX_PRECISION} digits, some of them after the point")
        };
        let (precision, scale) = parameters.split_once(',').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| wrong());
        let (precision, scale) = (number(precision)?, number(scale)?);
        if !(1..=DECIMAL128_MAX_PRECISION).contains(&precision) || scale > precision {
            return Err(wrong());
        }
        Ok(Self::Decimal { precision, scale })
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            serde::de::Error::custom(format!(
                "{error}, expected one of {}",
                Self::NAMES.map(|name| format!("`{name}`")).join(", ")
            ))
        })
    }
}

/// A column as declared: its name, its type, and how its values are found and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredColumn {
    /// The name; of the data, too, where no path says otherwise.
    pub name: String,
    /// What its values are read as.
    pub column_type: ColumnType,
    /// Where a value stands in a JSON object; none: under the column's name.
    pub path: Option<FieldPath>,
    /// How times and days are written.
    pub time: TimeForm,
}

impl DeclaredColumn {
    /// A column under its own name, times in a usual form.
    pub fn new(name: impl Into<String>, column_type: ColumnType) -> Self {
        DeclaredColumn { name: name.into(), column_type, path: None, time: TimeForm::default() }
    }
}

/// A column's entry in configuration: its type, or an object of what is said about it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Type(ColumnType),
    Full {
        #[serde(rename = "type")]
        column_type: ColumnType,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<FieldPath>,
        #[serde(flatten)]
        time: TimeForm,
    },
}

/// The declared columns of a source, in the order in which they were declared.
///
/// In configuration it is a map from name to type, `{ "ad_id": "string", "clicked_at": "timestamp" }`, or to an object that
/// says more: `{ "clicked_at": { "type": "timestamp", "path": "click.at", "unit": "s" } }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeclaredSchema {
    /// The columns; names are unique when read from configuration.
    pub columns: Vec<DeclaredColumn>,
}

impl DeclaredSchema {
    /// Makes a declared schema from pairs of name and type.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, ColumnType)>) -> Self {
        let declare = |(name, column_type): (&str, ColumnType)| DeclaredColumn::new(name, column_type);
        Self { columns: columns.into_iter().map(declare).collect() }
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The declared column of that name.
    pub fn column(&self, name: &str) -> Option<&DeclaredColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The Arrow schema of all declared columns, each of them nullable.
    pub fn arrow_schema(&self) -> SchemaRef {
        let field = |column: &DeclaredColumn| Field::new(&column.name, column.column_type.data_type(), true);
        Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()).into()
    }

    /// The declared columns that are named, in the order of `names`; the first unknown name is the error.
    pub fn project(&self, names: &[String]) -> Result<Self, String> {
        let find = |name: &String| self.column(name).cloned().ok_or(name.clone());
        Ok(Self { columns: names.iter().map(find).collect::<Result<_, _>>()? })
    }
}

impl Serialize for DeclaredSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for DeclaredColumn { name, column_type, path, time } in &self.columns {
            let plain = path.is_none() && time.is_empty();
            let full = || Entry::Full { column_type: *column_type, path: path.clone(), time: time.clone() };
            map.serialize_entry(name, &if plain { Entry::Type(*column_type) } else { full() })?;
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
        formatter
            .write_str("a map from column name to type (string, int, float, bool, timestamp, date or decimal(18, 2))")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DeclaredSchema, A::Error> {
        let mut columns: Vec<DeclaredColumn> = Vec::new();
        while let Some((name, entry)) = map.next_entry::<String, serde_json::Value>()? {
            let refuse = |error: &dyn fmt::Display| serde::de::Error::custom(format!("column {name:?}: {error}"));
            if columns.iter().any(|column| column.name == name) {
                return Err(serde::de::Error::custom(format!("the column {name:?} is declared twice")));
            }
            let column = match entry {
                serde_json::Value::String(_) => {
                    DeclaredColumn::new(&name, serde_json::from_value(entry).map_err(|error| refuse(&error))?)
                }
                entry => match serde_json::from_value(entry).map_err(|error| refuse(&error))? {
                    Entry::Type(column_type) => DeclaredColumn::new(&name, column_type),
                    Entry::Full { column_type, path, time } => {
                        DeclaredColumn { name: name.clone(), column_type, path, time }
                    }
                },
            };
            columns.push(column);
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
    fn a_column_may_say_more() {
        let text = r#"{"ad_id":{"type":"string","path":"ad.id"},"at":{"type":"timestamp","unit":"s"},"price":"decimal(12, 2)"}"#;
        let schema: DeclaredSchema = serde_json::from_str(text).expect("a valid declaration");
        assert_eq!(schema.columns[0].path, Some("ad.id".parse().expect("a path")));
        assert_eq!(schema.columns[1].time.unit, Some(crate::source::times::EpochUnit::Seconds));
        assert_eq!(schema.arrow_schema().field(2).data_type(), &DataType::Decimal128(12, 2));
        assert_eq!(serde_json::to_string(&schema).expect("serialisable"), text);
    }

    #[test]
    fn decimals_have_their_digits() {
        assert_eq!("decimal(38,38)".parse(), Ok(ColumnType::Decimal { precision: 38, scale: 38 }));
        assert_eq!("decimal( 5 , 0 )".parse(), Ok(ColumnType::Decimal { precision: 5, scale: 0 }));
        for wrong in
            ["decimal", "decimal()", "decimal(5)", "decimal(0, 0)", "decimal(39, 2)", "decimal(2, 3)", "decimal(5, -1)"]
        {
            assert!(wrong.parse::<ColumnType>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_declaration_says_what_is_right() {
        let error = serde_json::from_str::<DeclaredSchema>(r#"{"a":"text"}"#).expect_err("no such type");
        assert!(error.to_string().contains("expected one of `string`, `int`"), "{error}");
        let error = serde_json::from_str::<DeclaredSchema>(r#"{"a":"int","a":"int"}"#).expect_err("twice");
        assert!(error.to_string().contains("declared twice"), "{error}");
    }
}
