//! Windows in event time: which windows an event belongs to, when a window closes, and when an event is too late for it.
//!
//! Windows are half-open, `[start, end)`. They are cut in [*window time*](alignment), in which all of them are of one size and
//! the first one begins at 0: without an offset and a time zone that is event time, in milliseconds since the epoch in UTC.
//! Whoever asks here asks in event time and is answered in it; nobody else computes bounds from sizes.
//!
//! Every window but a session and the global one is made of *slices*: pieces of event time that belong to the same windows. A
//! tumbling window is one slice, a hopping window is `size / slide` of them, or, where that leaves a remainder, twice as many
//! and one, and a cumulating window is one for each step. So an event updates one slice however many windows it is in.
//!
//! When an event is late. It is accepted as long as the *last* window that it belongs to is within its lateness, and is
//! then counted in *all* its windows. So the state of a hopping or cumulating window is kept beyond its lateness.

mod alignment;
mod bounds;
#[cfg(test)]
pub(crate) mod tests;
mod zone;

pub use alignment::Alignment;
pub use bounds::floor;
pub use zone::Zone;

use serde::{Deserialize, Serialize};
use weir_engine::{EngineError, Result};

/// The most windows that one event may be in: as many as a week has minutes. Each of them is emitted, and put together from as many
/// slices, or twice as many.
pub const MOST_WINDOWS: u32 = 7 * 24 * 60;

/// The most windows that a definition may keep open at once: those that begin within a window, its allowed lateness and the delay of
/// its source. Each of them has state of its own, and is named by each checkpoint.
pub const MOST_OPEN_WINDOWS: u32 = 100_000;

/// What a clock may be set by that names a zone: windows in a time zone are of whole hours.
pub const HOUR_MS: i64 = 3_600_000;

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
        /// Length of a window, at least the slide.
        size_ms: i64,
        /// From the start of one window to the start of the next.
        slide_ms: i64,
    },
    /// Windows that grow: of each span of `size_ms` one from its beginning to the end of each step.
    Cumulating {
        /// Length of the longest window, a multiple of the step.
        size_ms: i64,
        /// From the end of one window to the end of the next.
        step_ms: i64,
    },
    /// Per key: events that are less than the gap apart.
    Session {
        /// The silence that ends a session.
        gap_ms: i64,
    },
    /// All of event time.
    Global {
        /// The silence after which a key is forgotten; none: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<i64>,
    },
}

/// Windows and how long after their end they may still be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowRule {
    /// The windows.
    pub window: WindowSpec,
    /// Where they begin.
    #[serde(flatten)]
    pub alignment: Alignment,
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
            WindowSpec::Hopping { size_ms, slide_ms } if size_ms < slide_ms => refuse(format!(
                "a hopping window of {size_ms} ms every {slide_ms} ms: events between two windows would be in none; the slide \
                 must be at most the size"
            )),
            WindowSpec::Cumulating { size_ms, step_ms } if size_ms <= 0 || step_ms <= 0 => {
                refuse(format!("a cumulating window of {size_ms} ms by {step_ms} ms: size and step must be positive"))
            }
            WindowSpec::Cumulating { size_ms, step_ms } if size_ms % step_ms != 0 => refuse(format!(
                "a cumulating window of {size_ms} ms by {step_ms} ms: the size must be a multiple of the step, for example {} ms",
                (size_ms / step_ms + 1).saturating_mul(step_ms)
            )),
            WindowSpec::Hopping { .. } | WindowSpec::Cumulating { .. }
                if self.windows_per_event() > i64::from(MOST_WINDOWS) =>
            {
                refuse(format!(
                    "{}: each event would be in {} windows, and {MOST_WINDOWS} are the most",
                    self.said(),
                    self.windows_per_event()
                ))
            }
            WindowSpec::Session { gap_ms } if gap_ms <= 0 => {
                refuse(format!("a session window with a gap of {gap_ms} ms: the gap must be positive"))
            }
            WindowSpec::Global { ttl_ms: Some(ttl_ms) } if ttl_ms <= 0 => {
                refuse(format!("a global window with a ttl of {ttl_ms} ms: it must be positive"))
            }
            _ => Ok(()),
        }
    }

    fn said(self) -> String {
        match self {
            WindowSpec::Tumbling { size_ms } => format!("a tumbling window of {size_ms} ms"),
            WindowSpec::Hopping { size_ms, slide_ms } => {
                format!("a hopping window of {size_ms} ms every {slide_ms} ms")
            }
            WindowSpec::Cumulating { size_ms, step_ms } => {
                format!("a cumulating window of {size_ms} ms by {step_ms} ms")
            }
            WindowSpec::Session { gap_ms } => format!("a session window with a gap of {gap_ms} ms"),
            WindowSpec::Global { .. } => "the global window".into(),
        }
    }

    /// Whether windows are made of slices, so that their bounds do not depend on what they hold.
    pub fn has_slices(self) -> bool {
        self.period_ms().is_some()
    }

    /// Whether there is one window only, all of event time.
    pub fn is_global(self) -> bool {
        matches!(self, WindowSpec::Global { .. })
    }

    /// From the end of one window to that of the next; `None` for sessions and the global window.
    pub fn period_ms(self) -> Option<i64> {
        match self {
            WindowSpec::Tumbling { size_ms } => Some(size_ms),
            WindowSpec::Hopping { slide_ms, .. } => Some(slide_ms),
            WindowSpec::Cumulating { step_ms, .. } => Some(step_ms),
            WindowSpec::Session { .. } | WindowSpec::Global { .. } => None,
        }
    }

    /// Length of a window, of the longest where they grow; of a session, of its shortest, which holds one event; of the global
    /// window, how long it remembers.
    pub fn size_ms(self) -> i64 {
        match self {
            WindowSpec::Tumbling { size_ms }
            | WindowSpec::Hopping { size_ms, .. }
            | WindowSpec::Cumulating { size_ms, .. } => size_ms,
            WindowSpec::Session { gap_ms } => gap_ms,
            WindowSpec::Global { ttl_ms } => ttl_ms.unwrap_or(i64::MAX),
        }
    }

    /// Number of windows that an event is in, at most.
    pub fn windows_per_event(self) -> i64 {
        self.period_ms().map_or(1, |period| (self.size_ms().saturating_sub(1)) / period.max(1) + 1)
    }
}

impl WindowRule {
    /// Windows that begin with the epoch, in UTC.
    pub fn of(window: WindowSpec, allowed_lateness_ms: i64) -> Self {
        WindowRule { window, alignment: Alignment::default(), allowed_lateness_ms }
    }

    /// Refuses windows, alignments and latenesses that make no sense.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(self) -> Result<()> {
        self.window.validate()?;
        self.alignment.validate(self.window)?;
        if self.allowed_lateness_ms < 0 {
            return Err(EngineError::definition(format!(
                "an allowed lateness of {} ms: it must not be negative",
                self.allowed_lateness_ms
            )));
        }
        Ok(())
    }

    /// The slice that holds an event: its start and its length. Of windows without slices, the event's millisecond.
    #[inline]
    pub fn slice(self, event_time: i64) -> (i64, i64) {
        if self.alignment.is_epoch() {
            return self.window.slice(event_time);
        }
        let (start, width) = self.window.slice(self.alignment.read(event_time));
        let start_utc = self.alignment.event_time(start);
        (start_utc, self.alignment.event_time(start.saturating_add(width)).saturating_sub(start_utc))
    }

    /// End of the first window that an event belongs to.
    pub fn first_window_end(self, event_time: i64) -> i64 {
        match self.window.period_ms() {
            Some(_) => self.alignment.event_time(self.window.first_end(self.alignment.read(event_time))),
            None => self.last_window_end(event_time),
        }
    }

    /// End of the last window that an event belongs to; of a session, as if the event were its last; of the global window, when it
    /// is forgotten.
    pub fn last_window_end(self, event_time: i64) -> i64 {
        if self.alignment.is_epoch() {
            return self.window.last_end(event_time);
        }
        self.alignment.event_time(self.window.last_end(self.alignment.read(event_time)))
    }

    /// Start of the window that ends at a moment; of windows with slices.
    pub fn window_start(self, end: i64) -> i64 {
        self.alignment.event_time(self.window.start_of(self.window_time_of(end)))
    }

    /// The ends of all windows after `after` that some slices are part of, each once, in order; of slices that come in order.
    ///
    /// Of windows that would end at the same moment, as the clock skips an hour, there is only the one that begins first.
    pub fn ends(self, slice_starts: impl Iterator<Item = i64>, after: i64) -> impl Iterator<Item = i64> {
        let alignment = self.alignment;
        let starts = slice_starts.map(move |start| alignment.read(start));
        let ends = self.window.ends(starts, alignment.read(after));
        let period = self.window.period_ms().unwrap_or(1);
        ends.filter(move |end| {
            !alignment.skips() || alignment.event_time(end.saturating_sub(period)) < alignment.event_time(*end)
        })
        .map(move |end| alignment.event_time(end))
    }

    /// The ends of the windows that an event belongs to, in order.
    pub fn ends_of(self, event_time: i64) -> impl Iterator<Item = i64> {
        self.ends(std::iter::once(event_time), i64::MIN)
    }

    /// How many windows are open at once where time comes no further than `delay_ms` behind the newest event: as many as begin while
    /// an event can still be counted. Sessions and the global window are those of their keys.
    pub fn open_windows(self, delay_ms: i64) -> i64 {
        let kept = self.window.size_ms().saturating_add(self.allowed_lateness_ms).saturating_add(delay_ms);
        self.window.period_ms().map_or(0, |period| kept.saturating_add(period - 1) / period)
    }

    /// Whether no event is ever late.
    pub fn takes_all(self) -> bool {
        self.window == WindowSpec::Global { ttl_ms: None }
    }

    /// Whether an event is too late at a watermark: every window it belongs to is closed and past its lateness.
    pub fn is_late(self, event_time: i64, watermark: i64) -> bool {
        !self.takes_all() && self.last_window_end(event_time).saturating_add(self.allowed_lateness_ms) <= watermark
    }

    /// The watermark at which no accepted event can change a window any more that ends at `window_end`: its state goes.
    ///
    /// An accepted event's last window ends as long after the window in question as the window's last event allows; of sessions
    /// and of what a global window remembers, an event that joins one may come up to a gap before its end.
    pub fn expiry(self, window_end: i64) -> i64 {
        let last = match self.window {
            WindowSpec::Tumbling { .. } => window_end,
            WindowSpec::Session { gap_ms: gap } | WindowSpec::Global { ttl_ms: Some(gap) } => {
                window_end.saturating_add(gap)
            }
            WindowSpec::Global { ttl_ms: None } => i64::MAX,
            WindowSpec::Hopping { .. } | WindowSpec::Cumulating { .. } => {
                self.alignment.event_time(self.window.last_end_with(self.window_time_of(window_end)))
            }
        };
        last.saturating_add(self.allowed_lateness_ms)
    }

    /// The shortest time for which a dedup before these windows must remember an id, so that no accepted event is
    /// counted twice. Where the clock is set back, a window is longer than its size.
    pub fn minimum_dedup_ttl_ms(self) -> i64 {
        let longest = self.window.size_ms().saturating_add(self.alignment.longer_by_ms());
        longest.saturating_add(self.allowed_lateness_ms)
    }

    /// The end of a window in window time. Several may be the same moment, where the clock skips an hour: the first.
    fn window_time_of(self, end: i64) -> i64 {
        if self.alignment.is_epoch() {
            return end;
        }
        self.window.first_end(self.alignment.read(end.saturating_sub(1)))
    }
}
