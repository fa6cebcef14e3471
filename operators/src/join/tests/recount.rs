//! Random rows, cut and interrupted at random: what holds in the end is what all pairs of rows give.

use super::*;
use proptest::prelude::*;

/// A row on its way: the split that it is in (the first two are orders, the others clicks), how long it lags behind what has come
/// before, and by how much time goes on with it.
#[derive(Debug, Clone)]
struct Event {
    split: usize,
    user: Option<u8>,
    value: Option<i64>,
    lag: i64,
    step: i64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The rows so far go in, and event time goes on.
    Go,
    Barrier,
    /// A last barrier, then as many subtasks.
    Restart(usize),
    /// What came since the last barrier comes again.
    Crash(usize),
}

const DELAY: i64 = 7;

/// Each row with its side, if it is not late by its own split; the watermark over all splits behind it.
fn on_time(events: &[Event], lateness: i64) -> Vec<(Option<(Side, Row)>, i64)> {
    let mut now = 100;
    let mut splits = [i64::MIN; 4];
    let mut come = Vec::new();
    for event in events {
        now += event.step;
        let at = now - event.lag;
        // Late, if the split's watermark is further ahead of it than is allowed.
        let is_late = splits[event.split] > i64::MIN && splits[event.split] - at > lateness;
        splits[event.split] = splits[event.split].max(at - DELAY);
        let side = if event.split < 2 { Side::Left } else { Side::Right };
        let row = Row { user: event.user, value: event.value, at };
        come.push(((!is_late).then_some((side, row)), splits.iter().copied().min().unwrap_or(i64::MIN)));
    }
    come
}

/// What all pairs of rows give.
fn recount(rows: &[(Side, Row)], config: &JoinConfig) -> (Vec<Read>, Vec<Read>) {
    let (mut matched, mut unmatched) = (Vec::new(), Vec::new());
    for (_, order) in rows.iter().filter(|(side, _)| *side == Side::Left) {
        let fits = |click: &&Row| {
            click.user.is_some()
                && click.user == order.user
                && order.at - click.at <= config.before_ms
                && click.at - order.at <= config.after_ms
        };
        let clicks = rows.iter().filter(|(side, _)| *side == Side::Right).map(|(_, row)| row).filter(fits);
        // At one time by the ad, which is the only other column; one without an ad is the largest.
        let mut clicks: Vec<&Row> = clicks.collect();
        clicks.sort_by_key(|click| (click.at, click.value.is_none(), click.value));
        let chosen = match config.matching {
            Match::First => clicks.first().copied().into_iter().collect(),
            Match::Last => clicks.last().copied().into_iter().collect(),
            Match::All => clicks,
        };
        if chosen.is_empty() {
            unmatched.push((order.clone(), None));
        }
        matched.extend(chosen.into_iter().map(|click| (order.clone(), Some((click.value, click.at)))));
    }
    matched.sort();
    unmatched.sort();
    (matched, unmatched)
}

/// A join, what it was given since the last barrier, and what a reader has got of it.
struct Run {
    subtasks: Subtasks,
    reader: Reader,
    /// Put out since the last barrier: nobody has seen it.
    unseen: Emitted,
    since: Vec<(Vec<(Side, Row)>, i64)>,
}

impl Run {
    /// Rows go in, side by side, so that those of one side come before those of the other; then time goes on.
    fn go(&mut self, rows: &[(Side, Row)], watermark: i64, left_first: bool, carry_hashes: bool) {
        let sides = if left_first { [Side::Left, Side::Right] } else { [Side::Right, Side::Left] };
        for side in sides {
            let own: Vec<Row> = rows.iter().filter(|(of, _)| *of == side).map(|(_, row)| row.clone()).collect();
            let out = self.subtasks.process_input(side as usize, &batch(side, &own), carry_hashes).unwrap();
            self.unseen.extend(out);
        }
        self.unseen.extend(self.subtasks.watermark(watermark).unwrap());
    }

    fn step(&mut self, step: Step, left_first: bool) {
        match step {
            Step::Go => {}
            Step::Barrier => {
                self.unseen.extend(self.subtasks.barrier().unwrap());
                self.commit();
            }
            Step::Restart(parallelism) => {
                self.unseen.extend(self.subtasks.restart(parallelism).unwrap());
                self.commit();
            }
            Step::Crash(parallelism) => {
                self.unseen.clear();
                self.subtasks.crash(parallelism).unwrap();
                // Cut in another way than before.
                for (rows, watermark) in self.since.clone() {
                    for rows in rows.chunks(2) {
                        self.go(rows, i64::MIN, !left_first, true);
                    }
                    self.go(&[], watermark, left_first, false);
                }
            }
        }
    }

    fn commit(&mut self) {
        self.reader.read(std::mem::take(&mut self.unseen));
        self.since.clear();
    }
}

fn event() -> impl Strategy<Value = Event> {
    let user = prop_oneof![8 => (0u8..4).prop_map(Some), 1 => Just(None)];
    let value = prop_oneof![8 => (0i64..3).prop_map(Some), 1 => Just(None)];
    let lag = prop_oneof![3 => 0i64..6, 2 => 0i64..60];
    (0usize..4, user, value, lag, 0i64..4).prop_map(|(split, user, value, lag, step)| Event {
        split,
        user,
        value,
        lag,
        step,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Go),
        2 => Just(Step::Barrier),
        1 => (1usize..5).prop_map(Step::Restart),
        1 => (1usize..5).prop_map(Step::Crash),
    ]
}

fn matching() -> impl Strategy<Value = Match> {
    prop_oneof![Just(Match::Last), Just(Match::First), Just(Match::All)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn what_holds_in_the_end_is_what_all_pairs_give(
        events in prop::collection::vec(event(), 0..150),
        steps in prop::collection::vec((1usize..12, step(), any::<bool>(), any::<bool>()), 40),
        matching in matching(),
        (before, after) in (prop_oneof![0i64..5, 0i64..80], prop_oneof![Just(0i64), 0i64..40]),
        lateness in prop_oneof![Just(0i64), 0i64..40],
    ) {
        // A second each, so that rows are in many buckets.
        let scale = 1_000;
        let config = config(matching, before * scale, after * scale, lateness * scale);
        let come: Vec<(Option<(Side, Row)>, i64)> = on_time(&events, lateness)
            .into_iter()
            .map(|(row, watermark)| {
                let row = row.map(|(side, row)| (side, Row { at: row.at * scale, ..row }));
                (row, watermark.saturating_mul(scale))
            })
            .collect();
        let all: Vec<(Side, Row)> = come.iter().filter_map(|(row, _)| row.clone()).collect();
        let mut run =
            Run { subtasks: subtasks(&config), reader: Reader::default(), unseen: Vec::new(), since: Vec::new() };
        let (mut rest, mut steps) = (come.as_slice(), steps.into_iter().cycle());
        while let (false, Some((count, step, left_first, carry_hashes))) = (rest.is_empty(), steps.next()) {
            let (now, later) = rest.split_at(count.min(rest.len()));
            let rows: Vec<(Side, Row)> = now.iter().filter_map(|(row, _)| row.clone()).collect();
            let watermark = now.last().map_or(i64::MIN, |(_, watermark)| *watermark);
            run.since.push((rows.clone(), watermark));
            run.go(&rows, watermark, left_first, carry_hashes);
            run.step(step, left_first);
            rest = later;
        }
        run.unseen.extend(run.subtasks.watermark(i64::MAX).unwrap());
        run.unseen.extend(run.subtasks.barrier().unwrap());
        run.commit();
        prop_assert_eq!(run.reader.holds(), recount(&all, &config));
    }
}
