//! The console sink keeps the contract, and prints what a person can read.

use super::{sink::MANIFEST_BYTES, *};
use crate::{
    definition::testing::read,
    sink::conformance::{self, JOB, SINK, SinkUnderTest, context},
};
use arrow::{
    array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use serde_json::json;
use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
};
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    element::Barrier,
    ids::CheckpointId,
    operator::{CommitOutcome, Committer, CommitterContext, OperatorContext, Sink},
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
    store: CheckpointStore,
}

impl Console {
    fn new() -> Self {
        Console::of(CheckpointStore::in_memory(JOB))
    }

    /// A process of its own.
    fn of(store: CheckpointStore) -> Self {
        let screen = Screen::default();
        Console { output: ConsoleOutput::to(Box::new(screen.clone())), screen, store }
    }

    fn staging(&self, sink: &str) -> Staging {
        Staging::new(self.store.clone(), sink)
    }
}

impl SinkUnderTest for Console {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        let context = OperatorContext { staging: self.staging(&context.operator), ..context.clone() };
        Box::new(ConsoleSink::new(ConsoleSinkConfig { format: ConsoleFormat::Json }, &context))
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        let context = CommitterContext { staging: self.staging(sink), ..CommitterContext::single(job, sink) };
        Arc::new(ConsoleCommitter::new(self.output.clone(), context))
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
        async { self.staging(SINK).list().await.unwrap().len() }.boxed()
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
async fn what_is_long_is_staged_and_printed_once() {
    let console = Console::new();
    let (mut sink, committer) = (console.sink(&context(1, 0)), console.committer(JOB, SINK));
    // Some megabytes: files before the barrier, one with it.
    let all = 0..400_000;
    for part in [0..150_000, 150_000..300_000, 300_000..400_000] {
        sink.write(conformance::rows(part)).await.unwrap();
    }
    let staged = sink.stage(Barrier::new(CheckpointId(1))).await.unwrap();
    assert!(serde_json::to_string(&staged).unwrap().len() < MANIFEST_BYTES, "rows don't go through the manifest");
    assert!(console.leftovers().await >= 2);
    assert_eq!(committer.commit(CheckpointId(1), &staged).await.unwrap(), CommitOutcome::Done);
    assert_eq!(console.visible().await, all.collect::<Vec<i64>>());
    assert_eq!(console.leftovers().await, 0);
    // Another process finds the files gone, which says that they were printed.
    let other = Console::of(console.store.clone());
    let outcome = other.committer(JOB, SINK).commit(CheckpointId(1), &staged).await.unwrap();
    assert_eq!((outcome, other.screen.text()), (CommitOutcome::AlreadyDone, String::new()));
}

/// A pipe whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn rows_for_a_reader_that_has_gone_are_no_failure() {
    let console = Console { output: ConsoleOutput::to(Box::new(Closed)), ..Console::new() };
    let mut sink = console.sink(&context(1, 0));
    let committer = console.committer(JOB, SINK);
    assert!(console.output.closed().now_or_never().is_none());
    for checkpoint in [1, 2] {
        sink.write(conformance::rows(0..10)).await.unwrap();
        let staged = sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap();
        assert_eq!(committer.commit(CheckpointId(checkpoint), &staged).await.unwrap(), CommitOutcome::Done);
        assert!(console.output.is_closed() && console.output.closed().now_or_never().is_some());
    }
}

#[test]
fn a_format_is_chosen_by_its_name() {
    let chosen = |keys| {
        let (connector, wrong) = read(keys, KIND.read);
        (connector.note(), wrong)
    };
    assert_eq!(chosen(json!({})), ("lines on standard output".to_owned(), vec![]));
    assert_eq!(chosen(json!({ "format": "table" })), ("lines on standard output".to_owned(), vec![]));
    assert_eq!(chosen(json!({ "format": "json" })), ("JSON lines on standard output".to_owned(), vec![]));
    assert_eq!(chosen(json!({ "format": "xml" })).1, ["format: there is no format called `xml`"]);
    let json_rows = (KIND.stored)(&json!({ "format": "json" })).unwrap();
    let tables = (KIND.stored)(&json!({})).unwrap();
    assert!(json_rows.owns_standard_output() && !tables.owns_standard_output());
}

#[test]
fn record_ids_are_shown_as_uuids() {
    let schema = Schema::new(vec![
        Field::new("record_id", DataType::FixedSizeBinary(16), false),
        Field::new("count", DataType::Int64, false),
    ]);
    let ids = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16]].into_iter()).unwrap();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(Int64Array::from(vec![7]))];
    let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let rendered = |format| {
        let mut text = Vec::new();
        render::render(format, &rows, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let table = "\
+--------------------------------------+-------+
| record_id                            | count |
+--------------------------------------+-------+
| abababab-abab-abab-abab-abababababab | 7     |
+--------------------------------------+-------+
";
    assert_eq!(rendered(ConsoleFormat::Table), table);
    let json = "{\"record_id\":\"abababab-abab-abab-abab-abababababab\",\"count\":7}\n";
    assert_eq!(rendered(ConsoleFormat::Json), json);
}

#[test]
fn what_is_no_letter_does_nothing_to_a_terminal() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("\u{1b}[31mred\u{7}\nb"), None]));
    let rows = RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap();
    let mut shown = Vec::new();
    render::render(ConsoleFormat::Table, &rows, &mut shown).unwrap();
    let table = "\
+-------------+
| text        |
+-------------+
|  [31mred  b |
|             |
+-------------+
";
    assert_eq!(String::from_utf8(shown).unwrap(), table);
}
