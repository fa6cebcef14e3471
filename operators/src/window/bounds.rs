//! The arithmetic of windows in window time, where all are of one size and the first begins at 0. Rounded down also before 0, and
//! saturated at the ends of what 64 bits hold.
//!
//! All windows of a kind end at multiples of the period, further by what is left of a size that is no multiple of it. From this,
//! from the end of the last window that holds a moment and from the start that belongs to an end, all else follows.

use super::WindowSpec;

impl WindowSpec {
    /// What is left of the size of a hopping window that is no multiple of its slide.
    fn remainder(self) -> i64 {
        match self {
            WindowSpec::Hopping { size_ms, slide_ms } => size_ms % slide_ms,
            _ => 0,
        }
    }

    /// The slice that holds a moment: its start and its length.
    #[inline]
    pub(super) fn slice(self, time: i64) -> (i64, i64) {
        let Some(period) = self.period_ms() else { return (time, 1) };
        let start = floor(time, period);
        match self.remainder() {
            0 => (start, period),
            // Windows begin at the one, and end at the other.
            left if time.saturating_sub(start) < left => (start, left),
            left => (start.saturating_add(left), period - left),
        }
    }

    /// End of the first window that holds a moment.
    pub(super) fn first_end(self, time: i64) -> i64 {
        self.end_until(time).saturating_add(self.period_ms().unwrap_or(1))
    }

    /// End of the last window that holds a moment.
    pub(super) fn last_end(self, time: i64) -> i64 {
        let start = match self {
            WindowSpec::Tumbling { size_ms } | WindowSpec::Cumulating { size_ms, .. } => floor(time, size_ms),
            WindowSpec::Hopping { slide_ms, .. } => floor(time, slide_ms),
            WindowSpec::Session { .. } | WindowSpec::Global { .. } => time,
        };
        start.saturating_add(self.size_ms())
    }

    /// Start of the window with an end.
    pub(super) fn start_of(self, end: i64) -> i64 {
        match self {
            WindowSpec::Cumulating { size_ms, step_ms } => floor(end.saturating_sub(step_ms), size_ms),
            _ => end.saturating_sub(self.size_ms()),
        }
    }

    /// The last end of a window that shares a moment with the one that ends at `end`.
    pub(super) fn last_end_with(self, end: i64) -> i64 {
        match self {
            WindowSpec::Hopping { size_ms, slide_ms } => end.saturating_add((size_ms - 1) / slide_ms * slide_ms),
            WindowSpec::Cumulating { size_ms, .. } => self.start_of(end).saturating_add(size_ms),
            _ => end,
        }
    }

    /// The last end at a moment or before it.
    fn end_until(self, time: i64) -> i64 {
        let left = self.remainder();
        floor(time.saturating_sub(left), self.period_ms().unwrap_or(1)).saturating_add(left)
    }

    /// The ends of all windows behind `after` that hold some moments, each once, in order; of moments that come in order.
    pub(super) fn ends(self, times: impl Iterator<Item = i64>, after: i64) -> impl Iterator<Item = i64> {
        let period = self.period_ms().unwrap_or(1);
        let mut known = self.end_until(after);
        times.flat_map(move |time| {
            let first = self.first_end(time).max(known.saturating_add(period));
            let last = self.last_end(time);
            known = known.max(last);
            let windows =
                if first <= last { last.saturating_sub(first).saturating_add(period - 1) / period + 1 } else { 0 };
            (0..windows).map(move |n| first.saturating_add(n.saturating_mul(period)).min(last))
        })
    }
}

/// The largest multiple of `width` that is not greater than `time`.
#[inline]
pub fn floor(time: i64, width: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(width))
}
