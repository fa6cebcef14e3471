//! How the records of a source are written, as a definition says it and the node of a graph keeps it: the same keys for
//! every source that reads records of a format.

use serde::{Deserialize, Serialize};

use super::{DEFAULT_MAX_LINE_BYTES, LineFormat, click_log, declared::read_schema};
use crate::{
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
}

impl FormatName {
    /// All of them.
    pub const ALL: [FormatName; 4] = [FormatName::ClickLog, FormatName::Csv, FormatName::Json, FormatName::Parquet];

    /// As a definition writes it.
    pub fn name(self) -> &'static str {
        match self {
            FormatName::ClickLog => "click_log",
            FormatName::Csv => "csv",
            FormatName::Json => "json",
            FormatName::Parquet => "parquet",
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

    /// The longest line that is accepted, in bytes.
    pub fn longest_line(&self) -> usize {
        self.max_line_bytes.unwrap_or(DEFAULT_MAX_LINE_BYTES)
    }
}

impl Format {
    fn read(keys: &Reader<'_>, formats: &[FormatName]) -> Option<Self> {
        let schema = read_schema(keys, "schema");
        let delimiter = read_delimiter(keys);
        let names: Vec<(&str, FormatName)> = formats.iter().map(|format| (format.name(), *format)).collect();
        keys.require("format", &crate::connectors::any_of(names.iter().map(|(name, _)| *name)));
        let chosen = keys.choice("format", &names);
        if delimiter.is_some() && chosen != Some(FormatName::Csv) {
            keys.refuse("delimiter", "only csv has a delimiter", "no `delimiter`, or `format = \"csv\"`");
        }
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
            FormatName::Parquet => Format::Parquet { schema },
        })
    }

    /// The format of lines that it is; none of Parquet.
    pub fn as_lines(&self) -> Option<LineFormat> {
        match self {
            Format::ClickLog => Some(LineFormat::ClickLog),
            Format::Csv { schema, delimiter } => {
                Some(LineFormat::Csv { schema: schema.clone(), delimiter: *delimiter })
            }
            Format::Json { schema } => Some(LineFormat::Json { schema: schema.clone() }),
            Format::Parquet { .. } => None,
        }
    }

    /// The columns that the definition declares, if it does.
    pub fn declared(&self) -> Option<&DeclaredSchema> {
        match self {
            Format::ClickLog => None,
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
        let all = |keys| read(keys, |keys| FormatSettings::read(keys, &FormatName::ALL));
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
