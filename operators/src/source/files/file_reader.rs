//! Reads the lines of one file to its end: of a local one or an object, as it is or decompressed.
//!
//! Invariant: the position counts bytes of the text, decompressed if it must be. A restart decompresses a file from its
//! beginning and passes over what has come out; the position says how the file is compressed, so that it is never guessed
//! twice. Of a file that is damaged or cut off every whole line comes out, then one dead letter.

use super::{
    compression::{Compression, Decompressor, Step},
    empty_columns::EmptyColumns,
    lines::{LinePosition, LineSettings, Lines},
    listing::{FoundFile, Place},
    local_file::LocalFile,
};
use crate::dead_letters::DeadLetter;
use crate::source::split_reader::{SplitEvent, SplitReader};
use bytes::{Buf, Bytes};
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use std::{fmt::Display, sync::Arc};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

/// Bytes read at once from a local file; less where a subtask reads many files side by side.
const LOCAL_CHUNK_BYTES: usize = 512 << 10;
/// Bytes fetched at once from an object store, where every request takes its time.
const OBJECT_CHUNK_BYTES: usize = 4 << 20;
/// Bytes that are decompressed at once only to be passed over.
const PASSED_OVER_BYTES: usize = 256 << 10;

/// Where to continue in a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct FilePosition {
    #[serde(flatten)]
    pub(super) lines: LinePosition,
    /// How the file is compressed, once it has been looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) compression: Option<Compression>,
}

pub(super) struct FileReader {
    source: ByteSource,
    lines: Lines,
    chunk_bytes: usize,
    /// How its bytes become text; none as long as it has not been looked at.
    text: Option<Text>,
    compression: Option<Compression>,
    /// The end of the file has been seen.
    at_end: bool,
    /// Why nothing behind what has been read can be.
    problem: Option<String>,
    /// What has been fetched ahead of being asked for, and from where on.
    fetched: Option<(u64, Bytes)>,
    empty_columns: EmptyColumns,
}

/// Where a file's bytes come from.
enum ByteSource {
    Local(LocalFile),
    Object { store: Arc<dyn ObjectStore>, path: object_store::path::Path, bytes: u64 },
}

/// How a file's bytes become text.
enum Text {
    AsItIs,
    Packed(Box<Packed>),
}

/// A compressed file, as far as it has been read.
struct Packed {
    compression: Compression,
    decompressor: Decompressor,
    /// Bytes of the file that have not been decompressed.
    bytes: Bytes,
    /// Where the next ones are.
    offset: u64,
    /// There are no next ones.
    ended: bool,
    /// All of its text has come out.
    is_done: bool,
    /// Bytes of text that came out before, and are only decompressed.
    passed_over: u64,
}

impl FileReader {
    /// Holds about `share` bytes in memory.
    pub(super) fn new(
        file: FoundFile,
        settings: Arc<LineSettings>,
        position: FilePosition,
        share: usize,
        empty_columns: EmptyColumns,
        env: Env,
    ) -> Self {
        let FoundFile { name, place } = file;
        let (chunk_bytes, source) = match place {
            Place::Local(path) => {
                let file = LocalFile::new(path, share >= LOCAL_CHUNK_BYTES, env);
                (share.min(LOCAL_CHUNK_BYTES), ByteSource::Local(file))
            }
            Place::Object { store, path, bytes } => {
                (share.min(OBJECT_CHUNK_BYTES), ByteSource::Object { store, path, bytes })
            }
        };
        let FilePosition { lines: position, compression } = position;
        let empty_columns = if position.offset == 0 { empty_columns } else { EmptyColumns::untold() };
        FileReader {
            lines: Lines::new(name, settings, position),
            source,
            chunk_bytes,
            text: None,
            compression,
            at_end: false,
            problem: None,
            fetched: None,
            empty_columns,
        }
    }

    async fn next(&mut self, max_rows: usize) -> Result<SplitEvent> {
        loop {
            let whole = self.at_end && self.problem.is_none();
            if let Some(event) = self.lines.take(max_rows, whole)? {
                if let SplitEvent::Records { columns, .. } = &event {
                    self.empty_columns.observe(columns);
                }
                return Ok(event);
            }
            if self.lines.is_given_up() {
                self.end();
                return Ok(SplitEvent::Finished);
            }
            if let Some(problem) = self.problem.take() {
                return self.lines.give_up(problem);
            }
            if self.at_end {
                self.empty_columns.tell(self.lines.file());
                self.end();
                return Ok(SplitEvent::Finished);
            }
            self.at_end = self.read().await? == 0 || self.is_read();
        }
    }

    /// Whether all of the file is known to have been read, without an attempt to read on.
    fn is_read(&self) -> bool {
        match &self.text {
            None => false,
            Some(Text::AsItIs) => self.fetched.is_none() && self.source.ends_at(self.lines.read_offset()),
            Some(Text::Packed(packed)) => packed.is_done,
        }
    }

    /// Lets go of all but the position: there may be very many files.
    fn end(&mut self) {
        if let ByteSource::Local(file) = &mut self.source {
            file.close();
        }
        (self.text, self.fetched, self.empty_columns) = (None, None, EmptyColumns::untold());
        self.lines.release();
    }

    /// Reads on; zero at the end.
    async fn read(&mut self) -> Result<usize> {
        if self.text.is_none() {
            let text = self.begin().await?;
            self.text = text;
        }
        match self.text {
            None => Ok(0),
            Some(Text::AsItIs) => self.read_plain().await,
            Some(Text::Packed(_)) => self.read_packed().await,
        }
    }

    /// Looks at the file. Nothing when it is not what its name says; then there is a problem.
    async fn begin(&mut self) -> Result<Option<Text>> {
        let position = self.lines.position();
        if self.compression.is_none() && position.offset == 0 {
            let first = self.fetch(0).await?;
            self.fetched = Some((0, first.clone()));
            let named = Compression::of_name(self.lines.file());
            let found = Compression::of_bytes(&first);
            if let Some(named) = named.filter(|named| found != Some(*named)) {
                self.problem = Some(not_what_its_name_says(named, &first));
                return Ok(None);
            }
            self.compression = found;
        }
        let Some(compression) = self.compression else { return Ok(Some(Text::AsItIs)) };
        let decompressor = Decompressor::new(compression)
            .map_err(|error| EngineError::io(format!("cannot decompress {}: {error}", self.lines.file())))?;
        let packed = Packed {
            compression,
            decompressor,
            bytes: Bytes::new(),
            offset: 0,
            ended: false,
            is_done: false,
            passed_over: position.offset,
        };
        Ok(Some(Text::Packed(Box::new(packed))))
    }

    async fn read_plain(&mut self) -> Result<usize> {
        let offset = self.lines.read_offset();
        if let (ByteSource::Local(file), None) = (&mut self.source, &self.fetched) {
            let wanted = file.wanted(offset, self.chunk_bytes)?;
            return self.lines.fill(wanted, |space| file.read(space, offset));
        }
        let fetched = self.fetch(offset).await?;
        let fill = |space: &mut [u8]| {
            space[..fetched.len()].copy_from_slice(&fetched);
            Ok::<_, EngineError>(fetched.len())
        };
        self.lines.fill(fetched.len(), fill)
    }

    /// Decompresses until there is some text, a problem, or the end.
    async fn read_packed(&mut self) -> Result<usize> {
        loop {
            let Some(Text::Packed(packed)) = &mut self.text else { return Ok(0) };
            if packed.bytes.is_empty() && !packed.ended {
                let offset = packed.offset;
                let bytes = self.fetch(offset).await?;
                let Some(Text::Packed(packed)) = &mut self.text else { return Ok(0) };
                packed.offset += bytes.len() as u64;
                packed.ended = bytes.is_empty() || self.source.ends_at(packed.offset);
                packed.bytes = bytes;
                continue;
            }
            let outcome = if packed.passed_over > 0 {
                let outcome = packed.pass_over();
                // Much may have to be passed over; others want to be heard.
                tokio::task::yield_now().await;
                outcome
            } else {
                let mut outcome = Ok(false);
                let put_out = self.lines.fill(self.chunk_bytes, |space| {
                    let put_out;
                    (put_out, outcome) = packed.decompress(space);
                    Ok::<_, EngineError>(put_out)
                })?;
                if put_out > 0 {
                    packed.is_done = matches!(outcome, Ok(true));
                    self.problem = outcome.err();
                    return Ok(put_out);
                }
                outcome
            };
            let Some(Text::Packed(packed)) = &self.text else { return Ok(0) };
            match outcome {
                Err(problem) => {
                    self.problem = Some(problem);
                    return Ok(0);
                }
                Ok(true) if packed.passed_over > 0 => {
                    let position = self.lines.position().offset;
                    let bytes = position - packed.passed_over;
                    check_not_shrunk(self.lines.file(), bytes, position)?;
                }
                Ok(true) => return Ok(0),
                Ok(false) => {}
            }
        }
    }

    /// The next bytes, as many as are read at once; none at the end.
    async fn fetch(&mut self, offset: u64) -> Result<Bytes> {
        if let Some((_, bytes)) = self.fetched.take_if(|(at, _)| *at == offset) {
            return Ok(bytes);
        }
        match &mut self.source {
            ByteSource::Local(file) => {
                let mut space = vec![0; file.wanted(offset, self.chunk_bytes)?];
                let read = file.read(&mut space, offset)?;
                space.truncate(read);
                Ok(space.into())
            }
            ByteSource::Object { store, path, bytes } => {
                check_not_shrunk(self.lines.file(), *bytes, offset)?;
                let end = (*bytes).min(offset + self.chunk_bytes as u64);
                if end == offset {
                    return Ok(Bytes::new());
                }
                store.get_range(path, offset..end).await.map_err(|error| {
                    let problem = format!("cannot read {} from byte {offset} on: {error}", self.lines.file());
                    EngineError::caused_by(&error, problem)
                })
            }
        }
    }
}

impl ByteSource {
    /// Whether nothing is known to be behind the last bytes read, which end at `offset`.
    fn ends_at(&self, offset: u64) -> bool {
        match self {
            ByteSource::Local(file) => file.has_ended(),
            ByteSource::Object { bytes, .. } => offset == *bytes,
        }
    }
}

impl Packed {
    /// Fills the space as far as the bytes go: how much came out, and whether that was the end, or what is wrong.
    fn decompress(&mut self, space: &mut [u8]) -> (usize, std::result::Result<bool, String>) {
        let mut filled = 0;
        while filled < space.len() {
            match self.decompressor.step(&self.bytes, &mut space[filled..]) {
                Err(problem) => return (filled, Err(self.damaged(&problem))),
                Ok(Step { taken, put_out }) => {
                    self.bytes.advance(taken);
                    filled += put_out;
                    if taken == 0 && put_out == 0 {
                        return (filled, self.end_of_bytes());
                    }
                }
            }
        }
        (filled, Ok(false))
    }

    fn pass_over(&mut self) -> std::result::Result<bool, String> {
        let length = usize::try_from(self.passed_over).unwrap_or(usize::MAX).min(PASSED_OVER_BYTES);
        let (put_out, outcome) = self.decompress(&mut vec![0; length]);
        self.passed_over -= put_out as u64;
        outcome
    }

    /// All bytes that are there have been decompressed.
    fn end_of_bytes(&self) -> std::result::Result<bool, String> {
        if !self.ended {
            return Ok(false);
        }
        if self.decompressor.may_end() {
            return Ok(true);
        }
        let (name, offset) = (self.compression.name(), self.offset);
        Err(format!("the {name} file is cut off after {offset} bytes; what its last line was is not known"))
    }

    fn damaged(&self, problem: &str) -> String {
        let (name, offset) = (self.compression.name(), self.offset - self.bytes.len() as u64);
        format!(
            "the {name} file is damaged before its byte {offset} ({problem}): rows shortly before may be wrong, and what follows is not read"
        )
    }
}

fn not_what_its_name_says(named: Compression, first: &[u8]) -> String {
    let name = named.name();
    if first.is_empty() {
        return format!("by its name the file is compressed with {name}, but it is empty");
    }
    let bytes: Vec<String> = first.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let found = Compression::of_bytes(first).map(|found| format!(", as {} does", found.name())).unwrap_or_default();
    format!("by its name the file is compressed with {name}, but it begins with the bytes {}{found}", bytes.join(" "))
}

pub(super) fn check_not_shrunk(name: impl Display, bytes: u64, offset: u64) -> Result<()> {
    if offset <= bytes {
        return Ok(());
    }
    Err(EngineError::io(format!(
        "{name} has {bytes} bytes, but has been read to byte {offset} already: it has shrunk or been replaced. Bring the file \
         back as it was, or start the job over without the checkpoint"
    )))
}

impl SplitReader for FileReader {
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        self.next(max_rows).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::json!(FilePosition { lines: self.lines.position(), compression: self.compression })
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        self.lines.locate_rows(rows)
    }

    fn is_at_hand(&self) -> bool {
        matches!(self.source, ByteSource::Local(_))
    }

    fn is_over(&self) -> bool {
        self.lines.is_given_up() || (self.at_end && self.problem.is_none() && self.lines.is_empty())
    }

    fn bytes_behind(&self) -> u64 {
        self.lines.offset()
    }
}
