//! What a join keeps, and for how long; single corrections; ids.

use super::*;
use arrow::array::Float64Array;
use weir_engine::testing::OperatorHarness;

const MINUTE: i64 = 60_000;

fn harness(config: &JoinConfig) -> OperatorHarness {
    let context = OperatorContext::single("shop", "join.attributed");
    OperatorHarness::new(Box::new(Join::new(config.clone(), &context).unwrap()))
}

fn rows(side: Side, rows: &[Row]) -> Batch {
    Batch::new(batch(side, rows))
}

/// Rows of a kind of segment that the last barrier has stored.
fn stored(harness: &OperatorHarness, kind: &str) -> usize {
    let segments = harness.segments().iter().filter(|(name, _)| name.starts_with(kind));
    segments.flat_map(|(_, batches)| batches).map(|(_, batch)| batch.num_rows()).sum()
}

#[test]
fn rows_are_dropped_when_nothing_can_come_that_they_matter_for() {
    let config = config(Match::Last, 160 * MINUTE, 0, 16 * MINUTE);
    let mut harness = harness(&config);
    for minute in 0..1_000 {
        harness.process_input(0, rows(Side::Left, &[row(1, minute, minute * MINUTE)])).unwrap();
        harness.process_input(1, rows(Side::Right, &[row(2, minute, minute * MINUTE)])).unwrap();
        harness.watermark(minute * MINUTE).unwrap();
        harness.barrier().unwrap();
        // As long as they are needed, and the bucket that they are in.
        assert!(stored(&harness, "left-") <= 16 + 2, "{} left rows", stored(&harness, "left-"));
        assert!(stored(&harness, "right-") <= 176 + 12, "{} right rows", stored(&harness, "right-"));
        let needed = usize::try_from(minute.min(176)).unwrap();
        assert!(stored(&harness, "right-") >= needed, "{} right rows at {minute}", stored(&harness, "right-"));
    }
    harness.watermark(i64::MAX).unwrap();
    harness.barrier().unwrap();
    assert!(harness.segments().is_empty(), "{:?}", harness.segments().keys());
}

#[test]
fn a_right_row_is_kept_as_long_as_a_left_row_may_come_for_it() {
    let config = config(Match::Last, 100 * MINUTE, 0, 10 * MINUTE);
    let mut harness = harness(&config);
    let mut reader = Reader::default();
    harness.process_input(1, rows(Side::Right, &[row(1, 7, 0)])).unwrap();
    harness.watermark(110 * MINUTE).unwrap();
    // Late by all that is allowed, and as far behind the click as fits.
    harness.process_input(0, rows(Side::Left, &[row(1, 1, 100 * MINUTE)])).unwrap();
    reader.read(harness.barrier().unwrap());
    assert_eq!(reader.holds().0, [(row(1, 1, 100 * MINUTE), Some((Some(7), 0)))]);
}

#[test]
fn a_late_click_corrects_an_order_and_withdraws_that_it_is_unmatched() {
    let config = config(Match::Last, 10 * MINUTE, 0, 10 * MINUTE);
    let mut harness = harness(&config);
    let mut reader = Reader::default();
    let order = row(1, 1, 20 * MINUTE);
    harness.process_input(0, rows(Side::Left, std::slice::from_ref(&order))).unwrap();
    assert!(harness.watermark(20 * MINUTE).unwrap().is_empty(), "a click of that very moment may still come");
    reader.read(harness.watermark(20 * MINUTE + 1).unwrap());
    assert_eq!(reader.holds(), (vec![], vec![(order.clone(), None)]));
    let mut click = |ad, at, expected: (i32, i64)| {
        harness.process_input(1, rows(Side::Right, &[row(1, ad, at)])).unwrap();
        reader.read(harness.barrier().unwrap());
        assert_eq!(reader.holds().1, []);
        let (revision, matched) = reader.matched.values().next().unwrap();
        assert_eq!((*revision, matched.clone().unwrap().1.unwrap().0.unwrap()), expected);
    };
    click(5, 15 * MINUTE, (0, 5));
    click(4, 15 * MINUTE, (0, 5));
    click(5, 15 * MINUTE, (0, 5));
    click(6, 15 * MINUTE, (1, 6));
    click(1, 19 * MINUTE, (2, 1));
    click(9, 20 * MINUTE + 1, (2, 1));
    assert_eq!(reader.unmatched.values().map(|(revision, _)| *revision).collect::<Vec<_>>(), [1]);
}

#[test]
fn equal_orders_are_told_apart_and_get_each_their_own_record() {
    for matching in [Match::Last, Match::All] {
        let config = config(matching, 10 * MINUTE, 0, 10 * MINUTE);
        let mut harness = harness(&config);
        let mut reader = Reader::default();
        let order = row(1, 1, 20 * MINUTE);
        harness.process_input(0, rows(Side::Left, &[order.clone(), order.clone()])).unwrap();
        harness.process_input(1, rows(Side::Right, &[row(1, 3, 15 * MINUTE), row(1, 3, 15 * MINUTE)])).unwrap();
        reader.read(harness.watermark(21 * MINUTE).unwrap());
        harness.process_input(0, rows(Side::Left, std::slice::from_ref(&order))).unwrap();
        reader.read(harness.barrier().unwrap());
        let each = if matching == Match::All { 2 } else { 1 };
        assert_eq!(reader.matched.len(), 3 * each);
        harness.process_input(1, rows(Side::Right, &[row(1, 3, 15 * MINUTE)])).unwrap();
        reader.read(harness.barrier().unwrap());
        let each = if matching == Match::All { 3 } else { 1 };
        assert_eq!(reader.matched.len(), 3 * each);
    }
}

#[test]
fn record_ids_stay_what_they_are() {
    let ids = |matching| {
        let mut harness = harness(&config(matching, 10 * MINUTE, 0, 0));
        harness.process_input(0, rows(Side::Left, &[row(1, 1, 20 * MINUTE), row(2, 1, 20 * MINUTE)])).unwrap();
        harness.process_input(1, rows(Side::Right, &[row(1, 3, 15 * MINUTE)])).unwrap();
        let mut reader = Reader::default();
        reader.read(harness.watermark(i64::MAX).unwrap());
        let text = |id: &Vec<u8>| uuid::Uuid::from_slice(id).unwrap().to_string();
        let of = |records: &BTreeMap<Vec<u8>, (i32, Option<Read>)>| records.keys().map(text).collect::<Vec<String>>();
        [of(&reader.matched), of(&reader.unmatched)].concat()
    };
    // Computed by a program of its own, with Python's xxhash package.
    assert_eq!(ids(Match::Last), [GOLDEN_MATCHED, GOLDEN_UNMATCHED]);
    assert_eq!(ids(Match::First), ids(Match::Last));
    assert_eq!(ids(Match::All), [GOLDEN_PAIR, GOLDEN_UNMATCHED]);
}
const GOLDEN_MATCHED: &str = "07c90a24-d467-88fe-90cd-b9962cc50ece";
const GOLDEN_PAIR: &str = "4dd01661-399a-81f9-b5b6-b65508ad6e25";
const GOLDEN_UNMATCHED: &str = "33417936-729b-8fed-b655-a169fa2304dc";

#[test]
fn many_rows_cost_less_than_twice_their_columns() {
    let config = config(Match::Last, 1_000 * MINUTE, 0, 0);
    let context = OperatorContext::single("shop", "join.attributed");
    let mut join = Join::new(config, &context).unwrap();
    let clicks: Vec<Row> = (0..50_000).map(|n| row((n % 200) as u8, n, n * 100)).collect();
    let raw: usize = clicks.iter().map(|click| format!("u{}", click.user.unwrap()).len() + 4 + 8 + 8).sum();
    for clicks in clicks.chunks(1_000) {
        join.process(1, rows(Side::Right, clicks), &mut Collector::default()).unwrap();
    }
    join.watermark(10_000 * 1_000, &mut Collector::default()).unwrap();
    let held: usize = join.sides.right.iter_mut().map(|(_, bucket)| bucket.rows.size_in_bytes()).sum();
    assert!(held < 2 * raw, "{held} bytes held of {raw}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let context = OperatorContext::single("shop", "join.attributed");
    let right = config(Match::Last, 1, 0, 0);
    let mut negative = right.clone();
    negative.after_ms = -1;
    let mut unkept = right.clone();
    unkept.right.kept.columns.pop();
    let mut uneven = right.clone();
    uneven.left.on.push("order".into());
    for (config, expected) in [(negative, "negative"), (unkept, "'ad'"), (uneven, "as many on each side")] {
        let error = Join::new(config, &context).unwrap_err();
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[test]
fn state_of_other_columns_is_refused() {
    let mut harness = harness(&config(Match::Last, MINUTE, 0, 0));
    harness.process_input(1, rows(Side::Right, &[row(1, 3, 15 * MINUTE)])).unwrap();
    harness.barrier().unwrap();
    let mut other = config(Match::Last, MINUTE, 0, 0);
    other.right.kept.columns[1].data_type = DataType::Utf8;
    let context = OperatorContext::single("shop", "join.attributed");
    let operator = Box::new(Join::new(other, &context).unwrap());
    let all = KeyGroupRange::all(context.max_parallelism);
    let error = OperatorHarness::restored(operator, all, &[harness.segments().clone()]).err().unwrap();
    assert!(error.message.contains("does not fit this join"), "{}", error.message);
}

#[test]
fn zeros_of_either_sign_are_one_value_and_each_pair_has_a_record_of_its_own() {
    let mut config = config(Match::All, 10 * MINUTE, 0, 10 * MINUTE);
    config.right.kept.columns[1].data_type = DataType::Float64;
    let mut harness = harness(&config);
    let mut click = |ad: f64| {
        harness.process_input(1, click_of(Arc::new(Float64Array::from(vec![ad])))).unwrap();
        harness.process_input(0, rows_of_order()).unwrap();
        let mut out = harness.watermark(21 * MINUTE).unwrap();
        out.extend(harness.barrier().unwrap());
        let ids = out.iter().filter(|(port, _)| *port == Port::MAIN).flat_map(|(_, batch)| {
            let ids = batch.columns.column_by_name(RECORD_ID).unwrap().as_fixed_size_binary();
            (0..batch.len()).map(|row| ids.value(row).to_vec()).collect::<Vec<_>>()
        });
        ids.collect::<Vec<_>>()
    };
    let mut seen: Vec<Vec<u8>> = click(0.0);
    seen.extend(click(-0.0));
    seen.extend(click(0.0));
    let records: std::collections::BTreeSet<&Vec<u8>> = seen.iter().collect();
    assert_eq!((seen.len(), records.len()), (9, 9), "three orders, each with three clicks");
}

/// A click of an ad of another type.
fn click_of(ad: ArrayRef) -> Batch {
    let rows = batch(Side::Right, &[row(1, 0, 15 * MINUTE)]);
    let mut columns = rows.columns().to_vec();
    columns[0] = ad;
    let names = rows.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    Batch::new(RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap())
}

/// A column has no room for a long text as often as there may be left rows for it.
#[test]
fn results_with_a_long_text_go_out_in_several_batches() {
    for matching in [Match::Last, Match::All] {
        let mut config = config(matching, 10 * MINUTE, 0, 0);
        config.right.kept.columns[1].data_type = DataType::Utf8;
        let mut join = Join::new(config, &OperatorContext::single("shop", "join.attributed")).unwrap();
        join.emission.most_bytes = 1 << 10;
        let mut harness = OperatorHarness::new(Box::new(join));
        let text = "x".repeat(300);
        let orders: Vec<Row> = (0..10).map(|n| row(1, n, 20 * MINUTE)).collect();
        harness.process_input(0, rows(Side::Left, &orders)).unwrap();
        harness.process_input(1, click_of(Arc::new(StringArray::from(vec![text.as_str()])))).unwrap();
        let (mut sizes, mut seen) = (Vec::new(), Vec::new());
        for (port, batch) in harness.watermark(i64::MAX).unwrap() {
            assert_eq!(port, Port::MAIN);
            let column = |name: &str| batch.columns.column_by_name(name).unwrap();
            assert!(column("ad").as_string::<i32>().iter().all(|ad| ad == Some(text.as_str())));
            seen.extend(column("order").as_primitive::<Int64Type>().values().iter().copied());
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [3, 3, 3, 1], "each has 304 bytes of text");
        assert_eq!(seen, (0..10).collect::<Vec<i64>>());
    }
}

fn rows_of_order() -> Batch {
    rows(Side::Left, &[row(1, 1, 20 * MINUTE)])
}
