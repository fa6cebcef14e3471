//! What a join of results keeps, and for how long; single corrections; ids.

use super::*;
use weir_engine::testing::OperatorHarness;

fn harness(config: &WindowJoinConfig) -> OperatorHarness {
    let context = OperatorContext::single("shop", "join.ctr");
    OperatorHarness::new(Box::new(WindowJoin::new(config.clone(), &context).unwrap()))
}

fn row(ad: u8, end: i64, revision: i32, value: Option<i64>) -> Row {
    Row { ad: Some(ad), more: 0, end, revision, value }
}

fn give(harness: &mut OperatorHarness, side: Side, rows: &[Row]) {
    harness.process_input(side as usize, Batch::new(batch(side, rows))).unwrap();
}

/// The revisions that come with a watermark, and the values of both sides that they say, in order of the values.
fn put_out(harness: &mut OperatorHarness, minute: i64) -> Vec<(i32, Option<[Option<i64>; 2]>)> {
    let out = harness.watermark(minute * MINUTE).unwrap();
    let rows = out.iter().flat_map(|(_, batch)| results(&batch.columns));
    let mut rows: Vec<_> = rows.map(|(_, revision, (_, values))| (revision, values)).collect();
    rows.sort_by_key(|(revision, values)| (*values, *revision));
    rows
}

#[test]
fn a_partner_that_comes_or_goes_is_the_next_revision_where_keys_are_single() {
    let mut harness = harness(&config(JoinType::Full, tumbling(), [true, true]));
    give(&mut harness, Side::Left, &[row(1, 5, 0, Some(7))]);
    assert_eq!(put_out(&mut harness, 4), [], "the window is not over");
    assert_eq!(put_out(&mut harness, 5), [(0, Some([Some(7), None]))]);
    give(&mut harness, Side::Right, &[row(1, 5, 0, Some(100))]);
    assert_eq!(put_out(&mut harness, 6), [(1, Some([Some(7), Some(100)]))]);
    give(&mut harness, Side::Right, &[row(1, 5, 1, Some(101))]);
    give(&mut harness, Side::Left, &[row(1, 5, 1, Some(8))]);
    assert_eq!(put_out(&mut harness, 7), [(2, Some([Some(8), Some(101)]))], "both corrections at once");
    give(&mut harness, Side::Left, &[row(1, 5, 2, None)]);
    assert_eq!(put_out(&mut harness, 8), [(3, Some([None, Some(101)]))]);
    give(&mut harness, Side::Left, &[row(1, 5, 1, Some(8)), row(1, 5, 2, None)]);
    assert_eq!(put_out(&mut harness, 9), [], "all that was known");
    give(&mut harness, Side::Right, &[row(1, 5, 2, None)]);
    assert_eq!(put_out(&mut harness, 10), [(4, None)]);
    give(&mut harness, Side::Left, &[row(1, 5, 3, Some(9))]);
    assert_eq!(put_out(&mut harness, 11), [(5, Some([Some(9), None]))], "it holds again");
}

#[test]
fn a_row_without_a_match_is_a_record_of_its_own_where_there_may_be_several() {
    let mut harness = harness(&config(JoinType::Left, tumbling(), [true, false]));
    give(&mut harness, Side::Left, &[row(1, 5, 0, Some(7))]);
    assert_eq!(put_out(&mut harness, 5), [(0, Some([Some(7), None]))]);
    let sites = [1, 2].map(|site| Row { more: site, ..row(1, 5, 0, Some(i64::from(site))) });
    give(&mut harness, Side::Right, &sites);
    let matched = [(1, None), (0, Some([Some(7), Some(1)])), (0, Some([Some(7), Some(2)]))];
    assert_eq!(put_out(&mut harness, 6), matched, "the one without a match is withdrawn");
    give(&mut harness, Side::Right, &sites.map(|row| Row { revision: 1, value: None, ..row }));
    let unmatched = [(1, None), (1, None), (2, Some([Some(7), None]))];
    assert_eq!(put_out(&mut harness, 7), unmatched);
}

#[test]
fn a_row_that_is_withdrawn_before_its_window_is_over_was_never_there() {
    let mut harness = harness(&config(JoinType::Inner, tumbling(), [true, true]));
    give(&mut harness, Side::Left, &[row(1, 5, 0, Some(7))]);
    give(&mut harness, Side::Right, &[row(1, 5, 0, Some(7)), row(1, 5, 1, None)]);
    assert_eq!(put_out(&mut harness, 9), []);
}

#[test]
fn a_window_is_dropped_when_nothing_can_correct_it() {
    let mut harness = harness(&config(JoinType::Left, tumbling(), [true, true]));
    let mut most = 0;
    for window in 1..200 {
        give(&mut harness, Side::Left, &[row(1, window * 5, 0, Some(window))]);
        give(&mut harness, Side::Right, &[row(2, window * 5, 0, Some(window))]);
        assert_eq!(put_out(&mut harness, window * 5), [(0, Some([Some(window), None]))]);
        harness.barrier().unwrap();
        most = most.max(harness.segments().len());
    }
    // Open windows, and those that are not over for as long as the lateness.
    assert!(most <= 3 * (1 + LATENESS as usize / 5 + 1), "{most} segments");
    harness.watermark(i64::MAX).unwrap();
    harness.barrier().unwrap();
    assert_eq!(harness.segments().len(), 0, "{:?}", harness.segments().keys());
    let late = batch(Side::Left, &[row(1, 5, 1, Some(1))]);
    let error = harness.process_input(0, Batch::new(late)).unwrap_err();
    assert!(error.message.contains("when nothing corrects it any more"), "{}", error.message);
}

/// Rows of each segment.
fn stored(harness: &OperatorHarness) -> Vec<usize> {
    let rows = harness.segments().values().map(|stored| stored.iter().map(|(_, rows)| rows.num_rows()).sum());
    rows.collect()
}

#[test]
fn a_checkpoint_writes_what_came_since_the_one_before() {
    let mut harness = harness(&config(JoinType::Left, tumbling(), [true, true]));
    let rows: Vec<Row> = (0..200).map(|ad| row(ad, 5, 0, Some(1))).collect();
    give(&mut harness, Side::Left, &rows);
    give(&mut harness, Side::Right, &rows);
    put_out(&mut harness, 5);
    harness.barrier().unwrap();
    let before = stored(&harness);
    give(&mut harness, Side::Right, &[row(3, 5, 1, Some(2))]);
    assert_eq!(put_out(&mut harness, 6), [(1, Some([Some(1), Some(2)]))]);
    harness.barrier().unwrap();
    let names: Vec<&str> = harness.segments().keys().map(String::as_str).collect();
    assert_eq!(names, ["given-300000", "left-300000", "right-300000"]);
    let written: Vec<usize> = stored(&harness).iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(written, [1, 0, 1]);
}

/// A right row whose value is a text.
fn text_of(ad: u8, text: &str) -> Batch {
    let rows = batch(Side::Right, &[row(ad, 5, 0, Some(0))]);
    let mut columns = rows.columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec![text]));
    let names = rows.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    Batch::new(RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap())
}

/// A column has no room for a long text as often as there may be rows of the other side for it.
#[test]
fn results_with_a_long_text_go_out_in_several_batches() {
    let mut config = config(JoinType::Inner, tumbling(), [false, true]);
    config.right.kept.columns[2].data_type = DataType::Utf8;
    let text = "x".repeat(300);
    let put_out_with = |most_bytes: usize| {
        let mut join = WindowJoin::new(config.clone(), &OperatorContext::single("shop", "join.ctr")).unwrap();
        join.emission.most_bytes = most_bytes;
        let mut harness = OperatorHarness::new(Box::new(join));
        let pages: Vec<Row> = (0..10).map(|page| Row { more: page, ..row(1, 5, 0, Some(7)) }).collect();
        give(&mut harness, Side::Left, &pages);
        harness.process_input(Side::Right as usize, text_of(1, &text)).unwrap();
        harness.watermark(5 * MINUTE).unwrap()
    };
    let sizes = |out: &Emitted| out.iter().map(|(_, batch)| batch.len()).collect::<Vec<_>>();
    let (whole, cut) = (put_out_with(1 << 30), put_out_with(1 << 10));
    assert_eq!((sizes(&whole), sizes(&cut)), (vec![10], vec![3, 3, 3, 1]), "each has 306 bytes of text");
    assert_eq!(sizes(&put_out_with(1)), [1; 10], "one has room, whatever it takes");
    let whole = &whole[0].1.columns;
    let pieces: Vec<&RecordBatch> = cut.iter().map(|(_, batch)| &batch.columns).collect();
    assert_eq!(&arrow::compute::concat_batches(&whole.schema(), pieces).unwrap(), whole, "ids, revisions, all");
    let column = |name: &str| whole.column_by_name(name).unwrap();
    assert_eq!(column("page").as_primitive::<Int64Type>().values().to_vec(), (0..10).collect::<Vec<i64>>());
    assert!(column("views").as_string::<i32>().iter().all(|views| views == Some(text.as_str())));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let context = OperatorContext::single("shop", "join.ctr");
    let right = config(JoinType::Left, tumbling(), [true, true]);
    let mut sessions = right.clone();
    sessions.windows.window = WindowSpec::Session { gap_ms: MINUTE };
    let mut unkept = right.clone();
    unkept.right.kept.columns.pop();
    let mut uneven = right.clone();
    uneven.left.on.push("page".into());
    let mut last = right.clone();
    last.left.kept.columns.swap(0, 1);
    for (config, expected) in [
        (sessions, "bounds do not depend"),
        (unkept, "'views'"),
        (uneven, "as many columns"),
        (last, "begins with the columns of `on`"),
    ] {
        let error = WindowJoin::new(config, &context).unwrap_err();
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[test]
fn state_of_other_columns_is_refused() {
    let mut harness = harness(&config(JoinType::Left, tumbling(), [true, true]));
    give(&mut harness, Side::Right, &[row(1, 5, 0, Some(1))]);
    harness.barrier().unwrap();
    let mut other = config(JoinType::Left, tumbling(), [true, true]);
    other.right.kept.columns[2].data_type = DataType::Utf8;
    let context = OperatorContext::single("shop", "join.ctr");
    let operator = Box::new(WindowJoin::new(other, &context).unwrap());
    let all = KeyGroupRange::all(context.max_parallelism);
    let error = OperatorHarness::restored(operator, all, &[harness.segments().clone()]).err().unwrap();
    assert!(error.message.contains("does not fit this join"), "{}", error.message);
}

/// Ids are part of what is stored: they stay as they are.
#[test]
fn ids_are_the_same_as_ever() {
    let mut harness = harness(&config(JoinType::Full, tumbling(), [false, true]));
    give(&mut harness, Side::Left, &[row(1, 5, 0, Some(7))]);
    give(&mut harness, Side::Right, &[row(1, 5, 0, Some(7)), row(2, 5, 0, Some(8))]);
    let out = harness.watermark(5 * MINUTE).unwrap();
    let mut ids: Vec<(Option<String>, String)> = out
        .iter()
        .flat_map(|(_, batch)| results(&batch.columns))
        .map(|(id, _, ((_, ad, ..), _))| (ad, id.iter().map(|byte| format!("{byte:02x}")).collect()))
        .collect();
    ids.sort();
    let ids: Vec<(Option<&str>, &str)> = ids.iter().map(|(ad, id)| (ad.as_deref(), id.as_str())).collect();
    assert_eq!(
        ids,
        [(Some("ad1"), "46508c7f5d14857491594276090e88ea"), (Some("ad2"), "99e9d1c9d07d806f9b1fd7cb6a2f20c5")]
    );
}
