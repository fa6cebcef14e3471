//! The protocol over all orders of outcomes, against a ledger that does what brokers do: two committers at once, steps that fail,
//! steps that are done although nobody hears of it, requests that come late, committers that die in between.

use super::{
    super::{
        committable::{Place, StagedCheckpoint},
        progress::{Progress, Writer},
        protocol::{Action, Event, Protocol},
    },
    TOPIC,
};
use crate::sink::staging_buffer::StagedPart;
use proptest::prelude::*;
use weir_engine::{
    checkpoint::manifest::FileRef,
    ids::{Attempt, CheckpointId, Lineage},
};
use weir_kafka::{KafkaError, KafkaErrorKind, Topic};

/// What brokers keep, and what is under way to them.
#[derive(Default)]
struct Ledger {
    epoch: u64,
    /// Checkpoint and row, in order.
    rows: Vec<(u64, u64)>,
    progress: Option<Progress>,
    /// The rows of the transaction that is open, with its epoch.
    open: Option<(u64, Vec<(u64, u64)>)>,
    /// A commit that may still come, with its epoch.
    late: Option<(u64, Transaction)>,
    /// The epoch of a commit that was done, and may come once more.
    again: Option<u64>,
}

#[derive(Clone)]
struct Transaction {
    rows: Vec<(u64, u64)>,
    progress: Progress,
}

impl Ledger {
    /// Nothing of an epoch before is done any more.
    fn fence(&mut self) -> u64 {
        self.epoch += 1;
        self.open = None;
        self.epoch
    }

    fn begin(&mut self, epoch: u64, rows: &[(u64, u64)]) {
        if epoch == self.epoch {
            self.open = Some((epoch, rows.to_vec()));
        }
    }

    fn commit(&mut self, epoch: u64, transaction: Transaction) -> bool {
        let is_open = epoch == self.epoch && self.open.take_if(|(of, _)| *of == epoch).is_some();
        if is_open {
            self.rows.extend(transaction.rows);
            self.progress = Some(transaction.progress);
        }
        is_open
    }

    fn late_one_comes(&mut self) {
        if let Some((epoch, transaction)) = self.late.take() {
            self.commit(epoch, transaction);
        }
        // It ends what is open, although the progress is not in yet.
        if let Some(epoch) = self.again.take().filter(|epoch| *epoch == self.epoch)
            && let Some((_, rows)) = self.open.take_if(|(of, _)| *of == epoch)
        {
            self.rows.extend(rows);
        }
    }
}

/// A committer between two steps.
struct Committer<'a> {
    protocol: Protocol<'a>,
    staged: &'a [StagedCheckpoint],
    epoch: u64,
    open: Vec<(u64, u64)>,
    todo: Option<Action>,
}

/// How a step goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    /// It is done, and known to be; the request was sent twice, and one of them comes later.
    Repeated,
    /// It is not done, and known not to be.
    Fails,
    /// It is not known; it is not done.
    Lost,
    /// It is not known; it is done.
    Done,
    /// It is not known; it may be done any time later.
    Late,
}

fn topic() -> Topic {
    Topic { id: Some("a".into()), partitions: 3, max_message_bytes: 1 << 20, is_compacted: false }
}

fn writer() -> Writer {
    Writer { owner: "me".into(), lineage: Lineage(1), job: "job".into(), topic: TOPIC.into(), shown: "here".into() }
}

fn staged(checkpoint: u64, rows: u64) -> StagedCheckpoint {
    let file = FileRef { path: "a".into(), bytes: 1, checksum: "0".into() };
    StagedCheckpoint {
        checkpoint: CheckpointId(checkpoint),
        parts: vec![StagedPart { file, rows }],
        rows,
        attempt: Attempt(1),
        partitions: 3,
        after: Some(CheckpointId(checkpoint - 1)),
    }
}

fn error(kind: KafkaErrorKind) -> Event {
    Event::Failed(KafkaError::of(kind, "as it is"))
}

/// So many rows from a place on, and the place behind them.
fn rows_from(several: &[StagedCheckpoint], from: Place, most: u64) -> (Vec<(u64, u64)>, Place) {
    let (mut rows, mut until) = (Vec::new(), from);
    for (of, staged) in several.iter().enumerate().skip(from.of) {
        for row in if of == from.of { from.row } else { 0 }..staged.rows {
            if rows.len() as u64 == most {
                return (rows, until);
            }
            rows.push((staged.checkpoint.0, row));
            until = Place { of, row: row + 1 };
        }
    }
    (rows, until)
}

impl<'a> Committer<'a> {
    fn new(writer: &'a Writer, staged: &'a [StagedCheckpoint]) -> Self {
        let mut protocol = Protocol::new(writer, staged, false);
        let todo = Some(protocol.apply(Event::Begun(None)));
        Committer { protocol, staged, epoch: 0, open: Vec::new(), todo }
    }

    /// Does one step. True: it is finished.
    fn step(&mut self, ledger: &mut Ledger, outcome: Outcome, most: u64) -> bool {
        let event = match self.todo.take().unwrap() {
            Action::Finish(_) => return true,
            Action::Fail(error) => panic!("{error}"),
            Action::Pause(_) => Event::Paused,
            Action::Fence => {
                if !matches!(outcome, Outcome::Fails | Outcome::Lost) {
                    self.epoch = ledger.fence();
                }
                match outcome {
                    Outcome::Right | Outcome::Repeated => Event::Fenced(topic()),
                    _ => error(KafkaErrorKind::Unavailable),
                }
            }
            Action::ReadProgress => match outcome {
                Outcome::Right | Outcome::Repeated => Event::ProgressRead(ledger.progress.clone()),
                _ => error(KafkaErrorKind::Unavailable),
            },
            Action::Send { from, .. } => {
                let (rows, until) = rows_from(self.staged, from, most.max(1));
                self.open = rows;
                ledger.begin(self.epoch, &self.open);
                match outcome {
                    Outcome::Right | Outcome::Repeated | Outcome::Late => Event::Sent { until, refused: 0 },
                    _ => error(KafkaErrorKind::Unknown),
                }
            }
            Action::Commit(progress) => self.commit(ledger, outcome, progress),
        };
        self.todo = Some(self.protocol.apply(event));
        matches!(self.todo, Some(Action::Finish(_)))
    }

    fn commit(&mut self, ledger: &mut Ledger, outcome: Outcome, progress: Progress) -> Event {
        let transaction = Transaction { rows: std::mem::take(&mut self.open), progress };
        match outcome {
            Outcome::Right => match ledger.commit(self.epoch, transaction) {
                true => Event::Committed { may_come_again: false },
                false => error(KafkaErrorKind::Fenced),
            },
            // The request comes once more, and ends whatever is open then.
            Outcome::Repeated => match ledger.commit(self.epoch, transaction) {
                true => {
                    ledger.again = Some(self.epoch);
                    Event::Committed { may_come_again: true }
                }
                false => error(KafkaErrorKind::Fenced),
            },
            Outcome::Fails => error(KafkaErrorKind::Unavailable),
            Outcome::Lost => error(KafkaErrorKind::Unknown),
            Outcome::Done => {
                ledger.commit(self.epoch, transaction);
                error(KafkaErrorKind::Unknown)
            }
            Outcome::Late => {
                ledger.late = Some((self.epoch, transaction));
                error(KafkaErrorKind::Unknown)
            }
        }
    }
}

const OUTCOMES: [Outcome; 8] = [
    Outcome::Right,
    Outcome::Right,
    Outcome::Right,
    Outcome::Repeated,
    Outcome::Fails,
    Outcome::Lost,
    Outcome::Done,
    Outcome::Late,
];

/// One byte for each step: whose, how it goes, who dies, how many rows are sent.
fn commits_once(dice: &[u8]) {
    let writer = writer();
    let mut ledger = Ledger::default();
    let mut dice = dice.iter().copied();
    let all: Vec<StagedCheckpoint> = (1..=8).map(|checkpoint| staged(checkpoint, 2 + checkpoint % 5)).collect();
    // What is asked for: one checkpoint, some that wait, and some of which others have done a part.
    for (from, until) in [(0, 1), (1, 4), (2, 5), (5, 6), (0, 8)] {
        let staged = &all[from..until];
        let mut both = [Committer::new(&writer, staged), Committer::new(&writer, &all[..until])];
        let mut steps = 0;
        loop {
            let die = dice.next().unwrap_or((steps & 0x40) as u8);
            let whose = &mut both[usize::from(die >> 6 & 1)];
            if die == 0x3f {
                // It dies; another one takes its place.
                *whose =
                    Committer::new(&writer, if die & 1 == 0 { staged } else { &all[from..(until - 1).max(from + 1)] });
            }
            if die >> 4 & 3 == 3 {
                ledger.late_one_comes();
            }
            let outcome = OUTCOMES[usize::from(die & 7)];
            if whose.step(&mut ledger, outcome, (u64::from(die >> 3 & 3) + 1) * 2) {
                break;
            }
            steps += 1;
            assert!(steps < 10_000, "it does not come to an end");
        }
        // A request that comes late finds its epoch over, or what it brings is what was missed: either way once.
        let mut rest = Committer::new(&writer, staged);
        while !rest.step(&mut ledger, Outcome::Right, 100) {}
        ledger.late_one_comes();
    }
    let expected: Vec<(u64, u64)> = (1..=8).flat_map(|n| (0..2 + n % 5).map(move |row| (n, row))).collect();
    assert_eq!(ledger.rows, expected, "each row once, in order");
    let progress = ledger.progress.unwrap();
    assert!(progress.complete && progress.checkpoint == CheckpointId(8) && progress.rows == 5, "{progress:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_there_once_whatever_happens(dice in proptest::collection::vec(any::<u8>(), 0..300)) {
        commits_once(&dice);
    }
}

#[test]
fn a_topic_that_stays_away_is_told_of_and_brokers_that_do_are_waited_for() {
    let (writer, staged) = (writer(), [staged(1, 1)]);
    let mut protocol = Protocol::new(&writer, &staged, false);
    assert!(matches!(protocol.apply(Event::Begun(None)), Action::Fence));
    for _ in 0..1_000 {
        assert!(matches!(protocol.apply(error(KafkaErrorKind::Unavailable)), Action::Pause(_)));
        assert!(matches!(protocol.apply(Event::Paused), Action::Fence));
    }
    for _ in 1..10 {
        assert!(matches!(protocol.apply(error(KafkaErrorKind::NotFound)), Action::Pause(_)));
        protocol.apply(Event::Paused);
    }
    assert!(matches!(protocol.apply(error(KafkaErrorKind::NotFound)), Action::Fail(_)));
}

#[test]
fn transactions_become_small_where_large_ones_fail() {
    let (writer, staged) = (writer(), [staged(1, 1)]);
    let mut protocol = Protocol::new(&writer, &staged, false);
    let mut most = |failure: Option<KafkaErrorKind>| {
        if let Some(kind) = failure {
            protocol.apply(error(kind));
        }
        protocol.apply(Event::Paused);
        protocol.apply(Event::Fenced(topic()));
        match protocol.apply(Event::ProgressRead(None)) {
            // Nothing is known to be in, but something was before.
            Action::Send { most_bytes, .. } => most_bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([most(None), most(Some(KafkaErrorKind::Unknown))], [64 << 20, 32 << 20]);
    assert_eq!(most(Some(KafkaErrorKind::TooLarge)), 1 << 20, "no more than a batch");
    assert!((0..100).map(|_| most(Some(KafkaErrorKind::Unknown))).last() == Some(0), "one row at last");
}

#[test]
fn what_is_remembered_and_does_not_fit_is_read_once_more() {
    let (writer, staged) = (writer(), [StagedCheckpoint { after: Some(CheckpointId(8)), ..staged(9, 1) }]);
    let at = |checkpoint| Progress { checkpoint: CheckpointId(checkpoint), ..Progress::begun(&writer, Some("a")) };
    let mut protocol = Protocol::new(&writer, &staged, false);
    // Another worker has committed checkpoint 8 since.
    assert!(matches!(protocol.apply(Event::Begun(Some((topic(), Some(at(7)))))), Action::Fence));
    protocol.apply(Event::Fenced(topic()));
    assert!(matches!(
        protocol.apply(Event::ProgressRead(Some(at(8)))),
        Action::Send { from: Place { of: 0, row: 0 }, .. }
    ));
    let mut protocol = Protocol::new(&writer, &staged, false);
    protocol.apply(Event::Begun(None));
    protocol.apply(Event::Fenced(topic()));
    let Action::Fail(error) = protocol.apply(Event::ProgressRead(Some(at(7)))) else { panic!("it fits") };
    assert!(error.message.contains("checkpoint 7 is the newest") && error.message.contains("checkpoint 8 to it"));
}

#[test]
fn checkpoints_that_wait_are_written_from_where_others_have_come_to() {
    let (writer, staged) = (writer(), [1, 2, 3, 4].map(|checkpoint| staged(checkpoint, 10)));
    let at = |checkpoint, rows| Progress {
        checkpoint: CheckpointId(checkpoint),
        rows,
        complete: rows == 10,
        ..Progress::begun(&writer, Some("a"))
    };
    for (progress, from) in [(at(1, 10), (1, 0)), (at(3, 4), (2, 4)), (at(3, 10), (3, 0))] {
        let mut protocol = Protocol::new(&writer, &staged, false);
        let action = protocol.apply(Event::Begun(Some((topic(), Some(progress)))));
        assert!(matches!(action, Action::Send { from: Place { of, row }, .. } if (of, row) == from), "{action:?}");
        let Action::Commit(next) = protocol.apply(Event::Sent { until: Place { of: 3, row: 7 }, refused: 0 }) else {
            panic!("it has sent")
        };
        assert_eq!(next, at(4, 7), "the newest that something of is in");
        let action = protocol.apply(Event::Committed { may_come_again: false });
        assert!(matches!(action, Action::Send { from: Place { of: 3, row: 7 }, .. }), "{action:?}");
    }
}

#[test]
fn a_file_that_is_gone_is_lost_only_if_its_checkpoint_is_not_in() {
    let (writer, staged) = (writer(), [1, 2].map(|checkpoint| staged(checkpoint, 10)));
    let first = Progress { checkpoint: CheckpointId(1), rows: 10, ..Progress::begun(&writer, Some("a")) };
    // Another committer may have written the first meanwhile, and not the second.
    for (then, is_lost) in [(Some(first), false), (None, true)] {
        let mut protocol = Protocol::new(&writer, &staged, false);
        protocol.apply(Event::Begun(Some((topic(), None))));
        assert!(matches!(protocol.apply(Event::StagedGone), Action::Fence));
        protocol.apply(Event::Fenced(topic()));
        match protocol.apply(Event::ProgressRead(then)) {
            Action::Send { from: Place { of: 1, row: 0 }, .. } => assert!(!is_lost),
            Action::Fail(error) => assert!(is_lost && error.message.contains("10 rows"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
