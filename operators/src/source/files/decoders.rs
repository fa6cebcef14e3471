//! The decoders of a subtask's files of lines. Each knows no file and keeps nothing from one chunk to the next, so that files
//! with the same header use the same one in turn: memory and time go by the headers that there are, not by the files.

use crate::format::LineDecoder;
use parking_lot::Mutex;

/// So many are kept: headers that differ are mostly those of before and after a change.
const MOST_KEPT: usize = 4;

/// Decoders that nobody uses now.
#[derive(Default)]
pub(super) struct Decoders(Mutex<Vec<(String, Box<dyn LineDecoder>)>>);

impl Decoders {
    /// One for files with this header, if there is one.
    pub(super) fn take(&self, header: &str) -> Option<Box<dyn LineDecoder>> {
        let mut kept = self.0.lock();
        let at = kept.iter().position(|(of, _)| of == header)?;
        Some(kept.swap_remove(at).1)
    }

    /// Keeps one whose last chunk was decoded without an error.
    pub(super) fn put(&self, header: &str, decoder: Box<dyn LineDecoder>) {
        let mut kept = self.0.lock();
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push((header.to_owned(), decoder));
    }
}

impl std::fmt::Debug for Decoders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Decoders({})", self.0.lock().len())
    }
}
