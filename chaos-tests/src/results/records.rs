//! Records of which there are revisions: what consumers rely on is checked row by row.

use anyhow::{Result, bail, ensure};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    hash::Hash,
};

/// Identity and revision of a record.
pub(crate) type RecordVersion = (Vec<u8>, i64);

/// Versioned records: what consumers may rely on is checked at every row.
pub(crate) struct Records<K, V> {
    /// With the file that it is in.
    pub(super) seen: HashMap<RecordVersion, String>,
    key_of_id: HashMap<Vec<u8>, K>,
    id_of_key: HashMap<K, Vec<u8>>,
    newest: HashMap<K, (i64, V)>,
}

impl<K, V> Default for Records<K, V> {
    fn default() -> Self {
        Records { seen: HashMap::new(), key_of_id: HashMap::new(), id_of_key: HashMap::new(), newest: HashMap::new() }
    }
}

impl<K: Clone + Debug + Eq + Hash + Ord, V: Debug> Records<K, V> {
    pub(crate) fn add(&mut self, file: &str, (id, revision): RecordVersion, key: K, value: V) -> Result<()> {
        if let Some(other) = self.seen.insert((id.clone(), revision), file.to_owned()) {
            bail!(
                "record {} revision {revision} of {key:?} is there twice, in {other} and, as {value:?}, in {file}",
                hex(&id)
            );
        }
        let known = self.key_of_id.entry(id.clone()).or_insert_with(|| key.clone());
        ensure!(*known == key, "record {} is both {known:?} and {key:?}", hex(&id));
        let named = self.id_of_key.entry(key.clone()).or_insert_with(|| id.clone());
        ensure!(*named == id, "{key:?} is both record {} and record {}", hex(named), hex(&id));
        let newest = self.newest.get(&key).map(|(newest, _)| *newest);
        if newest.is_none_or(|newest| newest < revision) {
            self.newest.insert(key, (revision, value));
        }
        Ok(())
    }

    pub(super) fn highest_revision(&self) -> i64 {
        self.seen.keys().map(|(_, revision)| *revision).max().unwrap_or(0)
    }

    /// The newest values; revisions must have no gaps.
    pub(crate) fn newest(self) -> Result<BTreeMap<K, V>> {
        let mut versions: HashMap<&[u8], i64> = HashMap::new();
        self.seen.keys().for_each(|(id, _)| *versions.entry(id).or_default() += 1);
        for (key, (newest, _)) in &self.newest {
            let there = versions.get(self.id_of_key[key].as_slice()).copied().unwrap_or(0);
            ensure!(there == newest + 1, "{key:?} has {there} revisions, the newest is {newest}: one is missing");
        }
        Ok(self.newest.into_iter().map(|(key, (_, value))| (key, value)).collect())
    }
}

impl<K: Ord, V> Records<K, V> {
    /// The newest values, running counts too, which come as they come.
    pub(super) fn newest_of_all(self) -> BTreeMap<K, V> {
        self.newest.into_iter().map(|(key, (_, value))| (key, value)).collect()
    }
}

/// The sixteen bytes of a UUID in text.
pub(crate) fn bytes_of_uuid(text: &str) -> Result<Vec<u8>> {
    let digits = text.replace('-', "");
    let is_uuid = digits.len() == 32 && digits.is_ascii() && text.len() == 36;
    ensure!(is_uuid, "'{text}' is no record id");
    (0..16).map(|byte| Ok(u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16)?)).collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
