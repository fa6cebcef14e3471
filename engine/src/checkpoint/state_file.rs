//! State files: the changed segments of one operator in one subtask, packed into one Parquet file.
//!
//! Each segment is a run of row groups. Fixed-size hashes and counts do not compress, so the pages are plain and no encoder
//! stands between the arrays and the disk; any Parquet reader opens them.

use super::manifest::{FilePart, FileRef, checksum};
use crate::{
    error::{EngineError, Result},
    parquet_pages::{PageError, writer::PlainParquetWriter},
    state::{Change, Snapshot, StateRows},
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::io::Write;

/// Rows per batch when reading back.
const READ_BATCH: usize = 65_536;

/// What was written of a snapshot.
#[derive(Debug, Default)]
pub struct EncodedSnapshot {
    /// Every segment that exists, with what was written of it.
    pub(super) segments: Vec<EncodedSegment>,
}

#[derive(Debug)]
pub(super) struct EncodedSegment {
    pub(super) id: String,
    /// Whether former parts still count.
    pub(super) continues: bool,
    pub(super) first_row_group: usize,
    pub(super) row_groups: usize,
    /// What they take in the file.
    pub(super) bytes: u64,
}

/// Makes the rows of a snapshot and writes them as one Parquet file; nothing at all where nothing changed. Takes a while: not for
/// the processing path.
///
/// # Errors
/// When rows cannot be made or written.
pub fn encode(snapshot: Snapshot, output: &mut impl Write) -> Result<EncodedSnapshot> {
    let mut output = Some(output);
    let mut writer: Option<PlainParquetWriter<_>> = None;
    let mut segments = Vec::with_capacity(snapshot.segments.len());
    let mut written = 0;
    for segment in snapshot.segments {
        let (continues, rows) = match segment.change {
            Change::Unchanged => (true, StateRows::ready(Vec::new())),
            Change::Append(rows) => (true, rows),
            Change::Replace(rows) => (false, rows),
        };
        let (first_row_group, mut bytes) = (written, 0);
        let batches: Vec<RecordBatch> = rows.into_batches()?.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        if let Some(first) = batches.first() {
            let failed = |error| not_written(&format!("state segment '{}'", segment.id), &error);
            if let Some(output) = output.take() {
                writer = Some(PlainParquetWriter::try_new(output, first.schema()).map_err(failed)?);
            }
            if let Some(writer) = &mut writer {
                let before = writer.bytes_written();
                writer.write_group(&batches).map_err(failed)?;
                bytes = writer.bytes_written() - before;
                written += 1;
            }
        }
        segments.push(EncodedSegment {
            id: segment.id,
            continues,
            first_row_group,
            row_groups: written - first_row_group,
            bytes,
        });
    }
    if let Some(writer) = writer {
        writer.finish().map_err(|error| not_written("state file", &error))?;
    }
    Ok(EncodedSnapshot { segments })
}

/// The disk's fault where it is; or else ours, for state is of types that can be written.
fn not_written(what: &str, error: &PageError) -> EngineError {
    let message = format!("{what}: {error}");
    match error {
        PageError::Io(cause) => EngineError::caused_by(cause, message),
        _ => EngineError::internal(message),
    }
}

/// Checks a file against its reference.
///
/// # Errors
/// When length or checksum differ.
pub fn verify(file: &FileRef, content: &Bytes) -> Result<()> {
    let actual = checksum(content);
    if content.len() as u64 == file.bytes && actual == file.checksum {
        return Ok(());
    }
    Err(EngineError::corrupt(format!(
        "state file '{}' is damaged: {} bytes with checksum {actual}, the manifest says {} bytes with checksum {}. \
         The checkpoint is refused; restore the file from a backup, or start over with --fresh",
        file.path,
        content.len(),
        file.bytes,
        file.checksum
    )))
}

/// The rows of a part of a verified file, one batch after the other.
///
/// # Errors
/// When it is not the Parquet file that was written.
pub fn read_part(part: &FilePart, content: Bytes) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let path = part.file.path.clone();
    let failed = move |error: String| EngineError::corrupt(format!("state file '{path}': {error}"));
    let groups = (part.first_row_group..part.first_row_group + part.row_groups).collect();
    let reader = ParquetRecordBatchReaderBuilder::try_new(content).map_err(|error| failed(error.to_string()))?;
    let reader = reader.with_row_groups(groups).with_batch_size(READ_BATCH).build();
    let batches = reader.map_err(|error| failed(error.to_string()))?;
    Ok(batches.map(move |batch| batch.map_err(|error| failed(error.to_string()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Segment;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[test]
    fn a_disk_that_is_full_is_waited_for() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = StateRows::ready(vec![RecordBatch::try_from_iter([("n", column)]).unwrap()]);
        let snapshot = Snapshot { segments: vec![Segment { id: "a".into(), change: Change::Replace(rows) }] };
        let Err(error) = encode(snapshot, &mut Full) else { panic!("written") };
        assert_eq!(error.kind, crate::ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("segment 'a'"), "{error}");
    }

    #[test]
    fn damage_is_recognised() {
        let content = Bytes::from_static(b"rows");
        let file = FileRef { path: "f".into(), bytes: content.len() as u64, checksum: checksum(&content) };
        verify(&file, &content).unwrap();
        let error = verify(&file, &Bytes::from_static(b"rowz")).unwrap_err();
        assert!(error.message.contains("'f' is damaged"), "{error}");
    }
}
