//! Random results and corrections of them, cut and interrupted at random: what holds is what all pairs of rows give.

use super::*;
use proptest::prelude::*;

/// A result of a side: what is in its key, which window, and its revisions: each a value, and how long after the end it comes.
#[derive(Debug, Clone)]
struct Life {
    side: Side,
    ad: Option<u8>,
    more: u8,
    window: i64,
    revisions: Vec<(Option<i64>, i64)>,
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

/// What the newest of some rows give, for the windows that are over: each left one beside each right one.
fn recount(rows: &[(Side, Row)], until: i64, config: &WindowJoinConfig) -> Vec<(Key, [Option<i64>; 2])> {
    let mut newest: BTreeMap<(u8, Option<u8>, u8, i64), Row> = BTreeMap::new();
    for (side, row) in rows.iter().filter(|(_, row)| row.end <= until) {
        let known = newest.entry((*side as u8, row.ad, row.more, row.end)).or_insert(*row);
        if known.revision < row.revision {
            *known = *row;
        }
    }
    let of = |side: Side| {
        let holds = newest.iter().filter(move |(key, row)| key.0 == side as u8 && row.value.is_some());
        holds.map(|(_, row)| *row).collect::<Vec<Row>>()
    };
    let (left, right) = (of(Side::Left), of(Side::Right));
    let belong = |one: &Row, other: &Row| one.end == other.end && one.ad.is_some() && one.ad == other.ad;
    let more = |row: &Row| Some(i64::from(row.more));
    let ad = |row: &Row| row.ad.map(|ad| format!("ad{ad}"));
    let mut results = Vec::new();
    for one in &left {
        for other in right.iter().filter(|other| belong(one, other)) {
            results.push(((one.end, ad(one), more(one), more(other)), [one.value, other.value]));
        }
        if matches!(config.join_type, JoinType::Left | JoinType::Full) && !right.iter().any(|other| belong(one, other))
        {
            results.push(((one.end, ad(one), more(one), None), [one.value, None]));
        }
    }
    for other in &right {
        if matches!(config.join_type, JoinType::Right | JoinType::Full) && !left.iter().any(|one| belong(one, other)) {
            results.push(((other.end, ad(other), None, more(other)), [None, other.value]));
        }
    }
    results.sort();
    results
}

/// A join, what it was given since the last barrier, and what a reader has got of it.
struct Run {
    config: WindowJoinConfig,
    subtasks: Subtasks,
    reader: Reader,
    /// Put out since the last barrier: nobody has seen it.
    unseen: Emitted,
    since: Vec<(Vec<(Side, Row)>, i64)>,
}

impl Run {
    /// Rows go in, those of one side before those of the other; then time goes on.
    fn go(&mut self, rows: &[(Side, Row)], minute: i64, left_first: bool, carry_hashes: bool) {
        let sides = if left_first { [Side::Left, Side::Right] } else { [Side::Right, Side::Left] };
        for side in sides {
            let own: Vec<Row> = rows.iter().filter(|(of, _)| *of == side).map(|(_, row)| *row).collect();
            let out = self.subtasks.process_input(side as usize, &batch(side, &own), carry_hashes).unwrap();
            assert!(out.is_empty(), "a window is put out when time has come past it");
        }
        self.unseen.extend(self.subtasks.watermark(minute * MINUTE).unwrap());
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
                for (rows, minute) in self.since.clone() {
                    for rows in rows.chunks(2) {
                        self.go(rows, minute - 1, !left_first, true);
                    }
                    self.go(&[], minute, left_first, false);
                }
            }
        }
    }

    fn commit(&mut self) {
        let single = [self.config.left.is_single, self.config.right.is_single];
        self.reader.read(std::mem::take(&mut self.unseen), single);
        self.since.clear();
    }
}

fn life() -> impl Strategy<Value = Life> {
    let revision = (prop_oneof![1 => Just(None), 3 => (0i64..100).prop_map(Some)], 0..LATENESS);
    let side = prop_oneof![Just(Side::Left), Just(Side::Right)];
    let ad = prop_oneof![6 => (0u8..4).prop_map(Some), 1 => Just(None)];
    (side, ad, 0u8..3, 1i64..9, prop::collection::vec(revision, 1..4))
        .prop_map(|(side, ad, more, window, revisions)| Life { side, ad, more, window, revisions })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Go),
        2 => Just(Step::Barrier),
        1 => (1usize..9).prop_map(Step::Restart),
        1 => (1usize..9).prop_map(Step::Crash),
    ]
}

fn join_type() -> impl Strategy<Value = JoinType> {
    prop_oneof![Just(JoinType::Inner), Just(JoinType::Left), Just(JoinType::Right), Just(JoinType::Full)]
}

/// The rows by the minute in which they come; a side may be ahead of the other.
fn coming(lives: &[Life], single: [bool; 2], ahead: [i64; 2], twice: bool) -> BTreeMap<i64, Vec<(Side, Row)>> {
    let mut coming: BTreeMap<i64, Vec<(Side, Row)>> = BTreeMap::new();
    let mut known = std::collections::BTreeSet::new();
    for Life { side, ad, more, window, revisions } in lives {
        // Of a single side there is one result for each ad.
        let more = if single[*side as usize] { 0 } else { *more };
        if !known.insert((*side as u8, *ad, more, *window)) {
            continue;
        }
        let end = window * 5;
        let mut at = end;
        for (revision, (value, after)) in (0..).zip(revisions) {
            at = if revision == 0 { end } else { at.max(end + after) };
            let row = Row { ad: *ad, more, end, revision, value: *value };
            let minute = (at - ahead[*side as usize]).max(1);
            coming.entry(minute).or_default().push((*side, row));
            if twice {
                coming.entry((minute + 2).min(end + LATENESS)).or_default().push((*side, row));
            }
        }
    }
    coming
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    #[test]
    fn what_holds_is_what_all_pairs_give(
        lives in prop::collection::vec(life(), 0..70),
        steps in prop::collection::vec((step(), any::<bool>(), any::<bool>()), 60),
        join_type in join_type(),
        single in any::<[bool; 2]>(),
        ahead in [0i64..4, 0..4],
        twice in any::<bool>(),
        window in prop_oneof![
            Just(tumbling()),
            Just(WindowSpec::Hopping { size_ms: 10 * MINUTE, slide_ms: 5 * MINUTE }),
            Just(WindowSpec::Cumulating { size_ms: 20 * MINUTE, step_ms: 5 * MINUTE }),
        ],
    ) {
        let config = config(join_type, window, single);
        let coming = coming(&lives, single, ahead, twice);
        let mut run = Run {
            subtasks: subtasks(&config),
            reader: Reader::default(),
            unseen: Vec::new(),
            since: Vec::new(),
            config,
        };
        let mut all = Vec::new();
        for (minute, (step, left_first, carry_hashes)) in (1..60).zip(steps) {
            let rows = coming.get(&minute).cloned().unwrap_or_default();
            all.extend_from_slice(&rows);
            run.since.push((rows.clone(), minute));
            run.go(&rows, minute, left_first, carry_hashes);
            run.step(step, left_first);
            if matches!(step, Step::Barrier) {
                prop_assert_eq!(run.reader.holds(), recount(&all, minute, &run.config));
            }
        }
        run.unseen.extend(run.subtasks.watermark(i64::MAX).unwrap());
        run.step(Step::Barrier, true);
        prop_assert_eq!(run.reader.holds(), recount(&all, i64::MAX, &run.config));
    }
}
