//! How a sink writes its records, as a definition says it and the node of a graph keeps it: the same keys for every sink.

use arrow::datatypes::DataType;
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use weir_engine::error::Result;

use super::check::check_columns;
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake, Reader},
    format::{Format, avro::AvroSettings, protobuf::ProtobufSettings},
    schema::ColumnSchema,
};

/// How records are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrittenFormat {
    /// A JSON object with all columns.
    #[default]
    Json,
    /// A record of Avro.
    Avro(Box<AvroSettings>),
    /// A message of Protobuf.
    Protobuf(Box<ProtobufSettings>),
}

#[derive(Clone, Copy)]
enum Name {
    Json,
    Avro,
    Protobuf,
}

impl WrittenFormat {
    /// Reads `format` and `schema`.
    pub fn read(keys: &Reader<'_>) -> Self {
        let names = [("json", Name::Json), ("avro", Name::Avro), ("protobuf", Name::Protobuf)];
        match keys.choice("format", &names).unwrap_or(Name::Json) {
            Name::Json => {
                if keys.value("schema").is_some() {
                    keys.refuse("schema", "JSON has no schema", "no `schema`, or `format = \"avro\"`");
                }
                WrittenFormat::Json
            }
            Name::Avro => WrittenFormat::Avro(Box::new(AvroSettings::read_written(keys))),
            Name::Protobuf => ProtobufSettings::read_written(keys)
                .map_or(WrittenFormat::Json, |settings| WrittenFormat::Protobuf(Box::new(settings))),
        }
    }

    /// Whether a registry has to be asked for the schema, and asks it; the schema is kept, and goes into the configuration.
    pub fn look(&self) -> Option<BoxFuture<'_, Result<()>>> {
        let WrittenFormat::Avro(settings) = self else { return None };
        settings.is_to_be_asked().then(|| settings.ask().boxed())
    }

    /// Notes what is wrong for rows of these columns. `columns_at` says which columns there are.
    pub fn check(&self, columns: &ColumnSchema, columns_at: &KeyPath, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        let fields = match self {
            WrittenFormat::Json => None,
            WrittenFormat::Avro(settings) => settings.fields(columns, columns_at, at, mistakes),
            // Why a message is not known was said where it was read.
            WrittenFormat::Protobuf(settings) => settings.fields(columns).ok(),
        };
        if let Some(fields) = fields {
            check_columns(columns, &fields, (columns_at, &at.key("schema")), mistakes);
        }
    }

    /// As the configuration of a node has it: with the schema that follows from the columns, where it does. `name` is what the
    /// schema is called then.
    #[must_use]
    pub fn for_columns(&self, name: &str, columns: &ColumnSchema) -> Self {
        match self {
            WrittenFormat::Avro(settings) => WrittenFormat::Avro(Box::new(settings.for_columns(name, columns))),
            other => other.clone(),
        }
    }

    /// How its records are read; none: as JSON.
    pub fn as_read(&self) -> Option<Format> {
        match self {
            WrittenFormat::Json => None,
            WrittenFormat::Avro(schema) => Some(Format::Avro { schema: schema.clone() }),
            WrittenFormat::Protobuf(schema) => Some(Format::Protobuf { schema: schema.clone() }),
        }
    }

    /// Whether a column of such a type is written as JSON would have it: no schema says otherwise.
    pub fn is_json(&self) -> bool {
        *self == WrittenFormat::Json
    }

    /// In the words of people.
    pub fn note(&self) -> &'static str {
        match self {
            WrittenFormat::Json => "JSON",
            WrittenFormat::Avro(_) => "Avro",
            WrittenFormat::Protobuf(_) => "Protobuf",
        }
    }

    /// Whether references to secrets lead to something, where the job runs.
    pub fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if let Some(format) = self.as_read() {
            format.check_secrets(runs_here, at, mistakes);
        }
    }

    /// Where it has to be asked to write records.
    ///
    /// # Errors
    /// When a place is none.
    pub fn locations(&self) -> Result<Vec<Location>> {
        self.as_read().map_or(Ok(Vec::new()), |format| format.locations())
    }
}

/// A type of Arrow in few words, for people who know their schema.
pub(in crate::format) fn short_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Binary => "bytes".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::FixedSizeBinary(size) => format!("fixed({size})"),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Dictionary(..) => "enum".to_owned(),
        DataType::List(item) => format!("array of {}", short_name(item.data_type())),
        DataType::Struct(_) => "record".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        DataType::Union(..) => "union".to_owned(),
        other => other.to_string(),
    }
}
