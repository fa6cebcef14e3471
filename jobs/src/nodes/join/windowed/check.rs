//! Whether two sides are results that can be joined by their windows.

use weir_operators::columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::definition::{KeyPath, Mistake};

use super::super::super::check::Check;
use super::super::super::results::Results;
use super::super::super::types::Types;
use super::definition::WindowJoin;

/// The columns that its results have beside what is selected.
pub(super) const OWN: [&str; 5] = [RECORD_ID, WINDOW_START, WINDOW_END, REVISION, WITHDRAWN];

const AGGREGATE: &str =
    "an aggregate with { tumbling = ... }, { hopping = ... } or { cumulating = ... }, or a map after one";

impl WindowJoin {
    /// What is wrong with it. Nothing more is said where a side is no results that have windows.
    pub(super) fn check_sides(&self, check: &mut Check<'_>, left: &Types, right: &Types) {
        let before = check.mistakes.len();
        for (key, given) in [("left", left), ("right", right)] {
            check.mistakes.extend(wrong_side(&check.path.key(key), given));
        }
        let (Some(of_left), Some(of_right)) = (&left.results, &right.results) else { return };
        if check.mistakes.len() > before {
            return;
        }
        if of_left.window != of_right.window {
            let message = "its windows are not those of the left, so that they are hardly ever the same";
            let mistake = Mistake::new(check.path.key("right"), message).found(of_right.window.note());
            check.mistakes.push(mistake.expected(of_left.window.note()));
        }
        self.sides.check_on(check, &left.main, &right.main);
        self.check_fixed(check, (left, of_left), (right, of_right));
        let selected = self.selected(&left.main, &right.main);
        self.sides.check_select(check, (&left.main, &right.main), selected, &OWN);
    }

    /// A result must keep its partners, whatever corrects it.
    fn check_fixed(
        &self,
        check: &mut Check<'_>,
        (left, of_left): (&Types, &Results),
        (right, of_right): (&Types, &Results),
    ) {
        let [on_left, on_right] = &self.sides.on;
        for (position, (one, other)) in on_left.iter().zip(on_right).enumerate() {
            let place = self.sides.place_of(&check.path, position);
            if on_right[..position].contains(other) && !on_left[..position].contains(one) {
                check.mistakes.push(Mistake::new(place.clone(), format!("`{other}` is in `on` twice")));
            }
            for (side, name, given, results) in [("left", one, left, of_left), ("right", other, right, of_right)] {
                if given.main.column(name).is_none() {
                    continue; // That was said.
                }
                let origin = results.origin(name);
                let message = if origin.is_some_and(|origin| OWN.contains(&origin)) {
                    format!("`{side}.{name}` is no column of a key; the windows are compared anyway")
                } else if !results.is_fixed(name) {
                    format!("a correction of a result may change its `{side}.{name}`, and so what it is joined with")
                } else {
                    continue;
                };
                let expected =
                    format!("columns of the key of `{}`, or what is computed of these", results.counted.name);
                check.mistakes.push(Mistake::new(place.clone(), message).expected(expected));
            }
        }
    }
}

/// What keeps the rows of a side from being results that have windows.
fn wrong_side(place: &KeyPath, given: &Types) -> Option<Mistake> {
    let mistake = |message: &str| Mistake::new(place.clone(), message.to_owned());
    let Some(results) = &given.results else {
        let message =
            "its rows are events, which are in no window; a join of events has `within` and `match`, and no `type`";
        return Some(mistake(message).found(format!("a {}", given.origin)).expected(AGGREGATE));
    };
    if results.is_of_events() {
        let message = format!("`{}` is a join of events, whose results belong to no window", results.counted.name);
        return Some(Mistake::new(place.clone(), message).expected(AGGREGATE));
    }
    if results.window.is_global() {
        let message = "its rows are of all of event time, so none belongs to a window";
        return Some(mistake(message).found(results.window.note()).expected(AGGREGATE));
    }
    if results.sessions {
        let message = "sessions begin and end with the events of their own side, so two are hardly ever the same";
        return Some(mistake(message).found(results.window.note()).expected(AGGREGATE));
    }
    if !results.are_groups {
        let message = "it has no key that tells its results apart, as those of one aggregate have";
        return Some(mistake(message).found(format!("a {}", given.origin)).expected(AGGREGATE));
    }
    if !results.is_unchanged(WINDOW_END) {
        let message = format!("its rows have no `{WINDOW_END}`, which says which window they are of");
        let expected = format!("`{WINDOW_END} = \"{WINDOW_END}\"` in the `select` of the maps between");
        return Some(Mistake::new(place.clone(), message).expected(expected));
    }
    None
}
