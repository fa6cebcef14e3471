//! The name of an operator's output.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// Longest name of a port, in bytes.
const LONGEST: usize = 24;

/// An output of an operator, by its name. The engine knows [`Port::MAIN`] alone; the others are between an operator and the
/// graph. Copied for every batch, so it holds its name in place.
///
/// A name has between 1 and 24 characters, each a small letter, a digit or `_`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port([u8; LONGEST]);

impl Port {
    /// Results.
    pub const MAIN: Port = Port::named("main");

    /// The port of a name that is written in the code.
    ///
    /// # Panics
    /// When it is not a name of a port, while compiling where it is a constant. For names from outside there is
    /// [`Port::parse`].
    pub const fn named(name: &'static str) -> Self {
        match Self::parse(name) {
            Some(port) => port,
            None => panic!("a port's name has 1 to 24 characters, each a small letter, a digit or '_'"),
        }
    }

    /// The port of a name, if it is one.
    pub const fn parse(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() > LONGEST {
            return None;
        }
        let mut padded = [0; LONGEST];
        let mut index = 0;
        while index < bytes.len() {
            if !matches!(bytes[index], b'a'..=b'z' | b'0'..=b'9' | b'_') {
                return None;
            }
            padded[index] = bytes[index];
            index += 1;
        }
        Some(Port(padded))
    }

    /// As written behind a node's name in a definition.
    pub fn name(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(LONGEST);
        // ASCII, by construction.
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.name())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Port::parse(&name).ok_or_else(|| D::Error::custom(format!("'{name}' is not the name of a port")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_stored_as_its_name() {
        for name in ["main", "late", "running", "dead_letters", "exactly_24_characters_ok"] {
            let port = Port::parse(name).unwrap();
            assert_eq!((port.name(), port.to_string()), (name, name.to_owned()));
            let stored = serde_json::to_value(port).unwrap();
            assert_eq!(stored, serde_json::json!(name));
            assert_eq!(serde_json::from_value::<Port>(stored).unwrap(), port);
        }
        assert_eq!(Port::parse("main"), Some(Port::MAIN));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "Main", "dead letters", "späte", "more_than_24_characters_x", "a\0"] {
            assert_eq!(Port::parse(name), None, "{name}");
            assert!(serde_json::from_value::<Port>(name.into()).is_err(), "{name}");
        }
    }
}
