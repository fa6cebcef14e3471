//! Windows as data.

/// A kind of windows. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Windows {
    /// Side by side.
    Tumbling(i64),
    /// Length and slide.
    Hopping(i64, i64),
    /// Length of the longest and step.
    Cumulating(i64, i64),
    /// The gap between two.
    Session(i64),
    /// All of event time, with a time to live or without.
    Global(Option<i64>),
}

/// The windows of an aggregate or a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Their kind.
    pub windows: Windows,
    /// How much later than at multiples of their size they begin.
    pub offset_ms: i64,
    /// The clock that they are cut by; none: UTC.
    pub zone: Option<&'static str>,
    /// How long they are corrected after their end.
    pub lateness_ms: i64,
}

impl Window {
    /// The length of the longest; of sessions the gap.
    pub fn size_ms(&self) -> i64 {
        match self.windows {
            Windows::Tumbling(size) | Windows::Hopping(size, _) | Windows::Cumulating(size, _) => size,
            Windows::Session(gap) => gap,
            Windows::Global(ttl) => ttl.unwrap_or(0),
        }
    }

    /// Whether results have a start and an end.
    pub fn has_bounds(&self) -> bool {
        !matches!(self.windows, Windows::Global(_))
    }
}
