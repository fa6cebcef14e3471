//! Running counts against a recount of all rows at every barrier, over restarts, rescales and crashes.

use super::super::tests::{Output, Pipeline, Row, Step, Windows, config, expected, latest, sliced, steps};
use super::*;
use crate::window::{WindowRule, tests::windows_of};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_so_many_checkpoints_and_the_last() {
    let context = OperatorContext::single("job", "aggregate");
    let rule = RunningRule::new(RunningCounts { every_checkpoints: 3 }, &context);
    let due = |checkpoint, last| rule.due(Barrier { checkpoint: CheckpointId(checkpoint), last });
    assert_eq!([1, 2, 3, 4, 6].map(|n| due(n, false).is_some()), [false, false, true, false, true]);
    assert_eq!(due(4, true), Some(i32::MIN + 4));
    assert_eq!(due(i32::MAX as u64, true), Some(-1), "still below every result");
    assert_eq!(due(i32::MAX as u64 + 1, true), None);
}

/// What happens to a job.
#[derive(Debug, Clone)]
enum Event {
    Step(Step),
    /// All that came after the last barrier is lost and comes again, to so many subtasks.
    Crash(usize),
}

/// With rows and watermarks in absolute times, and without rows that a late gate would take out.
fn events(config: &super::super::AggregateConfig, steps: Vec<(Step, Option<usize>)>) -> Vec<Event> {
    let (mut now, mut watermark) = (-120, i64::MIN);
    let mut events = Vec::new();
    for (mut step, crash) in steps {
        match &mut step {
            Step::Rows(_, rows, _) => {
                now += 10;
                rows.iter_mut().for_each(|row| row.0 += now);
                rows.retain(|row| !config.windows.is_late(row.0, watermark));
            }
            Step::Watermark(behind) => {
                watermark = watermark.max(now.saturating_sub(*behind));
                *behind = watermark;
            }
            _ => {}
        }
        events.push(Event::Step(step));
        events.extend(crash.map(Event::Crash));
    }
    events.push(Event::Step(Step::Watermark(i64::MAX)));
    events
}

/// A job, and how much of its output and input the last barrier is behind.
struct Drill {
    config: super::super::AggregateConfig,
    pipeline: Pipeline,
    committed: (usize, usize, usize),
    watermark: i64,
    /// Since the last running counts.
    restored: bool,
}

impl Drill {
    fn new(config: &super::super::AggregateConfig) -> Self {
        let pipeline = Pipeline::new(config, false);
        Drill { config: config.clone(), pipeline, committed: (0, 0, 0), watermark: i64::MIN, restored: false }
    }

    /// Runs all events; `check` is called after each barrier, with the rows before it.
    fn run(
        &mut self,
        mut events: Vec<Event>,
        mut check: impl FnMut(&Drill, &[Row], bool) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let mut at = 0;
        while at < events.len() {
            if let Event::Crash(parallelism) = events[at] {
                events.remove(at);
                self.crash(parallelism);
                at = self.committed.0;
                continue;
            }
            let Event::Step(step) = &events[at] else { unreachable!("a crash was taken out") };
            if let Step::Watermark(watermark) = step {
                self.watermark = *watermark;
            }
            self.pipeline.run(step, 0, self.watermark);
            at += 1;
            if matches!(step, Step::Barrier | Step::Restart(_)) {
                let rows = events[..at].iter().flat_map(|event| match event {
                    Event::Step(Step::Rows(_, rows, _)) => rows.as_slice(),
                    _ => &[],
                });
                check(self, &rows.copied().collect::<Vec<Row>>(), matches!(step, Step::Restart(_)))?;
                self.committed = (at, self.pipeline.emitted.len(), self.pipeline.running.len());
                let every = self.config.running.map_or(1, |running| running.every_checkpoints);
                let is_out = self.pipeline.global.checkpoint().0.is_multiple_of(every);
                self.restored = matches!(step, Step::Restart(_)) || (self.restored && !is_out);
            }
        }
        Ok(())
    }

    fn crash(&mut self, parallelism: usize) {
        let (_, emitted, running) = self.committed;
        let mut fresh = Pipeline::new(&self.config, false);
        std::mem::swap(&mut fresh.global, &mut self.pipeline.global);
        fresh.global.crash(parallelism).unwrap();
        fresh.emitted = self.pipeline.emitted[..emitted].to_vec();
        fresh.running = self.pipeline.running[..running].to_vec();
        self.pipeline = fresh;
        self.restored = true;
    }

    /// What a reader sees of open windows: the highest running revision of each record.
    fn view(&self, of: usize) -> BTreeMap<Vec<u8>, &Output> {
        let running = self.pipeline.running[..of].iter().map(|(_, output)| output);
        running.filter(|output| output.window.1 > self.watermark).map(|output| (output.id.clone(), output)).collect()
    }
}

/// Every open window and key with what a list of rows says of it.
fn recount(windows: WindowRule, rows: &[Row], watermark: i64) -> Windows {
    let mut open: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (time, key, value) in rows {
        for bounds in windows_of(windows, *time).into_iter().filter(|bounds| bounds.1 > watermark) {
            open.entry((bounds, (*key != 5).then(|| format!("ad{key}")))).or_default().push(*value);
        }
    }
    open
}

fn check_barrier(
    drill: &Drill,
    windows: WindowRule,
    every: u64,
    rows: &[Row],
    last: bool,
) -> Result<(), TestCaseError> {
    let checkpoint = drill.pipeline.global.checkpoint().0;
    let new: Vec<&Output> = drill.pipeline.running[drill.committed.2..].iter().map(|(_, output)| output).collect();
    if !last && !checkpoint.is_multiple_of(every) {
        prop_assert!(new.is_empty());
        return Ok(());
    }
    prop_assert!(new.iter().all(|output| output.revision == i32::MIN + checkpoint as i32));
    prop_assert!(new.iter().all(|output| output.window.1 > drill.watermark), "closed windows have no running counts");
    let view = drill.view(drill.pipeline.running.len());
    let seen: BTreeMap<_, _> = view.values().map(|o| ((o.window, o.ad.clone()), o.result.unwrap())).collect();
    let model: BTreeMap<_, _> =
        recount(windows, rows, drill.watermark).into_iter().map(|(key, values)| (key, expected(&values))).collect();
    prop_assert_eq!(seen, model);
    // Only what has changed, but for what a restored job can't know.
    let before = drill.view(drill.committed.2);
    for output in new.iter().filter(|_| !drill.restored) {
        prop_assert!(before.get(&output.id).is_none_or(|before| before.result != output.result), "{:?}", output);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn running_counts_are_those_of_the_rows_so_far(
        windows in sliced(),
        lateness in 0i64..80,
        steps in steps(),
        crashes in prop::collection::vec(prop::option::weighted(0.1, 1usize..4), 30),
        every in 1u64..4,
    ) {
        let windows = WindowRule { allowed_lateness_ms: lateness, ..windows };
        let without = super::super::AggregateConfig { windows, ..config(windows.window, lateness) };
        let with = super::super::AggregateConfig {
            running: Some(RunningCounts { every_checkpoints: every }),
            ..without.clone()
        };
        let events = events(&with, steps.into_iter().zip(crashes).collect());
        let mut plain = Drill::new(&without);
        plain.run(events.clone(), |_, _, _| Ok(()))?;
        prop_assert!(plain.pipeline.running.is_empty());
        let mut drill = Drill::new(&with);
        drill.run(events, |drill, rows, last| check_barrier(drill, windows, every, rows, last))?;

        let Pipeline { emitted, running, .. } = &drill.pipeline;
        prop_assert_eq!(emitted, &plain.pipeline.emitted, "results are those without running counts");
        let mut versions = BTreeSet::new();
        let all = running.iter().map(|(_, output)| output).chain(emitted);
        for output in all {
            prop_assert!(versions.insert((output.id.clone(), output.revision)), "twice: {:?}", output);
        }
        let last = latest(emitted)?;
        for (before, output) in running {
            prop_assert!(emitted[..*before].iter().all(|result| result.id != output.id), "after its window: {:?}", output);
            prop_assert!(output.result.unwrap().0 <= last[&output.id].result.unwrap().0, "more than in the end: {:?}", output);
        }
    }
}
