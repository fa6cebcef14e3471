//! Up to where minutes have become hours, and hours days. A row of events is in exactly one of the three tables.

use super::{Store, Writing};
use weir_engine::error::Result;
use weir_jobs::recalculation::StoreTable;
use weir_operators::source::files::EventTimeRange;
use weir_store::{Grain, quoted, row::integer_or_null};

/// The ends of what is rolled up: counts are by day before `days_end`, by hour from there to `hours_end`, and as the job
/// gave them from there on. Rolling up goes by age, so that nothing before such an end is kept any finer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledUp {
    /// End of the last day; none: nothing is kept by day.
    pub days_end: Option<i64>,
    /// End of the last hour.
    pub hours_end: Option<i64>,
}

impl RolledUp {
    /// How counts are kept at a place in time.
    pub fn grain_at(self, time_ms: i64) -> Grain {
        if self.days_end.is_some_and(|end| time_ms < end) {
            Grain::Day
        } else if self.hours_end.is_some_and(|end| time_ms < end) {
            Grain::Hour
        } else {
            Grain::Window
        }
    }

    /// The smallest range around this one that cuts through no hour and no day that is kept as one sum.
    pub fn widened(self, range: EventTimeRange, window_ms: i64) -> EventTimeRange {
        let step = |time: i64| self.grain_at(time).length_ms(window_ms);
        let from_ms = range.from_ms - range.from_ms.rem_euclid(step(range.from_ms));
        // The end is the first moment that is out: what is before it says how it is kept.
        let last = range.to_ms.saturating_sub(1);
        let to_ms = last - last.rem_euclid(step(last)) + step(last);
        EventTimeRange { from_ms, to_ms }
    }

    /// Looks a table's up.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn of(store: &Store, table: &StoreTable) -> Result<Self> {
        let mut found = RolledUp::default();
        for grain in Grain::ROLLED_UP {
            if let Some(sql) = newest(table, grain)
                && store.has(&grain.table(&table.table)).await?
            {
                let newest = store.rows(&sql, &[]).await?;
                found.note(grain, newest.first().map(|row| integer_or_null(row, 0)).transpose()?.flatten());
            }
        }
        Ok(found)
    }

    /// The same within a transaction; `grains` says which of the tables there are.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn within(writing: &mut Writing, table: &StoreTable, grains: &[Grain]) -> Result<Self> {
        let mut found = RolledUp::default();
        for grain in grains {
            if let Some(sql) = newest(table, *grain) {
                let newest = writing.rows(&sql, &[]).await?;
                found.note(*grain, newest.first().map(|row| integer_or_null(row, 0)).transpose()?.flatten());
            }
        }
        Ok(found)
    }

    fn note(&mut self, grain: Grain, newest: Option<i64>) {
        let end = newest.map(|newest| newest.saturating_add(grain.length_ms(0)));
        match grain {
            Grain::Window => {}
            Grain::Hour => self.hours_end = end,
            Grain::Day => self.days_end = end,
        }
    }
}

fn newest(table: &StoreTable, grain: Grain) -> Option<String> {
    let start = table.windows.start.as_ref().filter(|_| !table.sums.is_empty())?;
    Some(format!("SELECT max({}) FROM {}", quoted(start), quoted(&grain.table(&table.table))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::{DAY_MS, HOUR_MS};

    #[test]
    fn ranges_are_widened_to_what_is_kept_as_one() {
        let rolled = RolledUp { days_end: Some(DAY_MS), hours_end: Some(DAY_MS + 2 * HOUR_MS) };
        let widened = |from_ms, to_ms| {
            let range = rolled.widened(EventTimeRange { from_ms, to_ms }, 60_000);
            (range.from_ms, range.to_ms)
        };
        assert_eq!(widened(60_000, 120_000), (0, DAY_MS));
        assert_eq!(widened(DAY_MS + 60_000, DAY_MS + HOUR_MS), (DAY_MS, DAY_MS + HOUR_MS));
        let minutes = DAY_MS + 3 * HOUR_MS;
        assert_eq!(widened(minutes + 60_000, minutes + 120_000), (minutes + 60_000, minutes + 120_000));
        assert_eq!(widened(minutes + 1, minutes + 2), (minutes, minutes + 60_000));
        assert_eq!(widened(HOUR_MS, minutes), (0, minutes));
        assert_eq!(RolledUp::default().widened(EventTimeRange { from_ms: 5, to_ms: 9 }, 5).to_ms, 10);
    }
}
