//! The transaction coordinator: who may write under a transactional id, and what becomes of its transactions.
//!
//! The rules, as Apache Kafka's `TransactionCoordinator` has them for clients without KIP-890, which librdkafka's are:
//!
//! - A transactional id has a producer id, an epoch and one state: *empty*; *ongoing*; *being committed* or *being aborted*, from
//!   when that is decided until all partitions have their marker; *committed* or *aborted*.
//! - `InitProducerId` in the midst of a transaction raises the epoch, which fences whoever has begun it, begins to abort, and
//!   answers "concurrent transactions": the client asks again until all markers are written, and then gets an epoch that is one
//!   higher still. At rest it raises the epoch and gives it out. An exhausted epoch gives a new producer id.
//! - Whoever adds a partition or ends must have the id's producer id and exactly its epoch. The first partition begins the
//!   transaction. Nothing begins while the one before is being ended ("concurrent transactions").
//! - To end is decided here at one moment, and the client is told then; the markers come to each partition some time later, each in
//!   its own time. To end again in the same way what has ended is done already; in the other way, or what has not begun, is refused.
//! - All that tells one transaction from the next is the epoch, which only `InitProducerId` and a time-out raise. So a request to
//!   end, or a batch, that was delayed on its way is taken for one of whatever transaction is ongoing in the same epoch (before
//!   KIP-890, which raises the epoch with every transaction).
//! - Brokers since 3.6 append records of a transaction only if it is ongoing here and their partition is part of it (`verify`),
//!   so that nothing delayed begins a transaction that nobody ends.
//! - A transaction that has been ongoing for its time-out is aborted, and the epoch is raised: its session is fenced.
//! - An id at rest for `transactional.id.expiration.ms`, a week, is forgotten, and its sessions are of no use.
//!
//! Invariant: an id leaves "being ended" only by its last marker, and an epoch never falls.

use super::request::{Refusal, Session, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use weir_kafka::TopicPartition;

/// `transactional.id.expiration.ms`.
pub const ID_EXPIRES_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// `transaction.max.timeout.ms`.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// All transactional ids.
#[derive(Debug, Default)]
pub struct Coordinator {
    ids: BTreeMap<String, TransactionalId>,
    producers: i64,
}

#[derive(Debug)]
struct TransactionalId {
    session: Session,
    timeout: Duration,
    state: State,
    partitions: BTreeSet<TopicPartition>,
    began: Time,
    touched: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    /// It is decided whether to commit, and markers are missing.
    Ending(bool),
    /// It was committed, or not.
    Ended(bool),
}

/// A marker that is to be written to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The transactional id.
    pub id: String,
    /// Its session, as the coordinator knows it now.
    pub session: Session,
    /// Where to.
    pub to: TopicPartition,
    /// Whether it commits.
    pub commits: bool,
}

impl Coordinator {
    /// A session that fences all before it.
    pub fn init(&mut self, now: Time, id: &str, timeout: Duration) -> (Result<Session, Refusal>, Vec<Marker>) {
        self.forget_idle(now);
        if timeout > LONGEST_TIMEOUT || timeout.is_zero() {
            return (Err(Refusal::InvalidTransactionTimeout), Vec::new());
        }
        let fresh = Session { producer: self.producers + 1, epoch: 0 };
        let Some(known) = self.ids.get_mut(id) else {
            self.producers += 1;
            let state = State::Empty;
            let known = TransactionalId {
                session: fresh,
                timeout,
                state,
                partitions: BTreeSet::new(),
                began: now,
                touched: now,
            };
            self.ids.insert(id.into(), known);
            return (Ok(fresh), Vec::new());
        };
        known.touched = now;
        match known.state {
            State::Ending(_) => (Err(Refusal::ConcurrentTransactions), Vec::new()),
            State::Ongoing => {
                known.session.epoch += 1;
                (Err(Refusal::ConcurrentTransactions), known.end(id, false))
            }
            State::Empty | State::Ended(_) => {
                // One is left for fencing this one.
                if known.session.epoch >= i16::MAX - 1 {
                    self.producers += 1;
                    known.session = fresh;
                } else {
                    known.session.epoch += 1;
                }
                (known.state, known.timeout) = (State::Empty, timeout);
                (Ok(known.session), Vec::new())
            }
        }
    }

    /// A partition takes part from now on.
    pub fn add(&mut self, now: Time, id: &str, session: Session, partition: TopicPartition) -> Result<(), Refusal> {
        let known = self.known(now, id, session)?;
        match known.state {
            State::Ending(_) => return Err(Refusal::ConcurrentTransactions),
            State::Ongoing => {}
            State::Empty | State::Ended(_) => {
                known.partitions.clear();
                (known.state, known.began) = (State::Ongoing, now);
            }
        }
        known.partitions.insert(partition);
        known.touched = now;
        Ok(())
    }

    /// Whether records may be appended to a partition as part of an ongoing transaction.
    pub fn verify(&mut self, now: Time, id: &str, session: Session, partition: &TopicPartition) -> Result<(), Refusal> {
        let known = self.known(now, id, session)?;
        match known.state == State::Ongoing && known.partitions.contains(partition) {
            true => Ok(()),
            false => Err(Refusal::InvalidTransactionState),
        }
    }

    /// Decides to commit or to abort.
    pub fn end(&mut self, now: Time, id: &str, session: Session, commits: bool) -> Result<Vec<Marker>, Refusal> {
        let known = self.known(now, id, session)?;
        match known.state {
            State::Ongoing => {
                known.touched = now;
                Ok(known.end(id, commits))
            }
            State::Ended(committed) if committed == commits => Ok(Vec::new()),
            State::Ending(committed) if committed == commits => Err(Refusal::ConcurrentTransactions),
            State::Empty | State::Ending(_) | State::Ended(_) => Err(Refusal::InvalidTransactionState),
        }
    }

    /// A marker is written, or its partition is gone.
    pub fn written(&mut self, now: Time, id: &str, partition: &TopicPartition) {
        let Some(known) = self.ids.get_mut(id) else { return };
        known.partitions.remove(partition);
        if let State::Ending(commits) = known.state
            && known.partitions.is_empty()
        {
            (known.state, known.touched) = (State::Ended(commits), now);
        }
    }

    /// When the next transaction has been open for too long.
    pub fn next_timeout(&self) -> Option<Time> {
        let ongoing = self.ids.values().filter(|known| known.state == State::Ongoing);
        ongoing.map(|known| known.began + known.timeout).min()
    }

    /// Aborts what has been open for too long.
    pub fn time_out(&mut self, now: Time) -> Vec<Marker> {
        let mut markers = Vec::new();
        for (id, known) in &mut self.ids {
            if known.state == State::Ongoing && known.began + known.timeout <= now {
                known.session.epoch += 1;
                known.touched = now;
                markers.extend(known.end(id, false));
            }
        }
        markers
    }

    fn known(&mut self, now: Time, id: &str, session: Session) -> Result<&mut TransactionalId, Refusal> {
        self.forget_idle(now);
        let known = self.ids.get_mut(id).ok_or(Refusal::InvalidProducerIdMapping)?;
        if known.session.producer != session.producer {
            return Err(Refusal::InvalidProducerIdMapping);
        }
        match known.session.epoch == session.epoch {
            true => Ok(known),
            false => Err(Refusal::ProducerFenced),
        }
    }

    fn forget_idle(&mut self, now: Time) {
        self.ids.retain(|_, known| {
            let is_at_rest = matches!(known.state, State::Empty | State::Ended(_));
            !is_at_rest || now < known.touched + ID_EXPIRES_AFTER
        });
    }
}

impl TransactionalId {
    fn end(&mut self, id: &str, commits: bool) -> Vec<Marker> {
        self.state = State::Ending(commits);
        let marker = |to: &TopicPartition| Marker { id: id.into(), session: self.session, to: to.clone(), commits };
        self.partitions.iter().map(marker).collect()
    }
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
