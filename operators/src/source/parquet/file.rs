//! A Parquet file opened: its footer read and checked, its columns and splits described.

use super::{
    columns::{RequestedColumns, logical_schema, stored_schema},
    pages::{FetchedChunks, PageSource},
    rows::ParquetRows,
    splits::{ParquetSplit, plan},
};
use crate::source::JumpRule;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        async_reader::MetadataFetch,
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData},
};
use std::{
    fs::File,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};
use weir_engine::error::{EngineError, ErrorKind, Result};

/// Where a file is.
#[derive(Clone, Debug)]
pub enum ParquetLocation {
    /// In the file system: read synchronously, page by page.
    Local(PathBuf),
    /// In an object store: the requested column chunks of a row group are fetched before it is decoded.
    Object {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The object's path in it.
        path: object_store::path::Path,
    },
}

impl ParquetLocation {
    fn name(&self) -> String {
        match self {
            ParquetLocation::Local(path) => path.display().to_string(),
            ParquetLocation::Object { path, .. } => path.to_string(),
        }
    }
}

/// A file whose footer has been read and found sound.
#[derive(Debug)]
pub struct ParquetFile {
    location: ParquetLocation,
    name: String,
    bytes: u64,
    metadata: Arc<ParquetMetaData>,
    stored: SchemaRef,
    logical: SchemaRef,
}

impl ParquetFile {
    /// Reads the footer.
    ///
    /// # Errors
    /// When the file is not there or cannot be read, and when it is not a complete Parquet file: names it and what is wrong.
    pub async fn open(location: ParquetLocation) -> Result<Arc<Self>> {
        let name = location.name();
        let (bytes, metadata) = match &location {
            ParquetLocation::Local(path) => {
                let file = open_local(path, &name)?;
                let bytes = file.metadata().map_err(|error| cannot_read(&name, &error))?.len();
                let parsed = decode(&name, bytes, || ParquetMetaDataReader::new().parse_and_finish(&file))?;
                (bytes, parsed)
            }
            ParquetLocation::Object { store, path } => {
                let bytes = store.head(path).await.map_err(|error| cannot_read(&name, &error))?.size;
                let fetch = FetchRange { store: store.as_ref(), path };
                let loaded = AssertUnwindSafe(ParquetMetaDataReader::new().load_and_finish(fetch, bytes));
                let parsed = loaded.catch_unwind().await.unwrap_or_else(|_| Err(panicked()));
                (bytes, parsed.map_err(|error| failed(&name, bytes, &error))?)
            }
        };
        check_layout(&metadata, bytes).map_err(|problem| damaged(&name, bytes, &problem))?;
        let metadata = Arc::new(metadata);
        let arrow = decode(&name, bytes, || ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new()))?;
        let stored = stored_schema(arrow.schema());
        Ok(Arc::new(ParquetFile { location, name, bytes, metadata, logical: logical_schema(&stored), stored }))
    }

    /// Its path, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.metadata.row_groups().iter().map(|group| group.num_rows().max(0) as u64).sum()
    }

    /// Its columns, as a job sees them: text as Utf8, timestamps in milliseconds UTC, everything else as it is stored.
    /// Batches may hold text in another way; see [`ParquetRows`].
    pub fn schema(&self) -> &SchemaRef {
        &self.logical
    }

    /// Cuts the file into splits of whole row groups, of at least 65,536 rows but for the last.
    ///
    /// `event_time` names the column that lateness is judged by, if any, and `jump` says which rows are refused for being
    /// ahead of the file: it is not cut behind a place where there may be some.
    pub fn splits(&self, event_time: Option<&str>, jump: Option<JumpRule>) -> Vec<ParquetSplit> {
        plan(&self.metadata, self.bytes, &self.stored, event_time, jump)
    }

    /// All row groups as one split.
    pub fn whole(&self) -> ParquetSplit {
        let row_groups = 0..self.metadata.num_row_groups();
        ParquetSplit { row_groups, rows: self.rows(), file_bytes: self.bytes, newest_before_ms: None }
    }

    /// The rows of a split, from its row `position` on. `requested` names the columns, in the order wanted, with their
    /// types as in [`ParquetFile::schema`], or other ones that those can be read as.
    ///
    /// # Errors
    /// When a column cannot be read as is requested ([`missing_columns`](Self::missing_columns)), or when the split is none of this file: it was cut from another
    /// version of it.
    pub fn rows_of(self: &Arc<Self>, split: ParquetSplit, requested: &Schema, position: u64) -> Result<ParquetRows> {
        let groups = self.metadata.row_groups().get(split.row_groups.clone());
        let rows = groups.map(|groups| groups.iter().map(|group| group.num_rows().max(0) as u64).sum::<u64>());
        if split.file_bytes != self.bytes || rows != Some(split.rows) || position > split.rows {
            return Err(EngineError::corrupt(format!(
                "{}: row {position} of row groups {:?} ({} rows) is to be read on from, but the file has changed: it had {} \
                 bytes, and now has {} bytes and {} row groups with {} rows",
                self.name,
                split.row_groups,
                split.rows,
                split.file_bytes,
                self.bytes,
                self.metadata.num_row_groups(),
                self.rows()
            )));
        }
        let columns = RequestedColumns::find(&self.logical, requested);
        let columns = columns.map_err(|problem| EngineError::definition(format!("{}: {problem}", self.name)))?;
        Ok(ParquetRows::new(self.clone(), columns, split, position))
    }

    /// Which of the `requested` columns the file lacks, so that they are null.
    ///
    /// # Errors
    /// When the file cannot be read as is requested: in words.
    pub fn missing_columns(&self, requested: &Schema) -> std::result::Result<Vec<String>, String> {
        let columns = RequestedColumns::find(&self.logical, requested)?;
        Ok(columns.missing().into_iter().map(str::to_owned).collect())
    }

    pub(super) fn metadata(&self) -> &Arc<ParquetMetaData> {
        &self.metadata
    }

    pub(super) fn stored_schema(&self) -> &Schema {
        &self.stored
    }

    /// Runs a decoder on this file's bytes; see [`decode`].
    pub(super) fn decode<T>(&self, decoder: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
        decode(&self.name, self.bytes, decoder)
    }

    /// The bytes that the columns of `mask` need of a row group.
    pub(super) async fn pages(&self, group: &RowGroupMetaData, mask: &ProjectionMask) -> Result<PageSource> {
        match &self.location {
            ParquetLocation::Local(path) => Ok(PageSource::Local(open_local(path, &self.name)?)),
            ParquetLocation::Object { store, path } => {
                let wanted = (0..group.num_columns()).filter(|leaf| mask.leaf_included(*leaf));
                let ranges: Vec<Range<u64>> = wanted
                    .map(|leaf| {
                        let (start, length) = group.column(leaf).byte_range();
                        start..start + length
                    })
                    .collect();
                let fetched = store.get_ranges(path, &ranges).await.map_err(|error| cannot_read(&self.name, &error))?;
                let chunks = ranges.into_iter().map(|range| range.start).zip(fetched).collect();
                Ok(PageSource::Fetched(FetchedChunks { file_bytes: self.bytes, chunks }))
            }
        }
    }
}

fn open_local(path: &PathBuf, name: &str) -> Result<File> {
    File::open(path).map_err(|error| cannot_read(name, &error))
}

fn cannot_read(name: &str, error: &(dyn std::error::Error + 'static)) -> EngineError {
    EngineError::caused_by(error, format!("cannot read {name}: {error}"))
}

fn damaged(name: &str, bytes: u64, problem: &dyn std::fmt::Display) -> EngineError {
    EngineError::corrupt(format!(
        "{name} is not a complete Parquet file: {problem} (it has {bytes} bytes; was it cut off while being written or copied?)"
    ))
}

/// Whether a file cannot be read because of what is in it, so that trying again is of no use.
pub fn is_damage(error: &EngineError) -> bool {
    error.kind == ErrorKind::Corrupt
}

/// What the library has met: the file's content, or the storage that it is on.
fn failed(name: &str, bytes: u64, error: &ParquetError) -> EngineError {
    let ParquetError::External(cause) = error else { return damaged(name, bytes, error) };
    let by_storage = cause.is::<object_store::Error>()
        || cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.raw_os_error().is_some());
    if by_storage { cannot_read(name, cause.as_ref()) } else { damaged(name, bytes, error) }
}

fn panicked() -> ParquetError {
    ParquetError::General("its content is inconsistent".into())
}

/// Runs a decoder on a file's bytes. Damage that the library meets with a panic is an error like any other.
fn decode<T>(name: &str, bytes: u64, decoder: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decoder))
        .unwrap_or_else(|_| Err(panicked()))
        .map_err(|error| failed(name, bytes, &error))
}

/// What the footer says must fit into the file: the library takes that for granted.
fn check_layout(metadata: &ParquetMetaData, bytes: u64) -> std::result::Result<(), String> {
    let leaves = metadata.file_metadata().schema_descr().num_columns();
    for (index, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Err(format!("row group {index} says that it has {} rows", group.num_rows()));
        }
        if group.num_columns() != leaves {
            return Err(format!("row group {index} has {} columns, the schema {leaves}", group.num_columns()));
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            let inside = start >= 0
                && column.compressed_size() >= 0
                && end.and_then(|end| u64::try_from(end).ok()).is_some_and(|end| end <= bytes);
            if !inside {
                return Err(format!(
                    "column '{}' of row group {index} is said to take {} bytes from byte {start} on, which is not inside \
                     the file",
                    column.column_path().string(),
                    column.compressed_size()
                ));
            }
        }
    }
    Ok(())
}

/// Lets the footer's reader ask an object store.
struct FetchRange<'a> {
    store: &'a dyn ObjectStore,
    path: &'a object_store::path::Path,
}

impl MetadataFetch for FetchRange<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            self.store.get_range(self.path, range).await.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }
}
