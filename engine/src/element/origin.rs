//! Where rows were read: so that a failure can name the records that it is about.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The piece of a split that the rows of a batch were read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The source's node id.
    pub source: String,
    /// The split's name for people: a file, as dead letters show it.
    pub split: String,
    /// Bytes of the split before the first row.
    pub from: u64,
    /// Bytes of the split before what follows the last row.
    pub to: u64,
    /// The offset of the one record that it is, where it is one: what dead letters call its offset.
    pub record: Option<u64>,
}

impl Origin {
    /// Whether rows that begin at `position` of a split may be among these, batches being cut where they are.
    pub fn may_hold(&self, source: &str, split: &str, position: u64) -> bool {
        let length = self.to.saturating_sub(self.from);
        self.source == source && self.split == split && position < self.to && position + length >= self.from
    }

    /// Whether both are the same one record.
    pub fn is_record(&self, other: &Origin) -> bool {
        self.record.is_some() && (&self.source, &self.split, self.record) == (&other.source, &other.split, other.record)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(offset) => write!(f, "the record at offset {offset} of '{}'", self.split),
            None => write!(f, "records between bytes {} and {} of '{}'", self.from, self.to, self.split),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_found_again_though_batches_are_cut_elsewhere() {
        let origin = Origin { source: "s".into(), split: "a.log".into(), from: 1000, to: 1100, record: None };
        let may_hold = |position| origin.may_hold("s", "a.log", position);
        assert!(may_hold(1000) && may_hold(1099) && may_hold(900), "one that begins before it may reach into it");
        assert!(!may_hold(1100) && !may_hold(899));
        assert!(!origin.may_hold("s", "b.log", 1000));
    }

    #[test]
    fn the_same_record_is_known_again() {
        let record = |offset| Origin { source: "s".into(), split: "a".into(), from: 0, to: 1, record: offset };
        assert!(record(Some(7)).is_record(&Origin { to: 99, ..record(Some(7)) }));
        assert!(!record(Some(7)).is_record(&record(Some(8))));
        assert!(!record(None).is_record(&record(None)), "a piece is no record");
    }
}
