//! Which files are results, and what is in them.

use super::text;
use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow_avro::reader::ReaderBuilder as AvroReaderBuilder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

/// The rows of every visible file below a folder, with the file's name.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<(String, RecordBatch)>> {
    let mut batches = Vec::new();
    for path in visible_files(folder)? {
        let open = || -> Result<Vec<RecordBatch>> {
            if text::is_text(&path) {
                return text::read(&path);
            }
            if is_avro(&path) {
                let reader = AvroReaderBuilder::new().build(BufReader::new(File::open(&path)?))?;
                return Ok(reader.collect::<Result<_, _>>()?);
            }
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.build()?;
            Ok(reader.collect::<Result<_, _>>()?)
        };
        let rows = open().with_context(|| format!("a committed file cannot be read: {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        batches.extend(rows.into_iter().map(|batch| (name.to_string(), batch)));
    }
    Ok(batches)
}

/// The files that a consumer's patterns `**/*.parquet`, `**/*.jsonl`, `**/*.csv` and `**/*.avro` meet, without folders that begin with an underscore.
///
/// # Errors
/// When a folder cannot be listed.
pub fn visible_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let Ok(entries) = folder.read_dir() else { return Ok(files) };
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['_', '.']));
        if path.is_dir() && !hidden {
            files.extend(visible_files(&path)?);
        } else if is_result(&path) && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file is one that these patterns meet, by its name.
pub(crate) fn is_result(path: &Path) -> bool {
    text::is_text(path) || is_avro(path) || path.extension().is_some_and(|extension| extension == "parquet")
}

fn is_avro(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "avro")
}
