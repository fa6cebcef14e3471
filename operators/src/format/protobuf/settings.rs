//! `schema = { descriptors = "clicks.desc", message = "ads.Click" }`: which messages the records of Protobuf are, and which columns
//! become of them.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde::{Deserialize, Serialize};
use weir_engine::error::{EngineError, Result};

use super::{
    fields::{FieldOf, columns_of, find},
    messages::ProtobufMessages,
    rows::wanted,
};
use crate::{
    definition::{KeyPath, Mistake, Reader},
    format::{
        declared::read_schema,
        message::MessageFormat,
        pinned::{Pinned, read_file},
        written::check::WantedField,
    },
    schema::ColumnSchema,
    source::column_type::DeclaredSchema,
};

/// What belongs to `format = "protobuf"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProtobufSettings {
    /// The file with the descriptor set.
    pub descriptors: String,
    /// The full name of the message.
    pub message: String,
    /// Whether each record begins as those of a schema registry do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub framed: bool,
    /// The columns, where they are not all fields by their names.
    #[serde(default, skip_serializing_if = "DeclaredSchema::is_empty")]
    pub columns: DeclaredSchema,
    /// The descriptor set, in base64.
    #[serde(default, skip_serializing_if = "Pinned::is_none")]
    pub pinned: Pinned,
}

const EXAMPLE: &str = "{ descriptors = \"clicks.desc\", message = \"ads.Click\" }";
const EXPECTED_FILE: &str = "what `protoc --include_imports --descriptor_set_out=clicks.desc clicks.proto` writes";

impl ProtobufSettings {
    /// Reads the keys of a sink's `schema`, by which messages are written.
    pub(in crate::format) fn read_written(keys: &Reader<'_>) -> Option<Self> {
        let settings = Self::read(keys)?;
        let schema = keys.table("schema")?;
        if settings.framed {
            let message = "the number of a schema would stand there, and no registry is asked for it";
            schema.refuse("framed", message, "messages as they are, or `format = \"avro\"`");
        }
        if !settings.columns.is_empty() {
            schema.refuse("columns", "a column is written to the field of its name", "a `select` that renames it");
        }
        Some(settings)
    }

    /// The fields that are written.
    pub(in crate::format) fn fields(&self, columns: &ColumnSchema) -> std::result::Result<Vec<WantedField>, String> {
        Ok(wanted(&self.descriptor()?, columns.to_arrow().fields()))
    }

    /// Reads the keys of `schema`.
    pub(in crate::format) fn read(keys: &Reader<'_>) -> Option<Self> {
        keys.require("schema", EXAMPLE);
        let schema = keys.table("schema")?;
        schema.require("descriptors", "\"clicks.desc\"");
        let pinned = Pinned::default();
        let file = read_file(&schema, "descriptors", EXPECTED_FILE);
        let message = schema.required_text("message", "\"ads.Click\"");
        if schema.value("registry").is_some() {
            let message = "messages are known by the descriptors, and no registry is asked";
            schema.refuse("registry", message, "`framed = true`, if they begin as those of a registry do");
        }
        let descriptors = file.map(|(path, bytes)| {
            match pool(&bytes) {
                Err(problem) => schema.refuse("descriptors", problem, EXPECTED_FILE),
                Ok(pool) => {
                    if !message.is_empty() && pool.get_message_by_name(&message).is_none() {
                        schema.refuse("message", "there is no such message in the descriptors", &names(&pool));
                    } else {
                        pinned.set(STANDARD.encode(&bytes));
                    }
                }
            }
            path
        });
        let framed = schema.flag("framed").unwrap_or(false);
        let columns = read_schema(&schema, "columns").unwrap_or_default();
        schema.finish();
        Some(ProtobufSettings { descriptors: descriptors.unwrap_or_default(), message, framed, columns, pinned })
    }

    /// The description of the message.
    pub(in crate::format) fn descriptor(&self) -> std::result::Result<MessageDescriptor, String> {
        let pinned = self.pinned.get().ok_or("the descriptors are not known")?;
        let bytes = STANDARD.decode(pinned).map_err(|error| format!("the descriptors are damaged: {error}"))?;
        let none = || format!("there is no message `{}` in the descriptors", self.message);
        pool(&bytes)?.get_message_by_name(&self.message).ok_or_else(none)
    }

    /// The columns, and what is wrong with them. None where they are not known.
    pub(in crate::format) fn check(&self, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<DeclaredSchema> {
        // Why they are not known was said where they were read.
        let message = self.descriptor().ok()?;
        if self.columns.is_empty() {
            return Some(columns_of(&message));
        }
        let before = mistakes.len();
        for column in &self.columns.columns {
            let place = at.key("schema").key("columns").key(&column.name);
            match find(&message, column) {
                Err(problem) => mistakes.push(Mistake::on_key(place, problem).expected("the path of a field")),
                Ok(path) => {
                    let field = FieldOf::last(&path);
                    if !field.can_be_read(column.column_type) {
                        let message = format!("a field of type {field} can't be read as {}", column.column_type);
                        mistakes.push(Mistake::new(place, message));
                    }
                }
            }
        }
        (mistakes.len() == before).then(|| self.columns.clone())
    }

    /// Decoders of messages.
    pub(in crate::format) fn messages(&self, requested: &[String], most: usize) -> Result<MessageFormat> {
        let refused = |problem: String| EngineError::definition(format!("format = \"protobuf\": {problem}"));
        let message = self.descriptor().map_err(refused)?;
        let all = if self.columns.is_empty() { columns_of(&message) } else { self.columns.clone() };
        let requested = all.project(requested).map_err(|column| refused(format!("there is no column {column:?}")))?;
        let framed = self.framed;
        Ok(MessageFormat::new(move || Ok(Box::new(ProtobufMessages::new(message.clone(), &requested, framed, most)?))))
    }
}

/// The descriptors in a set; those that come with Protobuf itself may be missing.
fn pool(bytes: &[u8]) -> std::result::Result<DescriptorPool, String> {
    let whole = DescriptorPool::decode(bytes);
    let pool = whole.or_else(|error| {
        let mut pool = DescriptorPool::global();
        pool.decode_file_descriptor_set(bytes).map(|()| pool).map_err(|_| error)
    });
    pool.map_err(|error| format!("this is no whole set of descriptors: {error}"))
}

fn names(pool: &DescriptorPool) -> String {
    let own = pool.all_messages().filter(|message| !message.full_name().starts_with("google.protobuf."));
    let names: Vec<String> = own.take(10).map(|message| message.full_name().to_owned()).collect();
    if names.is_empty() { "a descriptor set with messages".to_owned() } else { format!("one of {}", names.join(", ")) }
}
