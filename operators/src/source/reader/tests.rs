//! Tests of the common part of sources, on splits whose content and silence are written down.

use super::*;
use crate::source::{JumpAfter, JumpRule, PLAUSIBLE_EVENT_TIMES, column_type::ColumnType, split_reader::SplitReader};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use futures::FutureExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;

const RULE: WatermarkRule = WatermarkRule { delay_ms: 10, jump: None };

/// With rows that are refused for being ahead.
const JUMPS: WatermarkRule = WatermarkRule {
    delay_ms: 10,
    jump: Some(JumpRule { max_jump_ms: 1_000, refuses: true, after: JumpAfter { rows: 5, span_ms: 20 } }),
};

/// What a written-down split does next.
#[derive(Clone, Debug)]
enum Step {
    /// Rows with these event times.
    Rows(Vec<Option<i64>>),
    /// A bad line.
    Bad,
    /// Nothing for now.
    Pending,
    /// Nobody answers.
    Away,
    /// Somebody has to be waited for before the next step.
    Waits,
}

#[derive(Clone, Debug)]
struct Script {
    id: String,
    steps: Vec<Step>,
}

fn script(id: &str, steps: &[Step]) -> Script {
    Script { id: id.to_owned(), steps: steps.to_vec() }
}

fn rows(event_times: &[i64]) -> Step {
    Step::Rows(event_times.iter().copied().map(Some).collect())
}

/// Steps through a script; a position is a step.
struct ScriptReader {
    script: Script,
    step: usize,
    ends: bool,
    at_hand: bool,
}

impl ScriptReader {
    async fn next(&mut self) -> SplitEvent {
        while let Some(Step::Waits) = self.script.steps.get(self.step) {
            tokio::task::yield_now().await;
            self.step += 1;
        }
        let event = match self.script.steps.get(self.step) {
            Some(Step::Rows(times)) => {
                SplitEvent::Records { columns: columns(self.step, times), dead_letters: Vec::new() }
            }
            Some(Step::Bad) => SplitEvent::Records {
                columns: columns(self.step, &[]),
                dead_letters: vec![DeadLetter { offset: self.step as i64, reason: "bad".into(), raw: "?".into() }],
            },
            Some(Step::Pending | Step::Waits) => SplitEvent::Pending,
            Some(Step::Away) => SplitEvent::Away,
            None if self.ends => SplitEvent::Finished,
            None => SplitEvent::Pending,
        };
        self.step = (self.step + 1).min(self.script.steps.len());
        event
    }
}

impl SplitReader for ScriptReader {
    fn next_chunk(&mut self, _: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        async move { Ok(self.next().await) }.boxed()
    }

    /// It says so even where it will wait: nothing may be lost by that.
    fn is_at_hand(&self) -> bool {
        self.at_hand
    }

    fn is_over(&self) -> bool {
        self.at_hand && self.ends && self.step == self.script.steps.len()
    }

    fn position(&self) -> serde_json::Value {
        self.step.into()
    }

    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter> {
        let found = |row: &usize| DeadLetter { offset: *row as i64, reason: String::new(), raw: format!("row {row}") };
        rows.iter().map(found).collect()
    }
}

/// Rows of a step: its number and the event times.
fn columns(step: usize, times: &[Option<i64>]) -> RecordBatch {
    let steps: ArrayRef = Arc::new(Int64Array::from_iter_values(times.iter().map(|_| step as i64)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter(times.iter().copied()).with_timezone("UTC"));
    RecordBatch::try_from_iter_with_nullable([("step", steps, false), ("at", times, true)]).expect("columns that fit")
}

#[derive(Default)]
struct ScriptConnector {
    scripts: Vec<Script>,
    found_later: Arc<Mutex<Vec<Script>>>,
    followed: bool,
    at_hand: bool,
}

impl ScriptConnector {
    fn opened(&self, script: Script, step: usize) -> OpenedSplit {
        OpenedSplit {
            id: script.id.clone(),
            name: format!("{}.log", script.id),
            reader: Box::new(ScriptReader { script, step, ends: !self.followed, at_hand: self.at_hand }),
            newest_before_ms: None,
            oldest_ms: None,
        }
    }
}

impl Connector for ScriptConnector {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        let step = |script: &Script| {
            let found = restored.iter().find(|split| split.id == script.id);
            found.map_or(0, |split| split.position.as_u64().expect("a step") as usize)
        };
        let opened = self.scripts.iter().map(|script| self.opened(script.clone(), step(script))).collect();
        async move { Ok(opened) }.boxed()
    }

    fn discover(&mut self) -> BoxFuture<'_, Result<Discovery>> {
        let found = std::mem::take(&mut *self.found_later.lock());
        let opened = found.into_iter().map(|script| self.opened(script, 0)).collect();
        async move { Ok(Discovery { opened, ..Discovery::default() }) }.boxed()
    }

    fn nature(&self) -> Nature {
        if self.followed { Nature::FOLLOWED } else { Nature::BOUNDED }
    }
}

fn settings() -> ReaderSettings {
    ReaderSettings {
        event_time: Some("at".to_owned()),
        rule: RULE,
        max_ahead_ms: None,
        max_drift_ms: None,
        idle_after: None,
        batch_rows: 100,
        poll_interval: Duration::from_millis(1),
        discover_interval: Duration::from_millis(1),
    }
}

fn reader(settings: ReaderSettings, connector: ScriptConnector) -> SourceReader {
    SourceReader::new(settings, Box::new(connector), &OperatorContext::single("job", "source.clicks"))
}

async fn opened(settings: ReaderSettings, connector: ScriptConnector) -> SourceReader {
    let mut reader = reader(settings, connector);
    reader.restore(Vec::new()).await.expect("opened");
    reader
}

/// An event in short.
fn short(event: &SourceEvent) -> String {
    match event {
        SourceEvent::Rows(ports::DEAD_LETTERS, batch) => {
            let reasons = batch.columns.column(3).as_string::<i32>();
            let offsets = batch.columns.column(2).as_primitive::<Int64Type>();
            let letters = (0..batch.len()).map(|row| format!("{}: {}", offsets.value(row), reasons.value(row)));
            format!("dead {}", letters.collect::<Vec<_>>().join("; "))
        }
        SourceEvent::Rows(_, batch) => {
            let times = batch.columns.column(1).as_primitive::<TimestampMillisecondType>().values().to_vec();
            match &batch.split_watermarks {
                Some(watermarks) => format!("rows {times:?} behind {:?}", watermarks.to_vec()),
                None => format!("rows {times:?}"),
            }
        }
        SourceEvent::Watermark(watermark) => format!("watermark {watermark}"),
        SourceEvent::Idle => "idle".to_owned(),
        SourceEvent::EndOfInput => "end".to_owned(),
    }
}

async fn next(reader: &mut SourceReader) -> String {
    short(&reader.next().await.expect("an event"))
}

async fn all(reader: &mut SourceReader) -> Vec<String> {
    let mut events = Vec::new();
    while events.last().is_none_or(|last| last != "end") {
        events.push(next(reader).await);
    }
    events
}

fn bounded(scripts: Vec<Script>) -> ScriptConnector {
    ScriptConnector { scripts, ..ScriptConnector::default() }
}

/// The same, which need not be waited for.
fn at_hand(scripts: Vec<Script>) -> ScriptConnector {
    ScriptConnector { at_hand: true, ..bounded(scripts) }
}

#[tokio::test]
async fn splits_are_read_in_step_and_the_smallest_watermark_counts() {
    let a = script("a", &[rows(&[100, 101, 102]), rows(&[200]), rows(&[300])]);
    let b = script("b", &[rows(&[120, 120, 120]), rows(&[110, 109])]);
    let mut reader = opened(settings(), bounded(vec![a, b])).await;
    assert_eq!(
        all(&mut reader).await,
        [
            "rows [100, 101, 102]",
            "rows [120, 120, 120]",
            "watermark 92",
            "rows [200]",
            "watermark 110",
            "rows [110, 109] behind [110, 110]",
            "watermark 190",
            "rows [300]",
            "watermark 290",
            "end"
        ]
    );
}

#[tokio::test]
async fn rows_of_small_splits_are_one_batch_and_each_keeps_its_own_watermark() {
    let scripts = || {
        let a = script("a", &[rows(&[100, 200, 150])]);
        let b = script("b", &[rows(&[120]), Step::Bad, rows(&[130])]);
        vec![a, b, script("empty", &[]), script("c", &[rows(&[7])]), script("d", &[rows(&[8])])]
    };
    let min = WATERMARK_MIN;
    assert_eq!(
        all(&mut opened(settings(), at_hand(scripts())).await).await,
        [
            format!("rows [100, 200, 150, 120, 7, 8] behind [{min}, 90, 190, {min}, {min}, {min}]"),
            "dead 1: bad".into(),
            "watermark 110".into(),
            "rows [130]".into(),
            "end".into(),
        ],
        "what is not rows is sent before more is read, and the end of a split is seen with its last rows"
    );
    let few = ReaderSettings { batch_rows: 2, ..settings() };
    let mut rows_of_few = all(&mut opened(few, at_hand(scripts())).await).await;
    rows_of_few.retain(|event| event.starts_with("rows"));
    let whole = format!("rows [100, 200, 150] behind [{min}, 90, 190]");
    assert_eq!(rows_of_few, [whole.as_str(), "rows [120, 7]", "rows [8]", "rows [130]"]);
}

#[tokio::test]
async fn rows_are_sent_before_anybody_is_waited_for() {
    let waits = script("b", &[Step::Waits, rows(&[120])]);
    let mut reader = opened(settings(), at_hand(vec![script("a", &[rows(&[100])]), waits])).await;
    assert_eq!(reader.next().now_or_never().map(|event| short(&event.expect("an event"))), Some("rows [100]".into()));
    assert!(reader.next().now_or_never().is_none(), "now the other one is waited for");
    let positions: Vec<_> = reader.snapshot().expect("a snapshot").into_iter().map(|split| split.state).collect();
    assert_eq!((&positions[0]["position"], &positions[1]["position"]), (&1.into(), &0.into()));
    assert_eq!(all(&mut reader).await, ["rows [120]", "end"]);
}

#[tokio::test]
async fn where_the_job_fails_on_a_record_none_is_gathered() {
    let suspect = Origin { source: "other".into(), ..Default::default() };
    let context =
        OperatorContext { suspect: Some(Arc::new(suspect)), ..OperatorContext::single("job", "source.clicks") };
    let scripts = vec![script("a", &[rows(&[100])]), script("b", &[rows(&[120])])];
    let mut reader = SourceReader::new(settings(), Box::new(at_hand(scripts)), &context);
    reader.restore(Vec::new()).await.expect("opened");
    assert_eq!(all(&mut reader).await, ["rows [100]", "rows [120]", "end"]);
}

#[tokio::test]
async fn event_times_that_cannot_be_meant_are_dead_letters() {
    let times = [Some(100), None, Some(-1), Some(PLAUSIBLE_EVENT_TIMES.end), Some(101), Some(80), Some(102)];
    let a = script("a", &[rows(&[100, 100, 100]), Step::Rows(times.to_vec())]);
    let mut reader = opened(settings(), bounded(vec![a])).await;
    assert_eq!(
        all(&mut reader).await,
        [
            "rows [100, 100, 100]",
            "watermark 90",
            "rows [100, 101, 80, 102] behind [90, 90, 91, 91]",
            "dead 1: the event time at is empty; \
             2: the event time at is 1969-12-31T23:59:59.999Z, which is not between 1970 and 2199; \
             3: the event time at is 2200-01-01T00:00:00Z, which is not between 1970 and 2199",
            "watermark 92",
            "end"
        ]
    );
    assert_eq!((reader.events_in.get(), reader.dead_letters.get()), (10, 3));
}

/// The rows of two followed splits, one of which has something now and then only, in the order in which they come.
async fn rows_of_a_fast_and_a_slow_split(settings: ReaderSettings) -> Vec<String> {
    let slow = [vec![rows(&[100, 100, 100])], vec![Step::Pending; 30], vec![rows(&[200]), rows(&[500])]].concat();
    let fast: Vec<Step> = (0..10).map(|time| rows(&[100 + 50 * time, 100 + 50 * time, 100 + 50 * time])).collect();
    let scripts = vec![script("fast", &fast), script("slow", &slow), script("empty", &[])];
    let followed = ScriptConnector { scripts, followed: true, ..ScriptConnector::default() };
    let mut reader = opened(settings, followed).await;
    let mut found = Vec::new();
    while found.len() < 13 {
        let event = tokio::time::timeout(Duration::from_secs(60), next(&mut reader)).await.expect("it goes on");
        found.extend(Some(event).filter(|event| event.starts_with("rows")));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_fast_split_waits_for_a_slow_one_and_no_result_depends_on_it() {
    let (free, near) = (settings(), ReaderSettings { max_drift_ms: Some(120), ..settings() });
    let mut free = rows_of_a_fast_and_a_slow_split(free).await;
    let mut near = rows_of_a_fast_and_a_slow_split(near).await;
    let place = |found: &[String], row: &str| found.iter().position(|found| found == row).expect("a row");
    assert!(place(&free, "rows [550, 550, 550]") < place(&free, "rows [200]"), "{free:?}");
    let (slow, ahead) = (place(&near, "rows [200]"), place(&near, "rows [300, 300, 300]"));
    assert!(place(&near, "rows [250, 250, 250]") < slow && slow < ahead, "{near:?}");
    free.sort_unstable();
    near.sort_unstable();
    assert_eq!(free, near);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_split_that_is_silent() {
    let drift = ReaderSettings { max_drift_ms: Some(120), ..settings() };
    let slow = script("slow", &[rows(&[100, 100, 100])]);
    let fast = script("fast", &[rows(&[100, 100, 100]), rows(&[400]), rows(&[900])]);
    let followed =
        || ScriptConnector { scripts: vec![fast.clone(), slow.clone()], followed: true, ..ScriptConnector::default() };
    for (idle_after, last) in [(None, "rows [400]"), (Some(Duration::from_secs(1)), "rows [900]")] {
        let mut reader = opened(ReaderSettings { idle_after, ..drift.clone() }, followed()).await;
        let mut found = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(10), next(&mut reader)).await {
            found.extend(Some(event).filter(|event| event.starts_with("rows")));
        }
        assert_eq!(found.last().map(String::as_str), Some(last), "{idle_after:?}");
    }
}

/// The rows that a reader gives until it waits for another one.
async fn rows_until_it_waits(reader: &mut SourceReader) -> Vec<String> {
    let mut found = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(10), next(reader)).await {
        found.extend(Some(event).filter(|event| event.starts_with("rows")));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_split_waits_for_the_slowest_one_of_another_subtask() {
    let rarely = Duration::from_secs(3_600);
    let drift = ReaderSettings { max_drift_ms: Some(120), discover_interval: rarely, ..settings() };
    let steps: Vec<Step> = (1..=6).map(|time| rows(&[100 * time, 100 * time, 100 * time])).collect();
    let followed =
        || ScriptConnector { scripts: vec![script("a", &steps)], followed: true, ..ScriptConnector::default() };
    let context = OperatorContext { subtask: 1, parallelism: 2, ..OperatorContext::single("job", "source.clicks") };
    let slowest = |subtask, event_time, next| Some(Slowest { subtask, event_time, next });
    let mut reader = SourceReader::new(drift, Box::new(followed()), &context);
    context.pace.hear(slowest(0, 100, None));
    reader.restore(Vec::new()).await.expect("opened");
    let all = |times: &[i64]| times.iter().map(|at| format!("rows [{at}, {at}, {at}]")).collect::<Vec<_>>();
    assert_eq!(rows_until_it_waits(&mut reader).await, all(&[100, 200, 300]));
    assert_eq!(*context.pace.said().borrow(), Some(290), "it says where it is");
    context.pace.hear(slowest(1, 290, Some(180)));
    assert_eq!(rows_until_it_waits(&mut reader).await, all(&[400]), "it does not wait for itself");
    let waiting = tokio::spawn(async move { (rows_until_it_waits(&mut reader).await, reader) });
    tokio::time::advance(Duration::from_millis(1)).await;
    context.pace.hear(slowest(0, 300, Some(390)));
    let (found, mut reader) = waiting.await.expect("it goes on");
    assert_eq!(found, all(&[500]));
    context.pace.hear(None);
    assert_eq!(rows_until_it_waits(&mut reader).await, all(&[600]), "nobody is left to wait for");
    let free = OperatorContext::single("job", "source.clicks");
    let mut reader = SourceReader::new(settings(), Box::new(followed()), &free);
    free.pace.hear(slowest(7, 0, None));
    reader.restore(Vec::new()).await.expect("opened");
    assert_eq!(rows_until_it_waits(&mut reader).await.len(), 6, "without max_drift none waits");
    assert_eq!(*free.pace.said().borrow(), None, "nor says anything");
}

#[tokio::test(start_paused = true)]
async fn a_silent_subtask_says_that_nobody_has_to_wait_for_it() {
    let idle = ReaderSettings { max_drift_ms: Some(120), idle_after: Some(Duration::from_secs(1)), ..settings() };
    let followed = ScriptConnector {
        scripts: vec![script("a", &[rows(&[100, 100, 100])])],
        followed: true,
        ..ScriptConnector::default()
    };
    let context = OperatorContext { parallelism: 2, ..OperatorContext::single("job", "source.clicks") };
    let mut reader = SourceReader::new(idle, Box::new(followed), &context);
    reader.restore(Vec::new()).await.expect("opened");
    assert_eq!(next(&mut reader).await, "rows [100, 100, 100]");
    assert_eq!(next(&mut reader).await, "watermark 90");
    assert!(tokio::time::timeout(Duration::from_millis(500), next(&mut reader)).await.is_err());
    assert_eq!(*context.pace.said().borrow(), Some(90));
    assert_eq!(next(&mut reader).await, "idle");
    assert!(tokio::time::timeout(Duration::from_secs(1), next(&mut reader)).await.is_err());
    assert_eq!(*context.pace.said().borrow(), None);
}

#[tokio::test]
async fn what_was_read_before_a_drain_is_given_and_nothing_more_is_read() {
    let a = script("a", &[Step::Rows(vec![Some(100), None]), rows(&[200])]);
    let mut reader = opened(settings(), bounded(vec![a])).await;
    assert_eq!(next(&mut reader).await, "rows [100]");
    let drained = reader.drain().expect("a drain").expect("the dead letter whose position is behind");
    assert!(short(&drained).starts_with("dead 1: the event time at is empty"), "{drained:?}");
    assert!(reader.drain().expect("a drain").is_none());
}

#[tokio::test]
async fn without_an_event_time_there_is_no_watermark() {
    let a = script("a", &[rows(&[100, 100, 100, 5]), Step::Bad]);
    let mut reader = opened(ReaderSettings { event_time: None, ..settings() }, bounded(vec![a])).await;
    assert_eq!(all(&mut reader).await, ["rows [100, 100, 100, 5]", "dead 1: bad", "end"]);
}

#[tokio::test]
async fn a_wrong_event_time_column_is_refused() {
    for (column, expected) in [("step", "of type Int64; a timestamp is needed"), ("when", "the columns are: step, at")]
    {
        let a = script("a", &[rows(&[100])]);
        let settings = ReaderSettings { event_time: Some(column.to_owned()), ..settings() };
        let error = opened(settings, bounded(vec![a])).await.next().await.expect_err("a wrong column");
        assert!(error.message.starts_with("source.clicks: a.log: ") && error.message.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_source_without_splits_ends_or_is_idle() {
    let mut empty = opened(settings(), ScriptConnector::default()).await;
    assert_eq!(all(&mut empty).await, ["end"]);
    let found_later = Arc::new(Mutex::new(Vec::new()));
    let connector = ScriptConnector { followed: true, found_later: found_later.clone(), ..ScriptConnector::default() };
    let mut followed = opened(settings(), connector).await;
    assert_eq!(next(&mut followed).await, "idle");
    found_later.lock().push(script("a", &[rows(&[100, 100, 100])]));
    assert_eq!(next(&mut followed).await, "rows [100, 100, 100]");
    assert_eq!(next(&mut followed).await, "watermark 90");
}

#[tokio::test]
async fn a_silent_split_holds_nobody_back_and_rejoins_with_a_floor() {
    let mut quiet = vec![rows(&[50, 50, 50])];
    quiet.extend(std::iter::repeat_n(Step::Pending, 40));
    quiet.push(rows(&[51, 95]));
    let a = script("a", &quiet);
    let b = script("b", &[rows(&[100, 100, 100])]);
    let connector = ScriptConnector { scripts: vec![a, b], followed: true, ..ScriptConnector::default() };
    let settings = ReaderSettings { idle_after: Some(Duration::from_millis(5)), ..settings() };
    let mut reader = opened(settings, connector).await;
    let mut events = Vec::new();
    while !events.last().is_some_and(|last: &String| last.starts_with("rows [51")) {
        events.push(next(&mut reader).await);
    }
    let rest = &events[3..events.len() - 1];
    assert_eq!(events[..3], ["rows [50, 50, 50]", "rows [100, 100, 100]", "watermark 40"]);
    // Both fall silent at about the same time; which of them first decides whether b's watermark is sent before.
    let expected = match rest.len() {
        1 => "rows [51, 95]",
        _ => "rows [51, 95] behind [90, 90]",
    };
    assert!(rest == ["watermark 90", "idle"] || rest == ["idle"], "{rest:?}");
    assert_eq!(events.last().map(String::as_str), Some(expected));
}

/// What two followed splits give that have something, then nothing for a while, and then much: what comes after is written down.
async fn after_a_while(during: &[Step], stands_still: bool) -> Vec<String> {
    let times: Vec<i64> = (1..=4).map(|minute| 100 + 60_000 * minute).collect();
    let steps = [&[rows(&[100, 100, 100])], during, &[rows(&times)]].concat();
    let scripts = vec![script("a", &steps), script("b", &steps)];
    let connector = ScriptConnector { scripts, followed: true, ..ScriptConnector::default() };
    let settings = ReaderSettings { idle_after: Some(Duration::from_secs(1)), ..settings() };
    let mut reader = opened(settings, connector).await;
    let mut found = Vec::new();
    while found.len() < 4 {
        let event = tokio::time::timeout(Duration::from_secs(60), next(&mut reader)).await.expect("it goes on");
        found.extend(Some(event).filter(|event| event.starts_with("rows")));
        if stands_still && found.len() == 2 {
            // Both have been seen to have nothing.
            let nothing = tokio::time::timeout(Duration::from_millis(20), next(&mut reader)).await;
            assert!(nothing.is_ok_and(|event| event == "watermark 90"));
            assert!(tokio::time::timeout(Duration::from_millis(20), next(&mut reader)).await.is_err());
            tokio::time::advance(Duration::from_secs(600)).await;
        }
    }
    found.split_off(2)
}

#[tokio::test(start_paused = true)]
async fn silence_is_what_was_heard_and_those_who_were_away_come_back_together() {
    let much = "rows [60100, 120100, 180100, 240100]";
    // The job stands still for ten minutes. What comes first then is nothing, since it is fetched only now.
    assert_eq!(after_a_while(&vec![Step::Pending; 60], true).await, [much, much]);
    // Nobody answers for three seconds: others go on, and neither of the two is late for the other.
    assert_eq!(after_a_while(&vec![Step::Away; 3_000], false).await, [much, much]);
    // They do, and there is nothing.
    let behind = after_a_while(&vec![Step::Pending; 3_000], false).await;
    assert_eq!(behind[0], much);
    assert!(behind[1].starts_with(&format!("{much} behind")), "{behind:?}");
}

#[tokio::test(start_paused = true)]
async fn a_split_that_is_forgotten_does_not_come_back_from_a_pack() {
    let scripts =
        (0..LEAST_STATES).map(|number| script(&format!("s{number}"), &[rows(&[100]), rows(&[200])])).collect();
    let mut reader =
        opened(settings(), ScriptConnector { scripts, followed: true, ..ScriptConnector::default() }).await;
    let splits = |reader: &mut SourceReader| {
        let states = unpack(reader.snapshot().expect("a snapshot")).expect("sound");
        states.into_iter().map(|state| (state.id, state.state["position"].clone())).collect::<HashMap<_, _>>()
    };
    // They have been read to their ends, and two snapshots say the same: they are packed.
    while tokio::time::timeout(Duration::from_secs(1), reader.next()).await.is_ok() {}
    (0..3).for_each(|_| _ = splits(&mut reader));
    assert!(reader.splits.iter().all(|split| split.pack.is_some()));
    // One of them goes on, so that its state stands alone, and is forgotten.
    reader.splits[7].changed = true;
    assert_eq!(splits(&mut reader).len(), LEAST_STATES);
    assert!(reader.splits[7].pack.is_none());
    reader.forget(vec!["s7".into()]);
    let left = splits(&mut reader);
    assert!(!left.contains_key("s7") && left.len() == LEAST_STATES - 1, "{left:?}");
}

#[tokio::test]
async fn a_split_found_later_joins_with_a_floor() {
    let found_later = Arc::new(Mutex::new(Vec::new()));
    let a = script("a", &[rows(&[100, 100, 100])]);
    let connector =
        ScriptConnector { scripts: vec![a], followed: true, found_later: found_later.clone(), at_hand: false };
    let mut reader = opened(settings(), connector).await;
    assert_eq!(next(&mut reader).await, "rows [100, 100, 100]");
    assert_eq!(next(&mut reader).await, "watermark 90");
    found_later.lock().push(script("b", &[rows(&[20, 95, 30])]));
    assert_eq!(next(&mut reader).await, "rows [20, 95, 30] behind [90, 90, 90]");
}

#[tokio::test]
async fn damaged_state_is_refused() {
    let mut reader = reader(settings(), bounded(vec![script("a", &[])]));
    let state = SplitState { id: "a".to_owned(), state: serde_json::json!({ "position": 3 }) };
    let error = reader.restore(vec![state]).await.expect_err("damaged");
    assert!(error.message.starts_with("the state of split 'a' cannot be read"), "{error}");
}

#[test]
fn the_plausible_range_ends_with_the_year_2199() {
    let end = chrono::DateTime::from_timestamp_millis(PLAUSIBLE_EVENT_TIMES.end).expect("a time");
    assert_eq!(end.to_rfc3339(), "2200-01-01T00:00:00+00:00");
    assert_eq!(columns(0, &[]).column(1).data_type(), &ColumnType::Timestamp.data_type());
}

/// The event times that came out, and the offsets of the dead letters.
fn parted(events: &[String]) -> (String, usize) {
    let times = |event: &String| {
        let times = event.strip_prefix("rows [")?.split(']').next()?.to_owned();
        Some(times)
    };
    let rows: Vec<String> = events.iter().filter_map(times).collect();
    let refused = events.iter().map(|event| event.matches("max_jump").count()).sum();
    (rows.join(", "), refused)
}

#[tokio::test]
async fn rows_ahead_of_their_split_are_dead_letters_wherever_they_stand() {
    let settings = || ReaderSettings { rule: JUMPS, ..settings() };
    for steps in [
        vec![rows(&[90_000, 100, 101, 102, 103, 104])],
        vec![rows(&[90_000]), rows(&[90_000]), rows(&[100, 101, 102]), Step::Bad, rows(&[103, 104, 90_000])],
        vec![rows(&[100, 101]), rows(&[90_000, 102, 90_001, 90_002, 103]), rows(&[104]), rows(&[90_003])],
        vec![Step::Bad, rows(&[100, 101, 102, 103, 104]), rows(&[90_000; 100])],
    ] {
        let absurd = steps.iter().map(|step| match step {
            Step::Rows(times) => times.iter().flatten().filter(|time| **time >= 90_000).count(),
            _ => 0,
        });
        let absurd: usize = absurd.sum();
        let mut reader = opened(settings(), bounded(vec![script("a", &steps)])).await;
        assert_eq!(parted(&all(&mut reader).await), ("100, 101, 102, 103, 104".into(), absurd), "{steps:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_ahead_says_how_far_it_is_and_when_time_would_go_on() {
    let a = script("a", &[rows(&[3_600_000, 100, 101, 102])]);
    let mut reader = opened(ReaderSettings { rule: JUMPS, ..settings() }, bounded(vec![a])).await;
    let events = all(&mut reader).await;
    assert_eq!(
        events,
        [
            "watermark 90",
            "rows [100, 101, 102]",
            "dead 0: the event time at is 1970-01-01T01:00:00Z, more than 1s (max_jump) ahead of its file, whose event time is at \
             1970-01-01T00:00:00.100Z and advances after 5 such rows that agree and cover 20ms (jump_after)",
            "end"
        ]
    );
}

#[tokio::test]
async fn rows_far_behind_the_others_do_not_set_the_time_when_they_come_first() {
    let a = script("a", &[rows(&[0, 50_000, 50_001, 50_002])]);
    let mut reader = opened(ReaderSettings { rule: JUMPS, ..settings() }, bounded(vec![a])).await;
    let events = all(&mut reader).await;
    assert_eq!(events[1], "rows [0, 50000, 50001, 50002] behind [49990, 49990, 49990, 49991]");
}

#[tokio::test]
async fn a_split_that_jumped_goes_on() {
    let a = script("a", &[rows(&[100, 101, 102, 103, 104]), rows(&[9_000, 9_010, 9_012, 9_014, 9_020, 9_021])]);
    let mut reader = opened(ReaderSettings { rule: JUMPS, ..settings() }, bounded(vec![a])).await;
    assert_eq!(parted(&all(&mut reader).await), ("100, 101, 102, 103, 104, 9020, 9021".into(), 4));
}

/// Bad lines at the beginning are not held, as there may be any number of them, and those that follow count.
#[tokio::test]
async fn no_more_than_the_first_records_wait() {
    let mut steps = vec![Step::Bad; 3];
    steps.extend([rows(&[100]), Step::Bad, Step::Bad, Step::Bad, Step::Bad, rows(&[101])]);
    let mut reader = opened(ReaderSettings { rule: JUMPS, ..settings() }, bounded(vec![script("a", &steps)])).await;
    for step in 0..3 {
        assert_eq!(next(&mut reader).await, format!("dead {step}: bad"));
    }
    let state = |reader: &mut SourceReader| reader.snapshot().expect("a snapshot")[0].state["position"].clone();
    assert_eq!(state(&mut reader), 3);
    assert_eq!(next(&mut reader).await, "watermark 90", "the fifth record is the last that is waited for");
    assert_eq!((state(&mut reader), next(&mut reader).await.as_str()), (3.into(), "rows [100]"));
    assert_eq!((state(&mut reader), next(&mut reader).await.as_str()), (4.into(), "dead 4: bad"));
}

#[tokio::test]
async fn a_live_split_may_be_as_much_later_as_it_was_silent() {
    let mut steps = vec![rows(&[100, 101, 102]), rows(&[1_122])];
    steps.extend(std::iter::repeat_n(Step::Pending, 40));
    steps.push(rows(&[1_122]));
    let connector =
        ScriptConnector { scripts: vec![script("a", &steps)], followed: true, ..ScriptConnector::default() };
    let mut reader = opened(ReaderSettings { rule: JUMPS, ..settings() }, connector).await;
    assert_eq!(next(&mut reader).await, "rows [100, 101, 102]");
    assert_eq!(next(&mut reader).await, "watermark 92");
    assert!(next(&mut reader).await.starts_with("dead 0: the event time at is 1970-01-01T00:00:01.122Z, more than 1s"));
    assert_eq!(next(&mut reader).await, "rows [1122]", "forty polls, a millisecond each");
}

#[tokio::test]
async fn a_live_split_may_be_as_much_later_as_its_job_was_down() {
    let clock = |now: i64| -> weir_engine::env::WallClock { Arc::new(move || now) };
    let context =
        |now| OperatorContext { env: Env::simulated(1, clock(now)), ..OperatorContext::single("job", "source.clicks") };
    let settings = || ReaderSettings { rule: JUMPS, ..settings() };
    let connector = || {
        let scripts = vec![script("a", &[rows(&[100, 101, 102]), rows(&[6_200, 6_102])])];
        ScriptConnector { scripts, followed: true, ..ScriptConnector::default() }
    };
    let mut first = SourceReader::new(settings(), Box::new(connector()), &context(60_000));
    first.restore(Vec::new()).await.expect("opened");
    assert_eq!(next(&mut first).await, "rows [100, 101, 102]");
    let state = first.snapshot().expect("a snapshot");
    let mut second = SourceReader::new(settings(), Box::new(connector()), &context(65_000));
    second.restore(state).await.expect("restored");
    let mut events = vec![next(&mut second).await];
    while !events.last().is_some_and(|last| last.starts_with("dead")) {
        events.push(next(&mut second).await);
    }
    assert!(events.contains(&"rows [6102]".to_owned()), "five seconds and the jump, and no more: {events:?}");
}

#[tokio::test]
async fn rows_ahead_of_the_clock_are_dead_letters_in_a_live_source() {
    let clock: weir_engine::env::WallClock = Arc::new(|| 60_000);
    let context = OperatorContext { env: Env::simulated(1, clock), ..OperatorContext::single("job", "source.clicks") };
    let settings = ReaderSettings { rule: JUMPS, max_ahead_ms: Some(1_000), ..settings() };
    let scripts = vec![script("a", &[rows(&[61_001, 59_000, 61_000])])];
    let connector = |followed| ScriptConnector { scripts: scripts.clone(), followed, ..ScriptConnector::default() };
    let mut live = SourceReader::new(settings.clone(), Box::new(connector(true)), &context);
    live.restore(Vec::new()).await.expect("opened");
    assert_eq!(next(&mut live).await, "rows [59000, 61000]");
    assert_eq!(
        next(&mut live).await,
        "dead 0: the event time at is 1970-01-01T00:01:01.001Z, more than 1s (max_ahead) ahead of the clock of this machine, \
         1970-01-01T00:01:00Z"
    );
    let mut bounded = SourceReader::new(settings, Box::new(connector(false)), &context);
    bounded.restore(Vec::new()).await.expect("opened");
    assert_eq!(
        parted(&all(&mut bounded).await).0,
        "61001, 59000, 61000",
        "what has been written down may be of any time"
    );
}

fn any_step() -> impl Strategy<Value = Step> {
    let time =
        prop_oneof![8 => (0i64..200).prop_map(Some), 1 => Just(None), 1 => Just(Some(-5)), 1 => Just(Some(100_000))];
    prop_oneof![
        4 => proptest::collection::vec(time, 0..6).prop_map(Step::Rows),
        1 => Just(Step::Bad),
        1 => Just(Step::Waits),
    ]
}

/// Rows and dead letters one by one: how batches are cut, and the watermarks between them, say less after a restart.
fn records(events: &[String]) -> Vec<String> {
    let mut records = Vec::new();
    for event in events.iter().filter(|event| event.starts_with("rows") || event.starts_with("dead")) {
        let Some(rows) = event.strip_prefix("rows ") else {
            records.extend(event.trim_start_matches("dead ").split("; ").map(str::to_owned));
            continue;
        };
        let numbers = |list: &str| -> Vec<i64> {
            list.trim_matches(['[', ']']).split(", ").map(|number| number.parse().expect("a number")).collect()
        };
        let (times, watermarks) = rows.split_once(" behind ").unwrap_or((rows, ""));
        let watermarks = if watermarks.is_empty() { Vec::new() } else { numbers(watermarks) };
        for (row, time) in numbers(times).into_iter().enumerate() {
            let behind = watermarks.get(row).filter(|watermark| **watermark > time);
            records.push(format!("{time} behind {behind:?}"));
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_restart_between_any_two_events_changes_no_record(
        steps in proptest::collection::vec(proptest::collection::vec(any_step(), 0..6), 0..4),
        crash_after in 0usize..20,
        jumps in any::<bool>(),
        (gathers, batch_rows) in (any::<bool>(), 1usize..12),
    ) {
        let settings = || ReaderSettings { rule: if jumps { JUMPS } else { RULE }, batch_rows, ..settings() };
        let connector = |scripts| if gathers { at_hand(scripts) } else { bounded(scripts) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let scripts: Vec<Script> = steps.iter().enumerate().map(|(n, steps)| script(&format!("{n}"), steps)).collect();
            let expected = all(&mut opened(settings(), bounded(scripts.clone())).await).await;
            let crash_after = crash_after.min(expected.len() - 1);
            let mut first = opened(settings(), connector(scripts.clone())).await;
            let mut events = Vec::new();
            while events.len() < crash_after && events.last().is_none_or(|last| last != "end") {
                // Now and then it is given up in the middle, as when a checkpoint is asked for.
                match first.next().now_or_never() {
                    Some(event) => events.push(short(&event.expect("an event"))),
                    None => events.push(next(&mut first).await),
                }
            }
            let state = first.snapshot().expect("a snapshot");
            let text = serde_json::to_string(&state).expect("serialisable");
            let mut second = reader(settings(), connector(scripts));
            second.restore(serde_json::from_str(&text).expect("the same")).await.expect("restored");
            events.extend(all(&mut second).await);
            // Dead letters that were on their way come first after a restart; otherwise the order is the same.
            let (mut found, mut expected) = (records(&events), records(&expected));
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
            Ok(())
        })?;
    }
}
