//! Rows into the bytes of a file, a row group at a time.

use super::{
    config::{Compression, FileFormat, FilesSinkConfig},
    sink::ROW_GROUP_BYTES,
    text_encoder::TextEncoder,
};
use crate::{
    columns::RECORD_ID,
    format::avro::ContainerWriter,
    sink::json_rows::{self, PIECE_BYTES, pieces, text_bytes},
};
use arrow::{
    array::{ArrayRef, RecordBatch, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression as PageCompression, GzipLevel, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use std::{collections::HashMap, sync::Arc};
use weir_engine::{
    error::{EngineError, Result},
    parquet_pages::{PageError, PlainParquetWriter, parquet_schema},
};

/// Encodes one file. The bytes are handed out as they arise.
pub(super) enum Encoder {
    /// Uncompressed pages, straight from the columns.
    Plain(PlainParquetWriter<Vec<u8>>),
    /// Everything else: compressed pages, and columns of types that have no plain pages.
    General { writer: Box<ArrowWriter<Vec<u8>>>, schema: SchemaRef },
    /// Lines of text.
    Text(TextEncoder),
    /// Blocks of records.
    Avro(Box<ContainerWriter>),
}

impl Encoder {
    /// For rows of a schema that [`file_schema`] made.
    pub fn new(schema: &SchemaRef, config: &FilesSinkConfig) -> Result<Self> {
        let (format, compression) = (config.format, config.compression);
        match format {
            FileFormat::Parquet => Encoder::parquet(schema, compression),
            FileFormat::Json | FileFormat::Csv => Ok(Encoder::Text(TextEncoder::new(schema, format, compression)?)),
            FileFormat::Avro => Encoder::avro(config),
        }
    }

    fn avro(config: &FilesSinkConfig) -> Result<Self> {
        let refused = |problem: String| EngineError::definition(format!("files sink: {problem}"));
        let name = config.compression.name();
        let codec = config.compression.codec().ok_or_else(|| refused(format!("Avro has no blocks in {name}")))?;
        let writer = ContainerWriter::new(config.schema.schema()?, codec).map_err(refused)?;
        Ok(Encoder::Avro(Box::new(writer)))
    }

    fn parquet(schema: &SchemaRef, compression: Compression) -> Result<Self> {
        let codec = match compression {
            Compression::None => {
                match PlainParquetWriter::try_new(Vec::with_capacity(ROW_GROUP_BYTES), Arc::clone(schema)) {
                    Ok(writer) => return Ok(Encoder::Plain(writer)),
                    Err(PageError::UnsupportedType { .. }) => PageCompression::UNCOMPRESSED,
                    Err(error) => return Err(error.into()),
                }
            }
            Compression::Snappy => PageCompression::SNAPPY,
            Compression::Gzip | Compression::Deflate => PageCompression::GZIP(GzipLevel::default()),
            Compression::Zstd => PageCompression::ZSTD(ZstdLevel::try_new(1).map_err(|error| failed(&error))?),
        };
        let mut options = ArrowWriterOptions::new().with_properties(properties(schema, codec));
        let mut stored = Arc::clone(schema);
        // Where it knows all types, our own schema is used: it marks UUIDs.
        if let Ok((known, descriptor)) = parquet_schema(schema) {
            stored = Arc::new(known);
            options = options.with_parquet_schema(descriptor);
        }
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&stored), options);
        Ok(Encoder::General { writer: Box::new(writer.map_err(|error| failed(&error))?), schema: stored })
    }

    /// The rows of a row group as they are encoded one after the other. Where there are no row groups that is little at a time:
    /// texts that rows share in memory are written out for each.
    pub fn parts(&self, rows: Vec<RecordBatch>) -> Vec<Vec<RecordBatch>> {
        match self {
            Encoder::Plain(_) | Encoder::General { .. } => vec![rows],
            Encoder::Text(_) | Encoder::Avro(_) => parts(&rows, PIECE_BYTES),
        }
    }

    /// Encodes some batches as one row group.
    pub fn row_group(&mut self, rows: &[RecordBatch]) -> Result<Bytes> {
        match self {
            Encoder::Plain(writer) => {
                writer.write_group(rows)?;
                // The next row group will be about as large: a buffer that grows is copied at every doubling.
                let next = Vec::with_capacity(writer.output_mut().len() / 16 * 17);
                Ok(std::mem::replace(writer.output_mut(), next).into())
            }
            Encoder::General { writer, schema } => {
                let schema = &*schema;
                for piece in rows.iter().flat_map(|batch| in_schema(batch, schema, PIECE_BYTES)) {
                    writer.write(&piece?).map_err(|error| failed(&error))?;
                }
                writer.flush().map_err(|error| failed(&error))?;
                writer.sync().map_err(|error| EngineError::internal(format!("Parquet file: {error}")))?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
            Encoder::Text(encoder) => encoder.rows(rows),
            Encoder::Avro(writer) => {
                rows.iter().try_for_each(|batch| writer.add(batch))?;
                Ok(writer.take().into())
            }
        }
    }

    /// The footer.
    pub fn finish(self) -> Result<Bytes> {
        match self {
            Encoder::Plain(writer) => Ok(writer.finish()?.output.into()),
            Encoder::General { writer, .. } => Ok(writer.into_inner().map_err(|error| failed(&error))?.into()),
            Encoder::Text(encoder) => encoder.finish(),
            Encoder::Avro(writer) => Ok(writer.finish()?.into()),
        }
    }
}

/// The schema that files have for rows of a schema: strings are strings, in whatever form they flow, and record ids are
/// UUIDs. That is said here, and not where rows are made, since no operator on the way has to pass it on then.
pub(super) fn file_schema(rows: &Schema) -> Schema {
    let fields: Vec<FieldRef> = rows
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            strings if is_string(strings) => Arc::new(Field::clone(field).with_data_type(DataType::Utf8)),
            DataType::FixedSizeBinary(16) if field.name() == RECORD_ID => {
                Arc::new(Field::clone(field).with_metadata(HashMap::from([uuid_extension()])))
            }
            _ => Arc::clone(field),
        })
        .collect();
    // The metadata of the whole is of no concern to a file, and may differ from batch to batch.
    Schema::new(fields)
}

/// Whether files of a format can have columns of a type: a row of nothing is written to see. What Avro can have, its schema says.
pub(super) fn can_be_written(data_type: &DataType, format: FileFormat) -> bool {
    match format {
        FileFormat::Parquet => can_be_parquet(data_type),
        FileFormat::Json => json_rows::can_be_written(data_type),
        FileFormat::Avro => true,
        FileFormat::Csv => !data_type.is_nested() && json_rows::can_be_written(data_type),
    }
}

fn can_be_parquet(data_type: &DataType) -> bool {
    let schema = Arc::new(file_schema(&Schema::new(vec![Field::new("column", data_type.clone(), true)])));
    let row = vec![new_null_array(data_type, 1)];
    let written = RecordBatch::try_new(Arc::new(Schema::new(vec![Field::new("column", data_type.clone(), true)])), row)
        .map_err(EngineError::from)
        .and_then(|row| {
            let mut encoder = Encoder::parquet(&schema, Compression::Snappy)?;
            encoder.row_group(&[row])?;
            encoder.finish()
        });
    written.is_ok()
}

/// How Arrow says that sixteen bytes are a UUID.
fn uuid_extension() -> (String, String) {
    ("ARROW:extension:name".into(), "arrow.uuid".into())
}

fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_string(values),
        _ => false,
    }
}

/// Rows in parts, in their order: the texts of a part have so many bytes at most, but for one row that has more.
fn parts(rows: &[RecordBatch], most_bytes: usize) -> Vec<Vec<RecordBatch>> {
    let mut parts: Vec<Vec<RecordBatch>> = Vec::new();
    let mut bytes = 0;
    for piece in rows.iter().flat_map(|batch| pieces(batch, most_bytes)) {
        let own = text_bytes(&piece);
        match parts.last_mut() {
            Some(part) if bytes + own <= most_bytes => {
                part.push(piece);
                bytes += own;
            }
            _ => {
                parts.push(vec![piece]);
                bytes = own;
            }
        }
    }
    parts
}

/// Rows as the file has them, in pieces.
fn in_schema(rows: &RecordBatch, schema: &SchemaRef, most_bytes: usize) -> impl Iterator<Item = Result<RecordBatch>> {
    pieces(rows, most_bytes).into_iter().map(move |piece| cast_to(&piece, schema))
}

fn cast_to(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns: Result<Vec<ArrayRef>, _> = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast_with_options(column, field.data_type(), &options))
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns?)?)
}

/// Hashes are neither compressed by a dictionary nor looked for by range, and only timestamps are worth statistics.
fn properties(schema: &Schema, codec: PageCompression) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(codec)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true);
    for field in schema.fields() {
        let column = ColumnPath::new(vec![field.name().clone()]);
        match field.data_type() {
            DataType::FixedSizeBinary(_) => {
                properties = properties.set_column_dictionary_enabled(column, false);
            }
            DataType::Timestamp(..) => {
                properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
            }
            _ => {}
        }
    }
    properties.build()
}

fn failed(error: &dyn std::fmt::Display) -> EngineError {
    EngineError::internal(format!("Parquet file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{DictionaryArray, Int64Array},
        compute::concat_batches,
        datatypes::Int32Type,
    };

    /// With one text that all of them share.
    fn rows() -> RecordBatch {
        let long = "x".repeat(300);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        let texts: ArrayRef =
            Arc::new(DictionaryArray::<Int32Type>::from_iter((0..1_000).map(|_| Some(long.as_str()))));
        RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap()
    }

    #[test]
    fn a_text_that_rows_share_is_plain_in_a_few_of_them_at_a_time() {
        let schema = Arc::new(file_schema(&rows().schema()));
        let plain = |most_bytes| in_schema(&rows(), &schema, most_bytes).collect::<Result<Vec<_>>>().unwrap();
        let few = plain(1 << 10);
        assert!(few.iter().all(|piece| text_bytes(piece) <= 1 << 10 && piece.schema() == schema));
        assert_eq!(plain(PIECE_BYTES), [concat_batches(&schema, &few).unwrap()]);
    }

    #[test]
    fn a_part_has_no_more_text_than_is_wanted() {
        let rows = rows();
        let batches = [rows.slice(0, 500), rows.slice(500, 1), rows.slice(501, 2), rows.slice(503, 497)];
        let small = parts(&batches, 1 << 10);
        assert!(small.iter().all(|part| part.iter().map(text_bytes).sum::<usize>() <= 1 << 10));
        assert!(small.len() < 500, "what has room together is together: {}", small.len());
        assert_eq!(concat_batches(&rows.schema(), small.iter().flatten()).unwrap(), rows);
        assert_eq!(parts(&batches, PIECE_BYTES), [batches.to_vec()]);
    }
}
