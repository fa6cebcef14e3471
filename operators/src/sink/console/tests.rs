//! The console sink keeps the contract, and prints what a person can read.

use super::*;
use crate::sink::conformance::{self, SinkUnderTest};
use arrow::{
    array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io::{self, Write},
    sync::Arc,
};

/// A terminal that a test can read.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Console {
    screen: Screen,
    output: ConsoleOutput,
}

impl Console {
    fn new() -> Self {
        let screen = Screen::default();
        Console { output: ConsoleOutput::to(Box::new(screen.clone())), screen }
    }
}

impl SinkUnderTest for Console {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        Box::new(ConsoleSink::new(ConsoleSinkConfig { format: ConsoleFormat::Json }, context))
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        Arc::new(ConsoleCommitter::new(self.output.clone(), job, sink))
    }

    fn visible(&self) -> BoxFuture<'_, Vec<i64>> {
        let text = self.screen.text();
        let numbers = text.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            row["n"].as_i64().unwrap()
        });
        futures::future::ready(numbers.collect()).boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, usize> {
        futures::future::ready(0).boxed()
    }

    fn can_take_back(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    conformance::check_all(Console::new).await;
}

#[tokio::test]
async fn a_table_shows_uuids_as_such() {
    let uuid = HashMap::from([("ARROW:extension:name".to_string(), "arrow.uuid".to_string())]);
    let schema = Schema::new(vec![
        Field::new("record_id", DataType::FixedSizeBinary(16), false).with_metadata(uuid),
        Field::new("count", DataType::Int64, false),
    ]);
    let ids = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16]].into_iter()).unwrap();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(Int64Array::from(vec![7]))];
    let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let lines = render::lines(ConsoleFormat::Table, &rows).unwrap();
    assert_eq!(
        lines,
        [
            "+--------------------------------------+-------+",
            "| record_id                            | count |",
            "+--------------------------------------+-------+",
            "| abababab-abab-abab-abab-abababababab | 7     |",
            "+--------------------------------------+-------+",
        ]
    );
    let json = render::lines(ConsoleFormat::Json, &rows).unwrap();
    assert_eq!(json, [r#"{"record_id":"abababab-abab-abab-abab-abababababab","count":7}"#]);
}

#[tokio::test]
async fn too_much_to_read_is_refused() {
    let context = OperatorContext::single("job", "sink.console");
    let mut sink = ConsoleSink::new(ConsoleSinkConfig { format: ConsoleFormat::Json }, &context);
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000_000));
    let rows = Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap());
    let mut outcome = Ok(());
    for _ in 0..3 {
        outcome = outcome.and(sink.write(rows.clone()).await);
    }
    assert!(outcome.unwrap_err().message.contains("16 MiB"));
}
