//! Metadata in a file of the data directory.
//!
//! It is its owner's alone. A new file is made under a draft's name and gets its own only when it is whole and on disk: so a file that
//! is there was whole once, and one that is empty or cut off is damaged, not new.

use super::database;
use redb::backends::FileBackend;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use weir_engine::{EngineError, Result};

/// Opens the file at `path`; makes it where there is none. Blocks.
///
/// # Errors
/// When it cannot be made or read. A damaged one shows when the metadata is opened over it.
pub fn open_file(path: &Path) -> Result<FileBackend> {
    let failed = |doing: &str, error: io::Error| {
        EngineError::caused_by(&error, format!("cannot {doing} '{}': {error}", path.display()))
    };
    match fs::exists(path) {
        Ok(true) => {}
        Ok(false) => make(path)?,
        Err(error) => return Err(failed("look up", error)),
    }
    let file = File::options().read(true).write(true).open(path).map_err(|error| failed("open", error))?;
    if file.metadata().map_err(|error| failed("read", error))?.len() == 0 {
        return Err(EngineError::corrupt(format!(
            "'{}' is empty: it was truncated; restore it from a backup, or remove it to start without any job",
            path.display()
        )));
    }
    FileBackend::new(file).map_err(|error| EngineError::io(format!("cannot open '{}': {error}", path.display())))
}

fn make(path: &Path) -> Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let failed =
        |error: io::Error| EngineError::caused_by(&error, format!("cannot make '{}': {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    weir_engine::disk::make_folder(folder).map_err(failed)?;
    let file =
        File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    let backend =
        FileBackend::new(file).map_err(|error| EngineError::io(format!("cannot create the metadata: {error}")))?;
    let made = database::format(backend).and_then(|()| {
        File::open(&draft).and_then(|file| file.sync_all()).map_err(failed)?;
        match fs::hard_link(&draft, path) {
            // Another process was faster: its file is as good, and who of the two uses it is decided by its lock.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.map_err(failed),
        }
    });
    fs::remove_file(&draft).map_err(failed)?;
    made?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
