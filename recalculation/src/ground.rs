//! Which range of event time is counted again: what the archive holds, what is final, and whole windows of it.

use crate::{
    closed::final_until,
    store::{RolledUp, Store},
};
use weir_engine::error::{EngineError, Result};
use weir_jobs::recalculation::StoreTable;
use weir_operators::{
    moment,
    source::files::{ArchivePart, EventTimeRange},
};
use weir_store::{DAY_MS, Grain, HOUR_MS, quoted, row::integer_or_null};

/// What limits a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The hours of the archive, from the first to the last.
    archive: EventTimeRange,
    /// Windows that end by then are final; none: all are, the job is finished.
    final_until: Option<i64>,
    /// Length of the windows, in milliseconds.
    window_ms: i64,
    rolled_up: RolledUp,
    /// The first time that the store has counts of.
    store_from: Option<i64>,
}

/// A range as it was asked for; what is not said is decided here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The first moment, in milliseconds.
    pub from_ms: Option<i64>,
    /// The first moment that is out.
    pub to_ms: Option<i64>,
}

/// A range, and what was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Whole windows; whole hours and days where the store keeps such.
    pub range: EventTimeRange,
    /// Whether it is larger than what was asked for.
    pub widened: bool,
    /// Windows that end by then are final; none: all are, the job is finished.
    pub final_until: Option<i64>,
}

impl Asked {
    /// Reads `FROM..TO`, either of which may be missing.
    ///
    /// # Errors
    /// Saying what would be right.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |found: &str| {
            EngineError::definition(format!("range '{text}': '{found}' is not a time; write {}", moment::EXAMPLES))
        };
        let Some((from, to)) = text.split_once("..") else {
            return Err(EngineError::definition(format!("range '{text}': write FROM..TO, each {}", moment::EXAMPLES)));
        };
        let read = |text: &str| match text.trim() {
            "" => Ok(None),
            text => moment::parse(text).map(Some).ok_or_else(|| wrong(text)),
        };
        let asked = Asked { from_ms: read(from)?, to_ms: read(to)? };
        if let (Some(from), Some(to)) = (asked.from_ms, asked.to_ms)
            && from >= to
        {
            return Err(EngineError::definition(format!("range '{text}' ends before it begins")));
        }
        Ok(asked)
    }
}

impl Ground {
    /// Looks at the store and the archive. `finished`: the job has read all of its input and committed the last of its results.
    ///
    /// # Errors
    /// When the store refuses, there is no archive, or nothing is final yet.
    pub async fn of(store: &Store, tables: &[StoreTable], parts: &[ArchivePart], finished: bool) -> Result<Self> {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Err(EngineError::definition("there is no file in the archive"));
        };
        let archive = EventTimeRange { from_ms: first.hour_ms, to_ms: last.hour_ms + HOUR_MS };
        let mut ground =
            Ground { archive, final_until: None, window_ms: 1, rolled_up: RolledUp::default(), store_from: None };
        for table in tables.iter().filter(|table| table.counted.is_some()) {
            if !store.has(&table.table).await? {
                return Err(EngineError::definition(format!(
                    "the store has no table '{}': has the job been run with this sink?",
                    table.table
                )));
            }
            ground.window_ms = ground.window_ms.max(table.windows.size_ms);
            let rolled_up = RolledUp::of(store, table).await?;
            ground.rolled_up.days_end = ground.rolled_up.days_end.max(rolled_up.days_end);
            ground.rolled_up.hours_end = ground.rolled_up.hours_end.max(rolled_up.hours_end);
            ground.store_from = [ground.store_from, earliest(store, table).await?].into_iter().flatten().min();
            if !finished {
                let until = final_until(store, table).await?.unwrap_or(i64::MIN);
                ground.final_until = Some(ground.final_until.map_or(until, |known| known.min(until)));
            }
        }
        Ok(ground)
    }

    /// The latest end that a range can have.
    fn latest(&self) -> i64 {
        self.final_until.unwrap_or(i64::MAX).min(self.archive.to_ms)
    }

    /// The range for what was asked.
    ///
    /// # Errors
    /// When it cuts a window, begins before the archive, or ends after what is final: naming what would be right.
    pub fn choose(&self, asked: Asked) -> Result<Chosen> {
        for at in [asked.from_ms, asked.to_ms].into_iter().flatten() {
            let before = at - at.rem_euclid(self.window_ms);
            if at != before {
                return Err(EngineError::definition(format!(
                    "{} cuts through a window; the nearest boundaries are {} and {}",
                    moment::show(at),
                    moment::show(before),
                    moment::show(before + self.window_ms)
                )));
            }
        }
        let latest = self.latest();
        if let Some(to) = asked.to_ms.filter(|to| *to > latest) {
            return Err(EngineError::definition(self.too_late(to, latest)));
        }
        if let Some(from) = asked.from_ms.filter(|from| *from < self.archive.from_ms) {
            return Err(EngineError::definition(format!(
                "the archive begins at {}, so that nothing can be counted from {} on: what is in the store would be lost",
                moment::show(self.archive.from_ms),
                moment::show(from)
            )));
        }
        let from_ms = asked.from_ms.unwrap_or(self.archive.from_ms);
        let to_ms = asked.to_ms.unwrap_or(latest.saturating_sub(latest.rem_euclid(self.window_ms)));
        if from_ms >= to_ms {
            return Err(EngineError::definition(self.nothing(from_ms, latest)));
        }
        let asked_for = EventTimeRange { from_ms, to_ms };
        let mut range = self.rolled_up.widened(asked_for, self.window_ms);
        if range.from_ms < self.archive.from_ms && self.store_from.is_some_and(|from| from < range.from_ms) {
            let unit = self.rolled_up.grain_at(from_ms).length_ms(self.window_ms);
            let next = range.from_ms + unit;
            if asked.from_ms.is_some() || next >= range.to_ms {
                return Err(EngineError::definition(format!(
                    "counts around {} are kept by the {}, of which the archive, that begins at {}, has only a part; begin at {}",
                    moment::show(from_ms),
                    if unit == DAY_MS { "day" } else { "hour" },
                    moment::show(self.archive.from_ms),
                    moment::show(next)
                )));
            }
            range.from_ms = next;
        }
        let widened = range.from_ms < asked_for.from_ms || range.to_ms > asked_for.to_ms;
        Ok(Chosen { range, widened, final_until: self.final_until })
    }

    fn too_late(&self, to: i64, latest: i64) -> String {
        let (to, shown) = (moment::show(to), moment::show(latest));
        match self.final_until {
            Some(until) if until == latest => format!(
                "the range ends at {to}, but the job may still correct windows that end after {shown}: that is the latest end that \
                 is allowed now"
            ),
            _ => format!("the range ends at {to}, but the archive ends at {shown}"),
        }
    }

    fn nothing(&self, from: i64, latest: i64) -> String {
        match latest {
            i64::MIN => "no window is final yet: the job may still correct all of them".into(),
            latest => format!(
                "the range from {} to {} contains no window that is final",
                moment::show(from),
                moment::show(latest)
            ),
        }
    }
}

/// The first time that a table has counts of, however they are kept.
async fn earliest(store: &Store, table: &StoreTable) -> Result<Option<i64>> {
    let Some(start) = &table.windows.start else { return Ok(None) };
    let mut earliest: Option<i64> = None;
    for grain in Grain::ALL {
        let name = grain.table(&table.table);
        if (grain != Grain::Window && table.sums.is_empty()) || !store.has(&name).await? {
            continue;
        }
        let rows = store.rows(&format!("SELECT min({}) FROM {}", quoted(start), quoted(&name)), &[]).await?;
        let found = rows.first().map(|row| integer_or_null(row, 0)).transpose()?.flatten();
        earliest = [earliest, found].into_iter().flatten().min();
    }
    Ok(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn ground() -> Ground {
        Ground {
            archive: EventTimeRange { from_ms: HOUR_MS, to_ms: 5 * HOUR_MS },
            final_until: Some(4 * HOUR_MS),
            window_ms: MINUTE,
            rolled_up: RolledUp::default(),
            store_from: Some(HOUR_MS),
        }
    }

    fn asked(from: Option<i64>, to: Option<i64>) -> Asked {
        Asked { from_ms: from, to_ms: to }
    }

    fn range(chosen: Result<Chosen>) -> (i64, i64, bool) {
        let Chosen { range, widened, .. } = chosen.unwrap();
        (range.from_ms, range.to_ms, widened)
    }

    fn refused(chosen: Result<Chosen>) -> String {
        chosen.unwrap_err().message
    }

    #[test]
    fn ranges_are_read() {
        let read = |text| Asked::parse(text).unwrap();
        assert_eq!(read("1970-01-01T00:01:00Z..120"), asked(Some(MINUTE), Some(2 * MINUTE)));
        assert_eq!(read(".."), Asked::default());
        assert_eq!(read("60.."), asked(Some(MINUTE), None));
        for wrong in ["60", "60..noon", "60..60"] {
            assert!(Asked::parse(wrong).unwrap_err().message.contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_default_is_all_that_is_final_and_archived() {
        assert_eq!(range(ground().choose(Asked::default())), (HOUR_MS, 4 * HOUR_MS, false));
        let finished = Ground { final_until: None, ..ground() };
        assert_eq!(range(finished.choose(Asked::default())), (HOUR_MS, 5 * HOUR_MS, false));
        let early = Ground { final_until: Some(i64::MIN), ..ground() };
        assert!(refused(early.choose(Asked::default())).contains("no window is final yet"));
    }

    #[test]
    fn what_cannot_be_replaced_is_refused_with_what_can() {
        let late = refused(ground().choose(asked(None, Some(4 * HOUR_MS + MINUTE))));
        assert!(late.contains("1970-01-01T04:00:00Z: that is the latest end"), "{late}");
        assert!(refused(ground().choose(asked(Some(0), None))).contains("the archive begins at 1970-01-01T01:00:00Z"));
        let cut = refused(ground().choose(asked(Some(HOUR_MS + 1), None)));
        assert!(cut.contains("1970-01-01T01:00:00Z and 1970-01-01T01:01:00Z"), "{cut}");
    }

    #[test]
    fn hours_and_days_are_replaced_as_a_whole() {
        let hours = Ground { rolled_up: RolledUp { days_end: None, hours_end: Some(3 * HOUR_MS) }, ..ground() };
        let part = asked(Some(HOUR_MS + MINUTE), Some(2 * HOUR_MS + MINUTE));
        assert_eq!(range(hours.choose(part)), (HOUR_MS, 3 * HOUR_MS, true));
        let days = Ground { rolled_up: RolledUp { days_end: Some(DAY_MS), hours_end: None }, ..ground() };
        let days = Ground { final_until: Some(3 * DAY_MS), ..days };
        let days = Ground { archive: EventTimeRange { to_ms: 3 * DAY_MS, ..days.archive }, ..days };
        assert_eq!(range(days.choose(Asked::default())), (0, 3 * DAY_MS, true), "the store begins with the archive");
        let older = Ground { store_from: Some(-DAY_MS), ..days };
        assert_eq!(range(older.choose(Asked::default())).0, DAY_MS, "a part of that day is not in the archive");
        assert!(refused(older.choose(asked(Some(HOUR_MS), None))).contains("begin at 1970-01-02T00:00:00Z"));
    }
}
