//! Dedup against a plain set, over random batches, watermarks, barriers and rescales.

use super::*;
use crate::testing::Subtasks;
use arrow::{
    array::{DictionaryArray, Int64Array, StringArray},
    datatypes::{Int32Type, Int64Type},
};
use proptest::prelude::*;
use std::collections::HashSet;
use weir_engine::testing::OperatorHarness;

fn config(same_event_time: bool, ttl_ms: i64) -> DedupConfig {
    let key: &[&str] = if same_event_time { &["id", "at"] } else { &["id"] };
    let key = key.iter().map(ToString::to_string).collect();
    DedupConfig { key, ttl_ms, time_column: "at".into(), same_event_time, output: None, null_key: NullKey::Pass }
}

fn subtasks(same_event_time: bool, ttl_ms: i64) -> Subtasks {
    let key: &[&str] = if same_event_time { &["id", "at"] } else { &["id"] };
    let config = config(same_event_time, ttl_ms);
    Subtasks::new(key, move |context| Box::new(Dedup::new(config.clone(), context).unwrap()))
}

/// Rows `(id, event time)`; `n` numbers them, so that it can be told which of two equal ones passed.
fn rows(rows: &[(u8, i64)], first: usize) -> RecordBatch {
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("id{}", row.0))));
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows.len()).map(|n| (first + n) as i64)));
    RecordBatch::try_from_iter([("id", ids), ("at", Arc::new(times) as ArrayRef), ("n", numbers)]).unwrap()
}

fn passed(outputs: &[(Port, Batch)], port: Port) -> Vec<i64> {
    let of_port = outputs.iter().filter(|output| output.0 == port);
    let mut numbers: Vec<i64> =
        of_port.flat_map(|output| output.1.columns.column(2).as_primitive::<Int64Type>().values().to_vec()).collect();
    numbers.sort_unstable();
    numbers
}

#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<(u8, i64)>),
    Watermark(i64),
    Barrier,
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Event times run ahead by about a minute a batch and scatter over three.
    let row = (any::<u8>(), 0i64..180_000);
    let step = prop_oneof![
        6 => prop::collection::vec(row, 0..60).prop_map(Step::Rows),
        2 => (0i64..100_000).prop_map(Step::Watermark),
        1 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_first_of_equal_rows_passes(steps in steps(), same_event_time in any::<bool>(), carry in any::<bool>()) {
        const TTL: i64 = 200_000;
        let mut subtasks = subtasks(same_event_time, TTL);
        let (mut seen, mut count, mut watermark, mut now) = (HashSet::new(), 0, i64::MIN, 0);
        let (mut duplicates, mut late) = (0, 0);
        for step in steps {
            match step {
                Step::Rows(new) => {
                    now += 60_000;
                    let new: Vec<(u8, i64)> = new.iter().map(|(id, offset)| (*id, now + offset)).collect();
                    let outputs = subtasks.process(&rows(&new, count), carry).unwrap();
                    let (mut kept, mut too_late) = (Vec::new(), Vec::new());
                    let width = if same_event_time { 64_000 } else { TTL };
                    for (n, (id, at)) in new.iter().enumerate() {
                        let key = (*id, if same_event_time { *at } else { 0 });
                        let number = (count + n) as i64;
                        if at.div_euclid(width) * width + width + TTL <= watermark {
                            too_late.push(number);
                        } else if seen.insert(key) {
                            kept.push(number);
                        }
                    }
                    prop_assert_eq!(passed(&outputs, ports::LATE), too_late.clone());
                    if same_event_time {
                        prop_assert_eq!(passed(&outputs, Port::MAIN), kept.clone());
                    } else {
                        // Beyond the ttl an id may be forgotten: what passes is at least what no set has ever seen.
                        let all = passed(&outputs, Port::MAIN);
                        prop_assert!(kept.iter().all(|number| all.contains(number)));
                        kept = all;
                    }
                    late += too_late.len();
                    duplicates += new.len() - kept.len() - too_late.len();
                    count += new.len();
                }
                Step::Watermark(behind) => {
                    watermark = watermark.max(now - behind);
                    subtasks.watermark(watermark).unwrap();
                }
                Step::Barrier => prop_assert!(subtasks.barrier().unwrap().is_empty()),
                Step::Restart(parallelism) => { subtasks.restart(parallelism).unwrap(); }
            }
        }
        prop_assert_eq!(subtasks.counter("duplicates"), duplicates as u64);
        prop_assert_eq!(subtasks.counter("late"), late as u64);
    }

    #[test]
    fn without_the_same_event_time_an_id_is_held_for_its_ttl(
        rows_at in prop::collection::vec((0u8..6, 0i64..400_000), 1..80), delay in 0i64..50_000, restart_every in 1usize..20,
    ) {
        const TTL: i64 = 100_000;
        let mut subtasks = subtasks(false, TTL);
        // First event time of each id that has passed: as long as the watermark is not past it by the ttl, no other passes.
        let mut held: Vec<(u8, i64)> = Vec::new();
        let mut watermark = i64::MIN;
        for (n, row) in rows_at.iter().enumerate() {
            let outputs = subtasks.process(&rows(&[*row], n), n % 2 == 0).unwrap();
            let is_held = held.iter().any(|(id, at)| *id == row.0 && at + TTL >= watermark);
            if passed(&outputs, Port::MAIN).len() == 1 {
                prop_assert!(!is_held, "{row:?} passed at {watermark}, though {held:?}");
                held.push(*row);
            }
            watermark = watermark.max(row.1 - delay);
            subtasks.watermark(watermark).unwrap();
            if n % restart_every == 0 {
                subtasks.restart(n % 3 + 1).unwrap();
            }
        }
    }
}

#[test]
fn a_checkpoint_appends_what_came_since_the_last() {
    let context = OperatorContext::single("job", "dedup");
    let mut dedup = Dedup::new(config(true, 1_000_000), &context).unwrap();
    let mut out = Collector::default();
    let mut changes = |dedup: &mut Dedup, new: &[(u8, i64)]| -> Vec<(String, String)> {
        dedup.process(0, Batch::new(rows(new, 0)), &mut out).unwrap();
        let segments = dedup.snapshot(CheckpointId(1)).unwrap().segments;
        let describe = |change| match change {
            Change::Unchanged => "unchanged".to_string(),
            Change::Append(rows) => format!("+{}", rows.into_batches().unwrap()[0].num_rows()),
            Change::Replace(rows) => format!("={}", rows.into_batches().unwrap()[0].num_rows()),
        };
        segments.into_iter().map(|segment| (segment.id, describe(segment.change))).collect()
    };
    let expect = |changes: Vec<(String, String)>, expected: &[(&str, &str)]| {
        let changes: Vec<(&str, &str)> = changes.iter().map(|(id, change)| (id.as_str(), change.as_str())).collect();
        assert_eq!(changes, expected);
    };
    expect(changes(&mut dedup, &[(1, 5), (2, 5), (1, 5)]), &[("bucket-0+64000", "+2")]);
    expect(changes(&mut dedup, &[(1, 5)]), &[("bucket-0+64000", "unchanged")]);
    expect(changes(&mut dedup, &[(3, 5), (3, 70_000)]), &[("bucket-0+64000", "+1"), ("bucket-64000+64000", "+1")]);
    dedup.watermark(1_064_000, &mut Collector::default()).unwrap();
    expect(changes(&mut dedup, &[]), &[("bucket-64000+64000", "unchanged")]);
}

#[test]
fn a_changed_ttl_keeps_the_ids() {
    let context = OperatorContext::single("job", "dedup");
    let mut before = Dedup::new(config(false, 100_000), &context).unwrap();
    before.process(0, Batch::new(rows(&[(1, 5), (2, 150_000)], 0)), &mut Collector::default()).unwrap();
    let mut after = Dedup::new(config(false, 130_000), &context).unwrap();
    for segment in before.snapshot(CheckpointId(1)).unwrap().segments {
        let Change::Append(new) = segment.change else { panic!("{segment:?}") };
        for batch in new.into_batches().unwrap() {
            after.restore(&segment.id, &batch, KeyGroupRange::all(128)).unwrap();
        }
    }
    let mut out = Collector::default();
    after.process(0, Batch::new(rows(&[(1, 6), (2, 6), (3, 6)], 0)), &mut out).unwrap();
    assert_eq!(passed(&out.drain(), Port::MAIN), vec![2]);
    let changes = after.snapshot(CheckpointId(2)).unwrap().segments;
    assert!(changes.iter().all(|segment| matches!(segment.change, Change::Replace(_))), "stored under new names");
}

#[test]
fn state_that_does_not_fit_is_refused() {
    let context = OperatorContext::single("job", "dedup.unique");
    let ids: ScalarBuffer<u128> = vec![1u128].into();
    let rows = state_batch(0, ids).unwrap();
    let mut narrow = Dedup::new(config(true, 100_000), &context).unwrap();
    let refused = narrow.restore("bucket-0+100000", &rows, KeyGroupRange::all(128)).unwrap_err().message;
    assert!(refused.contains("dedup.unique") && refused.contains("same_event_time"), "{refused}");
    assert!(narrow.restore("slice-7", &rows, KeyGroupRange::all(128)).unwrap_err().message.contains("slice-7"));
    let other = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    assert!(
        narrow
            .restore("bucket-0+64000", &other, KeyGroupRange::all(128))
            .unwrap_err()
            .message
            .contains("not the columns")
    );
    let mut wide = Dedup::new(config(false, 100_000), &context).unwrap();
    wide.restore("bucket-0+64000", &rows, KeyGroupRange::all(128)).unwrap();
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let context = OperatorContext::single("job", "dedup.unique");
    assert!(Dedup::new(config(true, 0), &context).unwrap_err().message.contains("must be positive"));
    let keyless = DedupConfig { key: vec![], ..config(true, 1) };
    assert!(Dedup::new(keyless, &context).unwrap_err().message.contains("at least one key column"));
}

/// Rows with an id and a user, numbered, all of one moment.
fn keyed(rows: &[(Option<&str>, Option<&str>)]) -> Batch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>());
    let users: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<DictionaryArray<Int32Type>>());
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.len() as i64));
    let times = TimestampMillisecondArray::from_value(7, rows.len()).with_timezone("UTC");
    let columns = [("id", ids), ("user", users), ("n", numbers), ("at", Arc::new(times) as ArrayRef)];
    Batch::new(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap())
}

#[test]
fn rows_without_a_key_are_nobodys_duplicates() {
    let rows = [
        (Some("a"), Some("u")),
        (None, Some("u")),
        (Some("a"), Some("u")),
        (None, Some("u")),
        (Some("a"), None),
        (None, None),
        (None, None),
        (Some(""), Some("")),
        (Some(""), Some("")),
    ];
    for (same_event_time, output) in
        [(true, None), (false, Some(vec!["id".to_owned(), "at".to_owned(), "n".to_owned()]))]
    {
        let config = DedupConfig { key: vec!["id".into(), "user".into()], output, ..config(same_event_time, 1_000) };
        let context = OperatorContext::single("job", "dedup.unique");
        let mut dedup = OperatorHarness::new(Box::new(Dedup::new(config.clone(), &context).unwrap()));
        let outputs = dedup.process(keyed(&rows)).unwrap();
        assert_eq!(passed(&outputs, Port::MAIN), [0, 1, 3, 4, 5, 6, 7], "an empty text is a value");
        let counters = context.counters.values();
        assert_eq!((counters["without_key"], counters["duplicates"]), (5, 2));

        let context = OperatorContext::single("job", "dedup.unique");
        let config = DedupConfig { null_key: NullKey::DeadLetter, ..config };
        let mut dedup = OperatorHarness::new(Box::new(Dedup::new(config, &context).unwrap()));
        let outputs = dedup.process(keyed(&rows)).unwrap();
        assert_eq!(passed(&outputs, Port::MAIN), [0, 7]);
        let dead = outputs.iter().filter(|output| output.0 == ports::DEAD_LETTERS);
        let reasons = |batch: &Batch| {
            let reasons = batch.columns.column_by_name("reason").unwrap().as_string::<i32>().clone();
            (0..reasons.len()).map(|row| reasons.value(row).split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let reasons: Vec<String> = dead.flat_map(|output| reasons(&output.1)).collect();
        let (both, id, user) = ("id and user are null", "id is null", "user is null");
        assert_eq!(reasons, [id, id, user, both, both]);
        let counters = context.counters.values();
        assert_eq!((counters["without_key"], counters["dead_letters"], counters["duplicates"]), (0, 5, 2));
    }
}
