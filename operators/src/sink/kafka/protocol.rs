//! What a commit does next, as a state machine: [`Protocol::apply`] is told what has happened and says what to do. No I/O, no
//! clock: every order of outcomes can be tried.
//!
//! Invariant: nothing is written before the progress is known, and it is known only from a read behind a fence, or because our own
//! commit was confirmed. Whatever else happens, an answer that does not come included, is followed by a pause and another fence. A
//! commit that may have been asked for twice is followed by another fence as well: what comes late must not end what comes after.
//!
//! Checkpoints that wait are written together: their rows are one row of rows, in the order of checkpoints, of which each transaction
//! takes the next piece. The progress says how far that is by the newest checkpoint that something of is in, as it does for one: all
//! before it are whole.

use super::{
    committable::{Place, StagedCheckpoint},
    progress::{Progress, Verdict, Writer},
};
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitOutcome,
};
use weir_kafka::{KafkaError, KafkaErrorKind, Topic};

/// A transaction carries so many bytes of records at most.
pub(super) const TRANSACTION_BYTES: usize = 64 << 20;

/// A topic may be unknown to a broker that has just begun. So many tries in a row, which take some twenty seconds, and it is gone.
const MISSING_TRIES: u32 = 10;

/// What has happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The commit begins. The producer of the commit before is there, with what is known, or none is.
    Begun(Option<(Topic, Option<Progress>)>),
    /// A new producer has fenced all before it; the topic, as it was described then.
    Fenced(Topic),
    /// The newest progress, read after the fence.
    ProgressRead(Option<Progress>),
    /// Rows up to this one are sent in a transaction that is still open; of them, so many are refused.
    Sent { until: Place, refused: u64 },
    /// A staged file is gone, of the checkpoint that was to be sent from.
    StagedGone,
    /// The transaction with the progress in it is committed. The request may come to the broker once more.
    Committed { may_come_again: bool },
    /// A step failed, or it is not known whether it did.
    Failed(KafkaError),
    /// The pause is over.
    Paused,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Action {
    /// Drop the producer, if there is one; make another, and let it fence.
    Fence,
    /// Read the newest progress.
    ReadProgress,
    /// Begin a transaction, and send rows from this one on, of so many bytes at most: the more failures there were, the fewer.
    Send { from: Place, most_bytes: usize },
    /// Send this progress as well, and commit.
    Commit(Progress),
    /// Drop the producer, and wait a little.
    Pause(KafkaError),
    /// Nothing, it is done. What is known now.
    Finish(CommitOutcome),
    /// Nothing, it cannot be done.
    Fail(EngineError),
}

/// The commit of one checkpoint, or of several that may be written [together](StagedCheckpoint::together).
#[derive(Debug)]
pub(super) struct Protocol<'a> {
    writer: &'a Writer,
    /// At least one.
    staged: &'a [StagedCheckpoint],
    topic: Option<Topic>,
    progress: Option<Progress>,
    /// The progress that the open transaction is to end with.
    next: Option<Progress>,
    /// Whether the progress was read by this commit, and not only remembered from the one before.
    is_read: bool,
    /// Where it was to be sent from last.
    from: Place,
    /// The checkpoint that a staged file was gone of.
    gone: Option<usize>,
    /// Whether this commit has written anything.
    has_sent: bool,
    /// Whether brokers take no batches as large as the client makes them: then a transaction is to fit into one.
    is_small: bool,
    failures: u32,
    missing: u32,
}

impl<'a> Protocol<'a> {
    /// `is_small`: what a commit before has found, as [`Protocol::is_small`] says.
    pub fn new(writer: &'a Writer, staged: &'a [StagedCheckpoint], is_small: bool) -> Self {
        Protocol {
            writer,
            staged,
            topic: None,
            progress: None,
            next: None,
            is_read: false,
            from: Place::default(),
            gone: None,
            has_sent: false,
            is_small,
            failures: 0,
            missing: 0,
        }
    }

    /// What is to be done now.
    pub fn apply(&mut self, event: Event) -> Action {
        match event {
            Event::Begun(None) | Event::Paused => self.fence(),
            Event::Begun(Some((topic, progress))) => {
                (self.topic, self.progress) = (Some(topic), progress);
                self.decide()
            }
            Event::Fenced(topic) => {
                self.topic = Some(topic);
                Action::ReadProgress
            }
            Event::ProgressRead(progress) => {
                (self.progress, self.is_read) = (progress, true);
                self.decide()
            }
            Event::Sent { until, refused } => self.close(until, refused),
            Event::StagedGone => {
                self.gone = Some(self.from.of);
                self.fence()
            }
            Event::Committed { may_come_again } => {
                self.progress = self.next.take();
                (self.failures, self.missing) = (0, 0);
                match self.decide() {
                    // It would end this transaction, too.
                    Action::Send { .. } if may_come_again => self.fence(),
                    action => action,
                }
            }
            Event::Failed(error) => self.failed(error),
        }
    }

    fn fence(&mut self) -> Action {
        (self.topic, self.progress, self.next, self.is_read) = (None, None, None, false);
        Action::Fence
    }

    fn topic_id(&self) -> Option<&str> {
        self.topic.as_ref().and_then(|topic| topic.id.as_deref())
    }

    fn decide(&mut self) -> Action {
        match self.verdict() {
            Ok(None) if self.has_sent => Action::Finish(CommitOutcome::Done),
            Ok(None) => Action::Finish(CommitOutcome::AlreadyDone),
            Ok(Some(from)) if self.gone != Some(from.of) => {
                self.from = from;
                Action::Send { from, most_bytes: self.most_bytes() }
            }
            // What is remembered may be old: another committer may have continued since.
            _ if !self.is_read => self.fence(),
            Ok(Some(from)) => Action::Fail(self.lost(from)),
            Err(error) => Action::Fail(error),
        }
    }

    fn most_bytes(&self) -> usize {
        let most = TRANSACTION_BYTES >> self.failures.min(usize::BITS - 1);
        let batch = self.topic.as_ref().filter(|_| self.is_small).map(|topic| topic.max_message_bytes);
        batch.map_or(most, |batch| batch.min(most))
    }

    /// Where to write from. None: all is in.
    fn verdict(&self) -> Result<Option<Place>> {
        for (of, staged) in self.staged.iter().enumerate() {
            if let Verdict::Write { from } = self.writer.judge(self.progress.as_ref(), self.topic_id(), staged)? {
                self.check_partitions(&self.staged[of..])?;
                return Ok(Some(Place { of, row: from }));
            }
        }
        Ok(None)
    }

    fn check_partitions(&self, staged: &[StagedCheckpoint]) -> Result<()> {
        let has = self.topic.as_ref().map_or(0, |topic| topic.partitions);
        match staged.iter().find(|staged| has < staged.partitions) {
            None => Ok(()),
            Some(staged) => Err(EngineError::corrupt(format!(
                "{} has {has} partitions, but rows of checkpoint {} are for partition {}: it was deleted and made anew with fewer. \
                 Give it the partitions that it had; or start over with --fresh",
                self.writer,
                staged.checkpoint,
                staged.partitions - 1
            ))),
        }
    }

    fn close(&mut self, until: Place, refused: u64) -> Action {
        let Some(staged) = self.staged.get(until.of) else {
            return Action::Fail(EngineError::internal("rows were sent of no checkpoint"));
        };
        self.has_sent = true;
        let base = self.writer.base(self.progress.as_ref(), self.topic_id(), staged);
        let next = base.with(staged, until.row, refused);
        self.next = Some(next.clone());
        Action::Commit(next)
    }

    fn failed(&mut self, error: KafkaError) -> Action {
        self.failures += 1;
        self.is_small |= error.kind == KafkaErrorKind::TooLarge;
        self.missing = if error.kind == KafkaErrorKind::NotFound { self.missing + 1 } else { 0 };
        if self.missing < MISSING_TRIES {
            return Action::Pause(error);
        }
        let (rows, checkpoints) = describe(self.staged.get(self.from.of..).unwrap_or_default());
        Action::Fail(EngineError::corrupt(format!(
            "{rows} rows of {checkpoints} are to be written, but: {error}. If it was deleted, start over with --fresh once it is there again"
        )))
    }

    fn lost(&self, from: Place) -> EngineError {
        let parts = self.staged.get(from.of).map(|staged| staged.parts.as_slice()).unwrap_or_default();
        let paths: Vec<_> = parts.iter().map(|part| part.file.path.as_str()).collect();
        EngineError::corrupt(format!(
            "a completed checkpoint decided that {} rows go into {}, but they are no longer in '{}'. Somebody has removed them; \
             restore them, or start the job over with --fresh",
            parts.iter().map(|part| part.rows).sum::<u64>(),
            self.writer,
            paths.join("', '")
        ))
    }

    /// Whether transactions have to be small, as far as is known.
    pub fn is_small(&self) -> bool {
        self.is_small
    }
}

/// How many rows, and of what.
fn describe(staged: &[StagedCheckpoint]) -> (u64, String) {
    let rows = staged.iter().map(|staged| staged.rows).sum();
    let checkpoints = match staged {
        [] => "no checkpoint".into(),
        [one] => format!("checkpoint {}", one.checkpoint),
        [first, .., last] => format!("checkpoints {} to {}", first.checkpoint, last.checkpoint),
    };
    (rows, checkpoints)
}
