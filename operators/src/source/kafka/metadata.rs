//! Columns that are not in the value of a record: its key, its headers, where it stands, and when it was produced.
//!
//! Invariant: a record whose key or header is no text, though a column of it is asked for, is a dead letter that says so: another
//! text in its place could be taken for what it is not.

use crate::{
    event_time::event_time_type,
    schema::{Column, ColumnSchema},
};
use arrow::{
    array::{
        ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
        TimestampMillisecondBuilder,
    },
    datatypes::{DataType, Field, Int32Type, Schema},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc};
use weir_engine::error::{EngineError, Result};
use weir_kafka::{RecordRef, TopicPartition};

/// What a column tells of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metadata {
    /// The topic's name.
    Topic,
    /// The number of the partition.
    Partition,
    /// The place in the partition.
    Offset,
    /// When it was produced or appended.
    Timestamp,
    /// The key, as text.
    Key,
    /// All headers, as a JSON object.
    Headers,
    /// The last header of a name, as text.
    Header(String),
}

impl Metadata {
    /// What a definition may write, for messages.
    pub const NAMES: [&str; 7] = ["topic", "partition", "offset", "timestamp", "key", "headers", "headers.NAME"];

    /// The column's type.
    fn data_type(&self) -> DataType {
        match self {
            Metadata::Topic | Metadata::Key | Metadata::Headers | Metadata::Header(_) => DataType::Utf8,
            Metadata::Partition | Metadata::Offset => DataType::Int64,
            Metadata::Timestamp => event_time_type(),
        }
    }

    /// The column, under a name.
    pub(super) fn column(&self, name: &str) -> Column {
        let nullable = !matches!(self, Metadata::Topic | Metadata::Partition | Metadata::Offset);
        Column { name: name.to_owned(), data_type: self.data_type(), nullable }
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metadata::Topic => "topic",
            Metadata::Partition => "partition",
            Metadata::Offset => "offset",
            Metadata::Timestamp => "timestamp",
            Metadata::Key => "key",
            Metadata::Headers => "headers",
            Metadata::Header(name) => return write!(f, "headers.{name}"),
        })
    }
}

impl From<Metadata> for String {
    fn from(metadata: Metadata) -> Self {
        metadata.to_string()
    }
}

impl TryFrom<String> for Metadata {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(match text.as_str() {
            "topic" => Metadata::Topic,
            "partition" => Metadata::Partition,
            "offset" => Metadata::Offset,
            "timestamp" => Metadata::Timestamp,
            "key" => Metadata::Key,
            "headers" => Metadata::Headers,
            other => match other.strip_prefix("headers.") {
                Some(name) if !name.is_empty() => Metadata::Header(name.to_owned()),
                _ => return Err(format!("there is no metadata called `{text}`")),
            },
        })
    }
}

/// The columns of a source, and which of them are in the values of records.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// All that are wanted, in order: what a column tells of records; none: it is in their values.
    all: Vec<(Column, Option<Metadata>)>,
}

impl Columns {
    /// Those that are `wanted`.
    pub(super) fn new(wanted: &ColumnSchema, metadata: &BTreeMap<String, Metadata>) -> Self {
        let of = |column: &Column| (column.clone(), metadata.get(&column.name).cloned());
        Columns { all: wanted.columns.iter().map(of).collect() }
    }

    /// The names of those in the values of records, in order.
    pub(super) fn in_values(&self) -> Vec<String> {
        self.all.iter().filter(|(_, metadata)| metadata.is_none()).map(|(column, _)| column.name.clone()).collect()
    }

    /// Puts the columns of values and those of metadata together.
    ///
    /// # Errors
    /// Only by a mistake of ours.
    pub(super) fn together(&self, values: &RecordBatch, metadata: Vec<ArrayRef>) -> Result<RecordBatch> {
        if metadata.is_empty() {
            return Ok(values.clone());
        }
        let schema = values.schema_ref();
        let mut of_values = schema.fields().iter().zip(values.columns());
        let mut of_metadata = metadata.into_iter();
        let (mut fields, mut columns) = (Vec::with_capacity(self.all.len()), Vec::with_capacity(self.all.len()));
        for (column, metadata) in &self.all {
            let missing = || EngineError::internal(format!("there is no column '{}' in what was read", column.name));
            match metadata {
                None => {
                    let (field, values) = of_values.next().ok_or_else(missing)?;
                    fields.push(Arc::clone(field));
                    columns.push(Arc::clone(values));
                }
                Some(_) => {
                    let values = of_metadata.next().ok_or_else(missing)?;
                    let field = Field::new(&column.name, values.data_type().clone(), column.nullable);
                    fields.push(Arc::new(field));
                    columns.push(values);
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(values.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }

    /// No rows.
    pub(super) fn empty(&self) -> RecordBatch {
        let field = |(column, _): &(Column, _)| Field::new(&column.name, column.data_type.clone(), column.nullable);
        RecordBatch::new_empty(Arc::new(Schema::new(self.all.iter().map(field).collect::<Vec<_>>())))
    }
}

/// The metadata of the records of one partition, collected record by record.
pub(super) struct MetadataRows {
    place: TopicPartition,
    builders: Vec<Builder>,
    /// Whether a column needs the headers, which are copied for that.
    has_headers: bool,
    rows: usize,
}

/// One column.
enum Builder {
    Topic,
    Partition,
    Offset(Vec<i64>),
    Timestamp(TimestampMillisecondBuilder),
    Key(StringBuilder),
    Headers(StringBuilder),
    Header(String, StringBuilder),
}

type HeaderList = Vec<(String, Option<Vec<u8>>)>;

impl MetadataRows {
    /// No rows yet, of those columns that are metadata.
    pub(super) fn new(columns: &Columns, place: TopicPartition) -> Self {
        let builder = |metadata: &Metadata| match metadata {
            Metadata::Topic => Builder::Topic,
            Metadata::Partition => Builder::Partition,
            Metadata::Offset => Builder::Offset(Vec::new()),
            Metadata::Timestamp => {
                Builder::Timestamp(TimestampMillisecondBuilder::new().with_data_type(event_time_type()))
            }
            Metadata::Key => Builder::Key(StringBuilder::new()),
            Metadata::Headers => Builder::Headers(StringBuilder::new()),
            Metadata::Header(name) => Builder::Header(name.clone(), StringBuilder::new()),
        };
        let builders: Vec<Builder> =
            columns.all.iter().filter_map(|(_, metadata)| metadata.as_ref()).map(builder).collect();
        let has_headers = builders.iter().any(|builder| matches!(builder, Builder::Headers(_) | Builder::Header(..)));
        MetadataRows { place, builders, has_headers, rows: 0 }
    }

    /// One more row; or what is wrong with its record, which is none then.
    #[inline]
    pub(super) fn push(&mut self, record: &RecordRef<'_>) -> std::result::Result<(), String> {
        if self.builders.is_empty() {
            return Ok(());
        }
        let headers = if self.has_headers { record.headers.all() } else { HeaderList::new() };
        self.builders.iter().try_for_each(|builder| builder.check(record, &headers))?;
        for builder in &mut self.builders {
            builder.append(record, &headers);
        }
        self.rows += 1;
        Ok(())
    }

    /// The columns so far; they start over.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        let (rows, place) = (std::mem::take(&mut self.rows), &self.place);
        self.builders.iter_mut().map(|builder| builder.finish(rows, place)).collect()
    }
}

impl Builder {
    fn check(&self, record: &RecordRef<'_>, headers: &HeaderList) -> std::result::Result<(), String> {
        match self {
            Builder::Key(_) => match record.key.map(std::str::from_utf8) {
                Some(Err(error)) => Err(format!("the key is not UTF-8, at byte {} of it", error.valid_up_to() + 1)),
                _ => Ok(()),
            },
            Builder::Header(name, _) => match last(headers, name).map(std::str::from_utf8) {
                Some(Err(error)) => {
                    Err(format!("the header {name} is not UTF-8, at byte {} of it", error.valid_up_to() + 1))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn append(&mut self, record: &RecordRef<'_>, headers: &HeaderList) {
        let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
        match self {
            Builder::Topic | Builder::Partition => {}
            Builder::Offset(offsets) => offsets.push(record.offset),
            Builder::Timestamp(times) => times.append_option(record.timestamp_ms),
            Builder::Key(keys) => keys.append_option(record.key.and_then(|key| std::str::from_utf8(key).ok())),
            Builder::Headers(texts) => texts.append_value(as_json(headers)),
            Builder::Header(name, texts) => texts.append_option(text(last(headers, name))),
        }
    }

    fn finish(&mut self, rows: usize, place: &TopicPartition) -> ArrayRef {
        match self {
            Builder::Topic => {
                let topic = StringArray::from(vec![place.topic.as_str()]);
                let all_of_it = Int32Array::from(vec![0; rows]);
                // The only key is in range.
                match DictionaryArray::<Int32Type>::try_new(all_of_it, Arc::new(topic)) {
                    Ok(topics) => Arc::new(topics),
                    Err(_) => Arc::new(StringArray::from(vec![place.topic.as_str(); rows])),
                }
            }
            Builder::Partition => Arc::new(Int64Array::from(vec![i64::from(place.partition); rows])),
            Builder::Offset(offsets) => Arc::new(Int64Array::from(std::mem::take(offsets))),
            Builder::Timestamp(times) => Arc::new(times.finish()),
            Builder::Key(texts) | Builder::Headers(texts) | Builder::Header(_, texts) => Arc::new(texts.finish()),
        }
    }
}

/// Of several headers of a name the last one counts, as for Kafka's own clients.
fn last<'a>(headers: &'a HeaderList, name: &str) -> Option<&'a [u8]> {
    headers.iter().rev().find(|(found, _)| found == name)?.1.as_deref()
}

/// Headers as a JSON object, in their order; what is not UTF-8 is replaced.
fn as_json(headers: &HeaderList) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let value = |value: &Option<Vec<u8>>| match value {
        Some(bytes) => text(&String::from_utf8_lossy(bytes)),
        None => "null".to_owned(),
    };
    let pairs: Vec<String> = headers.iter().map(|(name, bytes)| format!("{}:{}", text(name), value(bytes))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::AsArray,
        compute::cast,
        datatypes::{Int64Type, TimestampMillisecondType},
    };
    use weir_kafka::Headers;

    fn push(
        rows: &mut MetadataRows,
        offset: i64,
        key: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), String> {
        let owned = || headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect();
        let timestamp_ms = (offset > 0).then_some(offset * 1_000);
        rows.push(&RecordRef { offset, leader_epoch: None, timestamp_ms, key, value: None, headers: Headers(&owned) })
    }

    #[test]
    fn each_kind_is_a_column_of_its_type() {
        let kinds: Vec<(String, Metadata)> = Metadata::NAMES
            .iter()
            .map(|name| (name.to_uppercase(), Metadata::try_from((*name).to_owned()).expect("a kind")))
            .collect();
        let wanted = ColumnSchema { columns: kinds.iter().map(|(name, kind)| kind.column(name)).collect() };
        let columns = Columns::new(&wanted, &kinds.into_iter().collect());
        assert!(columns.in_values().is_empty());
        let mut rows = MetadataRows::new(&columns, TopicPartition { topic: "clicks".into(), partition: 3 });
        push(&mut rows, 7, Some(b"k"), &[("NAME", Some(b"old")), ("x\"", None), ("NAME", Some(b"new"))]).unwrap();
        push(&mut rows, 0, None, &[("y", Some(b"\xff"))]).unwrap();
        let found = rows.finish();
        let text = |column: usize, row: usize| {
            let texts = cast(&found[column], &DataType::Utf8).unwrap();
            let texts = texts.as_string::<i32>();
            arrow::array::Array::is_valid(texts, row).then(|| texts.value(row).to_owned())
        };
        assert_eq!((text(0, 0).as_deref(), text(0, 1).as_deref()), (Some("clicks"), Some("clicks")));
        assert_eq!(found[1].as_primitive::<Int64Type>().values(), &[3, 3]);
        assert_eq!(found[2].as_primitive::<Int64Type>().values(), &[7, 0]);
        let times: Vec<_> = found[3].as_primitive::<TimestampMillisecondType>().iter().collect();
        assert_eq!(times, [Some(7_000), None]);
        assert_eq!((text(4, 0).as_deref(), text(4, 1)), (Some("k"), None));
        assert_eq!(text(5, 0).as_deref(), Some(r#"{"NAME":"old","x\"":null,"NAME":"new"}"#));
        assert_eq!(text(5, 1).as_deref(), Some("{\"y\":\"\u{fffd}\"}"));
        assert_eq!((text(6, 0).as_deref(), text(6, 1)), (Some("new"), None));
        let empty = columns.together(
            &RecordBatch::try_new_with_options(
                Arc::new(Schema::empty()),
                vec![],
                &RecordBatchOptions::new().with_row_count(Some(2)),
            )
            .unwrap(),
            found,
        );
        assert_eq!(empty.unwrap().num_columns(), 7);
        assert!(rows.finish().iter().all(|column| column.is_empty()), "it starts over");
    }

    #[test]
    fn what_is_no_text_is_refused_and_leaves_nothing_behind() {
        let wanted = ColumnSchema { columns: vec![Metadata::Offset.column("o"), Metadata::Key.column("k")] };
        let kinds = BTreeMap::from([("o".to_owned(), Metadata::Offset), ("k".to_owned(), Metadata::Key)]);
        let columns = Columns::new(&wanted, &kinds);
        let mut rows = MetadataRows::new(&columns, TopicPartition { topic: "t".into(), partition: 0 });
        assert_eq!(push(&mut rows, 1, Some(b"a\xff"), &[]).unwrap_err(), "the key is not UTF-8, at byte 2 of it");
        push(&mut rows, 2, Some(b"b"), &[]).unwrap();
        assert_eq!(rows.finish()[0].as_primitive::<Int64Type>().values(), &[2]);
        for wrong in ["", "partitions", "headers.", "Key"] {
            assert!(Metadata::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
