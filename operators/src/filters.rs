//! The star schema of filters: a click is counted once under every filter that it matches.
//!
//! For every filter the matching rows are emitted with the filter's id in one more column, `filter_id`. Rows that match
//! no filter are counted in `filtered_out`. A row that a filter's condition fails on is a dead letter and counted under no
//! filter at all, not even one that it matches: it is repaired and counted as a whole, or not. The filters' order is the
//! order of the output.

use crate::{
    dead_letters::RefusedRows,
    expression::{Expression, evaluate_rows},
    schema::{ColumnSchema, project},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray},
    buffer::BooleanBuffer,
    datatypes::{Field, Int32Type, Schema},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    operator::{Collector, Counter, Operator, OperatorContext},
};

pub use crate::columns::FILTER_ID;

/// Which filters there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiltersConfig {
    /// The columns that come in.
    pub input: ColumnSchema,
    /// The filters, in the order in which they are applied.
    pub filters: Vec<FilterConfig>,
    /// The columns that are passed on beside `filter_id`, in order; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<String>>,
}

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// What stands in `filter_id`.
    pub id: String,
    /// The condition that a row must meet.
    pub condition: String,
}

/// The filters operator.
#[derive(Debug)]
pub struct Filters {
    conditions: Vec<Expression>,
    output: Option<Vec<String>>,
    /// All ids; one dictionary for all batches, so that downstream operators can cache something per entry.
    ids: ArrayRef,
    filtered_out: Counter,
    refused: RefusedRows,
}

impl Filters {
    /// Compiles the conditions.
    ///
    /// # Errors
    /// When a condition is wrong, or there is a column `filter_id` already.
    pub fn new(config: &FiltersConfig, context: &OperatorContext) -> Result<Self> {
        if config.input.column(FILTER_ID).is_some() {
            return Err(EngineError::definition(format!("the input has a column `{FILTER_ID}` already")));
        }
        let input = config.input.to_arrow();
        let compile = |filter: &FilterConfig| {
            Expression::predicate(&filter.condition, &input)
                .map_err(|error| error.at(&filter.condition).context(format!("filter \"{}\"", filter.id)))
        };
        let ids = StringArray::from_iter_values(config.filters.iter().map(|filter| &filter.id));
        Ok(Filters {
            conditions: config.filters.iter().map(compile).collect::<Result<_>>()?,
            output: config.output.clone(),
            ids: Arc::new(ids),
            filtered_out: context.counters.counter("filtered_out"),
            refused: RefusedRows::new(context),
        })
    }

    fn with_id(&self, batch: &Batch, filter: usize) -> Result<Batch> {
        let keys = Int32Array::new(vec![filter as i32; batch.len()].into(), None);
        let id: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&self.ids))?);
        let schema = batch.columns.schema_ref();
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(FILTER_ID, id.data_type().clone(), false)));
        let mut columns = batch.columns.columns().to_vec();
        columns.push(id);
        Ok(batch.with_columns(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
    }
}

impl Operator for Filters {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut Collector) -> Result<()> {
        let (conditions, ids) = (&self.conditions, self.ids.as_string::<i32>());
        let evaluated = evaluate_rows(&batch.columns, |rows| {
            let masks = conditions.iter().enumerate().map(|(filter, condition)| {
                let keep = condition.evaluate_predicate(rows);
                keep.map_err(|error| error.at(format_args!("filter \"{}\"", ids.value(filter))))
            });
            masks.map(|keep| Ok(Arc::new(keep?) as ArrayRef)).collect()
        })?;
        if let Some(kept) = evaluated.kept(batch.len()) {
            self.refused.emit(&batch.columns, &evaluated.refused, out)?;
            batch = batch.filter(&kept)?;
        }
        let Some(masks) = evaluated.columns()? else { return Ok(()) };
        // Columns that only conditions read are dropped before rows are copied.
        let projected = match &self.output {
            Some(names) => batch.with_columns(project(&batch.columns, names)?),
            None => batch,
        };
        let mut matched = BooleanBuffer::new_unset(projected.len());
        for (filter, keep) in masks.iter().enumerate() {
            let keep = keep.as_boolean();
            if keep.true_count() > 0 {
                out.emit(Port::MAIN, self.with_id(&projected.filter(keep)?, filter)?);
            }
            matched = &matched | keep.values();
        }
        self.filtered_out.add((projected.len() - matched.count_set_bits()) as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports;
    use arrow::{
        array::Int64Array,
        datatypes::{DataType, Int64Type},
    };
    use weir_engine::testing::OperatorHarness;

    fn config(filters: &[(&str, &str)]) -> FiltersConfig {
        let input = ColumnSchema::from(&Schema::new(vec![
            Field::new("country", DataType::Utf8, true),
            Field::new("n", DataType::Int64, false),
        ]));
        let filter = |(id, condition): &(&str, &str)| FilterConfig {
            id: (*id).to_string(),
            condition: (*condition).to_string(),
        };
        FiltersConfig { input, filters: filters.iter().map(filter).collect(), output: None }
    }

    fn batch() -> Batch {
        let countries: ArrayRef = Arc::new(StringArray::from(vec![Some("USA"), None, Some("DEU"), Some("USA")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3]));
        Batch {
            columns: RecordBatch::try_from_iter_with_nullable([("country", countries, true), ("n", numbers, false)])
                .unwrap(),
            split_watermarks: Some(vec![10, 11, 12, 13].into()),
            key_hashes: None,
            origin: None,
        }
    }

    /// A batch that came out: filter id, rows, watermarks.
    type Output = (String, Vec<i64>, Vec<i64>);

    /// What came out, and the count of rows without a filter.
    fn run(filters: &[(&str, &str)]) -> (Vec<Output>, u64) {
        let context = OperatorContext::single("job", "filters");
        let mut harness = OperatorHarness::new(Box::new(Filters::new(&config(filters), &context).unwrap()));
        let rows = |(_, batch): (Port, Batch)| {
            let ids = arrow::compute::cast(batch.columns.column_by_name(FILTER_ID).unwrap(), &DataType::Utf8).unwrap();
            let ids: Vec<String> = ids.as_string::<i32>().iter().map(|id| id.unwrap().to_string()).collect();
            assert!(ids.iter().all(|id| *id == ids[0]));
            let numbers = batch.columns.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec();
            (ids[0].clone(), numbers, batch.split_watermarks.unwrap().to_vec())
        };
        let out = harness.process(batch()).unwrap().into_iter().map(rows).collect();
        (out, context.counters.counter("filtered_out").get())
    }

    #[test]
    fn a_row_goes_on_once_for_every_filter_that_it_matches() {
        let (out, filtered) = run(&[("0000", "true"), ("0012", "country = 'USA'"), ("x", "false"), ("n", "n >= 2")]);
        let expected = [
            ("0000".to_string(), vec![0, 1, 2, 3], vec![10, 11, 12, 13]),
            ("0012".to_string(), vec![0, 3], vec![10, 13]),
            ("n".to_string(), vec![2, 3], vec![12, 13]),
        ];
        assert_eq!(out, expected);
        assert_eq!(filtered, 0);
    }

    #[test]
    fn rows_that_match_no_filter_are_counted_once() {
        let (out, filtered) = run(&[("usa", "country = 'USA'"), ("zero", "n = 0")]);
        assert_eq!(out.len(), 2);
        assert_eq!(filtered, 2);
        assert_eq!(run(&[("zero", "n = 0"), ("all", "true"), ("one", "n = 1")]).1, 0);
        assert_eq!(run(&[]).1, 4);
    }

    #[test]
    fn columns_that_only_conditions_read_can_be_left_out() {
        let mut config = config(&[("all", "true"), ("usa", "country = 'USA'")]);
        config.output = Some(vec!["n".to_string()]);
        let context = OperatorContext::single("job", "filters");
        let mut harness = OperatorHarness::new(Box::new(Filters::new(&config, &context).unwrap()));
        for (_, batch) in harness.process(batch()).unwrap() {
            let schema = batch.columns.schema();
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, ["n", FILTER_ID]);
        }
    }

    #[test]
    fn a_row_that_a_condition_fails_on_is_a_dead_letter_and_counted_under_no_filter() {
        let context = OperatorContext::single("job", "filters.clicks");
        let filters = config(&[("all", "true"), ("usa", "country = 'USA'"), ("many", "6 / (n - 2) > 0")]);
        let mut harness = OperatorHarness::new(Box::new(Filters::new(&filters, &context).unwrap()));
        let out = harness.process(batch()).unwrap();
        let dead: Vec<&Batch> =
            out.iter().filter(|(port, _)| *port == ports::DEAD_LETTERS).map(|(_, batch)| batch).collect();
        let [dead] = dead[..] else { panic!("{out:?}") };
        let text = |column: usize| dead.columns.column(column).as_string::<i32>().value(0).to_owned();
        assert_eq!((dead.len(), text(0), text(4)), (1, "filters.clicks".into(), r#"{"country":"DEU","n":2}"#.into()));
        assert!(text(3).starts_with("filter \"many\": expression `6 / (n - 2) > 0`: Divide by zero"), "{}", text(3));
        let counted: Vec<Vec<i64>> = out
            .iter()
            .filter(|(port, _)| *port == Port::MAIN)
            .map(|(_, batch)| batch.columns.column(1).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(counted, [vec![0, 1, 3], vec![0, 3], vec![3]]);
        assert_eq!(context.counters.counter("dead_letters").get(), 1);
        assert_eq!(context.counters.counter("filtered_out").get(), 0);
    }

    #[test]
    fn mistakes_name_the_filter() {
        let context = OperatorContext::single("job", "filters");
        let error = Filters::new(&config(&[("0012", "contry = 'USA'")]), &context).unwrap_err();
        assert!(error.message.starts_with("filter \"0012\": there is no column `contry`"), "{error}");
    }
}
