//! The outputs of nodes.

/// An output of a node, as definitions name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Output {
    /// Results; with the node's name alone.
    Main,
    /// The rows that came to a gate in time: what is counted, and duplicates.
    OnTime,
    /// The rows that came too late.
    Late,
    /// What could not be read or computed.
    DeadLetters,
}

impl Output {
    /// As written behind a node's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Output::Main => "main",
            Output::OnTime => "on_time",
            Output::Late => "late",
            Output::DeadLetters => "dead_letters",
        }
    }
}
