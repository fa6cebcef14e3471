//! The N largest per window: a list in each subtask of the aggregate, merged by a second operator.
//!
//! [`LocalTop`] is chained behind an aggregate, whose windows are its *slices*. Its own windows are the same, whatever their kind, or
//! consist of several tumbling ones. It keeps the latest count of each key and slice, sums over the slices of each of its own
//! windows, and gives out its N largest per group when the window closes. [`GlobalTop`] merges the lists, behind an exchange by window and group. A key is in one subtask only, so its
//! count there is its whole count, and every key of the overall N largest is among the N largest of its subtask.
//!
//! Corrections. Once given out, a key's count is given out again whenever it changes, and a key that comes to be among the
//! N largest of its subtask is given out then. So at every watermark the global operator holds the exact count of every
//! key that matters. It emits the ranks that have changed, with the next revision.
//!
//! Equal counts are ordered by the remaining key columns, ascending; what that means for their ranks is a setting, [`Ranking`]. Only counts and sums of integers can be ranked: they
//! are what may be summed over slices. A null counts as 0. A count that is withdrawn is in no list; where a list becomes
//! shorter by that, its last ranks are withdrawn.

mod global_top;
mod local_top;
mod ranking;
mod slices;
mod span;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub use global_top::GlobalTop;
pub use local_top::LocalTop;
pub use ranking::Ranking;

use crate::columns::{RANK, RECORD_ID, WINDOW_END, WINDOW_START, revision_field, withdrawn_field};
use crate::event_time::event_time_type;
use crate::table::plain_key_type;
use crate::window::WindowRule;
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};
use span::Span;
use std::ops::RangeInclusive;
use weir_engine::{EngineError, Result};

/// What the names of segments begin with that hold counts of the aggregate.
const SLICE: &str = "slice";

/// Settings of a local and a global top: both are given the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopConfig {
    /// How many ranks there are.
    pub n: usize,
    /// The column that is ranked by, largest first: a count or a sum of integers of the aggregate.
    pub by: String,
    /// The key columns of the aggregate, all of them, in its order.
    pub key: Vec<String>,
    /// Those of them that there is a list for each of. The others are what is ranked.
    pub per: Vec<String>,
    /// What ranks equal counts have, and whether a list ends among them.
    #[serde(default, skip_serializing_if = "Ranking::is_row_number")]
    pub ranking: Ranking,
    /// The windows of the lists, and the aggregate's allowed lateness.
    #[serde(flatten)]
    pub windows: WindowRule,
    /// Size of the aggregate's (tumbling) windows, which are added up to those of the lists; none: they are those of the lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice_ms: Option<i64>,
}

impl TopConfig {
    /// Refuses settings that make no sense.
    ///
    /// # Errors
    /// With what was found and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.windows.validate()?;
        let refuse = |text: String| Err(EngineError::definition(text));
        if self.n == 0 {
            return refuse("a top list of 0 ranks: n must be at least 1".into());
        }
        if let Some(foreign) = self.per.iter().find(|column| !self.key.contains(column)) {
            let keys = self.key.join(", ");
            return refuse(format!("there is no list per '{foreign}', as it is not in the aggregate's key ({keys})"));
        }
        // Without a key there is one group, which is the first of its list.
        if self.items().is_empty() && !self.key.is_empty() {
            return refuse("nothing is left to rank: 'per' contains all key columns of the aggregate".into());
        }
        if self.windows.window.is_global() {
            return refuse("top lists are of windows, and the global window has no end".into());
        }
        let Some(slice) = self.slice_ms else { return Ok(()) };
        let size = self.windows.window.size_ms();
        let Some(slide) = self.windows.window.period_ms() else {
            return refuse("sessions are not built from windows".into());
        };
        if slice <= 0 || size % slice != 0 || slide % slice != 0 {
            return refuse(format!(
                "a top list over {size} ms every {slide} ms does not consist of whole windows of the aggregate: both must be \
                 multiples of {slice} ms"
            ));
        }
        Ok(())
    }

    /// The columns by which the lists are exchanged between the local and the global operator.
    pub fn exchange_key(&self) -> Vec<String> {
        [WINDOW_START, WINDOW_END].into_iter().map(Into::into).chain(self.per.iter().cloned()).collect()
    }

    /// The positions in the key of the columns that are ranked.
    fn items(&self) -> Vec<usize> {
        (0..self.key.len()).filter(|at| !self.per.contains(&self.key[*at])).collect()
    }

    /// The windows that a slice is part of, in order.
    fn windows_of(&self, slice: Span) -> impl Iterator<Item = Span> + use<> {
        let windows = self.windows;
        let own = self.slice_ms.is_none().then_some(slice);
        let longer = self.slice_ms.map(|_| windows.ends_of(slice.start));
        let longer = longer.into_iter().flatten();
        own.into_iter().chain(longer.map(move |end| Span { end, start: windows.window_start(end) }))
    }

    /// The slices that a window consists of, of those that there are.
    fn slices_of(&self, window: Span) -> RangeInclusive<Span> {
        match self.slice_ms {
            None => window..=window,
            // They lie side by side, so the ones that end in it are the ones that are in it.
            Some(_) => {
                Span { end: window.start.saturating_add(1), start: i64::MIN }..=Span { start: i64::MAX, ..window }
            }
        }
    }

    /// The watermark from which on nothing changes in a window any more.
    ///
    /// The aggregate corrects a slice until its lateness is over, so the last slice of a window decides.
    fn expiry(&self, window: Span) -> i64 {
        match self.slice_ms {
            None => self.windows.expiry(window.end),
            Some(_) => window.end.saturating_add(self.windows.allowed_lateness_ms),
        }
    }

    /// The name of the segment of a slice.
    fn slice_name(&self, slice: Span) -> String {
        match self.slice_ms {
            None => format!("{SLICE}-{}..{}", slice.start, slice.end),
            Some(_) => format!("{SLICE}-{}", slice.start),
        }
    }

    /// The name of a segment of a window.
    fn window_name(&self, kind: &str, window: Span) -> String {
        match self.windows.window.has_slices() {
            false => format!("{kind}-{}..{}", window.start, window.end),
            // No two of them end at once.
            true => format!("{kind}-{}", window.end),
        }
    }
}

/// The columns of top lists, from those of the aggregate's results.
///
/// # Errors
/// When a column is missing or cannot be ranked by.
pub fn output_schema(input: &Schema, config: &TopConfig) -> Result<Schema> {
    config.validate()?;
    let column = |name: &String| {
        input.field_with_name(name).map_err(|_| {
            let found: Vec<&str> = input.fields().iter().map(|field| field.name().as_str()).collect();
            EngineError::definition(format!("there is no column '{name}'; the aggregate gives {}", found.join(", ")))
        })
    };
    let by = column(&config.by)?;
    if *by.data_type() != DataType::Int64 {
        return Err(not_rankable(&config.by, by.data_type()));
    }
    let key = |name: &String| Ok(Field::new(name, plain_key_type(column(name)?.data_type()), true));
    let per: Result<Vec<Field>> = config.per.iter().map(key).collect();
    let items: Result<Vec<Field>> = config.items().into_iter().map(|at| key(&config.key[at])).collect();
    let mut fields = vec![
        Field::new(RECORD_ID, DataType::FixedSizeBinary(16), false),
        Field::new(WINDOW_START, event_time_type(), false),
        Field::new(WINDOW_END, event_time_type(), false),
    ];
    fields.extend(per?);
    // A place in a list is a record, whoever has it; where several have one, the record is who has it.
    fields.push(Field::new(RANK, DataType::Int32, !config.ranking.is_row_number()));
    fields.extend(items?);
    fields.push(Field::new(&config.by, DataType::Int64, true));
    fields.extend([revision_field(), withdrawn_field()]);
    Ok(Schema::new(fields))
}

fn not_rankable(by: &str, data_type: &DataType) -> EngineError {
    EngineError::definition(format!(
        "'{by}' is of type {data_type} and cannot be ranked by: take a count or a sum of integers (BIGINT)"
    ))
}
