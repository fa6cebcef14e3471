//! How much there is to read in files on this machine, for progress.

use super::{EventTimeRange, FilesConfig, is_compressed};
use crate::{format::Format, hour_partition::hour_of, source::Total};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::{
    fs::{self, File, Metadata},
    path::{Path, PathBuf},
};

/// The rows of Parquet files, the bytes of others; none when they are followed, or not on this machine.
pub(super) fn total(files: &FilesConfig) -> Option<Total> {
    if files.follow {
        return None;
    }
    let path = PathBuf::from(files.path.strip_prefix("file://").unwrap_or(&files.path));
    match files.format.format {
        Format::Parquet { .. } => sum_of(&path, &|file, _| rows_within(file, files.range)).map(Total::Events),
        _ => sum_of(&path, &bytes_of).map(Total::Bytes),
    }
}

/// What a file adds, of which this is known already.
type OfFile<'a> = &'a dyn Fn(&Path, &Metadata) -> Option<u64>;

/// Counts the rows of a file; of an archive by hour none where its hour is not in the range that is read.
fn rows_within(file: &Path, range: Option<EventTimeRange>) -> Option<u64> {
    let hour = hour_of(&file.to_string_lossy());
    let is_out = range.zip(hour).is_some_and(|(range, hour)| range.within_hour(hour).is_none());
    if is_out { Some(0) } else { rows_of(file) }
}

/// Sum over a file, or over all visible files below a folder; none when they are not on this machine.
fn sum_of(path: &Path, of_file: OfFile<'_>) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_file() { of_file(path, &metadata) } else { sum_below(path, of_file) }
}

fn sum_below(folder: &Path, of_file: OfFile<'_>) -> Option<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        sum += match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => of_file(&path, &metadata)?,
            // Links to folders may lead in a circle.
            Ok(metadata) if is_link && metadata.is_dir() => 0,
            Err(_) if is_link => 0,
            Ok(_) => sum_below(&path, of_file)?,
            Err(_) => return None,
        };
    }
    Some(sum)
}

/// Not known of a compressed file: what is counted is its text.
fn bytes_of(file: &Path, metadata: &Metadata) -> Option<u64> {
    (!is_compressed(&file.to_string_lossy())).then_some(metadata.len())
}

fn rows_of(file: &Path) -> Option<u64> {
    let reader = SerializedFileReader::new(File::open(file).ok()?).ok()?;
    u64::try_from(reader.metadata().file_metadata().num_rows()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceConnector;

    #[test]
    fn visible_files_are_added_up_unless_one_is_compressed_or_they_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        for (name, bytes) in [("a/one.log", 3), ("two.log", 4), ("_three.log", 5)] {
            fs::write(folder.path().join(name), vec![b'x'; bytes]).unwrap();
        }
        let files = FilesConfig::at(format!("file://{}", folder.path().display()));
        assert_eq!(files.total(), Some(Total::Bytes(7)));
        assert_eq!(files.clone().follow(true).total(), None);
        assert_eq!(FilesConfig::at("s3://bucket/logs").total(), None);
        fs::write(folder.path().join("four.log.gz"), "x").unwrap();
        assert_eq!(files.total(), None);
    }
}
