//! The path of a value in a nested record: `ad.id`, `tags.0`, `headers."user.agent"`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The keys that lead to a value, at least one. A number leads into an array, or to a key that is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPath {
    keys: Vec<String>,
}

impl FieldPath {
    /// The path of a key of the record itself, whatever signs are in it.
    pub fn of_key(key: &str) -> Self {
        FieldPath { keys: vec![key.to_owned()] }
    }

    /// The keys, from the record down.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

impl FromStr for FieldPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{text}` is not a path: {what}");
        let mut keys = Vec::new();
        let mut rest = text;
        loop {
            let (key, after) = match rest.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let (key, after) =
                        rest[1..].split_once(quote).ok_or_else(|| wrong("a quote in it is not closed"))?;
                    if !after.is_empty() && !after.starts_with('.') {
                        return Err(wrong("a dot is expected after a key in quotes"));
                    }
                    (key, after)
                }
                _ => rest.split_at(rest.find('.').unwrap_or(rest.len())),
            };
            if key.is_empty() {
                return Err(wrong("there is an empty key in it"));
            }
            keys.push(key.to_owned());
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None => return Ok(FieldPath { keys }),
            }
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.keys.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            let plain = !key.contains(['.', '"', '\'']);
            let quote = match plain {
                true => "",
                false if key.contains('"') => "'",
                false => "\"",
            };
            write!(formatter, "{dot}{quote}{key}{quote}")?;
        }
        Ok(())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_keys_between_dots() {
        let keys = |text: &str| text.parse::<FieldPath>().expect(text).keys;
        assert_eq!(keys("id"), ["id"]);
        assert_eq!(keys("ad.id"), ["ad", "id"]);
        assert_eq!(keys("tags.0"), ["tags", "0"]);
        assert_eq!(keys("headers.\"user.agent\".x"), ["headers", "user.agent", "x"]);
        assert_eq!(keys("'a \"b\"'.c d"), ["a \"b\"", "c d"]);
        for text in ["id", "ad.id", "a.\"b.c\"", "'x\"y'.z"] {
            assert_eq!(text.parse::<FieldPath>().expect(text).to_string(), text);
        }
        for wrong in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "\"\""] {
            assert!(wrong.parse::<FieldPath>().is_err(), "{wrong}");
        }
    }
}
