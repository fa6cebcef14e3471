//! How the records of a source are written, as a definition says it and the node of a graph keeps it: the same keys for
//! every source that reads records of a format.

use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

use super::{
    DEFAULT_MAX_LINE_BYTES, LineFormat,
    avro::AvroSettings,
    click_log::{self, ClickLogDecoder},
    csv::CsvDecoder,
    declared::read_schema,
    json::JsonDecoder,
    message::{MessageFormat, TextMessages, message_error},
    protobuf::ProtobufSettings,
};
use crate::{
    confinement::Location,
    definition::{KeyPath, Mistake, Reader},
    schema::ColumnSchema,
    source::column_type::DeclaredSchema,
};

/// The keys of a format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FormatSettings {
    /// The format, and what belongs to it.
    #[serde(flatten)]
    pub format: Format,
    /// The longest line that is accepted, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_line_bytes: Option<usize>,
}

/// How records are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum Format {
    /// `[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA`
    ClickLog,
    /// Values with a delimiter between them, the first line naming the columns.
    Csv {
        /// The columns to read.
        schema: DeclaredSchema,
        /// What stands between two values.
        #[serde(default = "comma")]
        delimiter: char,
    },
    /// One JSON object a line.
    Json {
        /// The columns to read.
        schema: DeclaredSchema,
    },
    /// Parquet.
    Parquet {
        /// The columns to read; none: those of all files, looked up before the job is checked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<DeclaredSchema>,
    },
    /// Records of Avro.
    Avro {
        /// The schema that they are read by.
        #[serde(default)]
        schema: Box<AvroSettings>,
    },
    /// Messages of Protobuf.
    Protobuf {
        /// What describes them.
        schema: Box<ProtobufSettings>,
    },
}

fn comma() -> char {
    ','
}

/// The formats, by the names that a definition has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatName {
    /// `click_log`
    ClickLog,
    /// `csv`
    Csv,
    /// `json`
    Json,
    /// `parquet`
    Parquet,
    /// `avro`
    Avro,
    /// `protobuf`
    Protobuf,
}

impl FormatName {
    /// Those that there are files of.
    pub const FILES: [FormatName; 5] =
        [FormatName::ClickLog, FormatName::Csv, FormatName::Json, FormatName::Parquet, FormatName::Avro];
    /// Those that there are messages of.
    pub const MESSAGES: [FormatName; 5] =
        [FormatName::ClickLog, FormatName::Csv, FormatName::Json, FormatName::Avro, FormatName::Protobuf];

    /// As a definition writes it.
    pub fn name(self) -> &'static str {
        match self {
            FormatName::ClickLog => "click_log",
            FormatName::Csv => "csv",
            FormatName::Json => "json",
            FormatName::Parquet => "parquet",
            FormatName::Avro => "avro",
            FormatName::Protobuf => "protobuf",
        }
    }
}

impl From<Format> for FormatSettings {
    fn from(format: Format) -> Self {
        FormatSettings { format, max_line_bytes: None }
    }
}

impl FormatSettings {
    /// Reads `format`, `schema`, `delimiter` and `max_line_bytes` for a source that can read these formats. None: it is not
    /// known which format is meant.
    pub fn read(keys: &Reader<'_>, formats: &[FormatName]) -> Option<Self> {
        let format = Format::read(keys, formats);
        let max_line_bytes = keys.positive_integer("max_line_bytes");
        Some(FormatSettings {
            format: format?,
            max_line_bytes: max_line_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
        })
    }

    /// What decodes records that come one by one, for the `requested` columns.
    ///
    /// # Errors
    /// When a column is none of the format's, a schema is not known, or there are no messages of the format.
    pub fn messages(&self, requested: &[String], env: &Env) -> Result<MessageFormat> {
        let most = self.longest_line();
        match &self.format {
            Format::Avro { schema } => return schema.messages(requested, most, env),
            Format::Protobuf { schema } => return schema.messages(requested, most),
            _ => {}
        }
        let format = self.format.as_lines();
        let format =
            format.ok_or_else(|| EngineError::definition("there are no messages of this format, only files"))?;
        let requested = format.requested(requested).map_err(message_error)?;
        Ok(MessageFormat::new(move || {
            Ok(match &format {
                LineFormat::ClickLog => {
                    Box::new(TextMessages::new(ClickLogDecoder::new(&requested, most).map_err(message_error)?, most))
                }
                LineFormat::Csv { schema, delimiter } => {
                    let header = csv_header(schema, *delimiter);
                    let decoder =
                        CsvDecoder::new("the declared columns", header.as_bytes(), &requested, *delimiter, most);
                    Box::new(TextMessages::new(decoder.map_err(message_error)?, most))
                }
                LineFormat::Json { .. } => {
                    Box::new(TextMessages::new(JsonDecoder::new(&requested, most).map_err(message_error)?, most))
                }
            })
        }))
    }

    /// The longest line that is accepted, in bytes.
    pub fn longest_line(&self) -> usize {
        self.max_line_bytes.unwrap_or(DEFAULT_MAX_LINE_BYTES)
    }
}

impl Format {
    fn read(keys: &Reader<'_>, formats: &[FormatName]) -> Option<Self> {
        let delimiter = read_delimiter(keys);
        let names: Vec<(&str, FormatName)> = formats.iter().map(|format| (format.name(), *format)).collect();
        keys.require("format", &crate::connectors::any_of(names.iter().map(|(name, _)| *name)));
        let chosen = keys.choice("format", &names);
        if delimiter.is_some() && chosen != Some(FormatName::Csv) {
            keys.refuse("delimiter", "only csv has a delimiter", "no `delimiter`, or `format = \"csv\"`");
        }
        // What is said of a schema is for a format; without one it can only be columns.
        let schema = match chosen {
            Some(FormatName::Avro) => return Some(Format::Avro { schema: Box::new(AvroSettings::read(keys)) }),
            Some(FormatName::Protobuf) => {
                return ProtobufSettings::read(keys).map(|schema| Format::Protobuf { schema: Box::new(schema) });
            }
            _ => read_schema(keys, "schema"),
        };
        Some(match chosen? {
            FormatName::ClickLog => {
                if schema.is_some() {
                    keys.refuse("schema", "a click log has its columns already", "no `schema`, or another format");
                }
                Format::ClickLog
            }
            FormatName::Csv => {
                Format::Csv { schema: required(keys, schema), delimiter: delimiter.unwrap_or_else(comma) }
            }
            FormatName::Json => Format::Json { schema: required(keys, schema) },
            // The others are those that have returned.
            FormatName::Parquet | FormatName::Avro | FormatName::Protobuf => Format::Parquet { schema },
        })
    }

    /// The format of lines that it is; none of those that are no text.
    pub fn as_lines(&self) -> Option<LineFormat> {
        match self {
            Format::ClickLog => Some(LineFormat::ClickLog),
            Format::Csv { schema, delimiter } => {
                Some(LineFormat::Csv { schema: schema.clone(), delimiter: *delimiter })
            }
            Format::Json { schema } => Some(LineFormat::Json { schema: schema.clone() }),
            Format::Parquet { .. } | Format::Avro { .. } | Format::Protobuf { .. } => None,
        }
    }

    /// The columns that the definition declares, if it does.
    pub fn declared(&self) -> Option<&DeclaredSchema> {
        match self {
            Format::ClickLog | Format::Avro { .. } | Format::Protobuf { .. } => None,
            Format::Csv { schema, .. } | Format::Json { schema } => Some(schema),
            Format::Parquet { schema } => schema.as_ref(),
        }
    }

    /// In the words of people.
    pub fn note(&self) -> &'static str {
        match self {
            Format::ClickLog => "click logs",
            Format::Csv { .. } => "CSV files",
            Format::Json { .. } => "JSON lines",
            Format::Parquet { .. } => "Parquet files",
            Format::Avro { .. } => "Avro",
            Format::Protobuf { .. } => "Protobuf",
        }
    }

    /// The columns of the records, and what is wrong with their declaration. None where it takes a look at the data to know
    /// them, or where they are declared wrongly.
    pub fn columns(&self, at: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        let of = |schema: &DeclaredSchema| ColumnSchema::from(schema.arrow_schema().as_ref());
        match self {
            Format::ClickLog => Some(of(&click_log::columns())),
            Format::Csv { schema, .. } | Format::Json { schema } => {
                self.check_paths(schema, at, mistakes);
                if schema.columns.is_empty() {
                    let mistake = Mistake::new(at.key("schema"), "no column is declared");
                    mistakes.push(mistake.expected("such as { ad_id = \"string\", click_timestamp = \"timestamp\" }"));
                    return None;
                }
                Some(of(schema))
            }
            Format::Parquet { schema } => {
                let schema = schema.as_ref()?;
                self.check_paths(schema, at, mistakes);
                Some(of(schema))
            }
            Format::Avro { schema } => schema.check(at, mistakes).as_ref().map(of),
            Format::Protobuf { schema } => schema.check(at, mistakes).as_ref().map(of),
        }
    }

    /// Whether a registry has to be asked for the columns, and asks it; the schema is kept, and goes into the configuration.
    pub fn look(&self) -> Option<BoxFuture<'_, Result<ColumnSchema>>> {
        let Format::Avro { schema } = self else { return None };
        let look = async {
            schema.ask().await?;
            Ok(ColumnSchema::from(schema.all_columns()?.arrow_schema().as_ref()))
        };
        schema.is_to_be_asked().then(|| look.boxed())
    }

    /// Whether references to secrets lead to something, where the job runs.
    pub fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if let Format::Avro { schema } = self
            && let Some(registry) = &schema.registry
        {
            registry.check_secrets(runs_here, &at.key("schema"), mistakes);
        }
    }

    /// Where it has to be asked or read to decode records.
    ///
    /// # Errors
    /// When a place is none.
    pub fn locations(&self) -> Result<Vec<Location>> {
        match self {
            Format::Avro { schema } => schema.registry.as_ref().map_or(Ok(Vec::new()), |registry| registry.locations()),
            _ => Ok(Vec::new()),
        }
    }

    /// Only JSON has values below others.
    fn check_paths(&self, schema: &DeclaredSchema, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if matches!(self, Format::Json { .. }) {
            return;
        }
        for column in schema.columns.iter().filter(|column| column.path.is_some()) {
            let place = at.key("schema").key(&column.name).key("path");
            let message = "only the values of JSON objects have paths";
            let expected = "the column's own name, and a `map` to rename it";
            mistakes.push(Mistake::on_key(place, message).expected(expected));
        }
    }
}

/// A message of CSV has no header: its fields are the declared columns in their order.
fn csv_header(schema: &DeclaredSchema, delimiter: char) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> = schema.columns.iter().map(|column| quoted(&column.name)).collect();
    names.join(&delimiter.to_string())
}

fn required(keys: &Reader<'_>, schema: Option<DeclaredSchema>) -> DeclaredSchema {
    keys.require("schema", "{ ad_id = \"string\", click_timestamp = \"timestamp\" }");
    schema.unwrap_or_default()
}

fn read_delimiter(keys: &Reader<'_>) -> Option<char> {
    let text = keys.text("delimiter")?;
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(char::from(*byte)),
        _ => {
            keys.refuse("delimiter", "this can't separate two values", "one ASCII character, as in \";\"");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::testing::read;
    use crate::source::column_type::ColumnType;
    use serde_json::json;

    fn schema() -> DeclaredSchema {
        DeclaredSchema::new([("a", ColumnType::Integer)])
    }

    #[test]
    fn a_format_is_read_with_what_belongs_to_it() {
        let all = |keys| read(keys, |keys| FormatSettings::read(keys, &FormatName::FILES));
        let (csv, wrong) = all(json!({ "format": "csv", "schema": { "a": "int" }, "max_line_bytes": 9 }));
        let format = Format::Csv { schema: schema(), delimiter: ',' };
        assert_eq!((csv, wrong), (Some(FormatSettings { format, max_line_bytes: Some(9) }), Vec::<String>::new()));
        let (log, wrong) = all(json!({ "format": "click_log", "schema": { "a": "int" }, "delimiter": ";" }));
        assert_eq!(log.map(|log| log.format), Some(Format::ClickLog));
        assert_eq!(wrong, ["delimiter: only csv has a delimiter", "schema: a click log has its columns already"]);
    }

    #[test]
    fn a_source_reads_only_the_formats_that_it_says() {
        let lines = [FormatName::ClickLog, FormatName::Json];
        let (none, wrong) = read(json!({ "format": "parquet" }), |keys| FormatSettings::read(keys, &lines));
        assert_eq!((none, wrong), (None, vec!["format: there is no format called `parquet`".to_owned()]));
        let (none, wrong) = read(json!({}), |keys| FormatSettings::read(keys, &lines));
        assert_eq!((none, wrong), (None, vec!["the key `format` is missing".to_owned()]));
    }

    #[test]
    fn stored_graphs_keep_their_keys() {
        let csv = FormatSettings::from(Format::Csv { schema: schema(), delimiter: ';' });
        assert_eq!(
            serde_json::to_value(csv).unwrap(),
            json!({ "format": "csv", "schema": { "a": "int" }, "delimiter": ";" })
        );
        let parquet = FormatSettings::from(Format::Parquet { schema: None });
        assert_eq!(serde_json::to_value(&parquet).unwrap(), json!({ "format": "parquet" }));
        assert_eq!(FormatSettings::deserialize(&json!({ "format": "parquet", "path": "a" })).unwrap(), parquet);
    }

    #[test]
    fn only_json_has_paths() {
        let schema: DeclaredSchema = serde_json::from_value(json!({ "a": { "type": "int", "path": "b.a" } })).unwrap();
        let told = |format: Format| {
            let mut mistakes = Vec::new();
            format.columns(&KeyPath::default(), &mut mistakes);
            mistakes.iter().map(|mistake| mistake.path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(Format::Json { schema: schema.clone() }), Vec::<String>::new());
        assert_eq!(told(Format::Parquet { schema: Some(schema) }), ["schema.a.path"]);
        assert_eq!(told(Format::Json { schema: DeclaredSchema::default() }), ["schema"]);
    }
}
