//! Where rows were read: so that a failure can name the records that it is about.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The pieces of splits that the rows of a batch were read from: mostly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Where the other rows were read, where those of several small splits are one batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Piece>,
}

/// A piece of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The split's name for people.
    pub split: String,
    /// Bytes of the split before the first row.
    pub from: u64,
    /// Bytes of the split before what follows the last row.
    pub to: u64,
}

impl Origin {
    /// Whether rows that begin at `position` of a split may be among these, batches being cut where they are.
    pub fn may_hold(&self, source: &str, split: &str, position: u64) -> bool {
        let may_hold = |piece: &str, from: u64, to: u64| {
            piece == split && position < to && position + to.saturating_sub(from) >= from
        };
        let others = || self.others.iter().any(|piece| may_hold(&piece.split, piece.from, piece.to));
        self.source == source && (may_hold(&self.split, self.from, self.to) || others())
    }

    /// With the rows of another piece of the same source behind these.
    #[must_use]
    pub fn and(mut self, other: Origin) -> Origin {
        self.others.push(Piece { split: other.split, from: other.from, to: other.to });
        self.others.extend(other.others);
        self.record = None;
        self
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
        }?;
        match self.others.as_slice() {
            [] => Ok(()),
            [only] => write!(f, " and {} and {} of '{}'", only.from, only.to, only.split),
            [.., last] => write!(f, " and those of {} more, the last '{}'", self.others.len(), last.split),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_found_again_though_batches_are_cut_elsewhere() {
        let origin = Origin { source: "s".into(), split: "a.log".into(), from: 1000, to: 1100, ..Origin::default() };
        let may_hold = |position| origin.may_hold("s", "a.log", position);
        assert!(may_hold(1000) && may_hold(1099) && may_hold(900), "one that begins before it may reach into it");
        assert!(!may_hold(1100) && !may_hold(899));
        assert!(!origin.may_hold("s", "b.log", 1000));
    }

    #[test]
    fn rows_of_several_splits_are_found_again_in_each() {
        let piece =
            |split: &str, from, to| Origin { source: "s".into(), split: split.into(), from, to, ..Origin::default() };
        let two = piece("a.log", 10, 20).and(piece("b.log", 0, 30));
        assert_eq!(two.to_string(), "records between bytes 10 and 20 of 'a.log' and 0 and 30 of 'b.log'");
        let three = two.and(Origin { record: Some(5), ..piece("c.log", 5, 6) });
        assert!(three.to_string().ends_with("20 of 'a.log' and those of 2 more, the last 'c.log'"), "{three}");
        for (split, position, holds) in
            [("a.log", 15, true), ("b.log", 15, true), ("b.log", 30, false), ("c.log", 5, true), ("d.log", 5, false)]
        {
            assert_eq!(three.may_hold("s", split, position), holds, "{split} at {position}");
        }
        assert!(!three.may_hold("other", "b.log", 15));
        assert!(!three.is_record(&piece("c.log", 5, 6)), "several records are no record");
    }

    #[test]
    fn the_same_record_is_known_again() {
        let record =
            |offset| Origin { source: "s".into(), split: "a".into(), from: 0, to: 1, record: offset, others: vec![] };
        assert!(record(Some(7)).is_record(&Origin { to: 99, ..record(Some(7)) }));
        assert!(!record(Some(7)).is_record(&record(Some(8))));
        assert!(!record(None).is_record(&record(None)), "a piece is no record");
    }
}
