//! The answers for some rows: what the calls give of the rows that each sees, and which of them go out with what columns.

use super::config::OverConfig;
use super::frame::Keys;
use super::held::HeldRows;
use super::layout::Layout;
use super::sliding::MOST_ANEW;
use crate::aggregate::accumulator::Accumulator;
use crate::dead_letters::RefusedRows;
use crate::expression::{Expression, RefusedRow, evaluate_rows};
use crate::map::Selection;
use crate::schema::ColumnSchema;
use crate::table::Rows;
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array},
    compute::{filter_record_batch, take},
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    Result,
    element::{Batch, Port},
    operator::{Collector, Counter, OperatorContext},
};

/// So many rows go out together.
const MOST_ROWS: usize = 1 << 13;
/// So many states are merged for them at most, or little more, where that is done anew for each.
const MOST_MERGED: usize = 1 << 20;
/// In a column there is room for 2 GiB of text. Rows go out together whose columns have no more bytes than this, but for one row
/// that has more.
pub(super) const MOST_BYTES: usize = 1 << 30;

/// Rows that are being answered.
#[derive(Debug)]
pub(super) struct Answers {
    rows: Vec<Answer>,
    /// The states of what they see, by [`Answer::group`].
    pub(super) results: Vec<Accumulator>,
    groups: u32,
    /// For each lag and row, the row that it is read from.
    lags: Vec<Vec<Option<u32>>>,
    merged: usize,
    /// Bytes of the rows, of those that their lags are read from, and of what the calls give, at most.
    bytes: usize,
    most_bytes: usize,
    /// Rows that nobody sees any more, once these have gone out.
    pub(super) gone: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    slot: u32,
    key: u32,
    group: u32,
    /// How many rows it sees, where that is too many.
    too_many: Option<usize>,
    /// Whether the row before it is one that it could see.
    follows: bool,
}

impl Answers {
    /// No row yet; so many bytes go out together.
    pub(super) fn new(results: Vec<Accumulator>, lags: usize, most_bytes: usize) -> Self {
        let lags = vec![Vec::new(); lags];
        Answers { rows: Vec::new(), results, groups: 0, lags, merged: 0, bytes: 0, most_bytes, gone: Vec::new() }
    }

    /// A group of rows that see the same: its number.
    pub(super) fn open(&mut self, seen: usize, is_anew: bool) -> u32 {
        self.merged += if is_anew { seen.min(MOST_ANEW) } else { 0 };
        self.groups += 1;
        self.groups - 1
    }

    /// Adds a row to the last group.
    pub(super) fn add(&mut self, (slot, key): (u32, u32), too_many: Option<usize>, follows: bool) {
        self.rows.push(Answer { slot, key, group: self.groups - 1, too_many, follows });
    }

    /// Says which row a lag of the last row is read from.
    pub(super) fn lag(&mut self, lag: usize, slot: Option<u32>) {
        self.lags[lag].push(slot);
    }

    /// Notes how many bytes come with the last row.
    pub(super) fn weigh(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn is_full(&self) -> bool {
        self.has_no_room() || self.merged >= MOST_MERGED
    }

    /// Whether no further row can go out with these.
    pub(super) fn has_no_room(&self) -> bool {
        self.rows.len() >= MOST_ROWS || self.bytes >= self.most_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.gone.is_empty()
    }
}

/// Makes the rows that go out.
#[derive(Debug)]
pub(super) struct Output {
    columns: ColumnSchema,
    /// What the calls are called.
    called: Vec<String>,
    lagged: Vec<usize>,
    selection: Selection,
    condition: Option<Expression>,
    once: bool,
    refused: RefusedRows,
    left_out: Counter,
}

impl Output {
    /// # Errors
    /// When the settings make no sense.
    pub(super) fn new(config: &OverConfig, layout: &Layout, context: &OperatorContext) -> Result<Self> {
        let columns = config.columns()?;
        let selection = Selection::new(&config.select, &columns.to_arrow())?;
        let condition = match &config.condition {
            Some(text) => {
                let condition = Expression::predicate(text, &selection.columns().to_arrow());
                Some(condition.map_err(|error| error.at(text))?)
            }
            None => None,
        };
        let lagged = config.lags.iter().map(|lag| layout.position(&lag.argument)).collect::<Result<_>>()?;
        let left_out = context.counters.counter("filtered_out");
        Ok(Output {
            columns,
            called: config.calls.iter().map(|call| call.output.clone()).collect(),
            lagged,
            selection,
            condition,
            once: config.once,
            refused: RefusedRows::new(context),
            left_out,
        })
    }

    /// Emits the rows that are to go out, and notes of each key whether the condition is true of its last one. The keys of which
    /// that became known are added to `news`.
    pub(super) fn emit(
        &self,
        answers: &Answers,
        (held, layout): (&HeldRows, &Layout),
        (keys, news): (&mut Keys, &mut Vec<u32>),
        out: &mut Collector,
    ) -> Result<()> {
        let count = answers.rows.len();
        let own = layout.to_columns(answers.rows.iter().map(|row| held.row(row.slot)))?;
        let mut arrays = own.clone();
        let mut refused = self.results(answers, &mut arrays)?;
        for (lag, column) in answers.lags.iter().zip(&self.lagged) {
            arrays.push(lagged(lag, *column, held, layout)?);
        }
        let rows = Layout::batch(&self.columns, arrays, count)?;
        let (selected, mut holding) = self.select(&rows, &mut refused)?;
        let selected: Vec<RecordBatch> =
            selected.into_iter().flat_map(|rows| in_pieces(rows, answers.most_bytes)).collect();
        self.judge(&selected, &mut holding, &mut refused)?;
        let passes = self.pass(answers, &holding, keys, news);
        self.left_out.add((count - refused.len() - passes.iter().filter(|passes| **passes).count()) as u64);
        // Of the rows that have columns.
        let mut passes = holding.iter().zip(&passes).filter_map(|(holds, passes)| holds.map(|_| Some(*passes)));
        for selected in &selected {
            let passes: BooleanArray = passes.by_ref().take(selected.num_rows()).collect();
            out.emit(Port::MAIN, Batch::new(filter_record_batch(selected, &passes)?));
        }
        let refused: Vec<RefusedRow> = refused.into_iter().map(|(row, reason)| RefusedRow { row, reason }).collect();
        self.refused.emit(&Layout::batch(layout.columns(), own, count)?, &refused, out)
    }

    /// Adds the results of the calls, and gives the rows that have none.
    fn results(&self, answers: &Answers, arrays: &mut Vec<ArrayRef>) -> Result<BTreeMap<usize, String>> {
        let mut unsayable: BTreeMap<usize, String> = BTreeMap::new();
        let groups = UInt32Array::from_iter_values(answers.rows.iter().map(|row| row.group));
        for (results, name) in answers.results.iter().zip(&self.called) {
            let mut found = Vec::new();
            let of_groups = results.output(Rows::All(answers.groups as usize), &mut found)?;
            // A call is known by the column that it stands in.
            let known = |reason: &str| reason.replace(&format!("'{name}'"), &format!("'{}'", column_of(name)));
            unsayable.extend(found.into_iter().map(|found| (found.row, known(&found.reason))));
            let is_of_rows = answers.groups as usize == answers.rows.len();
            arrays.push(if is_of_rows { of_groups } else { take(&of_groups, &groups, None)? });
        }
        let mut refused = BTreeMap::new();
        for (row, answer) in answers.rows.iter().enumerate() {
            if let Some(seen) = answer.too_many {
                let reason = format!(
                    "it is one of {seen} rows, and what keeps every value is computed of at most {MOST_ANEW}: see fewer rows, by \
                     `within` or `rows`"
                );
                refused.insert(row, reason);
            } else if let Some(reason) = unsayable.get(&(answer.group as usize)) {
                refused.insert(row, reason.clone());
            }
        }
        Ok(refused)
    }

    /// The columns of the rows that are not refused, in as few batches as have room for them, and which rows these are: those
    /// for which there is something.
    fn select(
        &self,
        rows: &RecordBatch,
        refused: &mut BTreeMap<usize, String>,
    ) -> Result<(Vec<RecordBatch>, Vec<Option<bool>>)> {
        let mut holding: Vec<Option<bool>> =
            (0..rows.num_rows()).map(|row| (!refused.contains_key(&row)).then_some(true)).collect();
        let evaluated = evaluate_rows(&of_those(rows, &holding)?, |rows| self.selection.evaluate(rows))?;
        take_out(&mut holding, &evaluated.refused, refused);
        let left = holding.iter().flatten().count();
        if left == 0 {
            return Ok((Vec::new(), holding));
        }
        let batch = |columns: Vec<ArrayRef>| {
            let count = columns.first().map_or(left, |column| column.len());
            self.selection.batch(columns, count)
        };
        let selected = evaluated.batches()?.into_iter().map(batch).collect::<Result<_>>()?;
        Ok((selected, holding))
    }

    /// Says of which rows the condition is true. Rows it fails on are refused, and stay among those that have columns.
    fn judge(
        &self,
        selected: &[RecordBatch],
        holding: &mut [Option<bool>],
        refused: &mut BTreeMap<usize, String>,
    ) -> Result<()> {
        let Some(condition) = &self.condition else { return Ok(()) };
        let mut known = holding.iter_mut().enumerate().filter(|(_, holds)| holds.is_some());
        for selected in selected {
            let evaluated = evaluate_rows(selected, |rows| {
                let holds: ArrayRef = Arc::new(condition.evaluate_predicate(rows).map_err(|error| error.at("where"))?);
                Ok(vec![holds])
            })?;
            let failed: Vec<RefusedRow> = evaluated.refused.clone();
            let holds = evaluated.columns()?.and_then(|mut columns| columns.pop());
            let mut holds = holds.iter().flat_map(|holds| holds.as_boolean().iter());
            let mut failed = failed.into_iter().peekable();
            for (number, (row, holding)) in known.by_ref().take(selected.num_rows()).enumerate() {
                match failed.next_if(|failed| failed.row == number) {
                    Some(failed) => {
                        refused.insert(row, failed.reason);
                        *holding = Some(false);
                    }
                    None => *holding = Some(holds.next().flatten() == Some(true)),
                }
            }
        }
        Ok(())
    }

    /// Which rows go out.
    fn pass(&self, answers: &Answers, holding: &[Option<bool>], keys: &mut Keys, news: &mut Vec<u32>) -> Vec<bool> {
        let holds = holding.iter().map(|holds| *holds == Some(true));
        if !self.once {
            return holds.collect();
        }
        let pass = |(answer, holds): (&Answer, bool)| {
            let key = keys.get_mut(answer.key);
            let is_in_succession = answer.follows && key.holds;
            key.holds = holds;
            if !std::mem::replace(&mut key.is_news, true) {
                news.push(answer.key);
            }
            holds && !is_in_succession
        };
        answers.rows.iter().zip(holds).map(pass).collect()
    }
}

/// The column that a call stands in, of the name that it has for itself.
fn column_of(call: &str) -> &str {
    call.rsplit_once('/').map_or(call, |(column, _)| column)
}

/// Rows, cut so that no column of a piece has more bytes, but for one row that has.
fn in_pieces(rows: RecordBatch, most_bytes: usize) -> Vec<RecordBatch> {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    let count = rows.num_rows();
    if count <= 1 || rows.columns().iter().all(|column| bytes(column) <= most_bytes) {
        return vec![rows];
    }
    let half = count / 2;
    let mut pieces = in_pieces(rows.slice(0, half), most_bytes);
    pieces.extend(in_pieces(rows.slice(half, count - half), most_bytes));
    pieces
}

/// The rows for which there is something.
fn of_those(rows: &RecordBatch, holding: &[Option<bool>]) -> Result<RecordBatch> {
    if holding.iter().all(Option::is_some) {
        return Ok(rows.clone());
    }
    let those: BooleanArray = holding.iter().map(|holds| Some(holds.is_some())).collect();
    Ok(filter_record_batch(rows, &those)?)
}

/// Notes rows that are refused, by their numbers among those for which there is something.
fn take_out(holding: &mut [Option<bool>], failed: &[RefusedRow], refused: &mut BTreeMap<usize, String>) {
    if failed.is_empty() {
        return;
    }
    let rows: Vec<usize> = (0..holding.len()).filter(|row| holding[*row].is_some()).collect();
    for failed in failed {
        holding[rows[failed.row]] = None;
        refused.insert(rows[failed.row], failed.reason.clone());
    }
}

/// A column of other rows, null where there is none.
fn lagged(rows: &[Option<u32>], column: usize, held: &HeldRows, layout: &Layout) -> Result<ArrayRef> {
    let columns = layout.to_columns(rows.iter().flatten().map(|slot| held.row(*slot)))?;
    let mut next = 0..;
    let places: UInt32Array = rows.iter().map(|row| row.and_then(|_| next.next())).collect();
    Ok(if places.null_count() == 0 { columns[column].clone() } else { take(&columns[column], &places, None)? })
}
