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

/// More combinations of codes than this, over all slices that are held, are not worth the arrays (8 MiB).
const MOST_CODES: usize = 1 << 21;

/// The codes of one batch, and the dictionaries that they are of.
#[derive(Debug, Default)]
pub(super) struct Codes {
    /// Held, so that their addresses are not used again.
    dictionaries: Vec<ArrayRef>,
    /// Raised with every change of dictionaries.
    generation: u64,
    combinations: usize,
    codes: Vec<u32>,
}

/// The groups of codes in one slice.
#[derive(Debug, Default)]
pub(super) struct GroupsByCode {
    generation: u64,
    /// Group plus one; 0: not known yet.
    groups: Vec<u32>,
}

impl Codes {
    /// Reads the codes of a batch. False where that is not to be done: keys that are not dictionaries, nulls, too many
    /// combinations, or dictionaries that are seen for the first time and may never be seen again.
    pub(super) fn read(&mut self, keys: &[ArrayRef], slices: usize) -> bool {
        let dictionaries: Option<Vec<&ArrayRef>> = keys.iter().map(values_of).collect();
        let Some(dictionaries) = dictionaries.filter(|dictionaries| !dictionaries.is_empty()) else { return false };
        let is_known = dictionaries.len() == self.dictionaries.len()
            && dictionaries.iter().zip(&self.dictionaries).all(|(one, other)| is_same(one, other));
        if !is_known {
            self.generation += 1;
            let combinations = dictionaries.iter().map(|values| values.len()).try_fold(1, usize::checked_mul);
            self.combinations = combinations.unwrap_or(usize::MAX);
            self.dictionaries = dictionaries.into_iter().cloned().collect();
            return false;
        }
        if self.combinations.saturating_mul(slices) > MOST_CODES {
            return false;
        }
        self.codes.clear();
        for (key, dictionary) in keys.iter().zip(&self.dictionaries) {
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
    /// Forgets all groups: they are numbered anew.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.generation = 0;
    }

    /// As `Groups::assign`, by the codes that were read; only rows with an unknown code are hashed.
    pub(super) fn assign(
        &mut self,
        codes: &Codes,
        keys: &[ArrayRef],
        rows: Rows<'_>,
        (groups, hasher, scratch): (&mut Groups, &mut KeyHasher, &mut Scratch),
    ) -> Result<()> {
        if self.generation != codes.generation || self.groups.len() != codes.combinations {
            self.generation = codes.generation;
            self.groups.clear();
            self.groups.resize(codes.combinations, 0);
        }
        let mut unknown: Vec<u32> = Vec::new();
        let mut assigned: Vec<u32> = Vec::with_capacity(rows.len());
        for n in 0..rows.len() {
            let group = self.groups[codes.codes[rows.row(n)] as usize];
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
                self.groups[codes.codes[rows.row(*n as usize)] as usize] = *group + 1;
            }
        }
        scratch.groups = assigned;
        Ok(())
    }
}
