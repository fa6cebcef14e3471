//! The file of a SQLite database, by the number that it had when it was opened. SQLite does not look again: into a file that was removed
//! or replaced it goes on writing and says that all is well, and what is committed there nobody will ever read.
//!
//! While the file is away, commits wait for it. The connection to it stays open: its number is given to no other file then. And no
//! commit opens anything else at its path: where there is no file, SQLite would make an empty one and remove the log beside it, in
//! which commits may be that are nowhere else; where there is another one, the log beside it may not be its own.

use parking_lot::Mutex;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use weir_store::{Database, Dialect, Fault, Tried, address::path_of};

/// The device of a file, and its number there.
type Number = (u64, u64);

/// The file of a database, whatever its path leads to.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    /// `None`: the database is no file.
    path: Option<PathBuf>,
    /// The database, for people.
    shown: String,
    /// Of the file that was opened; `None`: none was yet.
    opened: Mutex<Option<Number>>,
}

/// What is at the path.
enum Found {
    TheSame,
    Another,
    Nothing(io::Error),
}

impl DatabaseFile {
    /// Of this database.
    pub fn of(database: &Database) -> Self {
        let url = database.resolved().ok().filter(|_| database.dialect == Dialect::Sqlite);
        DatabaseFile { path: url.map(|url| path_in(&url)), shown: database.shown(), opened: Mutex::default() }
    }

    /// The database was opened, and made if it was not there. The first file counts, until it is forgotten.
    pub fn remember(&self) {
        let Some(path) = &self.path else { return };
        let mut opened = self.opened.lock();
        if opened.is_none() {
            // A database that has no file there is in memory.
            *opened = number_of(path).ok();
        }
    }

    /// Whatever is opened next counts.
    pub fn forget(&self) {
        *self.opened.lock() = None;
    }

    /// Whether another file has its path.
    pub fn is_another(&self) -> bool {
        matches!(self.found(), Found::Another)
    }

    /// Whether it is still there. One that was not opened yet may be anywhere.
    ///
    /// # Errors
    /// With a fault that passes once it is back.
    pub fn check(&self) -> Tried<()> {
        let shown = &self.shown;
        let told = match self.found() {
            Found::TheSame => return Ok(()),
            Found::Another => format!(
                "the file of '{shown}' is another one than the job has opened: bring that one back; or cancel the job, remove what \
                 that one has left beside it ('-wal', '-shm'), and start it again: then the new one is compared with the checkpoints"
            ),
            Found::Nothing(error) => format!(
                "the file of '{shown}' is no longer there: bring it back; or start the job with --fresh, which counts again ({error})"
            ),
        };
        Err(Fault::Passing(told))
    }

    fn found(&self) -> Found {
        let opened = *self.opened.lock();
        let (Some(path), Some(opened)) = (&self.path, opened) else { return Found::TheSame };
        match number_of(path) {
            Ok(number) if number == opened => Found::TheSame,
            Ok(_) => Found::Another,
            Err(error) => Found::Nothing(error),
        }
    }
}

/// The path in a URL, as the driver reads it.
fn path_in(url: &str) -> PathBuf {
    percent_encoding::percent_decode_str(path_of(url)).decode_utf8_lossy().into_owned().into()
}

fn number_of(path: &Path) -> io::Result<Number> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
