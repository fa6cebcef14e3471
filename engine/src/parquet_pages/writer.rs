//! A Parquet file, row group by row group.

use super::PageError;
use super::column::write_chunk;
use super::schema::{Column, plan};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema};
use parquet::basic::ColumnOrder;
use parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaDataBuilder, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::schema::types::SchemaDescPtr;
use std::io::Write;
use std::sync::Arc;

const MAGIC: &[u8] = b"PAR1";

/// Writes record batches as plain, uncompressed Parquet to anything that takes bytes.
///
/// ```
/// # use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
/// # use std::sync::Arc;
/// # use weir_engine::parquet_pages::PlainParquetWriter;
/// let ads: ArrayRef = Arc::new(StringArray::from(vec!["ad001", "ad002"]));
/// let counts: ArrayRef = Arc::new(Int64Array::from(vec![7, 1]));
/// let batch = RecordBatch::try_from_iter([("ad_id", ads), ("count", counts)])?;
/// let mut writer = PlainParquetWriter::try_new(Vec::new(), batch.schema())?;
/// writer.write(&batch)?;
/// let file = writer.finish()?;
/// assert_eq!((file.rows, file.row_groups), (2, 1));
/// assert!(file.output.starts_with(b"PAR1") && file.output.ends_with(b"PAR1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PlainParquetWriter<W: Write> {
    output: CountedOutput<W>,
    columns: Vec<Column>,
    descriptor: SchemaDescPtr,
    arrow_schema: String,
    row_groups: Vec<RowGroupMetaData>,
    rows: u64,
    broken: bool,
}

/// What [`PlainParquetWriter::finish`] gives back.
#[derive(Debug)]
pub struct FinishedFile<W> {
    /// The output, with the whole file written to it. Not flushed and not synced.
    pub output: W,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Row groups in it.
    pub row_groups: usize,
    /// Rows in it.
    pub rows: u64,
}

impl<W: Write> PlainParquetWriter<W> {
    /// Begins a file of the given columns. Nothing is written before the first row group.
    ///
    /// # Errors
    /// When a column has a type that has no plain form.
    pub fn try_new(output: W, schema: SchemaRef) -> Result<Self, PageError> {
        let (columns, stored, descriptor) = plan(&schema)?;
        Ok(Self {
            output: CountedOutput { output, written: 0 },
            columns,
            descriptor: Arc::new(descriptor),
            arrow_schema: encode_arrow_schema(&stored),
            row_groups: Vec::new(),
            rows: 0,
            broken: false,
        })
    }

    /// Writes a batch as a row group of its own. An empty batch leaves no trace.
    ///
    /// # Errors
    /// See [`write_group`](Self::write_group).
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), PageError> {
        self.write_group(std::slice::from_ref(batch))
    }

    /// Writes several batches as one row group; each is one or more pages of each column.
    ///
    /// # Errors
    /// When a batch does not fit the schema (the file stays usable), or a value the type or the output fails (it does not).
    pub fn write_group(&mut self, batches: &[RecordBatch]) -> Result<(), PageError> {
        if self.broken {
            return Err(PageError::Broken);
        }
        for batch in batches {
            self.check(batch)?;
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            return Ok(());
        }
        self.broken = true;
        self.write_magic()?;
        let group = self.write_columns(batches, rows)?;
        self.broken = false;
        self.row_groups.push(group);
        self.rows += rows as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.output.written
    }

    /// Rows written so far.
    pub fn rows_written(&self) -> u64 {
        self.rows
    }

    /// The output, for instance to take away what it has collected. Writing to it would damage the file.
    pub fn output_mut(&mut self) -> &mut W {
        &mut self.output.output
    }

    /// Writes the footer. A file without rows is a valid file.
    ///
    /// # Errors
    /// When the output fails, or an earlier write did.
    pub fn finish(mut self) -> Result<FinishedFile<W>, PageError> {
        if self.broken {
            return Err(PageError::Broken);
        }
        self.write_magic()?;
        let orders = self.descriptor.columns().iter().map(|column| {
            let order = (column.logical_type_ref(), column.converted_type(), column.physical_type());
            ColumnOrder::TYPE_DEFINED_ORDER(ColumnOrder::sort_order_for_type(order.0, order.1, order.2))
        });
        let file = FileMetaData::new(
            1,
            self.rows as i64,
            Some(concat!("weir version ", env!("CARGO_PKG_VERSION")).to_string()),
            Some(vec![KeyValue::new(ARROW_SCHEMA_META_KEY.to_string(), self.arrow_schema)]),
            self.descriptor.clone(),
            Some(orders.collect()),
        );
        let row_groups = self.row_groups.len();
        let metadata = ParquetMetaDataBuilder::new(file).set_row_groups(self.row_groups).build();
        ParquetMetaDataWriter::new(&mut self.output, &metadata).finish()?;
        let CountedOutput { output, written } = self.output;
        Ok(FinishedFile { output, bytes: written, row_groups, rows: self.rows })
    }

    fn check(&self, batch: &RecordBatch) -> Result<(), PageError> {
        if batch.num_columns() != self.columns.len() {
            return Err(PageError::ColumnCount { expected: self.columns.len(), found: batch.num_columns() });
        }
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            column.check_type(array.data_type())?;
            let nulls = if column.nullable { 0 } else { array.logical_null_count() };
            if nulls > 0 {
                return Err(PageError::UnexpectedNulls { column: column.name.clone(), nulls });
            }
        }
        Ok(())
    }

    fn write_magic(&mut self) -> Result<(), PageError> {
        if self.output.written == 0 {
            self.output.put(MAGIC)?;
        }
        Ok(())
    }

    fn write_columns(&mut self, batches: &[RecordBatch], rows: usize) -> Result<RowGroupMetaData, PageError> {
        let start = self.output.written;
        let mut chunks = Vec::with_capacity(self.columns.len());
        for (number, column) in self.columns.iter().enumerate() {
            let arrays: Vec<ArrayRef> = batches.iter().map(|batch| ArrayRef::clone(batch.column(number))).collect();
            chunks.push(write_chunk(&mut self.output, column, self.descriptor.column(number), &arrays)?);
        }
        let group = RowGroupMetaData::builder(self.descriptor.clone())
            .set_num_rows(rows as i64)
            .set_total_byte_size((self.output.written - start) as i64)
            .set_file_offset(start as i64)
            .set_column_metadata(chunks);
        // The ordinal is optional and has two bytes: past them it is left out.
        Ok(match i16::try_from(self.row_groups.len()) {
            Ok(ordinal) => group.set_ordinal(ordinal).build()?,
            Err(_) => group.build()?,
        })
    }
}

/// An output that knows how many bytes went into it, since a footer is made of offsets.
#[derive(Debug)]
pub(super) struct CountedOutput<W> {
    output: W,
    written: u64,
}

impl<W: Write> CountedOutput<W> {
    /// Bytes written, hence the offset of the next.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes all of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl<W: Write> Write for CountedOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.output.write(bytes)?;
        self.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}
