//! The clock of a time zone, by the rules of the tz database that is compiled in.

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, str::FromStr};

const DAY_MS: i64 = 86_400_000;
/// Moments that are looked at for all offsets of a zone, one a week: no rule holds for a shorter time.
const WEEK_MS: i64 = 7 * DAY_MS;
/// The end of the year 2100, when rules are known until.
const RULES_END_MS: i64 = 4_133_980_800_000;

/// A time zone, by its name in the tz database, such as `Asia/Seoul`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// What the clock shows, in milliseconds as if it were UTC. It never goes back: what is shown once more, as the clock was set
    /// back, is read as the last moment before.
    pub(super) fn reading(self, moment: i64) -> i64 {
        let now = self.offset_ms(moment);
        let a_day_ago = moment.saturating_sub(DAY_MS);
        let before = self.offset_ms(a_day_ago);
        let shown = moment.saturating_add(now);
        if before <= now {
            return shown;
        }
        let set_back = first_of(a_day_ago, moment, |at| self.offset_ms(at) == now);
        shown.max(set_back.saturating_add(before).saturating_sub(1))
    }

    /// The first moment at which [`reading`](Self::reading) has come so far.
    pub(super) fn moment(self, reading: i64) -> i64 {
        let (from, to) = (reading.saturating_sub(DAY_MS), reading.saturating_add(DAY_MS));
        let (before, after) = (self.offset_ms(from), self.offset_ms(to));
        if before == after {
            return reading.saturating_sub(before);
        }
        first_of(from, to, |at| self.reading(at) >= reading)
    }

    /// By how much its clock is ahead of UTC.
    fn offset_ms(self, moment: i64) -> i64 {
        let far = if moment < 0 { NaiveDateTime::MIN } else { NaiveDateTime::MAX };
        let at = DateTime::from_timestamp_millis(moment).map_or(far, |at| at.naive_utc());
        i64::from(self.0.offset_from_utc_datetime(&at).fix().local_minus_utc()) * 1_000
    }

    fn offsets(self) -> impl Iterator<Item = i64> {
        (0..RULES_END_MS / WEEK_MS).map(move |week| self.offset_ms(week * WEEK_MS))
    }

    /// From the smallest to the largest offset that it has had since 1970.
    pub(super) fn spread_ms(self) -> i64 {
        let (least, most) =
            self.offsets().fold((i64::MAX, i64::MIN), |(least, most), offset| (least.min(offset), most.max(offset)));
        most.saturating_sub(least)
    }

    /// Whether all offsets since 1970 are multiples of a length of time, so that windows of that length in UTC are also windows of
    /// that length by this clock.
    pub fn keeps_windows_of(self, length_ms: i64) -> bool {
        length_ms > 0 && self.offsets().all(|offset| offset % length_ms == 0)
    }

    /// The names that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }
}

/// The first moment in `(from, to]` of which something is true, that is true from there on.
fn first_of(from: i64, to: i64, is_true: impl Fn(i64) -> bool) -> i64 {
    let (mut from, mut to) = (from, to);
    while to.saturating_sub(from) > 1 {
        let middle = from + (to - from) / 2;
        if is_true(middle) { to = middle } else { from = middle }
    }
    to
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.parse().map(Zone).map_err(|_| format!("there is no time zone \"{name}\""))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
