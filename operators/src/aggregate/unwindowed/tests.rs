//! The results of keys without windows against a list of all rows, over barriers, restarts, rescales and crashes.

use super::super::LocalAggregate;
use super::super::tests::{Output, Pipeline, Row, Step, batch, config, expected, outputs, steps};
use super::*;
use crate::window::WindowRule;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_engine::testing::OperatorHarness;

fn settings(ttl_ms: Option<i64>, every_checkpoints: u64) -> AggregateConfig {
    AggregateConfig {
        windows: WindowRule::of(WindowSpec::Global { ttl_ms }, 0),
        running: Some(RunningCounts { every_checkpoints }),
        ..config(WindowSpec::Tumbling { size_ms: 1 }, 0)
    }
}

/// The values of each key since it was last silent for as long as the time to live.
fn recount(rows: &[Row], ttl_ms: Option<i64>) -> BTreeMap<Option<String>, Vec<Option<i64>>> {
    let mut by_key: BTreeMap<Option<String>, Vec<(i64, Option<i64>)>> = BTreeMap::new();
    for (time, key, value) in rows {
        by_key.entry((*key != 5).then(|| format!("ad{key}"))).or_default().push((*time, *value));
    }
    let last_life = |mut rows: Vec<(i64, Option<i64>)>| {
        rows.sort_unstable();
        let is_silent = |pair: &[(i64, Option<i64>)]| ttl_ms.is_some_and(|ttl| pair[1].0 - pair[0].0 >= ttl);
        let begin = rows.windows(2).rposition(is_silent).map_or(0, |at| at + 1);
        rows[begin..].iter().map(|(_, value)| *value).collect()
    };
    by_key.into_iter().map(|(key, rows)| (key, last_life(rows))).collect()
}

/// The highest revision of each key; every one must be higher than those before.
fn latest(emitted: &[Output]) -> Result<BTreeMap<Option<String>, Output>, TestCaseError> {
    let mut latest: BTreeMap<Option<String>, Output> = BTreeMap::new();
    for output in emitted {
        if let Some(before) = latest.insert(output.ad.clone(), output.clone()) {
            prop_assert!(before.revision < output.revision && before.id == output.id, "{:?} {:?}", before, output);
        }
    }
    Ok(latest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_key_has_one_result_of_all_its_rows_or_those_of_its_last_life(
        ttl_ms in prop::option::of(1i64..90),
        every in 1u64..4,
        steps in steps(),
        crashes in prop::collection::vec(prop::option::weighted(0.1, 1usize..4), 31),
        passing in any::<bool>(),
    ) {
        let config = settings(ttl_ms, every);
        let mut pipeline = Pipeline::new(&config, passing);
        let (mut rows, mut now, mut watermark) = (Vec::new(), -120, i64::MIN);
        // What a crash goes back to.
        let mut kept = (0, 0);
        for (mut step, crash) in steps.into_iter().chain([Step::Restart(2)]).zip(crashes) {
            match &mut step {
                Step::Rows(_, new, _) => {
                    now += 10;
                    new.retain(|row| !config.windows.is_late(now + row.0, watermark));
                    rows.extend(new.iter().map(|row| (now + row.0, row.1, row.2)));
                }
                Step::Watermark(behind) => watermark = watermark.max(now.saturating_sub(*behind)),
                _ => {}
            }
            pipeline.run(&step, now, watermark);
            if matches!(step, Step::Barrier | Step::Restart(_)) {
                let is_out = matches!(step, Step::Restart(_)) || pipeline.global.checkpoint().0.is_multiple_of(every);
                let new = &pipeline.emitted[kept.1..];
                let is_of = |output: &Output| output.revision as u64 == pipeline.global.checkpoint().0;
                prop_assert!(new.iter().all(is_of) && (is_out || new.is_empty()));
                if is_out {
                    let found = latest(&pipeline.emitted)?;
                    let found: BTreeMap<_, _> = found.into_iter().map(|(ad, output)| (ad, output.result.unwrap())).collect();
                    let model: BTreeMap<_, _> =
                        recount(&rows, ttl_ms).into_iter().map(|(ad, values)| (ad, expected(&values))).collect();
                    prop_assert_eq!(found, model);
                }
                kept = (rows.len(), pipeline.emitted.len());
                if let Some(parallelism) = crash {
                    pipeline.global.crash(parallelism).unwrap();
                    // Their watermark comes again, too, at once or with the next one.
                    if parallelism < 3 {
                        pipeline.global.watermark(watermark).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_silent_for_long_enough_is_forgotten_once_it_is_emitted() {
    let context = OperatorContext::single("job", "unwindowed");
    let (local, of) = (OperatorContext::single("job", "local"), settings(Some(100), 3));
    let mut local = OperatorHarness::new(Box::new(LocalAggregate::new(of.clone(), &local).unwrap()));
    let make = |of: &AggregateConfig| Box::new(UnwindowedAggregate::new(of.clone(), &context).unwrap());
    let mut global = OperatorHarness::new(make(&of));
    let mut count = |global: &mut OperatorHarness, rows: &[Row]| {
        let partials = local.process(Batch::new(batch(rows, false))).unwrap();
        partials.into_iter().flat_map(|(_, partials)| global.process(partials).unwrap()).collect::<Vec<_>>()
    };
    count(&mut global, &[(0, 1, Some(1)), (50, 1, Some(2)), (20, 2, Some(3))]);
    global.watermark(400).unwrap();
    assert!(global.barrier().unwrap().is_empty() && global.barrier().unwrap().is_empty());
    assert_eq!(global.segments().len(), 1, "not told of yet");
    let told = outputs(&global.barrier().unwrap());
    assert_eq!(
        told.iter().map(|output| (output.revision, output.result.unwrap().0)).collect::<Vec<_>>(),
        [(3, 2), (3, 1)]
    );
    assert!(global.segments().is_empty(), "and then nothing is left");
    let late = count(&mut global, &[(300, 1, None), (301, 1, None)]);
    assert!(late.len() == 1 && late[0].0 == ports::LATE && late[0].1.len() == 1);
    assert_eq!(context.counters.values()["late"], 1, "what is as far behind as that");
    // A life that began anew is a later revision of the same record.
    for _ in 0..3 {
        global.barrier().unwrap();
    }
    assert_eq!(context.counters.values()["groups_emitted"], 3);
}

/// A row of a key that comes after a checkpoint in which the key's first row is, not told of yet: into the same life, and into the
/// next one. Then the life ends. Another key keeps the segment.
#[test]
fn a_life_that_has_ended_is_not_told_of_again_after_a_restart() {
    let of = settings(Some(100), 2);
    for (second, counted) in [(50, 2), (200, 1)] {
        let mut local = LocalAggregate::new(of.clone(), &OperatorContext::single("job", "local")).unwrap();
        let context = OperatorContext::single("job", "unwindowed");
        let make = || Box::new(UnwindowedAggregate::new(of.clone(), &context).unwrap());
        let mut global = OperatorHarness::new(make());
        let mut count = |global: &mut OperatorHarness, rows: &[Row]| {
            let mut partials = Collector::default();
            Operator::process(&mut local, 0, Batch::new(batch(rows, false)), &mut partials).unwrap();
            partials.drain().into_iter().for_each(|(_, partials)| drop(global.process(partials).unwrap()));
        };
        count(&mut global, &[(0, 1, Some(1)), (1_000, 2, Some(1))]);
        assert!(global.barrier().unwrap().is_empty(), "not told of yet");
        count(&mut global, &[(second, 1, Some(2))]);
        global.watermark(second + 200).unwrap();
        let told = |global: &mut OperatorHarness| {
            let told = outputs(&global.last_barrier().unwrap());
            told.iter().map(|told| (told.ad.clone().unwrap(), told.result.unwrap().0)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(told(&mut global), BTreeMap::from([("ad1".into(), counted), ("ad2".into(), 1)]));

        let all = KeyGroupRange::all(context.max_parallelism);
        let again = OperatorHarness::restored(make(), all, &[global.segments().clone()]).unwrap();
        let mut again = again.after_checkpoint(global.checkpoint());
        assert_eq!(told(&mut again), BTreeMap::new(), "{second}: before event time has come so far again");
        again.watermark(second + 200).unwrap();
        assert_eq!(told(&mut again), BTreeMap::new(), "{second}: and when it has");
    }
}

#[test]
fn a_checkpoint_writes_what_has_changed_and_is_tidied_now_and_then() {
    let context = OperatorContext::single("job", "unwindowed");
    let (local, of) = (OperatorContext::single("job", "local"), settings(None, 1));
    let mut local = OperatorHarness::new(Box::new(LocalAggregate::new(of.clone(), &local).unwrap()));
    let mut global = UnwindowedAggregate::new(of, &context).unwrap();
    let mut sizes = Vec::new();
    for n in 0..1_600 {
        local.process(Batch::new(batch(&[(n, (n % 3) as u8, Some(1))], false))).unwrap();
        for (_, partials) in local.barrier().unwrap() {
            Operator::process(&mut global, 0, partials, &mut Collector::default()).unwrap();
        }
        let (checkpoint, mut out) = (CheckpointId(n as u64 + 1), Collector::default());
        global.prepare_snapshot(Barrier { checkpoint, last: false }, &mut out).unwrap();
        let change = global.snapshot(checkpoint).unwrap().segments.remove(0).change;
        let (is_all, rows) = match change {
            Change::Append(rows) => (false, rows),
            Change::Replace(rows) => (true, rows),
            Change::Unchanged => panic!("it has changed"),
        };
        sizes.push((is_all, rows.into_batches().unwrap().iter().map(RecordBatch::num_rows).sum::<usize>()));
    }
    assert_eq!(sizes.iter().filter(|(is_all, _)| *is_all).count(), 2, "at first, and when most rows are outdated");
    assert!(sizes.iter().all(|(is_all, rows)| if *is_all { *rows <= 3 } else { *rows == 1 }));
    assert!(matches!(global.snapshot(CheckpointId(9_999)).unwrap().segments[0].change, Change::Unchanged));
}
