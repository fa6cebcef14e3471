//! Answers left rows: which of the right rows that are there fit, and what of that is to be put out.
//!
//! An answer follows from the right rows alone, whenever they came, so that it only has to be found again when one has come that
//! fits. Right rows only ever come, so an answer never loses its match: of a left row that was unmatched the first match withdraws
//! that, and a better match is its next revision.

use super::config::{JoinConfig, Match};
use super::left::{UNMATCHED, WAITING};
use super::sides::{Place, Sides};
use hashbrown::HashMap;
use weir_engine::operator::{Counter, OperatorContext};

/// A result to be put out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picked {
    pub(super) left: Place,
    /// None: it is unmatched. Where each match is a result of its own, also which of several equal rows it is.
    pub(super) right: Option<(Place, u32)>,
    pub(super) revision: i32,
    pub(super) withdrawn: bool,
}

/// Results to be put out, and the counters of a join.
#[derive(Debug)]
pub(super) struct Answering {
    matching: Match,
    pub(super) matched: Vec<Picked>,
    pub(super) unmatched: Vec<Picked>,
    /// Left rows that got a match.
    rows_matched: Counter,
    /// Left rows that were put out as unmatched.
    rows_unmatched: Counter,
    /// Results that take the place of ones that were put out.
    corrections: Counter,
}

impl Answering {
    pub(super) fn new(config: &JoinConfig, context: &OperatorContext) -> Self {
        Answering {
            matching: config.matching,
            matched: Vec::new(),
            unmatched: Vec::new(),
            rows_matched: context.counters.counter("matched"),
            rows_unmatched: context.counters.counter("unmatched"),
            corrections: context.counters.counter("corrections"),
        }
    }

    /// Answers a left row whose time has come.
    pub(super) fn answer(&mut self, sides: &mut Sides, place: Place) {
        let Some((hash, time)) = key_of(sides, place) else { return };
        let matches = match self.matching {
            Match::All => numbered(sides, sides.all(hash, time)),
            _ => sides.best(hash, time).map(|right| (right, 0)).into_iter().collect(),
        };
        let answer = if matches.is_empty() { UNMATCHED } else { 0 };
        if matches.is_empty() {
            self.rows_unmatched.add(1);
            self.unmatched.push(Picked { left: place, right: None, revision: 0, withdrawn: false });
        } else {
            self.rows_matched.add(1);
        }
        self.pick(place, matches.into_iter(), 0);
        set_answer(sides, place, answer);
    }

    /// Corrects the answer of a left row if right rows have come that change it.
    pub(super) fn correct(&mut self, sides: &mut Sides, place: Place) {
        let Some((hash, time)) = key_of(sides, place) else { return };
        let Some(answer) = sides.left_row(place).map(|(bucket, row)| bucket.answer(row)) else { return };
        if answer == WAITING {
            return;
        }
        let mut matches = match self.matching {
            Match::All => numbered(sides, sides.all(hash, time)),
            _ => sides.best(hash, time).map(|right| (right, 0)).into_iter().collect(),
        };
        matches.retain(|(right, _)| sides.is_new(*right));
        if matches.is_empty() {
            return;
        }
        if answer == UNMATCHED {
            self.corrections.add(1);
            self.rows_matched.add(1);
            self.unmatched.push(Picked { left: place, right: None, revision: 1, withdrawn: true });
        }
        let revision = match self.matching {
            // Each match is a result of its own.
            Match::All => 0,
            _ => answer + 1,
        };
        self.corrections.add(u64::from(revision > 0));
        self.pick(place, matches.into_iter(), revision);
        set_answer(sides, place, revision);
    }

    fn pick(&mut self, left: Place, matches: impl Iterator<Item = (Place, u32)>, revision: i32) {
        let picked = |right| Picked { left, right: Some(right), revision, withdrawn: false };
        self.matched.extend(matches.map(picked));
    }
}

/// The key and the time of a left row.
fn key_of(sides: &Sides, place: Place) -> Option<(u128, i64)> {
    let (bucket, row) = sides.left_row(place)?;
    Some((bucket.rows.hash(row), bucket.rows.time(row)))
}

fn set_answer(sides: &mut Sides, (start, row): Place, answer: i32) {
    if let Some(bucket) = sides.left.get_mut(start)
        && bucket.answer(row) != answer
    {
        bucket.set_answer(row, answer);
    }
}

/// Right rows, and which of several equal ones each is: those that are known to earlier answers come first, so that these numbers
/// stay as they are.
fn numbered(sides: &Sides, mut rows: Vec<Place>) -> Vec<(Place, u32)> {
    rows.sort_by_key(|place| sides.is_new(*place));
    let mut counts: HashMap<(u128, i64), u32> = HashMap::with_capacity(rows.len());
    let mut number = |place: Place| {
        let kind = sides.right_row(place).map(|(bucket, row)| (bucket.rows.row_hash(row), bucket.rows.time(row)));
        let count = counts.entry(kind.unwrap_or_default()).or_default();
        *count += 1;
        *count - 1
    };
    rows.into_iter().map(|place| (place, number(place))).collect()
}
