//! Local and global top lists together against sorting, over random counts, corrections, watermarks and rescales.

use super::*;
use crate::event_time::event_times;
use crate::testing::Subtasks;
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampMillisecondArray},
    datatypes::{Int32Type, Int64Type},
    record_batch::RecordBatch,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::element::{Batch, Port};

const SLICE: i64 = 10;

fn config(n: usize, window: WindowSpec, allowed_lateness_ms: i64, per: &[&str]) -> TopConfig {
    TopConfig {
        n,
        by: "clicks".into(),
        key: vec!["ad".into(), "filter".into()],
        per: per.iter().map(ToString::to_string).collect(),
        windows: WindowRule { window, allowed_lateness_ms },
        slice_ms: SLICE,
    }
}

/// A result of the aggregate: ad, filter, slice, count.
type Count = (u8, i64, i64, i64);

/// In the place of a count: it is withdrawn.
const GONE: i64 = -99;

fn batch(counts: &[Count]) -> RecordBatch {
    let times = |offset: i64| -> ArrayRef {
        let times = counts.iter().map(|count| count.2 * SLICE + offset);
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
        ("window_start", times(0)),
        ("window_end", times(SLICE)),
        ("clicks", Arc::new(Int64Array::from_iter(counts.iter().map(|count| (count.3 != GONE).then_some(count.3))))),
        ("withdrawn", Arc::new(BooleanArray::from_iter(counts.iter().map(|count| Some(count.3 == GONE))))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// A rank: window end, filter, rank → ad, count; and the revision.
type Ranks = BTreeMap<(i64, Option<i64>, i32), (Option<String>, i64)>;

#[derive(Default)]
struct Seen {
    ranks: Ranks,
    revisions: BTreeMap<Vec<u8>, i32>,
}

impl Seen {
    fn take(&mut self, outputs: &[(Port, Batch)]) {
        for (_, batch) in outputs {
            let columns = &batch.columns;
            let column = |name: &str| columns.column_by_name(name).unwrap();
            let ends = event_times(columns, "window_end").unwrap();
            for row in 0..columns.num_rows() {
                let id = column("record_id").as_fixed_size_binary().value(row).to_vec();
                let revision = column("revision").as_primitive::<Int32Type>().value(row);
                let expected = self.revisions.get(&id).map_or(0, |before| before + 1);
                assert_eq!(revision, expected, "every revision exactly once");
                self.revisions.insert(id, revision);
                let ads = column("ad").as_string::<i32>();
                let ad = ads.is_valid(row).then(|| ads.value(row).to_string());
                let filter = column("filter").as_primitive::<Int64Type>().value(row);
                let rank = column("rank").as_primitive::<Int32Type>().value(row);
                let counts = column("clicks").as_primitive::<Int64Type>();
                let count = counts.value(row);
                let list = self.per_filter(columns).then_some(filter);
                if column("withdrawn").as_boolean().value(row) {
                    assert!(counts.is_null(row) && ads.is_null(row), "nobody has a rank that is withdrawn");
                    let held = self
                        .ranks
                        .keys()
                        .find(|held| (held.0, held.2) == (ends[row], rank) && (list.is_none() || held.1 == list));
                    let held = held.copied().expect("a rank that nobody had is withdrawn");
                    self.ranks.remove(&held);
                    continue;
                }
                self.ranks.insert((ends[row], list, rank), (ad.map(|ad| format!("{ad}/{filter}")), count));
            }
        }
        assert!(self.ranks.len() <= self.revisions.len(), "one record per rank");
    }

    /// The group's columns stand before the rank.
    fn per_filter(&self, columns: &RecordBatch) -> bool {
        columns.schema().index_of("filter").unwrap() < columns.schema().index_of("rank").unwrap()
    }
}

/// The same lists by sorting everything. `filter` stands with the ad, since it is part of what is ranked without lists.
fn naive(counts: &BTreeMap<(u8, i64, i64), i64>, config: &TopConfig, watermark: i64) -> Ranks {
    type Sums = BTreeMap<(u8, i64), i64>;
    let mut sums: BTreeMap<(i64, Option<i64>), Sums> = BTreeMap::new();
    for ((ad, filter, slice), count) in counts {
        for end in config.windows_of(slice * SLICE).filter(|end| *end <= watermark) {
            let list = (!config.per.is_empty()).then_some(*filter);
            *sums.entry((end, list)).or_default().entry((*ad, *filter)).or_default() += count;
        }
    }
    let mut ranks = Ranks::new();
    for ((end, list), sums) in sums {
        let mut sorted: Vec<((u8, i64), i64)> = sums.into_iter().collect();
        let name = |ad: u8| (ad == 0, format!("ad{ad}"));
        sorted.sort_by_key(|((ad, filter), count)| (-count, name(*ad), *filter));
        for (at, ((ad, filter), count)) in sorted.into_iter().take(config.n).enumerate() {
            let ad = (ad > 0).then(|| format!("ad{ad}/{filter}"));
            ranks.insert((end, list, at as i32 + 1), (ad, count));
        }
    }
    ranks
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

fn window() -> impl Strategy<Value = WindowSpec> {
    prop_oneof![
        (1i64..4).prop_map(|n| WindowSpec::Tumbling { size_ms: n * SLICE }),
        (1i64..4, 1i64..3).prop_map(|(n, m)| WindowSpec::Hopping { size_ms: n * m * SLICE, slide_ms: m * SLICE }),
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
        n in 1usize..5, window in window(), lateness in 0i64..60, per_filter in any::<bool>(), steps in steps(),
    ) {
        let config = config(n, window, lateness, if per_filter { &["filter"] } else { &[] });
        let (mut local, mut global) = subtasks(&config);
        let (mut seen, mut counts, mut now, mut watermark) = (Seen::default(), BTreeMap::new(), 0, i64::MIN);
        for step in steps.into_iter().chain([Step::Watermark(0)]) {
            let given = match step {
                Step::Counts(new) => {
                    now += 1;
                    // As from the aggregate: a slice is corrected until its lateness is over.
                    let accepted = |count: &Count| (count.2 + 1) * SLICE + lateness > watermark;
                    let new: Vec<Count> =
                        new.iter().map(|(ad, filter, slice, n)| (*ad, *filter, now + slice - 2, *n)).filter(accepted).collect();
                    counts.extend(new.iter().map(|(ad, filter, slice, n)| ((*ad, *filter, *slice), *n)));
                    counts.retain(|_, n| *n != GONE);
                    local.process(&batch(&new), n % 2 == 0).unwrap()
                }
                Step::Watermark(behind) => {
                    watermark = watermark.max((now - behind) * SLICE);
                    local.watermark(watermark).unwrap()
                }
                Step::Barrier => {
                    let given = local.barrier().unwrap();
                    seen.take(&global.barrier().unwrap());
                    given
                }
                Step::Restart(locals, globals) => {
                    let given = local.restart(locals).unwrap();
                    seen.take(&global.restart(globals).unwrap());
                    given
                }
            };
            for (_, batch) in given {
                seen.take(&global.process(&batch.columns, false).unwrap());
            }
            if watermark > i64::MIN {
                // What came since is out at the next watermark, of which the next millisecond is one.
                watermark += 1;
                for (_, batch) in local.watermark(watermark).unwrap() {
                    seen.take(&global.process(&batch.columns, true).unwrap());
                }
                seen.take(&global.watermark(watermark).unwrap());
                prop_assert_eq!(&seen.ranks, &naive(&counts, &config, watermark));
            }
        }
    }
}

#[test]
fn only_changed_ranks_are_emitted_again() {
    let config = config(2, WindowSpec::Tumbling { size_ms: 20 }, 100, &["filter"]);
    let (mut local, mut global) = subtasks(&config);
    let mut rows_at = |counts: &[Count], watermark: i64| -> Vec<(i32, String, i64, i32)> {
        local.process(&batch(counts), true).unwrap();
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
        local.process(&batch(counts), true).unwrap();
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
    let input = batch(&[(1, 0, 0, 5)]);
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
    assert!(refused(|config| config.slice_ms = 15).contains("multiples of 15 ms"));
    assert!(
        refused(|config| config.windows.window = WindowSpec::Session { gap_ms: 1 }).contains("tumbling and hopping")
    );
    let input = batch(&[]);
    let mut by_name = good.clone();
    by_name.by = "ad".into();
    assert!(output_schema(input.schema_ref(), &by_name).unwrap_err().message.contains("BIGINT"));
}
