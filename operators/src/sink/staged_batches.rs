//! Rows between the phases of a sink, as files of the staging area hold them: Arrow IPC.

use arrow::{
    array::RecordBatch,
    compute::concat_batches,
    ipc::{
        CompressionType,
        reader::StreamReader,
        writer::{IpcWriteOptions, StreamWriter},
    },
};
use bytes::Bytes;
use weir_engine::error::{EngineError, Result};

/// Rows as a staged file holds them.
///
/// # Errors
/// When they cannot be encoded.
pub(super) fn encode(rows: &[RecordBatch]) -> Result<Bytes> {
    let schema = rows.first().map(RecordBatch::schema).ok_or_else(|| EngineError::internal("no rows to stage"))?;
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
    // One block: many small ones would cost more than the rows in them.
    writer.write(&concat_batches(&schema, rows)?)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// The rows of a staged file.
///
/// # Errors
/// When it is something else.
pub(super) fn decode(path: &str, content: Bytes) -> Result<Vec<RecordBatch>> {
    let failed = |error| EngineError::corrupt(format!("'{path}' does not hold staged rows: {error}"));
    let reader = StreamReader::try_new(std::io::Cursor::new(content), None).map_err(failed)?;
    reader.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_rows() {
        assert!(decode("staged/x", Bytes::from_static(b"nonsense")).unwrap_err().message.contains("staged/x"));
    }
}
