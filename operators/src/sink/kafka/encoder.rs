//! A row as a record: its value, which is a JSON object with all columns where no format says otherwise, and its key.
//!
//! A key of one column is the bare text of its value, as other producers have it (`ad000001`, `42`); of several, a JSON object with
//! them in the order of the definition. A record id is the text of a UUID. Nothing in the only column of a key: no key.

use super::config::KafkaSinkConfig;
use crate::{
    columns::{RECORD_ID, REVISION},
    format::WrittenRows,
    sink::json_rows::{self, object_field, options, readable},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, StructArray},
    compute::cast,
    datatypes::{DataType, FieldRef, Int64Type},
    json::writer::{EncoderOptions, NullableEncoder, make_encoder},
};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// Rows as they are about to become records.
#[derive(Debug)]
pub(super) struct EncodedRows {
    rows: StructArray,
    key: Key,
    record_ids: Option<FixedSizeBinaryArray>,
    revisions: Option<Int64Array>,
    /// The values; none: they are made of the rows, as JSON.
    values: Option<WrittenRows>,
}

/// One row's record, but for its partition.
#[derive(Debug)]
pub(super) struct EncodedRow<'a> {
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    pub record_id: Option<&'a [u8]>,
    pub revision: Option<i64>,
    /// Why it can't be written; then the value is the row as JSON.
    pub refused: Option<&'a str>,
}

/// What the keys of rows are made from.
#[derive(Debug)]
enum Key {
    None,
    /// Of one column: its texts, or what JSON makes of it.
    One(FieldRef, ArrayRef),
    Several(FieldRef, StructArray),
}

impl EncodedRows {
    /// Of rows and their values, where these are not JSON.
    ///
    /// # Errors
    /// When a column of the key is missing.
    pub fn new(config: &KafkaSinkConfig, rows: &RecordBatch, values: Option<WrittenRows>) -> Result<Self> {
        let of_results = |name| rows.column_by_name(name).filter(|_| config.results);
        let record_ids = of_results(RECORD_ID).and_then(|ids| ids.as_fixed_size_binary_opt());
        let revisions = of_results(REVISION).map(|column| cast(column, &DataType::Int64)).transpose()?;
        let readable = readable(rows)?;
        let key = config.key.iter().map(|name| {
            let column = readable.column_by_name(name).zip(readable.fields().find(name));
            let column = column.map(|(column, (_, field))| (Arc::clone(field), Arc::clone(column)));
            column
                .ok_or_else(|| EngineError::definition(format!("rows for '{}' have no column '{name}'", config.topic)))
        });
        let mut key = key.collect::<Result<Vec<_>>>()?;
        let key = match (key.len(), key.pop()) {
            (_, None) => Key::None,
            (1, Some((field, column))) => Key::One(field, column),
            (_, Some(last)) => {
                key.push(last);
                let (fields, columns): (Vec<_>, Vec<_>) = key.into_iter().unzip();
                let columns = StructArray::try_new(fields.into(), columns, None)?;
                Key::Several(object_field(&columns), columns)
            }
        };
        Ok(EncodedRows {
            key,
            record_ids: record_ids.filter(|ids| ids.value_length() == 16).cloned(),
            revisions: revisions.and_then(|revisions| revisions.as_primitive_opt::<Int64Type>().cloned()),
            rows: readable,
            values,
        })
    }

    /// Gives out all rows, in order.
    ///
    /// # Errors
    /// When a column cannot be written, or `each` fails.
    pub fn each(&self, mut each: impl FnMut(EncodedRow<'_>) -> Result<()>) -> Result<()> {
        let options = options();
        let mut keys = KeyEncoder::new(&self.key, &options)?;
        let (mut row, mut key) = (0, Vec::new());
        let mut one = |value: &[u8], refused: Option<&str>| {
            key.clear();
            let has_key = keys.encode(row, &mut key);
            let record_id = self.record_ids.as_ref().filter(|ids| ids.is_valid(row)).map(|ids| ids.value(row));
            let revision = self.revisions.as_ref().filter(|all| all.is_valid(row)).map(|all| all.value(row));
            row += 1;
            each(EncodedRow { key: has_key.then_some(key.as_slice()), value, record_id, revision, refused })
        };
        let Some(values) = &self.values else {
            return json_rows::each(&self.rows, &mut |value| one(value, None));
        };
        for (row, value) in values.iter().enumerate() {
            match value {
                Ok(value) => one(value, None)?,
                Err(reason) => {
                    json_rows::each(&self.rows.slice(row, 1), &mut |value| one(value, Some(reason)))?;
                }
            }
        }
        Ok(())
    }
}

enum KeyEncoder<'a> {
    None,
    Texts(&'a StringArray),
    Json(NullableEncoder<'a>),
}

impl<'a> KeyEncoder<'a> {
    fn new(key: &'a Key, options: &'a EncoderOptions) -> Result<Self> {
        Ok(match key {
            Key::None => KeyEncoder::None,
            Key::One(field, column) => match column.as_string_opt::<i32>() {
                Some(texts) => KeyEncoder::Texts(texts),
                None => KeyEncoder::Json(make_encoder(field, column, options)?),
            },
            Key::Several(field, columns) => KeyEncoder::Json(make_encoder(field, columns, options)?),
        })
    }

    /// Whether the row has a key; written to `out`.
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) -> bool {
        match self {
            KeyEncoder::None => false,
            KeyEncoder::Texts(texts) => {
                let has_key = texts.is_valid(row);
                if has_key {
                    out.extend_from_slice(texts.value(row).as_bytes());
                }
                has_key
            }
            KeyEncoder::Json(encoder) => {
                let has_key = !encoder.is_null(row);
                if has_key {
                    encoder.encode(row, out);
                }
                // A date is a text in JSON. Bare, it has no quotes, and nothing in it that has to be escaped.
                if out.len() >= 2 && out.first() == Some(&b'"') {
                    out.pop();
                    out.remove(0);
                }
                has_key
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{json_rows::can_be_written, kafka::tests::config};
    use arrow::{
        array::{
            BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryBuilder, Float64Array, Int32Array,
            TimestampMillisecondArray,
        },
        datatypes::Int32Type,
    };

    fn rows() -> RecordBatch {
        let mut ids = FixedSizeBinaryBuilder::new(16);
        ids.append_value([0xf2; 16]).unwrap();
        ids.append_value([1; 16]).unwrap();
        let ads: DictionaryArray<Int32Type> = [Some("a \"b\"\n"), None].into_iter().collect();
        let cost = Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(38, 2).unwrap();
        let columns: [(&str, ArrayRef); 8] = [
            ("record_id", Arc::new(ids.finish())),
            ("ad_id", Arc::new(ads)),
            ("count", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
            ("rate", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("cost", Arc::new(cost)),
            ("window_end", Arc::new(TimestampMillisecondArray::from(vec![1_500, 0]).with_timezone("UTC"))),
            ("revision", Arc::new(Int32Array::from(vec![-1, 2]))),
            ("withdrawn", Arc::new(BooleanArray::from(vec![false, true]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    /// Of a row the key, the value, the record id and the revision.
    type Encoded = (Option<String>, String, Option<Vec<u8>>, Option<i64>);

    fn encoded(key: &[&str]) -> Vec<Encoded> {
        let mut config = config();
        (config.results, config.key) = (true, key.iter().map(ToString::to_string).collect());
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let rows = EncodedRows::new(&config, &rows(), None).unwrap();
        let each = |row: EncodedRow<'_>| {
            found.push((row.key.map(text), text(row.value), row.record_id.map(<[u8]>::to_vec), row.revision));
            Ok(())
        };
        rows.each(each).unwrap();
        found
    }

    #[test]
    fn a_row_is_a_json_object_with_all_columns() {
        let found = encoded(&[]);
        let id = "f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2";
        let first = format!(
            r#"{{"record_id":"{id}","ad_id":"a \"b\"\n","count":9223372036854775807,"rate":0.5,"cost":1.50,"window_end":"1970-01-01T00:00:01.500Z","revision":-1,"withdrawn":false}}"#
        );
        assert_eq!(found[0], (None, first, Some(vec![0xf2; 16]), Some(-1)));
        let second = r#"{"record_id":"01010101-0101-0101-0101-010101010101","ad_id":null,"count":null,"rate":null,"cost":null,"window_end":"1970-01-01T00:00:00Z","revision":2,"withdrawn":true}"#;
        assert_eq!(found[1], (None, second.into(), Some(vec![1; 16]), Some(2)));
        for (_, value, ..) in found {
            serde_json::from_str::<serde_json::Value>(&value).unwrap();
        }
    }

    #[test]
    fn a_key_of_one_column_is_its_bare_text_and_of_several_an_object() {
        let keys = |key: &[&str]| encoded(key).into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(keys(&["ad_id"]), [text("a \"b\"\n"), None]);
        assert_eq!(keys(&["count"]), [text("9223372036854775807"), None]);
        assert_eq!(keys(&["window_end"]), [text("1970-01-01T00:00:01.500Z"), text("1970-01-01T00:00:00Z")]);
        assert_eq!(keys(&["withdrawn"]), [text("false"), text("true")]);
        assert_eq!(keys(&["record_id"])[1], text("01010101-0101-0101-0101-010101010101"));
        let several = keys(&["window_end", "ad_id"]);
        assert_eq!(several[0], text(r#"{"window_end":"1970-01-01T00:00:01.500Z","ad_id":"a \"b\"\n"}"#));
        assert_eq!(several[1], text(r#"{"window_end":"1970-01-01T00:00:00Z","ad_id":null}"#));
    }

    #[test]
    fn types_that_json_has_no_words_for_are_known_before() {
        for data_type in [DataType::Utf8, DataType::Int64, DataType::FixedSizeBinary(16), DataType::Boolean] {
            assert!(can_be_written(&data_type), "{data_type}");
        }
    }
}
