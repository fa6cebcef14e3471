//! The outputs of nodes.

/// An output of a node, as definitions name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Output {
    /// Results; with the node's name alone.
    Main,
    /// Of a join: what there is no match for.
    Unmatched,
    /// The rows that came to a gate in time: what is counted, and duplicates.
    OnTime,
    /// The rows that came too late.
    Late,
    /// Of a join: the rows of its left input that came too late.
    LateLeft,
    /// Of a join: the rows of its right input that came too late.
    LateRight,
    /// What could not be read or computed.
    DeadLetters,
}

/// Rows that gates have parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gated {
    /// The input of the node that the gates guard, somewhere on the way to it.
    pub(crate) input: usize,
    /// Whether it is the rows that they refused.
    pub(crate) late: bool,
}

impl Output {
    /// As written behind a node's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Output::Main => "main",
            Output::Unmatched => "unmatched",
            Output::OnTime => "on_time",
            Output::Late => "late",
            Output::LateLeft => "late_left",
            Output::LateRight => "late_right",
            Output::DeadLetters => "dead_letters",
        }
    }

    /// Which rows of gates it holds, if it holds such.
    pub(crate) fn gated(self) -> Option<Gated> {
        match self {
            Output::OnTime => Some(Gated { input: 0, late: false }),
            Output::Late | Output::LateLeft => Some(Gated { input: 0, late: true }),
            Output::LateRight => Some(Gated { input: 1, late: true }),
            Output::Main | Output::Unmatched | Output::DeadLetters => None,
        }
    }

    /// Whether it holds what the node makes, where this makes results.
    pub(crate) fn is_of_results(self) -> bool {
        matches!(self, Output::Main | Output::Unmatched)
    }
}
