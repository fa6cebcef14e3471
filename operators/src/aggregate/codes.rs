//! Groups rows by the codes of their dictionaries, where all key columns are dictionaries that stay for many batches.
//!
//! The codes of a row's keys, put together, are one small number. Once the group of that number is known, a row costs one look
//! into an array: no hash and no comparison. A number says nothing beyond its dictionaries, so whatever is known of numbers
//! is forgotten when one of them changes.

use super::groups::{Groups, Scratch};
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, UInt32Array},
    compute::take,
    datatypes::Int32Type,
    record_batch::RecordBatch,
};
use std::sync::Arc;
use weir_engine::{Result, hash::KeyHasher};

/// More combinations of codes than this, over all slices that are held, are not worth the arrays (16 MiB).
const MOST_CODES: usize = 1 << 22;
/// Dictionaries that no batch has used for so many batches are forgotten.
const FORGOTTEN_AFTER: u64 = 64;

/// The codes of one batch, and the dictionaries that they may be of: behind an exchange, batches of several subtasks come in
/// turn, and each subtask has its own.
#[derive(Debug, Default)]
pub(super) struct Codes {
    known: Vec<Dictionaries>,
    batches: u64,
    /// How many have been known so far: their numbers are below it.
    numbered: u64,
    /// Index of the dictionaries that the codes are of.
    current: usize,
    codes: Vec<u32>,
}

/// Dictionaries of all key columns.
#[derive(Debug)]
struct Dictionaries {
    number: u64,
    /// Held, so that their addresses are not used again.
    columns: Vec<ArrayRef>,
    combinations: usize,
    used_at: u64,
}

/// The groups of codes in one slice.
#[derive(Debug, Default)]
pub(super) struct GroupsByCode {
    /// By number of the dictionaries; of each combination the group plus one, 0: not known yet.
    groups: Vec<(u64, Vec<u32>)>,
}

impl Codes {
    /// Reads the codes of a batch. False where that is not to be done: keys that are not dictionaries, nulls, too many
    /// combinations, or dictionaries that are seen for the first time and may never be seen again.
    pub(super) fn read(&mut self, keys: &[ArrayRef], slices: usize) -> bool {
        let dictionaries: Option<Vec<&ArrayRef>> = keys.iter().map(values_of).collect();
        let Some(dictionaries) = dictionaries.filter(|dictionaries| !dictionaries.is_empty()) else { return false };
        if !self.find(&dictionaries) {
            return false;
        }
        let combinations = self.known.iter().map(|known| known.combinations).fold(0, usize::saturating_add);
        if combinations.saturating_mul(slices) > MOST_CODES {
            return false;
        }
        self.codes.clear();
        for (key, dictionary) in keys.iter().zip(dictionaries) {
            let codes = key.as_dictionary::<Int32Type>().keys().values();
            if self.codes.is_empty() {
                self.codes.extend(codes.iter().map(|code| *code as u32));
            } else {
                let width = dictionary.len() as u32;
                self.codes.iter_mut().zip(codes.iter()).for_each(|(all, code)| *all = *all * width + *code as u32);
            }
        }
        true
    }

    /// Makes these dictionaries the current ones. False when they have not been known.
    fn find(&mut self, dictionaries: &[&ArrayRef]) -> bool {
        self.batches += 1;
        let now = self.batches;
        let is_same_set = |known: &Dictionaries| {
            known.columns.len() == dictionaries.len()
                && known.columns.iter().zip(dictionaries).all(|(one, other)| is_same(one, other))
        };
        if let Some(found) = self.known.iter().position(is_same_set) {
            self.known[found].used_at = now;
            self.current = found;
            return true;
        }
        self.known.retain(|known| known.used_at + FORGOTTEN_AFTER > now);
        let combinations = dictionaries.iter().map(|values| values.len()).try_fold(1, usize::checked_mul);
        self.known.push(Dictionaries {
            number: self.numbered,
            columns: dictionaries.iter().map(|values| ArrayRef::clone(values)).collect(),
            combinations: combinations.unwrap_or(usize::MAX),
            used_at: now,
        });
        self.numbered += 1;
        false
    }
}

/// The dictionary of a key column without nulls.
fn values_of(key: &ArrayRef) -> Option<&ArrayRef> {
    let dictionary = key.as_dictionary_opt::<Int32Type>()?;
    (dictionary.null_count() + dictionary.values().null_count() == 0).then(|| dictionary.values())
}

fn is_same(one: &ArrayRef, other: &ArrayRef) -> bool {
    Arc::ptr_eq(one, other) || one.to_data().ptr_eq(&other.to_data())
}

impl GroupsByCode {
    /// Forgets all groups: they are renumbered.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    /// The groups of the current dictionaries' codes.
    fn of(&mut self, codes: &Codes) -> &mut Vec<u32> {
        let current = &codes.known[codes.current];
        let found = self.groups.iter().position(|(number, _)| *number == current.number);
        let at = found.unwrap_or_else(|| {
            self.groups.retain(|(number, _)| codes.known.iter().any(|known| known.number == *number));
            self.groups.push((current.number, vec![0; current.combinations]));
            self.groups.len() - 1
        });
        &mut self.groups[at].1
    }

    /// As `Groups::assign`, by the codes that were read; only rows with an unknown code are hashed.
    pub(super) fn assign(
        &mut self,
        codes: &Codes,
        keys: &[ArrayRef],
        rows: Rows<'_>,
        (groups, hasher, scratch): (&mut Groups, &mut KeyHasher, &mut Scratch),
    ) -> Result<()> {
        let by_code = self.of(codes);
        let mut unknown: Vec<u32> = Vec::new();
        let mut assigned: Vec<u32> = Vec::with_capacity(rows.len());
        for n in 0..rows.len() {
            let group = by_code[codes.codes[rows.row(n)] as usize];
            assigned.push(group.wrapping_sub(1));
            if group == 0 {
                unknown.push(n as u32);
            }
        }
        if !unknown.is_empty() {
            let chosen = UInt32Array::from_iter_values(unknown.iter().map(|n| rows.row(*n as usize) as u32));
            let keys: Vec<ArrayRef> = keys.iter().map(|key| take(key, &chosen, None)).collect::<Result<_, _>>()?;
            let named = hasher.columns().iter().cloned().zip(keys.iter().cloned());
            let hashes = hasher.hash(&RecordBatch::try_from_iter(named)?)?;
            groups.assign(&hashes, &keys, Rows::All(hashes.len()), scratch)?;
            for (n, group) in unknown.iter().zip(&scratch.groups) {
                assigned[*n as usize] = *group;
                by_code[codes.codes[rows.row(*n as usize)] as usize] = *group + 1;
            }
        }
        scratch.groups = assigned;
        Ok(())
    }
}
