//! `schema = { file = "clicks.avsc" }`, `{ registry = "http://HOST:8081", subject = "clicks-value" }`: which schema the records
//! of Avro are read by, and which columns become of them.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

use super::{AvroMessages, RecordSchema, can_be_read, derived};
use crate::{
    definition::{KeyPath, Mistake, Reader},
    format::{
        declared::read_schema,
        message::MessageFormat,
        pinned::{Pinned, read_file},
        registry::{RegistrySettings, SchemaRegistry},
        written::check::{WantedField, check_columns, check_values},
    },
    schema::ColumnSchema,
    source::column_type::DeclaredSchema,
    source::field_path::FieldPath,
};

/// What belongs to `format = "avro"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AvroSettings {
    /// The file that the schema is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where the schemas are that messages were written with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistrySettings>,
    /// The subject whose newest schema is the one to read by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether a sink's schema is put into the registry if it is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub register: bool,
    /// The columns, where they are not all fields by their names.
    #[serde(default, skip_serializing_if = "DeclaredSchema::is_empty")]
    pub columns: DeclaredSchema,
    /// The schema that is read by.
    #[serde(default, skip_serializing_if = "Pinned::is_none")]
    pub pinned: Pinned,
}

/// How a schema is named.
pub(in crate::format) const EXAMPLE: &str = "{ file = \"clicks.avsc\" }";

impl AvroSettings {
    /// Reads the keys of `schema`; without it all is left to the files.
    pub(in crate::format) fn read(keys: &Reader<'_>) -> Self {
        let Some(schema) = keys.table("schema") else { return AvroSettings::default() };
        let registry = RegistrySettings::read(&schema);
        let subject = schema.text("subject");
        if subject.is_some() && registry.is_none() {
            schema.refuse("subject", "a subject is one of a registry", "`registry = \"http://HOST:8081\"` beside it");
        }
        if subject.is_some() && schema.has("file") {
            schema.refuse("subject", "there is a file with the schema already", "either `file` or `subject`");
        }
        if registry.is_some() && subject.is_none() && !schema.has("file") {
            let expected = "`subject = \"clicks-value\"`, or `file = \"clicks.avsc\"`";
            schema.refuse("registry", "it has many schemas: which one is meant?", expected);
        }
        let (file, pinned) = read_schema_file(&schema);
        let columns = read_schema(&schema, "columns").unwrap_or_default();
        schema.finish();
        AvroSettings { file, registry, subject, register: false, columns, pinned }
    }

    /// Reads the keys of a sink's `schema`, by which records are written.
    pub(in crate::format) fn read_written(keys: &Reader<'_>) -> Self {
        keys.require("schema", EXAMPLE);
        let Some(schema) = keys.table("schema") else { return AvroSettings::default() };
        let registry = RegistrySettings::read(&schema);
        let subject = schema.text("subject");
        let register = schema.flag("register").unwrap_or(false);
        for (key, is_there) in [("subject", subject.is_some()), ("register", register)] {
            if is_there && registry.is_none() {
                let message = format!("`{key}` is for a registry");
                schema.refuse(key, message, "`registry = \"http://HOST:8081\"` beside it");
            }
        }
        if registry.is_some() && subject.is_none() {
            let expected = "`subject = \"clicks-value\"`: that of the values of a topic is its name and `-value`";
            schema.refuse("registry", "it has many subjects: which one is meant?", expected);
        }
        if registry.is_none() && !schema.has("file") {
            keys.refuse("schema", "this names no schema", EXAMPLE);
        }
        let (file, pinned) = read_schema_file(&schema);
        schema.finish();
        AvroSettings { file, registry, subject, register, columns: DeclaredSchema::default(), pinned }
    }

    /// Reads the keys of `schema` of a sink of files, which bring it with them. Without it, it follows from the columns.
    pub(crate) fn read_of_written_files(keys: &Reader<'_>) -> Self {
        let Some(schema) = keys.table("schema") else { return AvroSettings::default() };
        schema.require("file", "\"counts.avsc\"");
        let (file, pinned) = read_schema_file(&schema);
        schema.finish();
        AvroSettings { file, pinned, ..AvroSettings::default() }
    }

    /// Whether no schema is named: files bring their own.
    pub fn is_of_files(&self) -> bool {
        self.file.is_none() && self.subject.is_none()
    }

    /// Whether the registry has to be asked which columns there are.
    pub(in crate::format) fn is_to_be_asked(&self) -> bool {
        self.pinned.is_none() && self.registry.is_some() && self.subject.is_some() && !self.is_derived()
    }

    /// Whether the schema that is written by follows from the columns.
    fn is_derived(&self) -> bool {
        self.file.is_none() && (self.register || self.registry.is_none())
    }

    /// Asks the registry for the schema to read by, and keeps it.
    pub(in crate::format) async fn ask(&self) -> Result<()> {
        let (Some(registry), Some(subject)) = (&self.registry, &self.subject) else { return Ok(()) };
        let asked = async { SchemaRegistry::new(registry, Env::from_entropy())?.latest(subject).await };
        match asked.await {
            Ok(schema) => {
                self.pinned.set(schema.to_string());
                Ok(())
            }
            Err(error) => {
                self.pinned.failed(error.message.clone());
                Err(error)
            }
        }
    }

    /// The schema that is read by.
    ///
    /// # Errors
    /// When it is not known, or none.
    pub fn schema(&self) -> Result<RecordSchema> {
        let text = self.pinned.get().ok_or_else(|| EngineError::definition("format = \"avro\": no schema is known"))?;
        RecordSchema::parse(text).map_err(|problem| EngineError::definition(format!("format = \"avro\": {problem}")))
    }

    /// All columns that can be read.
    ///
    /// # Errors
    /// When no schema is known.
    pub fn all_columns(&self) -> Result<DeclaredSchema> {
        Ok(if self.columns.is_empty() { self.schema()?.columns() } else { self.columns.clone() })
    }

    /// The columns, and what is wrong with them. None where they are not known.
    pub(in crate::format) fn check(&self, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<DeclaredSchema> {
        let at = at.key("schema");
        let Some(text) = self.pinned.get() else {
            if let Some(mistake) = self.unanswered(&at) {
                mistakes.push(mistake);
            } else if self.is_of_files() && self.registry.is_none() {
                let mistake = Mistake::new(at, "no schema says which fields there are");
                mistakes.push(mistake.expected(format!("schema = {EXAMPLE}")));
            }
            return None;
        };
        let schema = match RecordSchema::parse(text) {
            Ok(schema) => schema,
            Err(problem) => {
                mistakes.push(Mistake::new(at, format!("the schema is none of records: {problem}")));
                return None;
            }
        };
        if self.columns.is_empty() {
            return Some(schema.columns());
        }
        let before = mistakes.len();
        for column in &self.columns.columns {
            let place = at.key("columns").key(&column.name);
            let path = column.path.clone().unwrap_or_else(|| FieldPath::of_key(&column.name));
            match schema.field_at(&path) {
                Err(problem) => mistakes.push(Mistake::on_key(place, problem).expected("the path of a field")),
                Ok(field) if !can_be_read(field.data_type(), column.column_type) => {
                    let message =
                        format!("a field of type {} can't be read as {}", field.data_type(), column.column_type);
                    mistakes.push(Mistake::new(place, message));
                }
                Ok(_) => {}
            }
        }
        (mistakes.len() == before).then(|| self.columns.clone())
    }

    /// Why the registry has told no schema, if it was asked; `at` is `schema`.
    fn unanswered(&self, at: &KeyPath) -> Option<Mistake> {
        let found = self.registry.as_ref().map(|registry| registry.url.clone()).unwrap_or_default();
        Some(Mistake::new(at.key("registry"), self.pinned.problem()?).found(found))
    }

    /// The fields that are written, and what is wrong with the schema. None where they are not known.
    pub(in crate::format) fn fields(
        &self,
        columns: &ColumnSchema,
        columns_at: &KeyPath,
        at: &KeyPath,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Vec<WantedField>> {
        let at = at.key("schema");
        if self.is_derived() {
            if let Err(problem) = derived("row", columns) {
                let expected = "a `select` or a `map` that names or converts it otherwise";
                mistakes.push(Mistake::new(columns_at.clone(), problem).expected(expected));
            }
            return None;
        }
        let Some(text) = self.pinned.get() else {
            // What is wrong with a file was said where it was read.
            mistakes.extend(self.unanswered(&at));
            return None;
        };
        match RecordSchema::parse(text).and_then(|schema| schema.wanted()) {
            Ok(fields) => Some(fields),
            Err(problem) => {
                mistakes.push(Mistake::new(at, format!("the schema is none of records: {problem}")));
                None
            }
        }
    }

    /// Notes what is wrong with it for files with rows of these columns: there each value must fit.
    pub(crate) fn check_files(
        &self,
        columns: &ColumnSchema,
        columns_at: &KeyPath,
        at: &KeyPath,
        mistakes: &mut Vec<Mistake>,
    ) {
        if let Some(fields) = self.fields(columns, columns_at, at, mistakes) {
            let at = (columns_at, &at.key("schema"));
            check_columns(columns, &fields, at, mistakes);
            check_values(columns, &fields, columns_at, mistakes);
        }
    }

    /// With the schema that follows from the columns, if it does; `name` is what it is called then.
    pub(crate) fn for_columns(&self, name: &str, columns: &ColumnSchema) -> Self {
        match derived(name, columns) {
            Ok(schema) if self.is_derived() => AvroSettings { pinned: Pinned::of(schema), ..self.clone() },
            _ => self.clone(),
        }
    }

    /// The number that the registry has for the schema that is written by; none: there is no registry.
    ///
    /// # Errors
    /// When the registry does not answer, or has no such schema and takes none.
    pub(in crate::format) async fn number(&self, env: &Env) -> Result<Option<u32>> {
        let (Some(registry), Some(subject)) = (&self.registry, &self.subject) else { return Ok(None) };
        let schema = self.schema()?;
        let registry = SchemaRegistry::new(registry, env.clone())?;
        registry.number_of(subject, schema.text(), self.register).await.map(Some)
    }

    /// Decoders of messages.
    pub(in crate::format) fn messages(&self, requested: &[String], most: usize, env: &Env) -> Result<MessageFormat> {
        let (schema, requested) = (self.schema()?, self.requested(requested)?);
        let registry = self.registry.as_ref().map(|registry| SchemaRegistry::new(registry, env.clone())).transpose()?;
        let registry = registry.map(Arc::new);
        Ok(MessageFormat::new(move || {
            Ok(Box::new(AvroMessages::new(schema.clone(), &requested, registry.clone(), most)?))
        }))
    }

    /// Some of the columns.
    ///
    /// # Errors
    /// When one is none of them.
    pub fn requested(&self, names: &[String]) -> Result<DeclaredSchema> {
        let unknown = |column| EngineError::definition(format!("format = \"avro\": there is no column {column:?}"));
        self.all_columns()?.project(names).map_err(unknown)
    }
}

/// The file with a schema, and what it says if that is one of records.
fn read_schema_file(schema: &Reader<'_>) -> (Option<String>, Pinned) {
    let pinned = Pinned::default();
    let file = read_file(schema, "file", "a file with a schema of Avro, as JSON").map(|(path, bytes)| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match RecordSchema::parse(&text) {
            Ok(_) => pinned.set(text),
            Err(problem) => {
                let message = format!("it is no schema of records: {problem}");
                schema.refuse("file", message, "a record of Avro, as JSON");
            }
        }
        path
    });
    (file, pinned)
}
