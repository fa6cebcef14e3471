//! Arrow dictionaries as Parquet dictionary pages, so that a later reader hashes an entry once and not once a row.
//!
//! A column chunk has one dictionary, the batches of a row group may have several: their entries are united.

use super::hybrid::{index_width, push_bit_packed};
use super::plain::{dictionary_keys, length_prefixed};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use std::collections::HashMap;

/// A dictionary for all pages of a column chunk.
pub(super) struct UnitedDictionary {
    /// PLAIN form of the entries.
    pub entries: Buffer,
    /// How many there are.
    pub len: usize,
    /// Where each batch's dictionary went: entry number there → entry number here.
    sources: Vec<(StringArray, Option<Vec<u32>>)>,
}

impl UnitedDictionary {
    /// The dictionary of `pages` (dictionary arrays without nulls), or `None` where plain values take less space: entries
    /// that hardly repeat, or a dictionary of which the rows use a small part.
    pub fn over(pages: &[ArrayRef]) -> Option<Self> {
        let mut sources: Vec<StringArray> = Vec::new();
        for page in pages {
            let DataType::Dictionary(..) = page.data_type() else {
                return None;
            };
            let entries = page.as_any_dictionary().values().as_string::<i32>();
            if !sources.iter().any(|known| same_array(known, entries)) {
                sources.push(entries.clone());
            }
        }
        let rows: usize = pages.iter().map(|page| page.len()).sum();
        let entries: usize = sources.iter().map(StringArray::len).sum();
        if entries == 0 || !saves_space(rows, entries, sources.iter().map(|source| source.value_data().len()).sum()) {
            return None;
        }
        Some(if sources.len() == 1 { Self::single(sources.remove(0)) } else { Self::united(sources) })
    }

    fn single(entries: StringArray) -> Self {
        Self {
            entries: Buffer::from_vec(length_prefixed(&entries)),
            len: entries.len(),
            sources: vec![(entries, None)],
        }
    }

    fn united(sources: Vec<StringArray>) -> Self {
        let mut plain = Vec::new();
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        let mut renumberings = Vec::with_capacity(sources.len());
        for source in &sources {
            let renumbering: Vec<u32> = (0..source.len())
                .map(|entry| {
                    let string = source.value(entry).as_bytes();
                    let next = numbers.len() as u32;
                    *numbers.entry(string).or_insert_with(|| {
                        plain.extend_from_slice(&(string.len() as u32).to_le_bytes());
                        plain.extend_from_slice(string);
                        next
                    })
                })
                .collect();
            renumberings.push(renumbering);
        }
        let len = numbers.len();
        drop(numbers);
        let sources = sources.into_iter().zip(renumberings.into_iter().map(Some)).collect();
        Self { entries: Buffer::from_vec(plain), len, sources }
    }

    /// The body of a data page: the width of indices, then the indices. A page without values need not be a dictionary, as those
    /// that [`over`](Self::over) was given.
    pub fn indices(&self, page: &dyn Array) -> Vec<u8> {
        let width = index_width(self.len);
        let mut out = vec![width as u8];
        if page.is_empty() {
            return out;
        }
        let keys = dictionary_keys(page);
        let entries = page.as_any_dictionary().values().as_string::<i32>();
        let source = self.sources.iter().find(|(known, _)| same_array(known, entries));
        match source.and_then(|(_, renumbering)| renumbering.as_ref()) {
            Some(renumbering) => push_bit_packed(&mut out, keys.iter().map(|key| renumbering[*key as usize]), width),
            None => push_bit_packed(&mut out, keys.iter().copied(), width),
        }
        out
    }
}

/// Whether dictionary and indices together are smaller than the rows written out.
fn saves_space(rows: usize, entries: usize, entry_bytes: usize) -> bool {
    let average = 4 + entry_bytes / entries;
    entries <= rows && entries * average + rows * index_width(entries) as usize / 8 <= rows * average
}

/// Whether two arrays are the same piece of memory, which is how batches share a dictionary.
fn same_array(left: &StringArray, right: &StringArray) -> bool {
    left.len() == right.len()
        && left.value_offsets().as_ptr() == right.value_offsets().as_ptr()
        && left.value_data().as_ptr() == right.value_data().as_ptr()
}
