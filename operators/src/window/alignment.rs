//! Where windows begin: event time read on the clock that they are cut by.
//!
//! *Window time* is what the clock of a time zone shows, less the offset, as if it were UTC: so windows begin at multiples of their
//! size in it. It never goes back. While a clock that was set back shows what it has shown before, window time stands still;
//! where a clock is set forward, it jumps. So `reading <= read(moment)` says the same as `event_time(reading) <= moment`, and
//! whether a window has closed can be asked on either side.

use super::zone::Zone;
use super::{HOUR_MS, WindowSpec};
use serde::{Deserialize, Serialize};
use weir_engine::{EngineError, Result};

/// Where windows begin: by default with the epoch, in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alignment {
    /// So many milliseconds later.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset_ms: i64,
    /// By the clock of this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
}

fn is_zero(ms: &i64) -> bool {
    *ms == 0
}

impl Alignment {
    /// Whether window time is event time.
    #[inline]
    pub fn is_epoch(self) -> bool {
        self.offset_ms == 0 && self.timezone.is_none()
    }

    /// Refuses an alignment that windows cannot have.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(self, window: WindowSpec) -> Result<()> {
        let refuse = |text: String| Err(EngineError::definition(text));
        if self.is_epoch() {
            return Ok(());
        }
        let period = match window {
            WindowSpec::Cumulating { size_ms, .. } => size_ms,
            _ => match window.period_ms() {
                Some(period) => period,
                None => {
                    return refuse(
                        "sessions and the global window begin with their events: they have no offset".into(),
                    );
                }
            },
        };
        if self.offset_ms < 0 || self.offset_ms >= period {
            let offset = self.offset_ms;
            return refuse(format!(
                "an offset of {offset} ms: it must be at least 0 and less than the {period} ms between windows"
            ));
        }
        let whole_hours = |ms: Option<i64>| ms.is_some_and(|ms| ms % HOUR_MS == 0);
        match self.timezone {
            Some(zone) if !whole_hours(window.period_ms()) || !whole_hours(Some(window.size_ms())) => {
                refuse(format!("windows in the time zone {zone} must be of whole hours"))
            }
            _ => Ok(()),
        }
    }

    /// A moment in window time. The ends of time are the same in both.
    pub fn read(self, event_time: i64) -> i64 {
        if self.is_epoch() || event_time == i64::MIN || event_time == i64::MAX {
            return event_time;
        }
        self.timezone.map_or(event_time, |zone| zone.reading(event_time)).saturating_sub(self.offset_ms)
    }

    /// The first moment at which window time has come so far.
    pub fn event_time(self, reading: i64) -> i64 {
        if self.is_epoch() || reading == i64::MIN || reading == i64::MAX {
            return reading;
        }
        let shown = reading.saturating_add(self.offset_ms);
        self.timezone.map_or(shown, |zone| zone.moment(shown))
    }

    /// Whether window time may jump, so that different readings may be the same moment.
    pub(super) fn skips(self) -> bool {
        self.timezone.is_some()
    }

    /// By how much a piece of window time may be shorter than that of event time.
    pub(super) fn longer_by_ms(self) -> i64 {
        self.timezone.map_or(0, Zone::spread_ms)
    }
}
