//! Windows of every kind.

use super::{Drawing, HOUR};
use crate::grammar::job::{Window, Windows};
use rand::RngExt;

const ZONES: [&str; 5] = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Asia/Seoul", "Atlantic/Azores"];

impl Drawing {
    /// Windows over events.
    pub(super) fn window(&mut self) -> Window {
        let gap = self.unit * self.dice.random_range(1..5) / 2;
        let windows = match self.below(8) {
            0 => Windows::Session(gap),
            1 => Windows::Global((self.one_in(2)).then_some(gap * 4)),
            _ => return self.sliced(0),
        };
        let is_global = matches!(windows, Windows::Global(_));
        let lateness_ms = if is_global { 0 } else { self.lateness() };
        Window { windows, offset_ms: 0, zone: None, lateness_ms }
    }

    fn lateness(&mut self) -> i64 {
        self.unit * [0, 0, 1, 5, 60][self.below(5)]
    }

    /// Windows with slices that are at least so long.
    pub(super) fn sliced(&mut self, least_ms: i64) -> Window {
        let piece = self.unit * self.dice.random_range(1..5);
        let least = least_ms / piece + i64::from(least_ms % piece > 0);
        let times = self.dice.random_range(1..5).max(least);
        let windows = match self.below(4) {
            0 | 1 => Windows::Tumbling(piece * times),
            2 => {
                let remainder = if self.unit < HOUR && self.one_in(2) { piece / 2 } else { 0 };
                Windows::Hopping(piece * times + remainder, piece)
            }
            _ => Windows::Cumulating(piece * times, piece),
        };
        // Less than they are apart.
        let apart = match windows {
            Windows::Tumbling(size) | Windows::Cumulating(size, _) => size,
            Windows::Hopping(_, slide) => slide,
            Windows::Session(_) | Windows::Global(_) => 1,
        };
        let offset_ms = if self.one_in(3) { self.dice.random_range(0..apart / 500) * 500 } else { 0 };
        let zone = (self.unit == HOUR && self.one_in(2)).then(|| ZONES[self.below(ZONES.len())]);
        // By a clock of a zone windows are of whole hours, and India's are half an hour apart from others'.
        let lateness_ms = self.lateness();
        Window { windows, offset_ms, zone, lateness_ms }
    }
}
