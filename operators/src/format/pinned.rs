//! What a schema said when the job was put together: read from its file or asked for once, and from then on a part of the
//! configuration of the node. So a restart reads by the same schema, whatever has become of the file or the registry.

use parking_lot::RwLock;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    io::Read,
    sync::{Arc, OnceLock},
};

use crate::definition::Reader;

/// The most that a file with a schema has, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// A schema, once it is known. Copies share it, so that who looks can be another than who compiles.
#[derive(Clone, Default)]
pub struct Pinned {
    text: Arc<OnceLock<String>>,
    problem: Arc<RwLock<Option<String>>>,
}

impl Pinned {
    /// Of what it says.
    pub fn of(text: impl Into<String>) -> Self {
        let pinned = Pinned::default();
        pinned.set(text.into());
        pinned
    }

    /// What it says, if that is known.
    pub fn get(&self) -> Option<&str> {
        self.text.get().map(String::as_str)
    }

    /// It says this, and what it says does not change any more.
    pub fn set(&self, text: String) {
        let _ = self.text.set(text);
    }

    /// Why it is not known.
    pub fn problem(&self) -> Option<String> {
        self.problem.read().clone()
    }

    /// It is not known, for this reason.
    pub fn failed(&self, problem: String) {
        *self.problem.write() = Some(problem);
    }

    /// Whether nothing is known of it.
    pub fn is_none(&self) -> bool {
        self.get().is_none()
    }
}

/// The bytes of the file that a key names; what is wrong is noted there.
pub(super) fn read_file(keys: &Reader<'_>, key: &str, expected: &str) -> Option<(String, Vec<u8>)> {
    let path = keys.text(key)?;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        keys.refuse(key, format!("the file can't be read: {error}"), expected);
        return None;
    }
    if bytes.len() as u64 > MOST_BYTES {
        keys.refuse(key, "the file has more than 16 MiB, so it is no schema", expected);
        return None;
    }
    Some((path, bytes))
}

impl PartialEq for Pinned {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} bytes)", self.get().map_or(0, str::len))
    }
}

impl Serialize for Pinned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pinned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map_or_else(Pinned::default, Pinned::of))
    }
}
