//! `[operator.NAME]`: operators of another crate in definitions, as they are checked, compiled and run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use serde::{Deserialize, Serialize};
use weir_engine::checkpoint::CheckpointStore;
use weir_engine::element::{Batch, Port};
use weir_engine::env::Env;
use weir_engine::operator::{Collector, Operator, OperatorContext};
use weir_engine::task::StopSignal;
use weir_jobs::{CompileOptions, Custom, Job, JobBuilder, Sink, Source, parse};
use weir_local::{Settings, Submission, run};
use weir_operators::definition::{KeyPath, Mistake, Reader};
use weir_operators::extension::{Extensions, OperatorGiven, OperatorInput, OperatorSettings, Timing};
use weir_operators::schema::{Column, ColumnSchema};
use weir_operators::sink::console::ConsoleSinkConfig;
use weir_operators::source::files::FilesConfig;

/// Adds the number of its subtask's rows so far to each row: keeps nothing, changes no time.
#[derive(Debug, Serialize, Deserialize)]
struct Numbered {
    name: String,
}

struct Number(String, i64);

impl Operator for Number {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> weir_engine::Result<()> {
        let numbers = Int64Array::from_iter_values((0..batch.len() as i64).map(|row| self.1 + row));
        self.1 += batch.len() as i64;
        let schema = batch.columns.schema();
        let columns =
            schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns.columns().iter().cloned());
        let numbers: (&str, ArrayRef) = (&self.0, Arc::new(numbers));
        let columns = RecordBatch::try_from_iter(columns.chain([numbers]))?;
        out.emit(Port::MAIN, batch.with_columns(columns));
        Ok(())
    }
}

impl OperatorSettings for Numbered {
    const KIND: &'static str = "numbered";

    fn read(keys: &Reader<'_>) -> Self {
        Numbered { name: keys.required_text("name", "\"n\"") }
    }

    fn columns(&self, given: &OperatorGiven<'_>, _: &KeyPath, _: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        let mut columns = given.columns.clone();
        columns.columns.push(Column { name: self.name.clone(), data_type: DataType::Int64, nullable: false });
        Some(columns)
    }

    fn timing(&self) -> Timing {
        Timing::Passes
    }

    fn note(&self) -> String {
        format!("numbers rows as {}", self.name)
    }

    fn build(&self, _: &OperatorInput, _: &OperatorContext) -> weir_engine::Result<Box<dyn Operator>> {
        Ok(Box::new(Number(self.name.clone(), 0)))
    }
}

/// Lets nothing through before the watermark, and tells of its state what it is told to.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    key: Vec<String>,
}

impl OperatorSettings for Waiting {
    const KIND: &'static str = "waiting";

    fn read(keys: &Reader<'_>) -> Self {
        Waiting { key: keys.texts("key").unwrap_or_default() }
    }

    fn columns(&self, given: &OperatorGiven<'_>, _: &KeyPath, _: &mut Vec<Mistake>) -> Option<ColumnSchema> {
        Some(given.columns.clone())
    }

    fn key(&self) -> &[String] {
        &self.key
    }

    fn timing(&self) -> Timing {
        Timing::Waits { lateness: Duration::from_secs(60) }
    }

    fn note(&self) -> String {
        "waits".into()
    }

    fn state(&self) -> Option<String> {
        Some("rows".into())
    }

    fn build(&self, _: &OperatorInput, _: &OperatorContext) -> weir_engine::Result<Box<dyn Operator>> {
        Ok(Box::new(Number("n".into(), 0)))
    }
}

fn extensions() -> Extensions {
    Extensions::new().operator::<Numbered>().operator::<Waiting>()
}

fn options() -> CompileOptions {
    CompileOptions { extensions: extensions(), parallelism: Some(2), ..CompileOptions::default() }
}

const CLICKS: &str = r#"
[job]
name = "custom"

[source.clicks]
connector = "generator"
events = 3000
ads = 10
event_time = "click_timestamp"
watermark = { delay = "1h" }
"#;

const COUNTED: &str = r#"
[operator.numbered]
kind = "numbered"
input = "clicks"
name = "n"

[aggregate.minutes]
input = "numbered"
key = ["ad_id"]
window = { tumbling = "1m" }
select = { count = "count(*)", largest = "max(n)" }

[sink.out]
input = "minutes"
connector = "files"
path = "OUT"
"#;

fn compiled(nodes: &str) -> Result<Job, String> {
    parse("job.toml", &format!("{CLICKS}{nodes}"), &[], &options()).map_err(|refusal| refusal.to_string())
}

fn execute(job: Job, checkpoints: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = CheckpointStore::open(&format!("file://{}", checkpoints.display()), &job.graph.name).unwrap();
    let settings = Settings::new(job.graph, store, Env::default(), Arc::new(extensions()));
    runtime.block_on(run(settings, Submission::new("test"), StopSignal::default())).unwrap();
}

#[test]
fn rows_pass_one_with_their_time_and_are_counted_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    execute(compiled(&COUNTED.replace("OUT", &out.display().to_string())).unwrap(), &folder.path().join("checkpoints"));
    let sum = |name: &str| -> i64 {
        let rows = crate::support::rows(&out);
        rows.iter()
            .flat_map(|rows| rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec())
            .sum()
    };
    assert_eq!(sum("count"), 3000);
    assert!(sum("largest") > 3000, "the column that it adds is there");
}

#[test]
fn one_that_waits_has_a_gate_and_rows_without_time() {
    let nodes = r#"
        [operator.waiting]
        kind = "waiting"
        input = "clicks"
        key = ["ad_id"]

        [sink.out]
        input = "waiting"
        connector = "console"

        [sink.late]
        input = "waiting.late"
        connector = "console"
    "#;
    let job = compiled(nodes).unwrap();
    let ids: Vec<&str> = job.graph.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["source.clicks", "late_gate.waiting", "operator.waiting", "sink.out", "sink.late"]);
    let waiting = &job.graph.nodes[2];
    assert_eq!((waiting.kind.as_str(), &waiting.config["input"]["lateness_ms"]), ("waiting", &60_000.into()));
    assert_eq!(waiting.config["key"], serde_json::json!(["ad_id"]));
    assert!(job.definition.contains(r#""remembers":"state""#) && job.definition.contains("types of the key"));
    let counted = format!(
        "{nodes}\n[aggregate.n]\ninput = \"waiting\"\nkey = [\"ad_id\"]\nwindow = {{ tumbling = \"1m\" }}\nselect = {{ n = \"count(*)\" }}\n[sink.n]\ninput = \"n\"\nconnector = \"console\""
    );
    assert!(compiled(&counted).unwrap_err().contains("its rows have no event time"));
}

#[test]
fn mistakes_are_told_at_their_keys() {
    let told = |node: &str| {
        let nodes = format!("[operator.own]\n{node}\n[sink.out]\ninput = \"own\"\nconnector = \"console\"");
        compiled(&nodes).map(|_| ()).unwrap_err()
    };
    let unknown = told("kind = \"numberd\"\ninput = \"clicks\"");
    assert!(unknown.contains("there is no kind called `numberd`") && unknown.contains("`numbered`"), "{unknown}");
    assert!(told("input = \"clicks\"").contains("kind = \"numbered\" or \"waiting\""));
    assert!(told("kind = \"numbered\"\ninput = \"clicks\"").contains("the key `name` is missing"));
    let other = told("kind = \"numbered\"\ninput = \"clicks\"\nname = \"n\"\nnmae = \"n\"");
    assert!(other.contains("the key `nmae` is unknown"), "{other}");
    assert!(told("kind = \"waiting\"\ninput = \"clicks\"\nkey = [\"ad\"]").contains("there is no column `ad`"));
    let none =
        parse("job.toml", &format!("{CLICKS}{COUNTED}"), &[], &CompileOptions::default()).unwrap_err().to_string();
    assert!(none.contains("this program has no operators of its own"), "{none}");
    let results = COUNTED.replace("input = \"clicks\"", "input = \"clicks_per_minute\"")
        + "[aggregate.clicks_per_minute]\ninput = \"clicks\"\nkey = [\"ad_id\"]\nwindow = { tumbling = \"1m\" }\nselect = { n = \"count(*)\" }";
    let told = compiled(&results).map(|_| ()).unwrap_err();
    assert!(told.contains("its rows are results, which later revisions correct, and numbered takes none"), "{told}");
}

#[test]
fn jobs_that_are_made_in_rust_have_them_too() {
    let job = JobBuilder::new("built")
        .source("clicks", Source::of(FilesConfig::at("jobs/data/clicks")).event_time("click_timestamp"))
        .custom("numbered", Custom::over("clicks", Numbered { name: "n".into() }))
        .sink("out", Sink::of("numbered", ConsoleSinkConfig::default()))
        .build(&CompileOptions::default())
        .unwrap();
    assert!(job.graph.nodes.iter().any(|node| node.id == "operator.numbered" && node.kind == "numbered"));
    assert!(job.notes.iter().any(|note| note.does == "numbered: numbers rows as n"));
}
