//! Reads one growing file: see the module above for what may happen to it.
//!
//! Invariant: bytes are taken only after the file has been seen to be still the one whose bytes were read before; so what a
//! file is rewritten with never continues where something else ended.

use super::{
    SETTLED,
    identity::{FileId, Stamp},
    open_files::Hold,
    prefix::{Prefix, Thorough},
    search::{LOOKS, Search},
    watch::{Followed, Watch},
};
use crate::dead_letters::DeadLetter;
use crate::source::{
    files::{
        bounded::{read_at, read_fully},
        lines::Lines,
    },
    split_reader::{SplitEvent, SplitReader},
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    fs::{self, File},
    io,
    sync::Arc,
};
use weir_engine::{env::Moment, error::Result};

/// Bytes read at once, at most and at least. No more than the file has: thousands of files that grow by a line each must not cost
/// a large buffer each.
const CHUNK_BYTES: usize = 256 << 10;
const LEAST_CHUNK_BYTES: usize = 8 << 10;

pub(super) struct FollowedReader {
    watch: Arc<Watch>,
    id: String,
    split: Followed,
    lines: Lines,
    /// Its file has been found, be it open or closed.
    has_file: bool,
    /// The copy that is read on in from now on.
    exchanged: Option<File>,
    /// Whether the file is looked at closely, which it is once after it was opened.
    thorough: Thorough,
    /// How the file was last, and since when.
    stamp: Option<(Stamp, Moment)>,
    /// When its bytes were last seen to be the same.
    compared: Option<Moment>,
    /// Since when the file has had another name or none, and nothing has come.
    left_since: Option<Moment>,
    /// Nothing more will be read: what is left counts as a last line.
    at_end: bool,
    /// The file is gone, which is to be said.
    gone: bool,
    /// To be said before anything else.
    remark: Option<String>,
    /// The search for new files has not been told how far this one is.
    unpublished: bool,
}

/// How a split is opened.
pub(super) enum Begin {
    /// With its file.
    At(File),
    /// Its file cannot be reached now; when it can, the split is opened again.
    Away,
    /// Its file is gone.
    Gone,
    /// It had ended.
    Ended,
}

/// What an attempt to read has brought.
enum Read {
    Some,
    Nothing,
    /// Nothing, and nothing will come before the file changes.
    AtRest(Stamp),
}

impl FollowedReader {
    pub(super) fn new(watch: Arc<Watch>, id: String, split: Followed, begin: Begin) -> Self {
        let lines = Lines::new(split.path.display().to_string(), watch.settings.clone(), split.position.clone());
        let mut reader = FollowedReader {
            watch,
            id,
            split,
            lines,
            has_file: false,
            exchanged: None,
            thorough: Thorough::Much,
            stamp: None,
            compared: None,
            left_since: None,
            at_end: false,
            gone: false,
            remark: None,
            unpublished: false,
        };
        match begin {
            Begin::At(file) => {
                reader.has_file = true;
                reader.keep(file, Hold::Reading);
                reader.watch.resting().reading(&reader.id, &reader.split.path);
            }
            Begin::Away => {}
            Begin::Ended => reader.at_end = true,
            Begin::Gone => reader.gone = true,
        }
        reader
    }

    fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        loop {
            if let Some(event) = self.lines.take(max_rows, self.at_end)? {
                self.unpublished = true;
                self.publish();
                return Ok(event);
            }
            if let Some(remark) = self.remark.take() {
                tracing::warn!(file = %self.split.path.display(), "{remark}");
                return self.lines.remark(remark);
            }
            if self.at_end {
                (self.split.ended, self.has_file, self.unpublished) = (true, false, true);
                self.publish();
                self.watch.open_files().take(&self.id);
                self.watch.resting().forget(&self.id, &self.split.path);
                // Its file may have started over.
                self.watch.look_soon();
                return Ok(SplitEvent::Finished);
            }
            match self.read()? {
                Read::Some => {}
                Read::Nothing => {
                    self.publish();
                    return Ok(SplitEvent::Pending);
                }
                Read::AtRest(stamp) => {
                    self.publish();
                    self.lines.release();
                    let path = &self.split.path;
                    let announced = self.watch.is_announced(path);
                    self.watch.resting().rest(&self.id, path, self.file_id(), stamp, announced);
                    return Ok(SplitEvent::AtRest);
                }
            }
        }
    }

    /// Tells the search for new files how far this one is.
    fn publish(&mut self) {
        if std::mem::take(&mut self.unpublished) {
            self.split.position = self.lines.position();
            self.watch.known().insert(&self.id, self.split.clone());
        }
    }

    fn file_id(&self) -> FileId {
        FileId { device: self.split.device.unwrap_or_default(), inode: self.split.inode }
    }

    fn keep(&self, file: File, hold: Hold) {
        let place = (self.split.path.clone(), self.file_id());
        self.watch.open_files().keep(&self.id, file, place, hold, &self.watch.identify);
    }

    /// Opens the file again that was closed. Nothing: it is not there any more.
    fn open_again(&mut self) -> io::Result<Option<File>> {
        let file = match File::open(&self.split.path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.thorough = Thorough::Much;
        Ok(self.split.is((self.watch.identify)(&file.metadata()?)).then_some(file))
    }

    /// The file is not to be had now; it is looked for.
    fn lose_sight(&mut self) {
        // What was read and not taken is read again when the file is back.
        self.lines.seek(self.lines.position().offset);
        (self.split.away, self.has_file, self.unpublished) = (true, false, true);
        self.watch.open_files().take(&self.id);
        self.watch.resting().forget(&self.id, &self.split.path);
        self.watch.look_soon();
    }

    fn read(&mut self) -> Result<Read> {
        if self.gone {
            let read = self.lines.position().offset;
            if (self.split.vanished || self.split.left) && self.split.seen <= read {
                tracing::info!(file = %self.split.path.display(), "a file that had been read to its end was removed");
                self.end();
                return Ok(Read::Some);
            }
            self.end_with_loss(format!(
                "it is gone: what was written to it after byte {read}, to which it was read, is lost"
            ));
            return Ok(Read::Some);
        }
        if !self.has_file {
            return Ok(Read::Nothing);
        }
        let open = self.watch.open_files().take(&self.id);
        let outcome = match open.map_or_else(|| self.open_again(), |file| Ok(Some(file))) {
            Ok(Some(file)) => self.read_from(&file).map(|read| (read, file)),
            Ok(None) => {
                self.split.vanished = true;
                self.lose_sight();
                return Ok(Read::Nothing);
            }
            Err(error) => Err(Failed::File(error)),
        };
        match outcome {
            Ok((read, file)) => {
                // A truncated file may have been exchanged for its copy.
                let file = self.exchanged.take().unwrap_or(file);
                let hold = match read {
                    Read::AtRest(_) => Hold::AtRest,
                    _ if self.left_since.is_some() => Hold::Left,
                    _ => Hold::Reading,
                };
                self.keep(file, hold);
                Ok(read)
            }
            Err(Failed::Engine(error)) => Err(error),
            Err(Failed::File(error)) => {
                self.watch.cannot_read_on(&self.split.path, &error);
                self.lose_sight();
                Ok(Read::Nothing)
            }
        }
    }

    fn read_from(&mut self, file: &File) -> std::result::Result<Read, Failed> {
        let now = self.watch.env.now();
        let stamp = Stamp::of(&file.metadata()?);
        let since = self.stamp.filter(|(known, _)| *known == stamp).map_or(now, |(_, since)| since);
        self.stamp = Some((stamp, since));
        let offset = self.lines.read_offset();
        let at_rest = self.compared.is_some_and(|compared| compared - since >= SETTLED);
        if at_rest && stamp.bytes == offset {
            return Ok(match self.wait_for_more() {
                Read::Nothing if self.left_since.is_none() => Read::AtRest(stamp),
                read => read,
            });
        }
        let (split, thorough) = (&mut self.split, self.thorough);
        let mut same = true;
        let length = usize::try_from(stamp.bytes.saturating_sub(offset)).unwrap_or(CHUNK_BYTES);
        let read = self.lines.fill(length.clamp(LEAST_CHUNK_BYTES, CHUNK_BYTES), |space| {
            let read = read_at(file, space, offset)?;
            // Looked at after reading: were it truncated later, what has been read is still from before.
            same = split.fits(file, thorough)?;
            if !same {
                return Ok(0);
            }
            split.read.extend_at(offset, &space[..read]);
            Ok::<_, io::Error>(read)
        })?;
        if same {
            (self.thorough, self.compared) = (Thorough::Little, Some(now));
        }
        if read > 0 {
            (self.left_since, self.split.left, self.unpublished) = (None, false, true);
            self.split.seen = self.split.seen.max(stamp.bytes).max(self.lines.read_offset());
            return Ok(Read::Some);
        }
        let bytes = file.metadata()?.len();
        if !same || bytes < offset {
            self.written_anew(file, bytes)?;
            return Ok(Read::Some);
        }
        if bytes > self.split.seen {
            (self.split.seen, self.unpublished) = (bytes, true);
        }
        if bytes > offset {
            return Ok(Read::Some);
        }
        Ok(self.wait_for_more())
    }

    /// At the end of the file: it may grow, unless it has been left.
    fn wait_for_more(&mut self) -> Read {
        let at_its_place = fs::metadata(&self.split.path).is_ok_and(|file| self.split.is((self.watch.identify)(&file)));
        if at_its_place && !self.split.is_copy {
            self.unpublished |= std::mem::take(&mut self.split.left);
            self.left_since = None;
            return Read::Nothing;
        }
        self.unpublished |= !std::mem::replace(&mut self.split.left, !at_its_place);
        let now = self.watch.env.now();
        let since = *self.left_since.get_or_insert(now);
        if now - since < self.watch.rotation_grace {
            return Read::Nothing;
        }
        tracing::info!(file = %self.split.path.display(), "a rotated file was read to its end");
        self.at_end = true;
        Read::Some
    }

    /// The file does not have the bytes any more that were read.
    fn written_anew(&mut self, file: &File, bytes: u64) -> std::result::Result<(), Failed> {
        if self.take_up_copy()? {
            return Ok(());
        }
        let (read, seen) = (self.lines.position().offset, self.split.seen);
        let from_to = format!("it shrank from {seen} to {bytes} bytes while it was followed");
        if bytes < self.split.read.length {
            let left = Prefix::of(file, bytes)?;
            // More than the first line: no log is rewritten with so much of the same.
            if left.length == bytes && left.marked() > self.split.head.length && left.agrees(&self.split.read) {
                let end = last_line_end(file, bytes)?;
                self.remark = Some(format!(
                    "{from_to}; it was read to byte {read}. Nothing of it is read again: reading goes on at byte {end}"
                ));
                (self.split.read, self.split.seen, self.unpublished) = (Prefix::of(file, end)?, bytes, true);
                self.lines.seek(end);
                return Ok(());
            }
        }
        self.split.began_anew = true;
        if seen <= read {
            let file = self.split.path.display();
            tracing::info!(%file, "a file that was read to its end was rewritten, and is read from its beginning");
            self.end();
            return Ok(());
        }
        self.end_with_loss(format!(
            "{from_to}, or was rewritten: what it had after byte {read}, to which it was read, is lost"
        ));
        Ok(())
    }

    fn end_with_loss(&mut self, loss: String) {
        self.remark = Some(loss);
        self.end();
    }

    fn end(&mut self) {
        // A line that had no end yet is not taken: what there is of it could pass for a whole one.
        self.lines.seek(self.lines.position().offset);
        (self.at_end, self.split.ended, self.unpublished) = (true, true, true);
    }

    /// Reads on in a copy if there is one.
    fn take_up_copy(&mut self) -> Result<bool> {
        self.split.position = self.lines.position();
        let mut found = None;
        for _ in 0..LOOKS {
            found = Search::new(&self.watch)?.find_copy(&self.id, &self.split);
            if found.is_some() {
                break;
            }
        }
        let Some((copy, file)) = found else { return Ok(false) };
        tracing::info!(
            file = %self.split.path.display(),
            copy = %copy.path.display(),
            "a file was rewritten, and reading continues in its copy"
        );
        self.lines.seek(self.split.position.offset);
        // What is under its name now belongs to no split yet.
        self.watch.resting().forget(&self.id, &self.split.path);
        self.watch.look_soon();
        self.watch.go_on_in(&mut self.split, &copy);
        (self.split.is_copy, self.exchanged) = (true, Some(file));
        (self.stamp, self.compared, self.left_since, self.unpublished) = (None, None, None, true);
        self.publish();
        Ok(true)
    }
}

/// Where the last whole line of a file of so many bytes ends. What follows may be the beginning of a line.
fn last_line_end(file: &File, bytes: u64) -> io::Result<u64> {
    let mut space = [0; 8 << 10];
    let from = bytes.saturating_sub(space.len() as u64);
    let read = read_fully(file, &mut space, from)?;
    let end = memchr::memrchr(b'\n', &space[..read]).map(|position| from + position as u64 + 1);
    Ok(end.unwrap_or(bytes).min(bytes))
}

/// Why reading failed.
enum Failed {
    /// The file cannot be read.
    File(io::Error),
    Engine(weir_engine::EngineError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::File(error)
    }
}

impl From<weir_engine::EngineError> for Failed {
    fn from(error: weir_engine::EngineError) -> Self {
        Failed::Engine(error)
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
