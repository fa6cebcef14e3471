//! The bytes of an Avro file at any place, of a local one or an object. Of an object more is fetched than is asked for, since
//! every request takes its time.

use super::{
    bounded::read_fully,
    listing::{FoundFile, Place, cannot_read},
};
use crate::format::avro::container::{ContainerHeader, MAGIC};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use std::fs::File;
use weir_engine::error::{EngineError, Result};

/// The first bytes that are read in search of the header, and the most.
const HEADER_BYTES: [u64; 4] = [64 << 10, 512 << 10, 4 << 20, 32 << 20];
/// Bytes fetched at once from an object store.
const OBJECT_CHUNK_BYTES: u64 = 4 << 20;

/// An opened file.
pub(super) struct FileBytes {
    file: FoundFile,
    local: Option<File>,
    length: u64,
    /// What was fetched of an object last, and from where on.
    fetched: (u64, Bytes),
}

impl FileBytes {
    /// Opens a file.
    pub(super) fn open(file: &FoundFile) -> Result<Self> {
        let local = match &file.place {
            Place::Local(path) => Some(File::open(path).map_err(|error| cannot_read(path, &error))?),
            Place::Object { .. } => None,
        };
        Ok(FileBytes { file: file.clone(), local, length: file.bytes()?, fetched: (0, Bytes::new()) })
    }

    /// How many there are.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from one place to another, as far as the file has them.
    pub(super) async fn read(&mut self, from: u64, to: u64) -> Result<Bytes> {
        let to = to.min(self.length);
        if from >= to {
            return Ok(Bytes::new());
        }
        match (&self.file.place, &self.local) {
            (Place::Local(path), Some(local)) => {
                let mut space = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX)];
                let read = read_fully(local, &mut space, from).map_err(|error| cannot_read(path, &error))?;
                space.truncate(read);
                Ok(space.into())
            }
            (Place::Object { store, path, .. }, _) => {
                if let Some(bytes) = self.of_fetched(from, to) {
                    return Ok(bytes);
                }
                let end = to.max(from.saturating_add(OBJECT_CHUNK_BYTES)).min(self.length);
                let fetched = store.get_range(path, from..end).await.map_err(|error| {
                    let problem = format!("cannot read {} from byte {from} on: {error}", self.file.name);
                    EngineError::caused_by(&error, problem)
                })?;
                self.fetched = (from, fetched);
                Ok(self.of_fetched(from, to).unwrap_or_default())
            }
            (Place::Local(_), None) => Ok(Bytes::new()),
        }
    }

    fn of_fetched(&self, from: u64, to: u64) -> Option<Bytes> {
        let (begin, bytes) = &self.fetched;
        let from = usize::try_from(from.checked_sub(*begin)?).ok()?;
        let to = usize::try_from(to.checked_sub(*begin)?).ok()?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }

    /// The header; what is wrong with it, in words.
    pub(super) async fn header(&mut self) -> Result<std::result::Result<ContainerHeader, String>> {
        let mut outcome = Err("it is empty".to_owned());
        if self.length == 0 {
            return Ok(outcome);
        }
        for most in HEADER_BYTES {
            let first = self.read(0, most).await?;
            if !first.starts_with(MAGIC) {
                return Ok(Err("it does not begin as one does, with `Obj` and a 1".to_owned()));
            }
            outcome = ContainerHeader::parse(&first);
            if outcome.is_ok() || most >= self.length {
                break;
            }
        }
        Ok(outcome)
    }
}
