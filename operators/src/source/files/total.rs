//! How much there is to read in files on this machine, for progress.

use super::{EventTimeRange, FilesConfig, is_compressed};
use crate::{format::Format, hour_partition::hour_of, source::Total};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The rows of Parquet files, the bytes of others; none when they are followed, or not on this machine.
pub(super) fn total(files: &FilesConfig) -> Option<Total> {
    if files.follow {
        return None;
    }
    let path = PathBuf::from(files.path.strip_prefix("file://").unwrap_or(&files.path));
    match files.format.format {
        Format::Parquet { .. } => sum_below(&path, &|file: &Path| rows_within(file, files.range)).map(Total::Events),
        _ => sum_below(&path, &bytes_of).map(Total::Bytes),
    }
}

/// Counts the rows of a file; of an archive by hour none where its hour is not in the range that is read.
fn rows_within(file: &Path, range: Option<EventTimeRange>) -> Option<u64> {
    let hour = hour_of(&file.to_string_lossy());
    let is_out = range.zip(hour).is_some_and(|(range, hour)| range.within_hour(hour).is_none());
    if is_out { Some(0) } else { rows_of(file) }
}

/// Sum over a file, or over all visible files below a folder; none when they are not on this machine.
fn sum_below(path: &Path, of_file: &dyn Fn(&Path) -> Option<u64>) -> Option<u64> {
    if fs::metadata(path).ok()?.is_file() {
        return of_file(path);
    }
    let mut sum = 0;
    for entry in fs::read_dir(path).ok()?.flatten() {
        // Links to folders may lead in a circle.
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let passed_over = is_link && fs::metadata(entry.path()).map_or(true, |target| target.is_dir());
        if !passed_over && !entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            sum += sum_below(&entry.path(), of_file)?;
        }
    }
    Some(sum)
}

/// Not known of a compressed file: what is counted is its text.
fn bytes_of(file: &Path) -> Option<u64> {
    if is_compressed(&file.to_string_lossy()) {
        return None;
    }
    fs::metadata(file).ok().map(|metadata| metadata.len())
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
