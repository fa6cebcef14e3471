//! What a node reads from, as written.

use weir_operators::definition::Reader;

/// The outputs that an input of a node reads: `clicks`, or `clicks.late`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs(Vec<String>);

impl Inputs {
    /// The outputs, as written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The names between commas, for messages.
    pub(crate) fn list(&self) -> String {
        self.0.join(", ")
    }
}

impl From<&str> for Inputs {
    fn from(name: &str) -> Self {
        Inputs(vec![name.to_owned()])
    }
}

impl From<String> for Inputs {
    fn from(name: String) -> Self {
        Inputs(vec![name])
    }
}

impl From<&String> for Inputs {
    fn from(name: &String) -> Self {
        Inputs(vec![name.clone()])
    }
}

impl Inputs {
    /// Reads a key that names them.
    pub(crate) fn read(node: &Reader<'_>, key: &str, expected: &str) -> Self {
        Inputs(vec![node.required_text(key, expected)])
    }
}
