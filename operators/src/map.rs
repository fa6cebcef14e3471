//! The map: keeps the rows for which a condition is true, and computes the columns that are passed on.
//!
//! A row that the condition, or an expression of a row that meets it, fails on is a dead letter: neither filtered out nor
//! passed on. So is one that does not meet what is [required](require), with what that is called as its reason. Rows keep their order and what travels beside them, but for key hashes: a computed column may have the name of a
//! key column and hold something else.
//!
//! Behind an aggregate rows are results, which later revisions correct: see [`results`].

mod require;
mod results;
mod selection;

use crate::{
    dead_letters::RefusedRows,
    expression::{EvaluatedRows, Expression, evaluate_rows},
    ports,
    schema::{ColumnSchema, project},
    sink::sql::TableRule,
};
use arrow::{
    array::{ArrayRef, AsArray, BooleanArray},
    compute::not,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{
    Result,
    element::{Batch, Port},
    operator::{Collector, Counter, Operator, OperatorContext},
};

use require::Requirement;
pub use results::ResultRows;
use results::{Taken, Withdrawals};
pub(crate) use selection::Selection;

/// What a map does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapConfig {
    /// The columns that come in.
    pub input: ColumnSchema,
    /// The condition: rows for which it is false or null are left out, and counted in `filtered_out`; results in
    /// `results_left_out`.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What the rows that are kept must meet, one after the other: the reason why one that does not is a dead letter, and the
    /// condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<SelectItem>,
    /// The columns that are passed on; none: those that came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<SelectItem>>,
    /// Of rows that are results, what is known of them; none: they are events, or all of them are passed on unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<ResultRows>,
    /// Of rows on their way to a table, what it can take. The others are dead letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableRule>,
    /// Whether running counts come in beside the results, and go out on a port of their own again, as they came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub splits_running: bool,
}

/// A column that a map computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectItem {
    /// Its name.
    pub name: String,
    /// What it holds, as an SQL expression over the columns that come in.
    pub expression: String,
}

/// The map operator.
#[derive(Debug)]
pub struct Map {
    condition: Option<Expression>,
    required: Vec<Requirement>,
    select: Option<Selection>,
    withdrawals: Option<Withdrawals>,
    table: Option<TableRule>,
    splits_running: bool,
    left_out: Counter,
    refused: RefusedRows,
}

impl Map {
    /// Compiles the expressions.
    ///
    /// # Errors
    /// When an expression is wrong.
    pub fn new(config: &MapConfig, context: &OperatorContext) -> Result<Self> {
        let input = config.input.to_arrow();
        let condition = match &config.condition {
            Some(text) => Some(Expression::predicate(text, &input).map_err(|error| error.at(text))?),
            None => None,
        };
        let select = match &config.select {
            Some(items) => Some(Selection::new(items, &input)?),
            None => None,
        };
        let condition = condition.filter(|condition| !condition.is_constant_true());
        let required = Requirement::all(&config.require, &input)?;
        let withdrawals = config.results.clone().map(Withdrawals::new);
        // Every event is in one class of the summary, and no result is an event.
        let left_out = if withdrawals.is_some() { "results_left_out" } else { "filtered_out" };
        Ok(Map {
            condition,
            required,
            select,
            withdrawals,
            table: config.table.clone(),
            splits_running: config.splits_running,
            left_out: context.counters.counter(left_out),
            refused: RefusedRows::new(context),
        })
    }
}

impl Operator for Map {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let Some(withdrawals) = &self.withdrawals else { return self.keep(batch, out, None) };
        let (holding, withdrawn) = withdrawals.part(batch)?;
        let mut turned_down = Vec::new();
        if let Some(batch) = holding {
            self.keep(batch, out, Some(&mut turned_down))?;
        }
        self.withdraw(turned_down, withdrawn, out)
    }
}

impl Map {
    /// Sends what is kept on. Of results, those that are not and may have been before go to `turned_down`.
    fn keep(&mut self, batch: Batch, out: &mut Collector, mut turned_down: Option<&mut Vec<Batch>>) -> Result<()> {
        let Some((mut batch, mut keep)) = self.evaluate_condition(batch, out, turned_down.as_deref_mut())? else {
            return Ok(());
        };
        if !self.required.is_empty() {
            batch = keep.take().map_or(Ok(batch.clone()), |keep| batch.filter(&keep))?;
            batch = self.require(batch, out, turned_down.as_deref_mut())?;
            if batch.is_empty() {
                return Ok(());
            }
        }
        let Some(select) = &self.select else {
            let mut kept = keep.map_or(Ok(batch.clone()), |keep| batch.filter(&keep))?;
            kept = self.admit(kept, out, turned_down)?;
            if let Some(withdrawals) = &self.withdrawals {
                kept = kept.with_columns(withdrawals.nullable(kept.columns.clone(), None)?);
            }
            return self.pass(kept, Taken::ByAll, out);
        };
        // What only the condition needed is dropped before rows are copied.
        let read = batch.with_columns(project(&batch.columns, &select.reads)?);
        let read = keep.as_ref().map_or(Ok(read.clone()), |keep| read.filter(keep))?;
        if read.is_empty() {
            return Ok(());
        }
        let evaluated = evaluate_rows(&read.columns, |rows| select.evaluate(rows))?;
        let read = match evaluated.kept(read.len()) {
            Some(kept) => {
                let whole = keep.as_ref().map_or(Ok(batch.clone()), |keep| batch.filter(keep))?;
                self.refused.emit(&whole.columns, &evaluated.refused, out)?;
                if let Some(turned_down) = turned_down {
                    turned_down.push(whole.filter(&not(&kept)?)?);
                }
                read.filter(&kept)?
            }
            None => read,
        };
        let mut from = 0;
        for columns in evaluated.batches()? {
            let count = columns.first().map_or(read.len(), |column| column.len());
            let mut rows = select.batch(columns, count)?;
            if let Some(withdrawals) = &self.withdrawals {
                rows = withdrawals.nullable(rows, Some(select))?;
            }
            let mut selected = read.slice(from, count).with_columns(rows);
            selected.key_hashes = None;
            from += count;
            self.pass(selected, Taken::ByAll, out)?;
        }
        Ok(())
    }

    /// The rows that meet all that is required.
    fn require(
        &self,
        mut batch: Batch,
        out: &mut Collector,
        mut turned_down: Option<&mut Vec<Batch>>,
    ) -> Result<Batch> {
        for requirement in &self.required {
            let judged = requirement.refused(&batch.columns)?;
            let Some(kept) = judged.kept(batch.len()) else { continue };
            self.refused.emit(&batch.columns, &judged.refused, out)?;
            if let Some(turned_down) = turned_down.as_deref_mut().filter(|_| self.may_change(&requirement.condition)) {
                turned_down.push(batch.filter(&not(&kept)?)?);
            }
            batch = batch.filter(&kept)?;
        }
        Ok(batch)
    }

    /// Whether a condition may be false for a result that it was true for before.
    fn may_change(&self, condition: &Expression) -> bool {
        self.withdrawals.as_ref().is_some_and(|withdrawals| withdrawals.may_change(condition))
    }

    /// Emits rows. What only readers of running counts have seen goes to them alone.
    fn pass(&self, rows: Batch, taken: Taken, out: &mut Collector) -> Result<()> {
        if !self.splits_running {
            out.emit(Port::MAIN, rows);
            return Ok(());
        }
        let running = results::is_running(&rows.columns, taken)?;
        out.emit(Port::MAIN, rows.filter(&not(&running)?)?);
        out.emit(ports::RUNNING, rows.filter(&running)?);
        Ok(())
    }

    /// The rows that the table can take, if there is one.
    fn admit(&self, rows: Batch, out: &mut Collector, turned_down: Option<&mut Vec<Batch>>) -> Result<Batch> {
        let Some(table) = &self.table else { return Ok(rows) };
        let refused = table.refused(&rows.columns)?;
        let evaluated = EvaluatedRows { pieces: Vec::<ArrayRef>::new(), refused };
        let Some(kept) = evaluated.kept(rows.len()) else { return Ok(rows) };
        self.refused.emit(&rows.columns, &evaluated.refused, out)?;
        if let Some(turned_down) = turned_down {
            turned_down.push(rows.filter(&not(&kept)?)?);
        }
        rows.filter(&kept)
    }

    /// Sends on that results hold no longer: those turned down here, and those withdrawn before.
    fn withdraw(&self, turned_down: Vec<Batch>, before: Option<Batch>, out: &mut Collector) -> Result<()> {
        let Some(withdrawals) = &self.withdrawals else { return Ok(()) };
        let mut withdrawn = Vec::with_capacity(turned_down.len() + 1);
        for batch in &turned_down {
            withdrawn.push((withdrawals.withdraw(batch)?, Taken::WhereSeen));
        }
        if let Some(batch) = before {
            let conditions = self.condition.iter().chain(self.required.iter().map(|required| &required.condition));
            let passed = conditions.into_iter().try_fold(batch, |batch, each| withdrawals.let_through(each, batch))?;
            let passed = passed.with_columns(withdrawals.nullable(passed.columns.clone(), None)?);
            withdrawn.push((passed, Taken::ByAll));
        }
        for (mut batch, taken) in withdrawn.into_iter().filter(|(batch, _)| !batch.is_empty()) {
            // What the table could not take for its key was never there.
            if let Some(kept) = self.table.as_ref().map(|table| table.with_key(&batch.columns)).transpose()?.flatten() {
                batch = batch.filter(&kept)?;
            }
            let Some(select) = &self.select else {
                self.pass(batch, taken, out)?;
                continue;
            };
            if let Some(mut selected) = withdrawals.select(select, &batch)? {
                selected.key_hashes = None;
                self.pass(selected, taken, out)?;
            }
        }
        Ok(())
    }

    /// The rows that the condition can be evaluated on, and for which of them it is true; without a condition, for all. None
    /// where there is no row.
    fn evaluate_condition(
        &mut self,
        mut batch: Batch,
        out: &mut Collector,
        turned_down: Option<&mut Vec<Batch>>,
    ) -> Result<Option<(Batch, Option<BooleanArray>)>> {
        let Some(condition) = &self.condition else { return Ok(Some((batch, None))) };
        let mut turned_down = turned_down.filter(|_| self.may_change(condition));
        let evaluated = evaluate_rows(&batch.columns, |rows| {
            let keep: ArrayRef = Arc::new(condition.evaluate_predicate(rows).map_err(|error| error.at("where"))?);
            Ok(vec![keep])
        })?;
        if let Some(kept) = evaluated.kept(batch.len()) {
            self.refused.emit(&batch.columns, &evaluated.refused, out)?;
            if let Some(turned_down) = &mut turned_down {
                turned_down.push(batch.filter(&not(&kept)?)?);
            }
            batch = batch.filter(&kept)?;
        }
        let Some(keep) = evaluated.columns()?.and_then(|mut columns| columns.pop()) else { return Ok(None) };
        let keep = keep.as_boolean().clone();
        self.left_out.add((keep.len() - keep.true_count()) as u64);
        if let Some(turned_down) = turned_down.filter(|_| keep.true_count() < keep.len()) {
            turned_down.push(batch.filter(&not(&keep)?)?);
        }
        Ok(Some((batch, Some(keep))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{Array, DictionaryArray, Int64Array, RecordBatch, StringArray},
        datatypes::{DataType, Field, Int32Type, Int64Type, Schema},
    };
    use weir_engine::{element::KeyHashes, testing::OperatorHarness};

    fn config(condition: Option<&str>, select: Option<&[(&str, &str)]>) -> MapConfig {
        let input = ColumnSchema::from(&Schema::new(vec![
            Field::new("ad_id", DataType::Utf8, true),
            Field::new("cost", DataType::Int64, true),
        ]));
        let item = |(name, expression): &(&str, &str)| SelectItem {
            name: (*name).to_string(),
            expression: (*expression).to_string(),
        };
        MapConfig {
            input,
            condition: condition.map(str::to_string),
            require: vec![],
            select: select.map(|items| items.iter().map(item).collect()),
            results: None,
            table: None,
            splits_running: false,
        }
    }

    fn batch() -> Batch {
        let ads: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("b")]));
        let costs: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        Batch {
            columns: RecordBatch::try_from_iter_with_nullable([("ad_id", ads, true), ("cost", costs, true)]).unwrap(),
            split_watermarks: Some(vec![10, 20, 30, 40].into()),
            key_hashes: Some(KeyHashes { columns: vec!["ad_id".into()].into(), hashes: Arc::new(vec![1, 2, 3, 4]) }),
            origin: None,
        }
    }

    fn run(config: &MapConfig, batch: Batch) -> (Option<Batch>, u64) {
        let context = OperatorContext::single("job", "map.valid");
        let map = Map::new(config, &context).unwrap();
        let mut out = OperatorHarness::new(Box::new(map)).process(batch).unwrap();
        (out.pop().map(|(_, batch)| batch), context.counters.counter("filtered_out").get())
    }

    #[test]
    fn rows_that_do_not_match_are_left_out_and_counted() {
        let (out, filtered) = run(&config(Some("ad_id <> ''"), None), batch());
        let out = out.unwrap();
        assert_eq!(filtered, 2);
        assert_eq!(out.columns.column(1).as_primitive::<Int64Type>().values(), &[1, 4]);
        assert_eq!(&out.split_watermarks.as_ref().unwrap()[..], &[10, 40]);
        assert_eq!(**out.key_hashes_of(&["ad_id".into()]).unwrap(), vec![1, 4]);
    }

    #[test]
    fn columns_are_computed_of_the_rows_that_are_left() {
        let select = [("ad_id", "upper(ad_id)"), ("quotient", "12 / (cost - 2)"), ("one", "1")];
        let (out, filtered) = run(&config(Some("ad_id is not null"), Some(&select)), batch());
        let out = out.unwrap();
        assert_eq!(filtered, 1);
        assert_eq!(
            out.columns.column(0).as_string::<i32>().iter().collect::<Vec<_>>(),
            [Some("A"), Some(""), Some("B")]
        );
        assert_eq!(out.columns.column(1).as_primitive::<Int64Type>().values(), &[-12, 12, 6]);
        assert_eq!(&out.split_watermarks.as_ref().unwrap()[..], &[10, 30, 40]);
        assert!(out.key_hashes.is_none(), "ad_id is not what was hashed");
    }

    #[test]
    fn nothing_left_is_no_batch_and_a_constant_column_needs_no_input() {
        let (out, filtered) = run(&config(Some("false"), None), batch());
        assert!(out.is_none());
        assert_eq!(filtered, 4);
        let (out, filtered) = run(&config(Some("true"), Some(&[("x", "'y'")])), batch());
        assert_eq!((out.unwrap().len(), filtered), (4, 0));
    }

    #[test]
    fn dictionaries_stay_dictionaries() {
        let ads: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("a"), None, Some("a"), Some("b")]));
        let costs: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let columns = RecordBatch::try_from_iter_with_nullable([("ad_id", ads, true), ("cost", costs, true)]).unwrap();
        let (out, _) = run(&config(Some("cost > 1"), Some(&[("id", "ad_id")])), Batch::new(columns));
        assert!(matches!(out.unwrap().columns.column(0).data_type(), DataType::Dictionary(..)));
    }

    #[test]
    fn mistakes_name_the_expression() {
        let context = OperatorContext::single("job", "map.valid");
        let error = Map::new(&config(Some("ad_di <> ''"), None), &context).unwrap_err();
        assert!(error.message.contains("there is no column `ad_di`"), "{error}");
    }

    /// Dead letters as (reason, row), the rows of the main output, and the counters.
    fn refused(config: &MapConfig, batch: Batch) -> (Vec<(String, String)>, Option<Batch>, u64, u64) {
        let context = OperatorContext::single("job", "map.valid");
        let map = Map::new(config, &context).unwrap();
        let (mut letters, mut main) = (Vec::new(), None);
        for (port, batch) in OperatorHarness::new(Box::new(map)).process(batch).unwrap() {
            if port == Port::MAIN {
                main = Some(batch);
                continue;
            }
            assert_eq!(port, ports::DEAD_LETTERS);
            assert_eq!(batch.columns.schema(), crate::dead_letters::dead_letter_schema());
            let text = |column: usize, row| batch.columns.column(column).as_string::<i32>().value(row).to_owned();
            letters.extend((0..batch.len()).map(|row| (text(3, row), text(4, row))));
            assert!((0..batch.len()).all(|row| text(0, row) == "map.valid"));
        }
        let counter = |name: &str| context.counters.counter(name).get();
        (letters, main, counter("dead_letters"), counter("filtered_out"))
    }

    #[test]
    fn rows_that_an_expression_fails_on_are_dead_letters_and_the_others_go_on() {
        // Of the row with cost 2 `where` is not known, of that with cost 3 the column, and that with cost 4 is left out.
        let select = [("ad_id", "ad_id"), ("x", "12 / (cost - 3)")];
        let (letters, main, dead, filtered) = refused(&config(Some("4 / (cost - 2) <> 2"), Some(&select)), batch());
        let main = main.unwrap();
        assert_eq!(main.columns.column(1).as_primitive::<Int64Type>().values(), &[-6]);
        assert_eq!(&main.split_watermarks.as_ref().unwrap()[..], &[10]);
        assert_eq!((dead, filtered), (2, 1));
        assert!(letters[0].0.starts_with("where: expression `4 / (cost - 2) <> 2`: Divide by zero"), "{letters:?}");
        assert!(letters[1].0.starts_with("select.x: expression `12 / (cost - 3)`: Divide by zero"), "{letters:?}");
        assert_eq!(letters[0].1, r#"{"ad_id":null,"cost":2}"#);
        assert_eq!(letters[1].1, r#"{"ad_id":"","cost":3}"#);
    }

    #[test]
    fn bad_casts_and_overflows_are_dead_letters_too() {
        let cast = config(None, Some(&[("n", "cast(ad_id as bigint)")]));
        let (letters, main, dead, _) = refused(&cast, batch());
        assert_eq!((main.unwrap().len(), dead), (1, 3), "only the null can be cast");
        assert!(letters[0].0.contains("'a'"), "the value is named: {letters:?}");
        for expression in ["cost * 3074457345618258603", "cost + 9223372036854775805", "-9223372036854775806 - cost"] {
            let (letters, main, dead, _) = refused(&config(None, Some(&[("n", expression)])), batch());
            assert_eq!((main.unwrap().len(), dead), (2, 2), "{expression}");
            assert!(letters[0].0.contains("Overflow"), "{letters:?}");
        }
    }

    #[test]
    fn what_fails_on_no_row_at_all_ends_the_job() {
        let context = OperatorContext::single("job", "map.valid");
        let mut map =
            OperatorHarness::new(Box::new(Map::new(&config(None, Some(&[("x", "cost + 1")])), &context).unwrap()));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        let other = Batch::new(RecordBatch::try_from_iter([("cost", texts)]).unwrap());
        assert!(map.process(other).unwrap_err().message.contains("declared as Int64"));
    }

    #[test]
    fn the_configuration_survives_json() {
        let config = config(Some("cost > 1"), Some(&[("x", "cost")]));
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["where"], "cost > 1");
        assert_eq!(serde_json::from_value::<MapConfig>(json).unwrap(), config);
    }
}
