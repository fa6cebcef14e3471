//! Windows in event time: which window an event belongs to, when a window closes, and when an event is too late for it.
//!
//! All of it is arithmetic on milliseconds since the epoch, rounded down also before 1970. Windows are half-open,
//! `[start, end)`, and aligned to the epoch.
//!
//! Every window but a session is made of *slices*: pieces of event time that belong to the same windows. A tumbling
//! window is one slice, a hopping window is `size / slide` of them, so that an event updates one slice however many windows
//! it is in.
//!
//! When an event is late. It is accepted as long as the *last* window that it belongs to is within its lateness, and is
//! then counted in *all* its windows. A hopping window is therefore kept `size - slide` longer than its lateness.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use weir_engine::{EngineError, Result};

/// The most windows that one event may be in: as many as a week has minutes. Each of them is emitted, and put together from as many
/// slices.
pub const MOST_WINDOWS: u32 = 7 * 24 * 60;

/// The most windows that a definition may keep open at once: those that begin within a window, its allowed lateness and the delay of
/// its source. Each of them has state of its own, and is named by each checkpoint.
pub const MOST_OPEN_WINDOWS: u32 = 100_000;

/// How event time is cut into windows. Durations are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSpec {
    /// Windows of one size, side by side.
    Tumbling {
        /// Length of a window.
        size_ms: i64,
    },
    /// Windows of one size that overlap: one starts every `slide_ms`.
    Hopping {
        /// Length of a window, a multiple of the slide.
        size_ms: i64,
        /// From the start of one window to the start of the next.
        slide_ms: i64,
    },
    /// Per key: events that are less than the gap apart.
    Session {
        /// The silence that ends a session.
        gap_ms: i64,
    },
}

/// Windows and how long after their end they may still be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRule {
    /// The windows.
    pub window: WindowSpec,
    /// How long, in event time, a window is kept after it has closed.
    #[serde(default)]
    pub allowed_lateness_ms: i64,
}

impl WindowSpec {
    /// Refuses windows that make no sense.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(self) -> Result<()> {
        let refuse = |text: String| Err(EngineError::definition(text));
        match self {
            WindowSpec::Tumbling { size_ms } if size_ms <= 0 => {
                refuse(format!("a tumbling window of {size_ms} ms: its size must be positive"))
            }
            WindowSpec::Hopping { size_ms, slide_ms } if size_ms <= 0 || slide_ms <= 0 => {
                refuse(format!("a hopping window of {size_ms} ms every {slide_ms} ms: size and slide must be positive"))
            }
            WindowSpec::Hopping { size_ms, slide_ms } if size_ms % slide_ms != 0 => refuse(format!(
                "a hopping window of {size_ms} ms every {slide_ms} ms: the size must be a multiple of the slide, for example {} ms",
                (size_ms / slide_ms + 1) * slide_ms
            )),
            WindowSpec::Hopping { size_ms, slide_ms } if size_ms / slide_ms > i64::from(MOST_WINDOWS) => {
                refuse(format!(
                    "a hopping window of {size_ms} ms every {slide_ms} ms: each event would be in {} windows, and {MOST_WINDOWS} are the most",
                    size_ms / slide_ms
                ))
            }
            WindowSpec::Session { gap_ms } if gap_ms <= 0 => {
                refuse(format!("a session window with a gap of {gap_ms} ms: the gap must be positive"))
            }
            _ => Ok(()),
        }
    }

    /// Length of a slice; `None` for sessions, which have none.
    pub fn slice_ms(self) -> Option<i64> {
        match self {
            WindowSpec::Tumbling { size_ms } => Some(size_ms),
            WindowSpec::Hopping { slide_ms, .. } => Some(slide_ms),
            WindowSpec::Session { .. } => None,
        }
    }

    /// Length of a window; of a session, of its shortest, which holds one event.
    pub fn size_ms(self) -> i64 {
        match self {
            WindowSpec::Tumbling { size_ms } | WindowSpec::Hopping { size_ms, .. } => size_ms,
            WindowSpec::Session { gap_ms } => gap_ms,
        }
    }

    /// Number of slices in a window.
    pub fn slices_per_window(self) -> i64 {
        self.slice_ms().map_or(1, |slice| self.size_ms() / slice)
    }

    /// The ends of all windows behind `after` that some slices are part of, each once, in order; of slices that come in order.
    pub fn ends(self, slice_starts: impl Iterator<Item = i64>, after: i64) -> impl Iterator<Item = i64> {
        let (slide, size) = (self.slice_ms().unwrap_or(1), self.size_ms());
        let mut known = floor(after, slide);
        slice_starts.flat_map(move |start| {
            let first = start.saturating_add(slide).max(known.saturating_add(slide));
            let last = start.saturating_add(size);
            known = known.max(last);
            let windows = if first <= last { (last - first).saturating_add(slide - 1) / slide + 1 } else { 0 };
            (0..windows).map(move |n| first.saturating_add(n * slide).min(last))
        })
    }

    /// End of the last window that an event belongs to; of a session, as if the event were its last.
    pub fn last_window_end(self, event_time: i64) -> i64 {
        let start = self.slice_ms().map_or(event_time, |slice| floor(event_time, slice));
        start.saturating_add(self.size_ms())
    }
}

impl WindowRule {
    /// Refuses windows and latenesses that make no sense.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(self) -> Result<()> {
        self.window.validate()?;
        if self.allowed_lateness_ms < 0 {
            return Err(EngineError::definition(format!(
                "an allowed lateness of {} ms: it must not be negative",
                self.allowed_lateness_ms
            )));
        }
        Ok(())
    }

    /// How many windows are open at once where time comes no further than `delay_ms` behind the newest event: as many as begin while
    /// an event can still be counted. Sessions are those of their keys.
    pub fn open_windows(self, delay_ms: i64) -> i64 {
        let kept = self.window.size_ms().saturating_add(self.allowed_lateness_ms).saturating_add(delay_ms);
        self.window.slice_ms().map_or(0, |slide| kept.saturating_add(slide - 1) / slide)
    }

    /// Whether an event is too late at a watermark: every window it belongs to is closed and past its lateness.
    pub fn is_late(self, event_time: i64, watermark: i64) -> bool {
        self.window.last_window_end(event_time).saturating_add(self.allowed_lateness_ms) <= watermark
    }

    /// The watermark at which no accepted event can change a window any more that ends at `window_end`: its state goes.
    ///
    /// An accepted event's last window ends at most `size - slide` after the window in question; of sessions, an event
    /// that joins one may come up to a gap before its end.
    pub fn expiry(self, window_end: i64) -> i64 {
        let further = match self.window {
            WindowSpec::Tumbling { .. } => 0,
            WindowSpec::Hopping { size_ms, slide_ms } => size_ms - slide_ms,
            WindowSpec::Session { gap_ms } => gap_ms,
        };
        window_end.saturating_add(further).saturating_add(self.allowed_lateness_ms)
    }

    /// The shortest time for which a dedup before these windows must remember an id, so that no accepted event is
    /// counted twice.
    pub fn minimum_dedup_ttl_ms(self) -> i64 {
        self.window.size_ms().saturating_add(self.allowed_lateness_ms)
    }
}

/// The largest multiple of `width` that is not greater than `time`.
#[inline]
pub fn floor(time: i64, width: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(width))
}
