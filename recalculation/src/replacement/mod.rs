//! How the counts of a replay replace those in the store.
//!
//! The replay's job has written its rows to *shadow tables*, one beside each table. From there they are moved window by
//! window, in the order of time, as many windows in a transaction as is quick. Each transaction removes the old rows of its
//! windows, under all filters and of all keys, and inserts the new ones, so that a reader sees a window as it was or as it
//! is. It also notes how far the replay has come, and is refused when a newer replay of the job was begun.
//!
//! **Overlapping windows**, such as lists of the most clicked ads of the last five minutes, are results over several of
//! those. One that overlaps what a transaction replaces goes in the same transaction. The new one comes in the transaction
//! that replaces the last of its minutes, if all of them are replaced; where the replay has counted only a part of them there
//! is none any more, and queries compute it from the minutes. (Beyond the range nothing is missing where the store has no
//! counts at all.) One that the live job may still correct is left as it is: a correction has only the places that change, and the
//! others would be missing.
//!
//! **Hours and days** that retention has added up are replaced as a whole.

mod statements;
#[cfg(test)]
mod tests;

use crate::{
    records::{self, Replaced, ReplayRecord, ReplayState},
    store::{RolledUp, Store, Writing},
};
use statements::{Part, overlapping, windows};
use std::collections::BTreeSet;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};
use weir_jobs::recalculation::StoreTable;
use weir_operators::source::files::EventTimeRange;
use weir_store::{
    Description, Filter, Grain, HOUR_MS, Value, quoted,
    row::{integer, text},
    tables::{COMMITS, SINKS, of_sink, replay_of, shadows_of},
};

/// Rows that a transaction removes and inserts, more or less: what takes a fraction of a second.
const ROWS_AT_ONCE: i64 = 40_000;

/// A table and the one beside it.
#[derive(Clone, Debug)]
pub struct ShadowedTable {
    /// The table that is read.
    pub table: StoreTable,
    /// The table with the replay's rows.
    pub shadow: String,
}

/// The numbers of the replays that have shadows of these tables.
///
/// # Errors
/// When the store refuses.
pub async fn shadow_numbers(store: &Store, tables: &[StoreTable]) -> Result<BTreeSet<i64>> {
    let mut numbers = BTreeSet::new();
    for table in tables {
        for name in store.tables_that_begin(&shadows_of(&table.table)).await? {
            numbers.extend(replay_of(&name, &table.table));
        }
    }
    Ok(numbers)
}

/// Replaces what a replay has counted, from where its record says on.
#[derive(Debug)]
pub struct Replacement<'a> {
    store: &'a Store,
    env: &'a Env,
    /// Those whose windows lie side by side.
    counts: Vec<ShadowedTable>,
    /// Those whose windows overlap.
    lists: Vec<ShadowedTable>,
    /// Of the first, in their order, where rows are kept.
    grains: Vec<Vec<Grain>>,
    record: ReplayRecord,
    /// Overlapping windows that end later are not touched.
    final_until: i64,
}

impl<'a> Replacement<'a> {
    /// For a replay whose job has ended.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn new(
        store: &'a Store,
        env: &'a Env,
        tables: Vec<ShadowedTable>,
        record: ReplayRecord,
    ) -> Result<Replacement<'a>> {
        let side_by_side = |one: &ShadowedTable| one.table.windows.size_ms == one.table.windows.slide_ms;
        let has_start = |one: &ShadowedTable| one.table.windows.start.is_some();
        let (counts, lists): (Vec<_>, Vec<_>) = tables.into_iter().partition(|one| side_by_side(one) && has_start(one));
        let mut grains = Vec::with_capacity(counts.len());
        for ShadowedTable { table, .. } in &counts {
            let mut found = Vec::new();
            for grain in Grain::ROLLED_UP {
                if !table.sums.is_empty() && store.has(&grain.table(&table.table)).await? {
                    found.push(grain);
                }
            }
            grains.push(found);
        }
        Ok(Replacement { store, env, counts, lists, grains, record, final_until: i64::MAX })
    }

    /// While the job continues: the windows that end by then are final.
    pub fn while_final_until(self, final_until: Option<i64>) -> Self {
        Replacement { final_until: final_until.unwrap_or(i64::MAX), ..self }
    }

    /// Replaces all that is left, and calls `progress` with how far it has come.
    ///
    /// # Errors
    /// When the store refuses, or another process or a newer replay is at it.
    pub async fn run(&mut self, mut progress: impl FnMut(i64)) -> Result<()> {
        while self.record.state == ReplayState::Running && self.record.replaced_to_ms < self.record.plan.range.to_ms {
            let done = self.step().await?;
            self.record.replaced_to_ms = done.to_ms;
            progress(done.to_ms);
        }
        Ok(())
    }

    /// One transaction.
    async fn step(&self) -> Result<Replaced> {
        self.env.crash_point("replay.replacing")?;
        let mut writing = self.store.begin().await?;
        for one in self.counts.iter().chain(&self.lists) {
            writing.hold_sinks(&one.table.table).await?;
        }
        let span = self.next_span(&mut writing).await?;
        let mut done = Replaced { to_ms: span.to_ms, old_rows: 0, new_rows: 0 };
        for (one, grains) in self.counts.iter().zip(&self.grains) {
            let rolled_up = RolledUp::within(&mut writing, &one.table, grains).await?;
            let mut from_ms = span.from_ms;
            while from_ms < span.to_ms {
                let part = self.part(one, rolled_up, EventTimeRange { from_ms, ..span })?;
                let (delete, insert) = windows(one, &part);
                let values = [Value::Integer(part.span.from_ms), Value::Integer(part.span.to_ms)];
                for sql in &delete {
                    done.old_rows += writing.execute(sql, &values).await?;
                }
                done.new_rows += writing.execute(&insert, &values).await?;
                from_ms = part.span.to_ms;
            }
        }
        let whole = self.whole_lists(&mut writing, span).await?;
        for one in &self.lists {
            let (delete, insert) = overlapping(one)?;
            let EventTimeRange { from_ms, to_ms } = span;
            let values = [from_ms.into(), to_ms.into(), self.final_until.into()];
            done.old_rows += writing.execute(&delete, &values).await?;
            let values = [from_ms.into(), whole.to_ms.min(self.final_until).into(), whole.from_ms.into()];
            done.new_rows += writing.execute(&insert, &values).await?;
        }
        records::advance(&mut writing, &self.record, done, self.env.wall_clock_ms()).await?;
        self.env.crash_point("replay.before_commit")?;
        writing.commit().await?;
        self.env.crash_point("replay.replaced")?;
        Ok(done)
    }

    /// Where overlapping windows may begin and end for the replay to have counted all that is in them: within its range, or
    /// beyond an end of it where nothing was ever counted.
    async fn whole_lists(&self, writing: &mut Writing, span: EventTimeRange) -> Result<EventTimeRange> {
        let EventTimeRange { from_ms, to_ms } = self.record.plan.range;
        let mut outside = Vec::new();
        for (one, grains) in self.counts.iter().zip(&self.grains) {
            outside.extend(
                grains.iter().copied().chain([Grain::Window]).filter_map(|grain| statements::outside(one, grain)),
            );
        }
        // Counts may have been removed, and what was made of them is there still.
        for one in &self.lists {
            outside.push(statements::overlapping_outside(one)?);
        }
        let mut whole = EventTimeRange { from_ms: i64::MIN, to_ms: i64::MAX };
        for [before, after] in outside {
            if !writing.rows(&before, &[from_ms.into()]).await?.is_empty() {
                whole.from_ms = from_ms;
            }
            if span.to_ms < to_ms || !writing.rows(&after, &[to_ms.into()]).await?.is_empty() {
                whole.to_ms = span.to_ms;
            }
        }
        Ok(whole)
    }

    /// What the next transaction replaces: within an hour, or a day that is kept as one, windows with not too many rows.
    async fn next_span(&self, writing: &mut Writing) -> Result<EventTimeRange> {
        let EventTimeRange { to_ms: end, .. } = self.record.plan.range;
        let from_ms = self.record.replaced_to_ms;
        let mut longest = HOUR_MS;
        let mut window_ms = 1;
        for (one, grains) in self.counts.iter().zip(&self.grains) {
            let rolled_up = RolledUp::within(writing, &one.table, grains).await?;
            window_ms = window_ms.max(one.table.windows.size_ms);
            let grain = rolled_up.grain_at(from_ms);
            longest = longest.max(grain.length_ms(one.table.windows.size_ms));
            if grain != Grain::Window {
                window_ms = window_ms.max(grain.length_ms(0));
            }
        }
        let most = (from_ms - from_ms.rem_euclid(longest)).saturating_add(longest).min(end);
        let mut rows = 0;
        let mut by_window: std::collections::BTreeMap<i64, i64> = Default::default();
        for one in &self.counts {
            let Some(sql) = statements::rows_by_window(one) else { continue };
            for row in writing.rows(&sql, &[from_ms.into(), most.into()]).await? {
                *by_window.entry(integer(&row, 0)?).or_default() += integer(&row, 1)?;
            }
        }
        for (start, in_window) in by_window {
            // Where windows of several tables lie in one another, all of the longest one goes at once.
            let boundary = start - start.rem_euclid(window_ms);
            if rows > 0 && rows + in_window > ROWS_AT_ONCE && boundary > from_ms {
                return Ok(EventTimeRange { from_ms, to_ms: boundary.min(end) });
            }
            rows += in_window;
        }
        Ok(EventTimeRange { from_ms, to_ms: most })
    }

    /// What of a span is kept in the same way.
    fn part(&self, one: &ShadowedTable, rolled_up: RolledUp, span: EventTimeRange) -> Result<Part> {
        let grain = rolled_up.grain_at(span.from_ms);
        if grain == Grain::Window {
            return Ok(Part { grain, span });
        }
        let length = grain.length_ms(one.table.windows.size_ms);
        let to_ms = span.from_ms.saturating_add(length);
        if span.from_ms.rem_euclid(length) != 0 || to_ms > self.record.plan.range.to_ms {
            return Err(EngineError::io(format!(
                "while the replay was counting, '{}' has been summed into whole hours or days, of which the replay has counted a \
                 part: begin it again, with whole days",
                one.table.table
            )));
        }
        Ok(Part { grain, span: EventTimeRange { from_ms: span.from_ms, to_ms } })
    }
}

/// Gives the filters of the definition that was counted with to the descriptions of the sinks that fill the tables, so that
/// queries about a new filter are answered. A sink that continues describes itself again when it changes.
///
/// # Errors
/// When the store refuses, or a description is not readable.
pub async fn describe(store: &Store, job: &str, tables: &[ShadowedTable]) -> Result<()> {
    let mut writing = store.begin().await?;
    for one in tables {
        let Some(counted) = &one.table.counted else { continue };
        if counted.filters.is_empty() {
            continue;
        }
        let filter = |(id, predicate): &(String, String)| Filter { id: id.clone(), predicate: predicate.clone() };
        let filters: Vec<_> = counted.filters.iter().map(filter).collect();
        let values = [Value::from(job), one.table.table.as_str().into()];
        let sql = format!("SELECT sink, description FROM {SINKS} WHERE job = $1 AND table_name = $2");
        for row in writing.rows(&sql, &values).await? {
            let (sink, description) = (text(&row, 0)?, text(&row, 1)?);
            let description = Description::with_filters(&description, &sink, &filters)?;
            let update = format!("UPDATE {SINKS} SET description = $1 WHERE job = $2 AND sink = $3");
            let values = [description.into(), job.into(), sink.into()];
            writing.execute(&update, &values).await?;
        }
    }
    writing.commit().await
}

/// Removes what a replay has made for itself in the store: its shadow tables, and the marks of its job's commits.
///
/// # Errors
/// When the store refuses.
pub async fn remove_shadows(store: &Store, replay_job: &str, shadows: &[String]) -> Result<()> {
    for shadow in shadows {
        for table in of_sink(shadow, true) {
            store.execute(&format!("DROP TABLE IF EXISTS {}", quoted(&table)), &[]).await?;
        }
    }
    for table in [SINKS, COMMITS] {
        if store.has(table).await? {
            store.execute(&format!("DELETE FROM {table} WHERE job = $1"), &[replay_job.into()]).await?;
        }
    }
    Ok(())
}
