//! What a node reads from, as written.

use weir_operators::definition::{Kind, Reader};

/// The outputs that an input of a node reads: `clicks`, or `clicks.late`; or several, whose rows flow together.
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

impl<S: Into<String>, const N: usize> From<[S; N]> for Inputs {
    fn from(names: [S; N]) -> Self {
        Inputs(names.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<String>> From<Vec<S>> for Inputs {
    fn from(names: Vec<S>) -> Self {
        Inputs(names.into_iter().map(Into::into).collect())
    }
}

impl Inputs {
    /// Reads a key that names one output, or a list of them.
    pub(crate) fn read(node: &Reader<'_>, key: &str, expected: &str) -> Self {
        let Some(Kind::Array(_)) = node.value(key).map(|value| &value.kind) else {
            return Inputs(vec![node.required_text(key, expected)]);
        };
        // What is wrong with the list has been said; without a name the node is not judged.
        node.texts(key).map_or_else(|| Inputs(vec![String::new()]), Inputs)
    }
}
