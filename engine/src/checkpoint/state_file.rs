//! State files: the changed segments of one operator in one subtask, packed into one Parquet file.
//!
//! Each segment is a run of row groups. Fixed-size hashes and counts do not compress, so the pages are plain and no encoder
//! stands between the arrays and the disk; any Parquet reader opens them.

use super::manifest::{FilePart, FileRef, SegmentState, checksum};
use crate::{
    error::{EngineError, Result},
    key_group::KeyGroupRange,
    parquet_pages::{PageError, writer::PlainParquetWriter},
    state::{Change, Snapshot, StateRows},
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{collections::BTreeMap, io::Write};

/// Rows per batch when reading back.
const READ_BATCH: usize = 65_536;

/// The segments of one operator in one subtask, and where their rows lie.
///
/// Invariant: a row counts in the parts of one subtask only. What is taken over from a checkpoint is narrowed to the subtask's
/// own key groups, so that files that several subtasks go on with are neither counted twice nor stale when the key groups
/// change hands again.
#[derive(Debug)]
pub struct SegmentLedger {
    key_groups: KeyGroupRange,
    segments: BTreeMap<String, Vec<FilePart>>,
}

/// What was written of a snapshot.
#[derive(Debug, Default)]
pub struct EncodedSnapshot {
    /// Every segment that exists, with what was written of it.
    segments: Vec<EncodedSegment>,
}

#[derive(Debug)]
struct EncodedSegment {
    id: String,
    /// Whether former parts still count.
    continues: bool,
    first_row_group: usize,
    row_groups: usize,
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
        let first_row_group = written;
        let batches: Vec<RecordBatch> = rows.into_batches()?.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        if let Some(first) = batches.first() {
            let failed = |error| not_written(&format!("state segment '{}'", segment.id), &error);
            if let Some(output) = output.take() {
                writer = Some(PlainParquetWriter::try_new(output, first.schema()).map_err(failed)?);
            }
            if let Some(writer) = &mut writer {
                writer.write_group(&batches).map_err(failed)?;
                written += 1;
            }
        }
        segments.push(EncodedSegment {
            id: segment.id,
            continues,
            first_row_group,
            row_groups: written - first_row_group,
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

impl SegmentLedger {
    /// For a subtask that owns these key groups.
    pub fn new(key_groups: KeyGroupRange) -> Self {
        SegmentLedger { key_groups, segments: BTreeMap::new() }
    }

    /// Continues segments of a checkpoint, as far as they are this subtask's.
    pub fn restore(&mut self, segments: &[SegmentState]) {
        for segment in segments {
            let own = segment.parts.iter().filter_map(|part| {
                let key_groups = part.key_groups.intersection(self.key_groups)?;
                Some(FilePart { key_groups, ..part.clone() })
            });
            self.segments.entry(segment.id.clone()).or_default().extend(own);
        }
    }

    /// The files that the segments lie in, with repetitions.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.segments.values().flatten().map(|part| &part.file)
    }

    /// Notes what a snapshot wrote to `file`, and gives the segments as a manifest lists them. Segments that the snapshot did not
    /// mention are forgotten.
    ///
    /// # Errors
    /// When the snapshot continues a segment that was never written.
    pub fn record(&mut self, snapshot: &EncodedSnapshot, file: Option<&FileRef>) -> Result<Vec<SegmentState>> {
        let mut before = std::mem::take(&mut self.segments);
        for segment in &snapshot.segments {
            let mut parts = match (segment.continues, before.remove(&segment.id)) {
                (true, Some(parts)) => parts,
                (true, None) if segment.row_groups == 0 => {
                    return Err(EngineError::internal(format!(
                        "state segment '{}' is said to be unchanged, but was never written",
                        segment.id
                    )));
                }
                _ => Vec::new(),
            };
            if let (Some(file), true) = (file, segment.row_groups > 0) {
                parts.push(FilePart {
                    file: file.clone(),
                    first_row_group: segment.first_row_group,
                    row_groups: segment.row_groups,
                    key_groups: self.key_groups,
                });
            }
            self.segments.insert(segment.id.clone(), parts);
        }
        let states = self.segments.iter().map(|(id, parts)| SegmentState { id: id.clone(), parts: parts.clone() });
        Ok(states.collect())
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
         The checkpoint is refused; restore the file from a backup, or start afresh with --fresh",
        file.path,
        content.len(),
        file.bytes,
        file.checksum
    )))
}

/// The rows of a part of a verified file.
///
/// # Errors
/// When it is not the Parquet file that was written.
pub fn read_part(part: &FilePart, content: Bytes) -> Result<Vec<RecordBatch>> {
    let failed = |error: String| EngineError::corrupt(format!("state file '{}': {error}", part.file.path));
    let groups = (part.first_row_group..part.first_row_group + part.row_groups).collect();
    let reader = ParquetRecordBatchReaderBuilder::try_new(content).map_err(|error| failed(error.to_string()))?;
    let reader = reader.with_row_groups(groups).with_batch_size(READ_BATCH).build();
    let batches = reader.map_err(|error| failed(error.to_string()))?;
    batches.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Segment;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn rows(values: &[i64]) -> StateRows {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        StateRows::ready(vec![RecordBatch::try_from_iter([("n", column)]).unwrap()])
    }

    fn segment(id: &str, change: Change) -> Segment {
        Segment { id: id.into(), change }
    }

    fn file_ref(path: String, content: &Bytes) -> FileRef {
        FileRef { path, bytes: content.len() as u64, checksum: checksum(content) }
    }

    fn take(ledger: &mut SegmentLedger, name: &str, segments: Vec<Segment>) -> (Vec<SegmentState>, Option<Bytes>) {
        let mut content = Vec::new();
        let encoded = encode(Snapshot { segments }, &mut content).unwrap();
        let content = Some(Bytes::from(content)).filter(|content| !content.is_empty());
        let file = content.as_ref().map(|content| file_ref(name.into(), content));
        (ledger.record(&encoded, file.as_ref()).unwrap(), content)
    }

    #[test]
    fn segments_grow_rest_and_go() {
        let mut ledger = SegmentLedger::new(KeyGroupRange::all(128));
        let (_, first) = take(
            &mut ledger,
            "1",
            vec![segment("a", Change::Append(rows(&[1, 2]))), segment("b", Change::Replace(rows(&[3])))],
        );
        let (states, second) =
            take(&mut ledger, "2", vec![segment("a", Change::Append(rows(&[4]))), segment("b", Change::Unchanged)]);
        let read = |state: &SegmentState| -> Vec<i64> {
            let content = |part: &FilePart| if part.file.path == "1" { first.clone() } else { second.clone() };
            let batches = state.parts.iter().flat_map(|part| read_part(part, content(part).unwrap()).unwrap());
            let column =
                |batch: RecordBatch| batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
            batches.flat_map(column).collect()
        };
        assert_eq!(states.iter().map(read).collect::<Vec<_>>(), [vec![1, 2, 4], vec![3]]);
        let (states, content) = take(&mut ledger, "3", vec![segment("b", Change::Unchanged)]);
        assert_eq!((states.len(), content), (1, None), "nothing changed, nothing is written, a is gone");
    }

    #[test]
    fn what_is_taken_over_is_narrowed_to_the_own_key_groups() {
        let range = |start, end| KeyGroupRange { start, end };
        let mut whole = SegmentLedger::new(range(0, 8));
        let (states, _) = take(&mut whole, "1", vec![segment("a", Change::Replace(rows(&[1, 2])))]);
        let halves = [range(0, 4), range(4, 8)].map(|half| {
            let mut ledger = SegmentLedger::new(half);
            ledger.restore(&states);
            take(&mut ledger, "2", vec![segment("a", Change::Unchanged)]).0
        });
        let mut again = SegmentLedger::new(range(0, 8));
        halves.iter().for_each(|half| again.restore(half));
        let (states, _) = take(&mut again, "3", vec![segment("a", Change::Unchanged)]);
        let ranges: Vec<KeyGroupRange> = states[0].parts.iter().map(|part| part.key_groups).collect();
        assert_eq!(ranges, [range(0, 4), range(4, 8)], "one file in two parts, and every row once");
    }

    #[test]
    fn an_unchanged_segment_must_be_known() {
        let encoded = encode(Snapshot { segments: vec![segment("a", Change::Unchanged)] }, &mut Vec::new()).unwrap();
        assert!(SegmentLedger::new(KeyGroupRange::all(128)).record(&encoded, None).is_err());
    }

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
        let snapshot = Snapshot { segments: vec![segment("a", Change::Replace(rows(&[1, 2])))] };
        let Err(error) = encode(snapshot, &mut Full) else { panic!("written") };
        assert_eq!(error.kind, crate::ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("segment 'a'"), "{error}");
    }

    #[test]
    fn damage_is_recognised() {
        let content = Bytes::from_static(b"rows");
        let file = file_ref("f".into(), &content);
        verify(&file, &content).unwrap();
        let error = verify(&file, &Bytes::from_static(b"rowz")).unwrap_err();
        assert!(error.message.contains("'f' is damaged"), "{error}");
    }
}
