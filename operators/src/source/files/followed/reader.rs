//! Reads one growing file: see the module above for what may happen to it.
//!
//! Invariant: bytes are taken only after the file has been seen to be still the same one; so what a file is rewritten with
//! never goes on where something else ended.

use super::{Followed, Watch};
use crate::dead_letters::DeadLetter;
use crate::source::{
    files::{bounded::read_at, lines::Lines, listing::cannot_read},
    split_reader::{SplitEvent, SplitReader},
};
use futures::{FutureExt, future::BoxFuture};
use std::{fs::File, io, os::unix::fs::MetadataExt, sync::Arc};
use weir_engine::{env::Moment, error::Result};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

pub(super) struct FollowedReader {
    watch: Arc<Watch>,
    id: String,
    split: Followed,
    lines: Lines,
    file: Option<File>,
    /// At a restart: whether the file was found again.
    found: bool,
    /// Since when the file has had another name or none, and nothing has come.
    left_since: Option<Moment>,
    /// Nothing more will be read: what is left counts as a last line.
    at_end: bool,
    /// To be said before anything else.
    remark: Option<String>,
}

/// What an attempt to read has brought.
enum Read {
    Some,
    Nothing,
}

impl FollowedReader {
    pub(super) fn new(watch: Arc<Watch>, id: String, split: Followed, found: bool) -> Self {
        let lines = Lines::new(&split.path.display().to_string(), watch.settings.clone(), split.position.clone());
        let at_end = split.ended || split.began_anew;
        FollowedReader { watch, id, split, lines, file: None, found, left_since: None, at_end, remark: None }
    }

    fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        loop {
            if let Some(event) = self.lines.take(max_rows, self.at_end)? {
                self.publish();
                return Ok(event);
            }
            if let Some(remark) = self.remark.take() {
                tracing::warn!(file = %self.split.path.display(), "{remark}");
                return self.lines.remark(remark);
            }
            if self.at_end {
                self.split.ended = true;
                self.file = None;
                self.publish();
                return Ok(SplitEvent::Finished);
            }
            if let Read::Nothing = self.read()? {
                self.publish();
                return Ok(SplitEvent::Pending);
            }
        }
    }

    /// Tells the search for new files how far this one is.
    fn publish(&mut self) {
        self.split.position = self.lines.position();
        self.watch.known().insert(self.id.clone(), self.split.clone());
    }

    fn read(&mut self) -> Result<Read> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                self.watch.env.crash_point("files.opening")?;
                let Some(file) = self.open()? else { return Ok(Read::Some) };
                self.watch.env.crash_point("files.opened")?;
                file
            }
        };
        let outcome = self.read_from(&file);
        // A truncated file may have been exchanged for its copy.
        if self.file.is_none() {
            self.file = Some(file);
        }
        outcome
    }

    /// Opens the file; none when something else has to be looked at first.
    fn open(&mut self) -> Result<Option<File>> {
        if !self.found {
            self.found = true;
            let read = self.lines.position().offset;
            self.replace(&format!(
                "it was gone when the job was restarted: what was written to it after byte {read}, to which it was read, is lost"
            ))?;
            return Ok(None);
        }
        // Between the listing and now the file may have been renamed, and the name have passed to another one.
        if let Some(file) = Watch::open(&self.split.path)? {
            let inode = file.metadata().map_err(|error| self.cannot_read(&error))?.ino();
            if inode == self.split.inode {
                return Ok(Some(file));
            }
        }
        match self.watch.find(|listed| Ok(listed.inode == self.split.inode))? {
            Some(path) => self.split.path = path,
            None => self.found = false,
        }
        Ok(None)
    }

    fn read_from(&mut self, file: &File) -> Result<Read> {
        let offset = self.lines.read_offset();
        let fingerprint = self.split.fingerprint.clone();
        let mut same = true;
        let read = self.lines.fill(CHUNK_BYTES, |space| {
            let read = read_at(file, space, offset)?;
            // Looked at after reading: were it truncated later, what has been read is still from before.
            same = fingerprint.fits(file)?;
            Ok::<_, io::Error>(if same { read } else { 0 })
        });
        let read = read.map_err(|error| self.cannot_read(&error))?;
        if read > 0 {
            self.left_since = None;
            self.split.seen = self.split.seen.max(self.lines.read_offset());
            return Ok(Read::Some);
        }
        let metadata = file.metadata().map_err(|error| self.cannot_read(&error))?;
        let bytes = metadata.len();
        if !same || bytes < offset {
            return self.shrunk(same, bytes).map(|()| Read::Some);
        }
        self.split.seen = self.split.seen.max(bytes);
        if bytes > offset {
            return Ok(Read::Some);
        }
        Ok(self.wait_for_more())
    }

    /// At the end of the file: it may grow, unless it has been left.
    fn wait_for_more(&mut self) -> Read {
        let at_its_place = std::fs::metadata(&self.split.path).is_ok_and(|file| file.ino() == self.split.inode);
        if at_its_place && !self.split.is_copy {
            self.left_since = None;
            return Read::Nothing;
        }
        let now = self.watch.env.now();
        let since = *self.left_since.get_or_insert(now);
        if now - since < self.watch.rotation_grace {
            return Read::Nothing;
        }
        tracing::info!(file = %self.split.path.display(), "a rotated file has been read to its end");
        self.at_end = true;
        Read::Some
    }

    /// The file is shorter than it was, or another one in the same place.
    fn shrunk(&mut self, same: bool, bytes: u64) -> Result<()> {
        let (read, seen) = (self.lines.position().offset, self.split.seen);
        let from_to = format!("it shrank from {seen} to {bytes} bytes while it was followed");
        if same && bytes > 0 {
            if self.take_up_copy()? {
                return Ok(());
            }
            self.remark = Some(format!(
                "{from_to}; it was read to byte {read}. Nothing of it is read again: reading goes on at byte {bytes}"
            ));
            self.split.seen = bytes;
            self.lines.seek(bytes);
            return Ok(());
        }
        self.split.began_anew = true;
        self.replace(&format!(
            "{from_to}, or was written anew: what it had after byte {read}, to which it was read, is lost"
        ))
    }

    /// Reads on in a copy if there is one. Otherwise ends the split, and says what was lost unless all had been read.
    fn replace(&mut self, loss: &str) -> Result<()> {
        if self.take_up_copy()? {
            return Ok(());
        }
        let complete = self.split.began_anew && self.split.seen <= self.lines.position().offset;
        if complete {
            tracing::warn!(file = %self.split.path.display(), "a file that was read to its end was truncated, and begins anew");
        } else {
            self.remark = Some(loss.to_owned());
        }
        // A line that had no end yet is among what was lost: what there is of it could pass for a whole one.
        self.lines.seek(self.lines.position().offset);
        self.at_end = true;
        self.split.ended = true;
        Ok(())
    }

    fn take_up_copy(&mut self) -> Result<bool> {
        self.split.position = self.lines.position();
        let Some(copy) = self.watch.find_copy(&self.split)? else { return Ok(false) };
        let Some(file) = Watch::open(&copy.path)? else { return Ok(false) };
        tracing::warn!(
            file = %self.split.path.display(),
            copy = %copy.path.display(),
            "a file has shrunk or gone, and is read on in its copy"
        );
        self.lines.seek(self.split.position.offset);
        (self.split.path, self.split.inode, self.split.is_copy) = (copy.path, copy.inode, true);
        (self.split.began_anew, self.left_since, self.file) = (false, None, Some(file));
        self.publish();
        Ok(true)
    }

    fn cannot_read(&self, error: &io::Error) -> weir_engine::EngineError {
        cannot_read(&self.split.path, error)
    }
}

impl SplitReader for FollowedReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        async move { self.next(max_rows) }.boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(Followed { position: self.lines.position(), ..self.split.clone() })
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        self.lines.locate_rows(rows)
    }
}
