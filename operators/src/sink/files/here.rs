//! Committed files on this machine, for whoever shows results.

use super::naming::Naming;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The committed files of a sink of a job, in its folder or below, by name; none where there is no folder yet.
pub(super) fn committed_in(folder: &Path, job: &str, sink: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if folder.exists() {
        add(folder, &Naming::new(job, sink), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn add(folder: &Path, naming: &Naming, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if name != Naming::all_staging() {
                add(&entry.path(), naming, files)?;
            }
        } else if naming.committed_by(&name).is_some() {
            files.push(entry.path());
        }
    }
    Ok(())
}
