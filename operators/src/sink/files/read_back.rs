//! Committed files as rows again, whatever their format: for whoever shows results.

use super::{
    config::{Compression, FileFormat},
    naming::{Ending, Naming},
    owner::Owner,
    storage::Storage,
};
use crate::{
    format::{FormatError, LineDecoder, avro::container, csv::CsvDecoder},
    schema::ColumnSchema,
    sink::read_back::{
        ReadBack, ReadBackOf, fit, identity_of, of_json, shown_schema, with_times_as_text, with_times_of_text,
    },
    source::column_type::{ColumnType, DeclaredColumn, DeclaredSchema},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::{FutureExt, future::BoxFuture};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{
    collections::BTreeSet,
    io::{BufReader, Read},
    sync::Arc,
};
use weir_engine::{
    error::{EngineError, Result},
    ids::Lineage,
};

/// A record of a CSV may be as long as a file.
const LONGEST_LINE: usize = 1 << 30;

/// Reads the files of one sink.
pub(super) struct FilesReadBack {
    storage: Arc<dyn Storage>,
    naming: Naming,
    columns: ColumnSchema,
    /// Files that were given out.
    seen: BTreeSet<String>,
}

impl FilesReadBack {
    pub fn new(storage: Arc<dyn Storage>, of: &ReadBackOf<'_>) -> Self {
        let naming = Naming::new(of.job, of.sink);
        FilesReadBack { storage, naming, columns: of.columns.clone(), seen: BTreeSet::new() }
    }

    async fn read_new(&mut self) -> Result<Vec<RecordBatch>> {
        let begun = Owner::lineage_of(&*self.storage).await?.unwrap_or(Lineage::NAMELESS);
        let all = self.storage.list("").await?;
        // What a former lineage has published too late is not of these results.
        let is_own = |lineage: Lineage| lineage >= begun || lineage == Lineage::NAMELESS;
        let committed = |path: String| {
            let of = self.naming.committed_by(&path).filter(|(lineage, _)| is_own(*lineage))?;
            (!self.seen.contains(&path)).then_some((of, path))
        };
        let new: BTreeSet<_> = all.into_iter().filter_map(committed).collect();
        let mut rows = Vec::new();
        for (_, path) in new {
            // One that is not there any more is past its retention.
            if let Some(content) = self.storage.find(&path).await? {
                let name = self.storage.describe(&path);
                rows.extend(rows_of_file(&name, content, &self.columns)?);
            }
            self.seen.insert(path);
        }
        Ok(rows)
    }
}

impl ReadBack for FilesReadBack {
    fn identity(&self) -> Vec<String> {
        identity_of(&self.columns)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<RecordBatch>>> {
        self.read_new().boxed()
    }
}

/// The rows of a committed file, as the columns of its sink. How it is written follows from its name.
///
/// # Errors
/// When it is something else.
pub fn rows_of_file(name: &str, content: Bytes, columns: &ColumnSchema) -> Result<Vec<RecordBatch>> {
    let schema = shown_schema(columns);
    let rows = match Ending::of_name(name) {
        None => Err(EngineError::definition("no file of results has such a name")),
        Some(Ending { format: FileFormat::Parquet, .. }) => of_parquet(content, &schema),
        Some(Ending { format: FileFormat::Avro, .. }) => of_avro(&content, &schema),
        Some(Ending { format, compression }) => {
            let text = unpacked(content, compression);
            match format {
                FileFormat::Csv => of_csv(name, text, &schema),
                _ => of_json_file(text, &schema),
            }
        }
    };
    rows.map_err(|error| error.context(format!("'{name}'")))
}

fn of_parquet(content: Bytes, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let damaged = |error: &dyn std::fmt::Display| EngineError::corrupt(format!("it cannot be read: {error}"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(content).and_then(|builder| builder.build());
    let mut rows = Vec::new();
    for batch in reader.map_err(|error| damaged(&error))? {
        rows.push(fit(&batch.map_err(|error| damaged(&error))?, schema)?);
    }
    Ok(rows)
}

fn of_avro(content: &[u8], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let batches = container::batches(content).map_err(|problem| EngineError::corrupt(format!("it {problem}")))?;
    batches.iter().map(|batch| fit(batch, schema)).collect()
}

fn unpacked(content: Bytes, compression: Compression) -> Box<dyn Read> {
    use bytes::Buf;
    let content = content.reader();
    match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(content)),
        Compression::Zstd => match zstd::stream::read::Decoder::new(content) {
            Ok(decoder) => Box::new(decoder),
            // Read as it is, it says what is wrong.
            Err(error) => Box::new(Failing(Some(error))),
        },
        Compression::None | Compression::Snappy | Compression::Deflate => Box::new(content),
    }
}

/// What fails when it is read.
struct Failing(Option<std::io::Error>);

impl Read for Failing {
    fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into()))
    }
}

fn of_json_file(text: Box<dyn Read>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    match of_json(BufReader::new(text), schema)? {
        (rows, 0) => Ok(rows),
        (_, lines) => {
            let message =
                format!("{lines} of its lines are no rows of the columns that the sink writes by the definition");
            Err(EngineError::corrupt(message))
        }
    }
}

fn of_csv(name: &str, mut text: Box<dyn Read>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let mut content = Vec::new();
    text.read_to_end(&mut content).map_err(|error| EngineError::corrupt(format!("it cannot be unpacked: {error}")))?;
    of_csv_content(name, &content, schema).or_else(|error| {
        // Years may be of more than four digits.
        let rows = of_csv_content(name, &content, &with_times_as_text(schema));
        let rows: Option<Vec<_>> =
            rows.ok().and_then(|rows| rows.iter().map(|rows| with_times_of_text(rows, schema)).collect());
        rows.ok_or(error)
    })
}

/// By our own decoder, for which nothing and an empty text are two things.
fn of_csv_content(name: &str, content: &[u8], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let end = memchr::memchr(b'\n', content).map_or(content.len(), |end| end + 1);
    let (header, mut records) = content.split_at(end);
    let mut decoder = csv_decoder(name, header, schema)?;
    let (mut rows, mut at) = (Vec::new(), header.len() as u64);
    while !records.is_empty() {
        let decoded = decoder.decode(records, at, 65_536).map_err(|error| EngineError::corrupt(error.to_string()))?;
        if let Some(bad) = decoded.bad_lines.first() {
            return Err(EngineError::corrupt(format!("the record at byte {} is none: {}", bad.offset, bad.reason)));
        }
        rows.push(fit(&with_bytes(&decoded.records, schema)?, schema)?);
        records = &records[decoded.bytes..];
        at += decoded.bytes as u64;
    }
    Ok(rows)
}

/// Rows with the bytes that hexadecimal texts stand for, where bytes are wanted.
fn with_bytes(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::with_capacity(rows.num_columns()), Vec::with_capacity(rows.num_columns()));
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let wanted = schema.field_with_name(field.name()).map(|field| field.data_type());
        let are_bytes = wanted.is_ok_and(|wanted| {
            matches!(
                wanted,
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
            )
        });
        let column: ArrayRef = match column.as_string_opt::<i32>().filter(|_| are_bytes) {
            Some(texts) => Arc::new(texts.iter().map(|text| text.and_then(bytes_of)).collect::<BinaryArray>()),
            None => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The bytes that a hexadecimal text stands for; none: it is no such text.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// For those of the columns that the header has.
fn csv_decoder(name: &str, header: &[u8], schema: &SchemaRef) -> Result<CsvDecoder> {
    let declared = |field: &Arc<Field>| DeclaredColumn::new(field.name(), declared(field.data_type()));
    let mut columns: Vec<DeclaredColumn> = schema.fields().iter().map(declared).collect();
    loop {
        let wanted = DeclaredSchema { columns: columns.clone() };
        match CsvDecoder::new(name, header, &wanted, ',', LONGEST_LINE) {
            Ok(decoder) => return Ok(decoder),
            Err(FormatError::MissingColumn { column, .. }) => columns.retain(|one| one.name != column),
            Err(error) => return Err(EngineError::corrupt(error.to_string())),
        }
    }
}

fn declared(data_type: &DataType) -> ColumnType {
    match data_type {
        DataType::UInt64 => ColumnType::Decimal { precision: 20, scale: 0 },
        integer if integer.is_integer() => ColumnType::Integer,
        float if float.is_floating() => ColumnType::Float,
        DataType::Boolean => ColumnType::Boolean,
        DataType::Timestamp(..) => ColumnType::Timestamp,
        DataType::Date32 => ColumnType::Date,
        DataType::Decimal128(precision, scale @ 0..) => {
            ColumnType::Decimal { precision: *precision, scale: scale.unsigned_abs() }
        }
        _ => ColumnType::String,
    }
}
