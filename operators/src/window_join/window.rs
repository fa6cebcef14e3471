//! One window: the newest results of both sides, and which results of the join follow from them.

use super::config::WindowJoinConfig;
use super::given::{GivenResults, Identity, WITHDRAWN};
use crate::join::Side;
use crate::result_rows::{NewestRows, Place, Record};
use arrow::array::Array;

/// What identifies a result, of a side of which it has a row, or has none; where the side is single, that is nothing at all.
const NO_ROW: u128 = 0;
/// Of a row without a value in a column of `on`: of a single side, that it has one.
const A_ROW: u128 = 1;

/// One window.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) left: NewestRows,
    pub(super) right: NewestRows,
    pub(super) given: GivenResults,
}

/// A result to be put out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picked {
    pub(super) identity: Identity,
    /// Where its row of each side is, if it has one. Of a withdrawn one, where the row is that it had.
    pub(super) rows: [Option<Place>; 2],
    /// A row with the values of `on`, and whose it is.
    pub(super) on: (Side, Place),
    pub(super) revision: i32,
    pub(super) is_withdrawn: bool,
}

impl Window {
    /// The rows of a side.
    pub(super) fn side(&self, side: Side) -> &NewestRows {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    pub(super) fn side_mut(&mut self, side: Side) -> &mut NewestRows {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// How many bytes the texts of a result have together, at most.
    pub(super) fn longest(&self) -> usize {
        self.left.longest().saturating_add(self.right.longest())
    }

    /// The same of one result. Where it has a row of neither side, there are the values of `on`.
    pub(super) fn text_bytes(&self, picked: &Picked) -> usize {
        let of = |side: Side, place: Place| self.side(side).text_bytes(place);
        let [left, right] =
            [Side::Left, Side::Right].map(|side| picked.rows[side as usize].map_or(0, |row| of(side, row)));
        left.saturating_add(right).max(of(picked.on.0, picked.on.1))
    }

    /// Whether a row has come since all was put out.
    pub(super) fn has_changes(&self) -> bool {
        self.left.has_changes() || self.right.has_changes()
    }

    /// All that follows from the rows is out.
    pub(super) fn settle(&mut self) {
        self.left.settle();
        self.right.settle();
    }

    /// The values of `on` for which rows have come since all was put out, each once, by their hashes.
    pub(super) fn changed(&self) -> Vec<u128> {
        let mut changed: Vec<u128> = self.left.changed().chain(self.right.changed()).collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Notes what follows for one value of `on`, and picks what of that readers do not have.
    pub(super) fn pick(&mut self, hash: u128, config: &WindowJoinConfig, picked: &mut Vec<Picked>) {
        let rows = [Side::Left, Side::Right].map(|side| self.side(side).records(hash).collect::<Vec<Record>>());
        let any = |side: Side| rows[side as usize].first().map(|row| (side, row.place));
        let Some(on) = any(Side::Left).or(any(Side::Right)) else { return };
        let has_null = self.has_null(on, config.left.on.len());
        let holding = rows.each_ref().map(|rows| rows.iter().filter(|row| !row.withdrawn).copied().collect::<Vec<_>>());
        let mut held = Vec::new();
        for pair in pairs(&holding, has_null, config) {
            let part = |side: Side| match (config.input(side).is_single, pair[side as usize]) {
                (true, _) if !has_null => NO_ROW,
                (_, None) => NO_ROW,
                (true, Some(_)) => A_ROW,
                (false, Some(row)) => row.id,
            };
            let identity = Identity { hash, left: part(Side::Left), right: part(Side::Right) };
            held.push(identity);
            if let Some(revision) = self.given.next(identity, pair.map(|row| Some(row?.revision))) {
                let rows = pair.map(|row| Some(row?.place));
                picked.push(Picked { identity, rows, on, revision, is_withdrawn: false });
            }
        }
        held.sort_unstable();
        for identity in self.given.holding(hash) {
            if held.binary_search(&identity).is_err()
                && let Some(revision) = self.given.next(identity, WITHDRAWN)
            {
                let had = |side: Side, id: u128| Some(self.side(side).record(id)?.place);
                let rows = [had(Side::Left, identity.left), had(Side::Right, identity.right)];
                picked.push(Picked { identity, rows, on, revision, is_withdrawn: true });
            }
        }
    }

    /// Whether a column of `on` has no value in a row; those are kept in front of the others.
    fn has_null(&self, (side, (piece, row)): (Side, Place), columns: usize) -> bool {
        let piece = self.side(side).pieces().get(piece);
        piece.is_some_and(|piece| piece.columns.iter().take(columns).any(|column| column.is_null(row)))
    }
}

/// The pairs of rows that are results: of each side those that hold, of one value of `on`. A null equals nothing.
fn pairs(rows: &[Vec<Record>; 2], has_null: bool, config: &WindowJoinConfig) -> Vec<[Option<Record>; 2]> {
    let [left, right] = rows;
    let mut pairs = Vec::new();
    if !has_null {
        pairs.extend(left.iter().flat_map(|one| right.iter().map(|other| [Some(*one), Some(*other)])));
    }
    if config.join_type.keeps(Side::Left) && (has_null || right.is_empty()) {
        pairs.extend(left.iter().map(|one| [Some(*one), None]));
    }
    if config.join_type.keeps(Side::Right) && (has_null || left.is_empty()) {
        pairs.extend(right.iter().map(|other| [None, Some(*other)]));
    }
    pairs
}
