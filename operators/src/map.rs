//! The map: keeps the rows for which a condition is true, and computes the columns that go on.
//!
//! Rows keep their order and what travels beside them, but for key hashes: a computed column may bear the name of a
//! key column and hold something else.

use crate::{
    expression::Expression,
    schema::{ColumnSchema, project},
};
use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_engine::{
    Result,
    element::{Batch, Port},
    operator::{Collector, Counter, Operator, OperatorContext},
};

/// What a map does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapConfig {
    /// The columns that come in.
    pub input: ColumnSchema,
    /// The condition: rows for which it is false or null are left out, and counted in `filtered_out`.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The columns that go on; none: those that came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<SelectItem>>,
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
    select: Option<Selection>,
    filtered_out: Counter,
}

/// The computed columns, and which of the incoming ones they need.
#[derive(Debug)]
struct Selection {
    names: Vec<String>,
    expressions: Vec<Expression>,
    reads: Vec<String>,
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
        Ok(Map {
            condition: condition.filter(|condition| !condition.is_constant_true()),
            select,
            filtered_out: context.counters.counter("filtered_out"),
        })
    }
}

impl Operator for Map {
    fn process(&mut self, batch: Batch, out: &mut Collector) -> Result<()> {
        let keep = match &self.condition {
            Some(condition) => Some(condition.evaluate_predicate(&batch.columns)?),
            None => None,
        };
        // What only the condition needed is dropped before rows are copied.
        let batch = match &self.select {
            Some(select) => batch.with_columns(project(&batch.columns, &select.reads)?),
            None => batch,
        };
        let batch = match keep {
            Some(keep) => {
                self.filtered_out.add((keep.len() - keep.true_count()) as u64);
                batch.filter(&keep)?
            }
            None => batch,
        };
        if batch.is_empty() {
            return Ok(());
        }
        let batch = match &self.select {
            Some(select) => {
                let mut selected = batch.with_columns(select.compute(&batch.columns)?);
                selected.key_hashes = None;
                selected
            }
            None => batch,
        };
        out.emit(Port::Main, batch);
        Ok(())
    }
}

impl Selection {
    fn new(items: &[SelectItem], input: &Schema) -> Result<Self> {
        let compile =
            |item: &SelectItem| Expression::new(&item.expression, input).map_err(|error| error.at(&item.expression));
        let expressions: Vec<Expression> = items.iter().map(compile).collect::<Result<_>>()?;
        let read = |name: &str| expressions.iter().any(|expression| expression.columns().any(|column| column == name));
        let reads = input.fields().iter().map(|field| field.name().clone()).filter(|name| read(name)).collect();
        Ok(Selection { names: items.iter().map(|item| item.name.clone()).collect(), expressions, reads })
    }

    fn compute(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.expressions.len());
        for expression in &self.expressions {
            columns.push(expression.evaluate(batch)?);
        }
        let fields: Vec<Field> = self
            .names
            .iter()
            .zip(&self.expressions)
            .zip(&columns)
            .map(|((name, expression), column)| {
                let nullable = expression.nullable() || column.null_count() > 0;
                Field::new(name, column.data_type().clone(), nullable)
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{Array, AsArray, DictionaryArray, Int64Array, StringArray},
        datatypes::{DataType, Int32Type, Int64Type},
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
            select: select.map(|items| items.iter().map(item).collect()),
        }
    }

    fn batch() -> Batch {
        let ads: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("b")]));
        let costs: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        Batch {
            columns: RecordBatch::try_from_iter_with_nullable([("ad_id", ads, true), ("cost", costs, true)]).unwrap(),
            split_watermarks: Some(vec![10, 20, 30, 40].into()),
            key_hashes: Some(KeyHashes { columns: vec!["ad_id".into()].into(), hashes: Arc::new(vec![1, 2, 3, 4]) }),
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
        let zero = config(None, Some(&[("x", "1 / (cost - 2)")]));
        let mut harness = OperatorHarness::new(Box::new(Map::new(&zero, &context).unwrap()));
        assert!(harness.process(batch()).unwrap_err().message.contains("Divide by zero"));
    }

    #[test]
    fn the_configuration_survives_json() {
        let config = config(Some("cost > 1"), Some(&[("x", "cost")]));
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["where"], "cost > 1");
        assert_eq!(serde_json::from_value::<MapConfig>(json).unwrap(), config);
    }
}
