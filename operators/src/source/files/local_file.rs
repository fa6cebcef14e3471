//! The bytes of one local file that is read once.
//!
//! Invariant: a small file is opened once, asked for its length once, and read once: it is asked for one byte more than it should
//! have, so that its end is seen with its last byte. Only where it has another length than that the end is what an empty read is.

use super::{bounded::read_at, file_reader::check_not_shrunk, listing::cannot_read};
use std::{fs::File, path::PathBuf};
use weir_engine::{env::Env, error::Result};

/// The least bytes asked for behind the length that a file had.
const BEHIND_LENGTH_BYTES: usize = 4 << 10;

/// A local file.
pub(super) struct LocalFile {
    path: PathBuf,
    /// Of many files not all are kept open: there is a limit to it, and opening again is cheap.
    is_kept_open: bool,
    open: Option<File>,
    /// Its length when it was asked for last: before anything was read, and behind that.
    length: Option<u64>,
    has_ended: bool,
    env: Env,
}

impl LocalFile {
    pub(super) fn new(path: PathBuf, is_kept_open: bool, env: Env) -> Self {
        LocalFile { path, is_kept_open, open: None, length: None, has_ended: false, env }
    }

    /// Whether the last read has come to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Forgets the open file.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// How many bytes to ask for at `offset`, at most so many.
    ///
    /// # Errors
    /// When the file cannot be opened, or is shorter than that.
    pub(super) fn wanted(&mut self, offset: u64, most: usize) -> Result<usize> {
        let file = self.take_open()?;
        let length = match self.length.filter(|length| offset < *length) {
            Some(length) => length,
            None => {
                let length = file.metadata().map_err(|error| cannot_read(&self.path, &error))?.len();
                check_not_shrunk(self.path.display(), length, offset)?;
                *self.length.insert(length)
            }
        };
        self.open = Some(file);
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        Ok(most.min(if left == 0 { BEHIND_LENGTH_BYTES } else { left.saturating_add(1) }))
    }

    /// Reads what fits into `space`, from `offset` on; zero at the end.
    ///
    /// # Errors
    /// When it cannot be read, or has become shorter than that.
    pub(super) fn read(&mut self, space: &mut [u8], offset: u64) -> Result<usize> {
        let file = self.take_open()?;
        let mut read = 0;
        while read < space.len() && (read == 0 || Some(offset + read as u64) != self.length) {
            let more = read_at(&file, &mut space[read..], offset + read as u64);
            match more.map_err(|error| cannot_read(&self.path, &error))? {
                0 => break,
                more => read += more,
            }
        }
        if read == 0 {
            // That may also mean that the file was cut off while it was read.
            let length = std::fs::metadata(&self.path).map_err(|error| cannot_read(&self.path, &error))?.len();
            check_not_shrunk(self.path.display(), length, offset)?;
        }
        self.has_ended = read < space.len() && (read == 0 || Some(offset + read as u64) == self.length);
        self.open = (self.is_kept_open && !self.has_ended).then_some(file);
        Ok(read)
    }

    fn take_open(&mut self) -> Result<File> {
        if let Some(file) = self.open.take() {
            return Ok(file);
        }
        self.env.crash_point("files.opening")?;
        let file = File::open(&self.path).map_err(|error| cannot_read(&self.path, &error))?;
        self.env.crash_point("files.opened")?;
        Ok(file)
    }
}
