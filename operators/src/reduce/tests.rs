//! Local and global top lists together against sorting, over random counts, corrections, watermarks and rescales.

use super::*;
use crate::event_time::event_times;
use crate::testing::{Emitted, Subtasks};
use crate::window::WindowSpec;
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampMillisecondArray},
    datatypes::{Int32Type, Int64Type},
    record_batch::RecordBatch,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    element::{Batch, Port},
    ids::CheckpointId,
    key_group::{DEFAULT_MAX_PARALLELISM, KeyGroupRange},
    operator::{Collector, Operator, OperatorContext},
    state::Change,
};

const SLICE: i64 = 10;

fn config(n: usize, window: WindowSpec, allowed_lateness_ms: i64, per: &[&str]) -> TopConfig {
    TopConfig {
        n,
        by: "clicks".into(),
        key: vec!["ad".into(), "filter".into()],
        per: per.iter().map(ToString::to_string).collect(),
        ranking: Ranking::RowNumber,
        windows: WindowRule::of(window, allowed_lateness_ms),
        slice_ms: Some(SLICE),
    }
}

/// The bounds of the aggregate's n-th window, or of one of its sessions.
fn bounds(config: &TopConfig, n: i64) -> Span {
    let (start, end) = match (config.slice_ms, config.windows.window) {
        (Some(_), _) => (n * SLICE, (n + 1) * SLICE),
        (None, WindowSpec::Hopping { size_ms, slide_ms }) => (n * slide_ms, n * slide_ms + size_ms),
        (None, WindowSpec::Cumulating { size_ms, step_ms }) => {
            ((n * step_ms).div_euclid(size_ms) * size_ms, (n + 1) * step_ms)
        }
        // Each begins with another one, and ends with one that begins later.
        (None, WindowSpec::Session { gap_ms }) => {
            let start = n.div_euclid(2) * SLICE;
            (start, start + gap_ms + n.rem_euclid(2) * 2 * SLICE)
        }
        (None, other) => panic!("{other:?}"),
    };
    Span { start, end }
}

/// The windows of the lists that the aggregate's n-th window is a part of: of all that there may be.
fn lists_of(config: &TopConfig, n: i64) -> Vec<Span> {
    let slice = bounds(config, n);
    let starts = |each: i64| (slice.start - 200..=slice.start).filter(move |start| start.rem_euclid(each) == 0);
    let all: Vec<(i64, i64)> = match (config.slice_ms, config.windows.window) {
        (None, _) => return vec![slice],
        (_, WindowSpec::Tumbling { size_ms }) => starts(size_ms).map(|start| (start, start + size_ms)).collect(),
        (_, WindowSpec::Hopping { size_ms, slide_ms }) => {
            starts(slide_ms).map(|start| (start, start + size_ms)).collect()
        }
        (_, WindowSpec::Cumulating { size_ms, step_ms }) => starts(size_ms)
            .flat_map(|start| (1..=size_ms / step_ms).map(move |step| (start, start + step * step_ms)))
            .collect(),
        (_, other) => panic!("{other:?}"),
    };
    let spans = all.into_iter().map(|(start, end)| Span { start, end });
    spans.filter(|span| span.start <= slice.start && slice.end <= span.end).collect()
}

/// A result of the aggregate: ad, filter, slice, count.
type Count = (u8, i64, i64, i64);

/// In the place of a count: it is withdrawn.
const GONE: i64 = -99;

fn batch(counts: &[Count], config: &TopConfig) -> RecordBatch {
    let times = |of: fn(Span) -> i64| -> ArrayRef {
        let times = counts.iter().map(|count| of(bounds(config, count.2)));
        Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let columns: [(&str, ArrayRef); 6] = [
        (
            "ad",
            Arc::new(StringArray::from_iter(
                counts.iter().map(|count| (count.0 > 0).then(|| format!("ad{}", count.0))),
            )),
        ),
        ("filter", Arc::new(Int64Array::from_iter_values(counts.iter().map(|count| count.1)))),
        ("window_start", times(|span| span.start)),
        ("window_end", times(|span| span.end)),
        ("clicks", Arc::new(Int64Array::from_iter(counts.iter().map(|count| (count.3 != GONE).then_some(count.3))))),
        ("withdrawn", Arc::new(BooleanArray::from_iter(counts.iter().map(|count| Some(count.3 == GONE))))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// What a row of a list says: window end and start, filter of the list, rank, ad with filter, count.
type Row = (i64, i64, Option<i64>, i32, Option<String>, i64);

#[derive(Default)]
struct Seen {
    /// By record; none: it is withdrawn.
    rows: BTreeMap<Vec<u8>, Option<Row>>,
    revisions: BTreeMap<Vec<u8>, i32>,
}

impl Seen {
    fn take(&mut self, outputs: &[(Port, Batch)], ranking: Ranking) {
        for (_, batch) in outputs {
            let columns = &batch.columns;
            let column = |name: &str| columns.column_by_name(name).unwrap();
            let (starts, ends) =
                (event_times(columns, "window_start").unwrap(), event_times(columns, "window_end").unwrap());
            for row in 0..columns.num_rows() {
                let id = column("record_id").as_fixed_size_binary().value(row).to_vec();
                let revision = column("revision").as_primitive::<Int32Type>().value(row);
                let expected = self.revisions.get(&id).map_or(0, |before| before + 1);
                assert_eq!(revision, expected, "every revision exactly once");
                self.revisions.insert(id.clone(), revision);
                let ads = column("ad").as_string::<i32>();
                let filter = column("filter").as_primitive::<Int64Type>().value(row);
                let ranks = column("rank").as_primitive::<Int32Type>();
                let counts = column("clicks").as_primitive::<Int64Type>();
                if column("withdrawn").as_boolean().value(row) {
                    assert!(counts.is_null(row), "what is withdrawn has no count");
                    assert!(!ranking.is_row_number() || ads.is_null(row), "nobody has a rank that is withdrawn");
                    assert_eq!(ranks.is_null(row), !ranking.is_row_number());
                    let before = self.rows.insert(id, None).flatten();
                    assert!(before.is_some(), "what nobody saw is withdrawn");
                    continue;
                }
                let ad = ads.is_valid(row).then(|| format!("{}/{filter}", ads.value(row)));
                let list = self.per_filter(columns).then_some(filter);
                let said = (ends[row], starts[row], list, ranks.value(row), ad, counts.value(row));
                let before = self.rows.insert(id, Some(said.clone())).flatten();
                assert_ne!(before, Some(said), "nothing new is said");
            }
        }
    }

    /// All that holds.
    fn all(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().flatten().cloned().collect();
        rows.sort();
        rows
    }

    /// The group's columns stand before the rank.
    fn per_filter(&self, columns: &RecordBatch) -> bool {
        columns.schema().index_of("filter").unwrap() < columns.schema().index_of("rank").unwrap()
    }
}

/// The same lists by sorting everything. `filter` stands with the ad, since it is part of what is ranked without lists.
fn naive(counts: &BTreeMap<(u8, i64, i64), i64>, config: &TopConfig, watermark: i64) -> Vec<Row> {
    type Sums = BTreeMap<(u8, i64), i64>;
    let mut sums: BTreeMap<(Span, Option<i64>), Sums> = BTreeMap::new();
    for ((ad, filter, slice), count) in counts {
        for window in lists_of(config, *slice).into_iter().filter(|window| window.end <= watermark) {
            let list = (!config.per.is_empty()).then_some(*filter);
            *sums.entry((window, list)).or_default().entry((*ad, *filter)).or_default() += count;
        }
    }
    let mut rows = Vec::new();
    for ((window, list), sums) in sums {
        let mut sorted: Vec<((u8, i64), i64)> = sums.into_iter().collect();
        let name = |ad: u8| (ad == 0, format!("ad{ad}"));
        sorted.sort_by_key(|((ad, filter), count)| (-count, name(*ad), *filter));
        let counts: Vec<i64> = sorted.iter().map(|(_, count)| *count).collect();
        for (at, ((ad, filter), count)) in sorted.into_iter().enumerate() {
            // As SQL defines them.
            let larger = || counts.iter().filter(|other| **other > count);
            let rank = match config.ranking {
                Ranking::RowNumber => at + 1,
                Ranking::Rank => larger().count() + 1,
                Ranking::DenseRank => larger().collect::<std::collections::BTreeSet<_>>().len() + 1,
            };
            if rank <= config.n {
                let ad = (ad > 0).then(|| format!("ad{ad}/{filter}"));
                rows.push((window.end, window.start, list, rank as i32, ad, count));
            }
        }
    }
    rows.sort();
    rows
}

#[derive(Debug, Clone)]
enum Step {
    Counts(Vec<(u8, i64, i64, i64)>),
    Watermark(i64),
    Barrier,
    Restart(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // A few keys stand out, as clicks do.
    let clicks = prop_oneof![8 => -2i64..12, 2 => 20i64..60, 3 => Just(GONE)];
    let count = (0u8..40, 0i64..2, 0i64..5, clicks);
    let step = prop_oneof![
        5 => prop::collection::vec(count, 0..25).prop_map(Step::Counts),
        4 => (0i64..3).prop_map(Step::Watermark),
        1 => Just(Step::Barrier),
        1 => (1usize..4, 1usize..4).prop_map(|(local, global)| Step::Restart(local, global)),
    ];
    prop::collection::vec(step, 0..25)
}

/// Windows of lists, and whether the aggregate's are the same.
fn window() -> impl Strategy<Value = (WindowSpec, bool)> {
    let hop = |n: i64, more: i64| WindowSpec::Hopping { size_ms: (n + more) * SLICE, slide_ms: n * SLICE };
    let steps = |n: i64, m: i64| WindowSpec::Cumulating { size_ms: n * m * SLICE, step_ms: n * SLICE };
    prop_oneof![
        (1i64..4).prop_map(|n| (WindowSpec::Tumbling { size_ms: n * SLICE }, false)),
        // With and without a remainder.
        (1i64..4, 0i64..7, any::<bool>()).prop_map(move |(n, more, same)| (hop(n, more), same)),
        (1i64..4, 1i64..4, any::<bool>()).prop_map(move |(n, m, same)| (steps(n, m), same)),
        (1i64..30).prop_map(|gap_ms| (WindowSpec::Session { gap_ms }, true)),
    ]
}

fn subtasks(config: &TopConfig) -> (Subtasks, Subtasks) {
    let (one, two) = (config.clone(), config.clone());
    let local = Subtasks::new(&["ad", "filter"], move |context| Box::new(LocalTop::new(one.clone(), context).unwrap()));
    let key = config.exchange_key();
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let global = Subtasks::new(&key, move |context| Box::new(GlobalTop::new(two.clone(), context).unwrap()));
    (local, global)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn lists_are_what_sorting_gives(
        n in 1usize..5,
        window in window(),
        lateness in 0i64..60,
        per_filter in any::<bool>(),
        ranking in prop::sample::select(vec![Ranking::RowNumber, Ranking::Rank, Ranking::DenseRank]),
        steps in steps(),
    ) {
        let (window, same) = window;
        let mut config = config(n, window, lateness, if per_filter { &["filter"] } else { &[] });
        config.ranking = ranking;
        config.slice_ms = config.slice_ms.filter(|_| !same);
        config.validate().unwrap();
        // Of the aggregate's windows one comes after the other so much later.
        let pace = config.windows.window.period_ms().filter(|_| same).unwrap_or(SLICE);
        let (mut local, mut global) = subtasks(&config);
        let (mut seen, mut counts, mut now, mut watermark) = (Seen::default(), BTreeMap::new(), 0, i64::MIN);
        for step in steps.into_iter().chain([Step::Watermark(0)]) {
            let given = match step {
                Step::Counts(new) => {
                    now += 1;
                    // As from the aggregate: a slice is corrected until its lateness is over.
                    let accepted = |count: &Count| match config.slice_ms {
                        Some(_) => bounds(&config, count.2).end + lateness > watermark,
                        None => config.windows.expiry(bounds(&config, count.2).end) > watermark,
                    };
                    let new: Vec<Count> =
                        new.iter().map(|(ad, filter, slice, n)| (*ad, *filter, now + slice - 2, *n)).filter(accepted).collect();
                    counts.extend(new.iter().map(|(ad, filter, slice, n)| ((*ad, *filter, *slice), *n)));
                    counts.retain(|_, n| *n != GONE);
                    local.process(&batch(&new, &config), n % 2 == 0).unwrap()
                }
                Step::Watermark(behind) => {
                    watermark = watermark.max((now - behind) * pace);
                    local.watermark(watermark).unwrap()
                }
                Step::Barrier => {
                    let given = local.barrier().unwrap();
                    seen.take(&global.barrier().unwrap(), ranking);
                    given
                }
                Step::Restart(locals, globals) => {
                    let given = local.restart(locals).unwrap();
                    seen.take(&global.restart(globals).unwrap(), ranking);
                    given
                }
            };
            for (_, batch) in given {
                seen.take(&global.process(&batch.columns, false).unwrap(), ranking);
            }
            if watermark > i64::MIN {
                // What came since is out at the next watermark, of which the next millisecond is one.
                watermark += 1;
                for (_, batch) in local.watermark(watermark).unwrap() {
                    seen.take(&global.process(&batch.columns, true).unwrap(), ranking);
                }
                seen.take(&global.watermark(watermark).unwrap(), ranking);
                prop_assert_eq!(&seen.all(), &naive(&counts, &config, watermark));
            }
        }
    }
}

/// What an operator gives for rows, and then for a watermark.
fn passed(operator: &mut impl Operator, rows: &[RecordBatch], watermark: i64) -> Emitted {
    let mut out = Collector::default();
    for rows in rows {
        operator.process(0, Batch::new(rows.clone()), &mut out).unwrap();
    }
    operator.watermark(watermark, &mut out).unwrap();
    out.drain()
}

/// A new instance with what another one would have stored at its first barrier.
fn restored<O: Operator>(mut fresh: O, former: &mut O) -> O {
    for segment in former.snapshot(CheckpointId(1)).unwrap().segments {
        let Change::Replace(rows) = segment.change else { panic!("'{}' was never stored", segment.id) };
        for rows in rows.into_batches().unwrap() {
            fresh.restore(&segment.id, &rows, KeyGroupRange::all(DEFAULT_MAX_PARALLELISM)).unwrap();
        }
    }
    fresh
}

/// Counts of a window of two slices: of a list that no other has, of one that each has, and of one that goes and comes back. And
/// corrections of the two windows before, in which the first falls back, and then the last takes its place.
fn counts_of_a_new_list(window: i64) -> Vec<Count> {
    let (first, second) = (2 * window, 2 * window + 1);
    let mut counts = vec![(1, window, first, 5), (2, window, second, 7), (3, window, first, 6)];
    counts.extend([(1, -1, first, 3), (2, -1, second, 4)]);
    if window % 1_500 == 0 {
        counts.push((1, -2, first, 1));
    }
    if window >= 1 {
        counts.push((2, window - 1, second - 2, 1));
    }
    if window >= 2 {
        counts.push((1, window - 2, first - 4, 9));
    }
    counts
}

/// However long a job runs, there are only as many lists as the windows have that can still change.
#[test]
fn lists_of_windows_that_are_gone_take_nothing() {
    const WINDOWS: i64 = 10_000;
    let config = config(2, WindowSpec::Tumbling { size_ms: 2 * SLICE }, 50, &["filter"]);
    let context = OperatorContext::single("job", "operator");
    let new_local = || LocalTop::new(config.clone(), &context).unwrap();
    let new_global = || GlobalTop::new(config.clone(), &context).unwrap();
    let (mut local, mut global) = (new_local(), new_global());
    let (mut seen, mut counts, mut most) = (Seen::default(), BTreeMap::new(), 0);
    for window in 0..WINDOWS {
        let new = counts_of_a_new_list(window);
        counts.extend(new.iter().map(|(ad, filter, slice, n)| ((*ad, *filter, *slice), *n)));
        let watermark = (window + 1) * 2 * SLICE;
        let given = passed(&mut local, &[batch(&new, &config)], watermark);
        let given: Vec<RecordBatch> = given.into_iter().map(|(_, batch)| batch.columns).collect();
        seen.take(&passed(&mut global, &given, watermark), config.ranking);
        most = most.max(local.lists.len()).max(global.lists.len());
        if window == WINDOWS / 2 {
            (local, global) = (restored(new_local(), &mut local), restored(new_global(), &mut global));
        }
    }
    assert!(most < 2_000, "{most} lists");
    let (found, expected) = (seen.all(), naive(&counts, &config, WINDOWS * 2 * SLICE));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "found and expected");
    }
}

#[test]
fn ties_have_the_ranks_that_sql_gives_them() {
    let ranks = |ranking: Ranking| {
        let mut config = config(3, WindowSpec::Tumbling { size_ms: SLICE }, 100, &[]);
        config.ranking = ranking;
        let (mut local, mut global) = subtasks(&config);
        let mut seen = Seen::default();
        let counts = [(1, 0, 0, 9), (2, 0, 0, 7), (3, 0, 0, 7), (4, 0, 0, 7), (5, 0, 0, 4), (6, 0, 0, 4), (7, 0, 0, 1)];
        local.process(&batch(&counts, &config), true).unwrap();
        for (_, given) in local.watermark(SLICE).unwrap() {
            global.process(&given.columns, false).unwrap();
        }
        seen.take(&global.watermark(SLICE).unwrap(), ranking);
        seen.all().into_iter().map(|row| row.3).collect::<Vec<i32>>()
    };
    assert_eq!(ranks(Ranking::RowNumber), [1, 2, 3]);
    assert_eq!(ranks(Ranking::Rank), [1, 2, 2, 2]);
    assert_eq!(ranks(Ranking::DenseRank), [1, 2, 2, 2, 3, 3]);
}

/// Of three counts two become one: the third has the number that is free.
#[test]
fn a_key_that_draws_level_with_another_lets_the_next_into_a_dense_list() {
    let mut config = config(2, WindowSpec::Tumbling { size_ms: SLICE }, 100, &[]);
    config.ranking = Ranking::DenseRank;
    let (mut local, mut global) = subtasks(&config);
    let mut seen = Seen::default();
    let steps: [(&[Count], &[i64]); 2] =
        [(&[(1, 0, 0, 9), (2, 0, 0, 7), (3, 0, 0, 4), (4, 0, 0, 2)], &[9, 7]), (&[(2, 0, 0, 9)], &[9, 9, 4])];
    for ((counts, listed), watermark) in steps.into_iter().zip(SLICE..) {
        local.process(&batch(counts, &config), true).unwrap();
        for (_, given) in local.watermark(watermark).unwrap() {
            global.process(&given.columns, false).unwrap();
        }
        seen.take(&global.watermark(watermark).unwrap(), Ranking::DenseRank);
        assert_eq!(seen.all().into_iter().map(|row| row.5).collect::<Vec<i64>>(), listed);
    }
}

#[test]
fn only_changed_ranks_are_emitted_again() {
    let config = config(2, WindowSpec::Tumbling { size_ms: 20 }, 100, &["filter"]);
    let (mut local, mut global) = subtasks(&config);
    let mut rows_at = |counts: &[Count], watermark: i64| -> Vec<(i32, String, i64, i32)> {
        local.process(&batch(counts, &config), true).unwrap();
        for (_, given) in local.watermark(watermark).unwrap() {
            global.process(&given.columns, false).unwrap();
        }
        let mut rows = Vec::new();
        for (_, batch) in global.watermark(watermark).unwrap() {
            let column = |name: &str| batch.columns.column_by_name(name).unwrap().clone();
            for row in 0..batch.len() {
                rows.push((
                    column("rank").as_primitive::<Int32Type>().value(row),
                    column("ad").as_string::<i32>().value(row).to_string(),
                    column("clicks").as_primitive::<Int64Type>().value(row),
                    column("revision").as_primitive::<Int32Type>().value(row),
                ));
            }
        }
        rows
    };
    let first = rows_at(&[(1, 0, 0, 5), (1, 0, 1, 5), (2, 0, 0, 7), (3, 0, 1, 6)], 20);
    assert_eq!(first, vec![(1, "ad1".into(), 10, 0), (2, "ad2".into(), 7, 0)]);
    assert_eq!(rows_at(&[], 21), vec![]);
    assert_eq!(rows_at(&[(3, 0, 0, 2)], 22), vec![(2, "ad3".into(), 8, 1)], "the third takes the second rank");
    assert_eq!(rows_at(&[(9, 0, 0, 1)], 23), vec![], "too small to matter");
    assert_eq!(
        rows_at(&[(3, 0, 0, 4)], 24),
        vec![(1, "ad1".into(), 10, 0), (2, "ad3".into(), 10, 2)][1..],
        "a tie goes to the smaller key"
    );
}

#[test]
fn a_list_that_becomes_shorter_withdraws_its_last_ranks() {
    let config = config(3, WindowSpec::Tumbling { size_ms: SLICE }, 100, &[]);
    let (mut local, mut global) = subtasks(&config);
    let mut at = 10;
    let mut ranks_after = |counts: &[Count]| -> Vec<(i32, Option<i64>, i32, bool)> {
        local.process(&batch(counts, &config), true).unwrap();
        at += 1;
        for (_, given) in local.watermark(at).unwrap() {
            global.process(&given.columns, false).unwrap();
        }
        global.restart(2).unwrap();
        let mut rows = Vec::new();
        for (_, batch) in global.watermark(at).unwrap() {
            let column = |name: &str| batch.columns.column_by_name(name).unwrap().clone();
            for row in 0..batch.len() {
                let clicks = column("clicks").as_primitive::<Int64Type>().clone();
                rows.push((
                    column("rank").as_primitive::<Int32Type>().value(row),
                    clicks.is_valid(row).then(|| clicks.value(row)),
                    column("revision").as_primitive::<Int32Type>().value(row),
                    column("withdrawn").as_boolean().value(row),
                ));
            }
        }
        rows
    };
    assert_eq!(ranks_after(&[(1, 0, 0, 5), (2, 0, 0, 4)]), [(1, Some(5), 0, false), (2, Some(4), 0, false)]);
    assert_eq!(ranks_after(&[(1, 0, 0, GONE)]), [(1, Some(4), 1, false), (2, None, 1, true)]);
    assert_eq!(ranks_after(&[(3, 0, 0, GONE)]), [], "what was never there changes nothing");
    assert_eq!(ranks_after(&[(2, 0, 0, GONE)]), [(1, None, 2, true)]);
    assert_eq!(ranks_after(&[(2, 0, 0, 4), (3, 0, 0, 4)]), [(1, Some(4), 3, false), (2, Some(4), 2, false)]);
}

#[test]
fn lists_have_the_columns_that_were_promised() {
    let config = config(2, WindowSpec::Tumbling { size_ms: 20 }, 0, &["filter"]);
    let input = batch(&[(1, 0, 0, 5)], &config);
    let promised = output_schema(input.schema_ref(), &config).unwrap();
    let (mut local, mut global) = subtasks(&config);
    local.process(&input, false).unwrap();
    for (_, given) in local.watermark(20).unwrap() {
        global.process(&given.columns, false).unwrap();
    }
    let found = global.watermark(20).unwrap()[0].1.columns.schema();
    let types = |schema: &Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    assert_eq!(types(&found), types(&promised));
    let names: Vec<&str> = promised.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        ["record_id", "window_start", "window_end", "filter", "rank", "ad", "clicks", "revision", "withdrawn"]
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let good = config(2, WindowSpec::Tumbling { size_ms: 20 }, 0, &["filter"]);
    let refused = |change: fn(&mut TopConfig)| {
        let mut config = good.clone();
        change(&mut config);
        config.validate().unwrap_err().message
    };
    assert!(refused(|config| config.n = 0).contains("at least 1"));
    assert!(refused(|config| config.per = vec!["country".into()]).contains("(ad, filter)"));
    assert!(refused(|config| config.per = vec!["ad".into(), "filter".into()]).contains("nothing is left"));
    assert!(refused(|config| config.slice_ms = Some(15)).contains("multiples of 15 ms"));
    assert!(
        refused(|config| config.windows.window = WindowSpec::Session { gap_ms: 1 }).contains("not built from windows")
    );
    assert!(refused(|config| config.windows.window = WindowSpec::Global { ttl_ms: None }).contains("has no end"));
    let input = batch(&[], &good);
    let mut by_name = good.clone();
    by_name.by = "ad".into();
    assert!(output_schema(input.schema_ref(), &by_name).unwrap_err().message.contains("BIGINT"));
}
