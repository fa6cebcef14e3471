//! What counts are rolled up to: those of windows to hours, these to days. An event is counted in exactly one of the tables.

/// A minute in milliseconds.
pub const MINUTE_MS: i64 = 60_000;
/// An hour in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A day in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// How counts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// As the job gave them, a row for each window.
    Window,
    /// Added up by hour.
    Hour,
    /// Added up by day.
    Day,
}

impl Grain {
    /// All of them, the finest first.
    pub const ALL: [Grain; 3] = [Grain::Window, Grain::Hour, Grain::Day];

    /// Those that windows are rolled up to.
    pub const ROLLED_UP: [Grain; 2] = [Grain::Hour, Grain::Day];

    /// The table with counts of this grain, given the sink's.
    pub fn table(self, table: &str) -> String {
        let ending = match self {
            Grain::Window => "",
            Grain::Hour => "_hours",
            Grain::Day => "_days",
        };
        format!("{table}{ending}")
    }

    /// Its length in milliseconds, given that of the job's windows.
    pub fn length_ms(self, window_ms: i64) -> i64 {
        match self {
            Grain::Window => window_ms,
            Grain::Hour => HOUR_MS,
            Grain::Day => DAY_MS,
        }
    }
}
