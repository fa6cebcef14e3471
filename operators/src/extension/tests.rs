//! An operator of "another crate": registered, stored, built, and held to what it has declared.

use super::*;
use crate::{
    definition::{KeyPath, Mistake, testing::read},
    schema::{Column, ColumnSchema},
};
use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::DataType,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_engine::{
    element::{Batch, Port},
    operator::Collector,
};

/// Emits `n`, under a name that the settings say.
#[derive(Debug, Serialize, Deserialize)]
struct Renamed {
    to: String,
}

struct Rename(String);

impl Operator for Rename {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        let column = batch.columns.column(0).clone();
        out.emit(Port::MAIN, batch.with_columns(RecordBatch::try_from_iter([(self.0.as_str(), column)])?));
        Ok(())
    }
}

impl OperatorSettings for Renamed {
    const KIND: &'static str = "renamed";

    fn read(keys: &Reader<'_>) -> Self {
        Renamed { to: keys.required_text("to", "\"m\"") }
    }

    fn columns(&self, _: &OperatorGiven<'_>, _: &KeyPath, _: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        Some(numbers(&self.to))
    }

    fn note(&self) -> String {
        format!("n as {}", self.to)
    }

    fn build(&self, input: &OperatorInput, _: &OperatorContext) -> Result<Box<dyn Operator>> {
        assert_eq!(input.columns.names().collect::<Vec<_>>(), ["n"]);
        Ok(Box::new(Rename(self.to.clone())))
    }
}

fn numbers(name: &str) -> ColumnSchema {
    ColumnSchema { columns: vec![Column { name: name.into(), data_type: DataType::Int64, nullable: true }] }
}

fn built(output: &str) -> Result<Box<dyn Operator>> {
    let input = OperatorInput { columns: numbers("n"), ..OperatorInput::default() };
    let config = OperatorConfig { settings: json!({ "to": "m" }), key: Vec::new(), input, output: numbers(output) };
    let (id, kind) = ("operator.r".into(), "renamed".into());
    let node = Node { id, kind, role: NodeRole::Operator, parallelism: 1, config: json!(config) };
    let extensions = Extensions::new().operator::<Renamed>();
    Factory::operator(&extensions, &node, OperatorContext::single("job", "operator.r"))
}

fn emitted(operator: &mut dyn Operator, column: ArrayRef) -> Result<Vec<(Port, Batch)>> {
    let mut out = Collector::default();
    operator.process(0, Batch::new(RecordBatch::try_from_iter([("n", column)])?), &mut out)?;
    Ok(out.drain())
}

#[test]
fn an_operator_of_another_crate_is_found_by_its_kind() {
    let extensions = Extensions::new().operator::<Renamed>();
    let (kind, wrong) =
        read(json!({ "kind": "renamed" }), |keys| extensions.chosen_operator(keys).map(|kind| kind.name));
    assert_eq!((kind, wrong), (Some("renamed"), Vec::new()));
    let (_, wrong) = read(json!({ "kind": "renamd" }), |keys| extensions.chosen_operator(keys).is_some());
    assert_eq!(wrong, ["kind: there is no kind called `renamd`"]);
    let out = emitted(built("m").unwrap().as_mut(), Arc::new(Int64Array::from(vec![1, 2]))).unwrap();
    assert_eq!((out.len(), out[0].1.columns.schema().field(0).name().as_str()), (1, "m"));
}

#[test]
fn what_it_emits_is_what_it_has_declared() {
    let other_name = emitted(built("k").unwrap().as_mut(), Arc::new(Int64Array::from(vec![1]))).unwrap_err().message;
    assert_eq!(other_name, "'operator.r' (renamed) emits the columns (m Int64), but has declared (k Int64)");
    let other_type = emitted(built("m").unwrap().as_mut(), Arc::new(StringArray::from(vec!["1"]))).unwrap_err().message;
    assert!(other_type.contains("emits the columns (m Utf8)"), "{other_type}");
}

#[test]
fn kinds_have_names_of_their_own() {
    let told = |extensions: Extensions| extensions.check().map_err(|error| error.message);
    assert_eq!(told(Extensions::new().operator::<Renamed>()), Ok(()));
    let twice = told(Extensions::new().operator::<Renamed>().operator::<Renamed>()).unwrap_err();
    assert_eq!(twice, "there are two kinds of operator called 'renamed'");
    let taken = told(Extensions::new().sink(&crate::sink::console::KIND)).unwrap_err();
    assert_eq!(taken, "there are two kinds of sink called 'console'");
    assert!(has_operator("map") && has_operator("window_marks") && !has_operator("renamed"));
}
