//! Scheduling of a source's splits: which to ask at each step, without a walk over all of them.
//!
//! Invariant: a split stands where its last [`Place`] says, so each step costs the logarithm of the number of splits. Most of
//! the many files of a folder have nothing to say.

use std::collections::BTreeSet;
use weir_engine::{element::WATERMARK_MIN, env::Moment};

/// Where a split stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// It may have something: its rank, the smallest is next.
    pub(super) ready: Option<Rank>,
    /// When there is something to be done about it.
    pub(super) due: Option<Moment>,
    /// Its watermark, which holds that of all back.
    pub(super) watermark: Option<i64>,
}

/// What is said already goes first, then whose event time has come least far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Something that was held waits to be sent.
    Held,
    /// Has a watermark of this.
    At(i64),
}

/// Where all splits stand, by their index.
#[derive(Debug, Default)]
pub(super) struct Turns {
    places: Vec<Place>,
    ready: BTreeSet<(Rank, usize)>,
    due: BTreeSet<(Moment, usize)>,
    watermarks: BTreeSet<(i64, usize)>,
}

impl Turns {
    /// A split stands there from now on.
    pub(super) fn place(&mut self, index: usize, place: Place) {
        if self.places.len() <= index {
            self.places.resize(index + 1, Place::default());
        }
        let before = std::mem::replace(&mut self.places[index], place);
        move_in(&mut self.ready, before.ready, place.ready, index);
        move_in(&mut self.due, before.due, place.due, index);
        move_in(&mut self.watermarks, before.watermark, place.watermark, index);
    }

    /// The split to read next.
    pub(super) fn next(&self) -> Option<usize> {
        self.ready.first().map(|(_, index)| *index)
    }

    /// When something is to be done first, and with which split.
    pub(super) fn first_due(&self) -> Option<(Moment, usize)> {
        self.due.first().copied()
    }

    /// The smallest watermark of those whose time has begun.
    pub(super) fn slowest(&self) -> Option<i64> {
        self.watermarks.range((WATERMARK_MIN + 1, 0)..).next().map(|(watermark, _)| *watermark)
    }

    /// The smallest watermark.
    pub(super) fn watermark(&self) -> Option<i64> {
        self.watermarks.first().map(|(watermark, _)| *watermark)
    }
}

fn move_in<T: Ord + Copy>(set: &mut BTreeSet<(T, usize)>, from: Option<T>, to: Option<T>, index: usize) {
    if from == to {
        return;
    }
    from.map(|from| set.remove(&(from, index)));
    to.map(|to| set.insert((to, index)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_goes_first_and_then_whose_time_has_come_least_far() {
        let mut turns = Turns::default();
        let at = |watermark| Place { ready: Some(Rank::At(watermark)), due: None, watermark: Some(watermark) };
        turns.place(0, at(7));
        turns.place(1, at(5));
        turns.place(2, at(5));
        assert_eq!((turns.next(), turns.watermark()), (Some(1), Some(5)));
        turns.place(1, at(9));
        assert_eq!((turns.next(), turns.watermark()), (Some(2), Some(5)));
        turns.place(0, Place { ready: Some(Rank::Held), ..at(7) });
        assert_eq!(turns.next(), Some(0));
        turns.place(0, Place::default());
        turns.place(2, Place { ready: None, ..at(5) });
        assert_eq!((turns.next(), turns.watermark(), turns.first_due()), (Some(1), Some(5), None));
    }
}
