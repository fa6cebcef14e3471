//! What a sink has written so far, as the newest record of its key in the progress topic says; and what follows from it for a
//! checkpoint that is to be committed, or resumed from.

use super::committable::StagedCheckpoint;
use serde::{Deserialize, Serialize};
use weir_engine::{
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
};

/// The progress of one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The checkpoint storage that decides what is committed.
    pub owner: String,
    /// What the checkpoints belong to.
    pub lineage: Lineage,
    /// The newest checkpoint that something of is in; 0: none.
    pub checkpoint: CheckpointId,
    /// How many of its rows are in, in the order in which they are staged.
    pub rows: u64,
    /// Whether that is all of them.
    pub complete: bool,
    /// The topic that they are in.
    pub topic: String,
    /// That topic, and none of the same name before or after it; none: the brokers are too old to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// How many rows the topic has refused, in this lineage.
    #[serde(default)]
    pub refused: u64,
}

/// Whoever is to write, and the topic as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    /// Its checkpoint storage.
    pub owner: String,
    pub lineage: Lineage,
    pub job: String,
    pub topic: String,
    /// Where the topic is, for people.
    pub shown: String,
}

/// What is to become of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to be written from this row on.
    Write {
        /// Rows before it are in.
        from: u64,
    },
    /// It is in.
    Done,
}

impl Progress {
    /// A lineage that nothing of is written.
    pub fn begun(writer: &Writer, topic_id: Option<&str>) -> Self {
        Progress {
            owner: writer.owner.clone(),
            lineage: writer.lineage,
            checkpoint: CheckpointId(0),
            rows: 0,
            complete: true,
            topic: writer.topic.clone(),
            topic_id: topic_id.map(str::to_owned),
            refused: 0,
        }
    }

    /// What it is once rows of a checkpoint before `until` are in, too.
    pub fn with(&self, staged: &StagedCheckpoint, until: u64, refused: u64) -> Self {
        Progress {
            checkpoint: staged.checkpoint,
            rows: until,
            complete: until >= staged.rows,
            refused: self.refused + refused,
            ..self.clone()
        }
    }

    /// The newest checkpoint that all of is in.
    fn whole(&self) -> CheckpointId {
        CheckpointId(if self.complete { self.checkpoint.0 } else { self.checkpoint.0.saturating_sub(1) })
    }
}

impl Writer {
    /// What of the progress is of this lineage and this topic; none: nothing is.
    ///
    /// # Errors
    /// When it is another run's, or a later lineage's, or of a topic that is gone.
    pub fn own<'a>(&self, progress: Option<&'a Progress>, topic_id: Option<&str>) -> Result<Option<&'a Progress>> {
        self.own_of(progress, topic_id, Attempt(self.lineage.0))
    }

    /// The same for what an attempt has staged. None is of a lineage that began after it.
    fn own_of<'a>(
        &self,
        progress: Option<&'a Progress>,
        topic_id: Option<&str>,
        attempt: Attempt,
    ) -> Result<Option<&'a Progress>> {
        let Some(progress) = progress else { return Ok(None) };
        self.check_owner(progress)?;
        if progress.lineage.has_left_behind(attempt) {
            return Err(EngineError::fenced(format!(
                "{self} was started over by attempt {}: what the run before it has staged no longer belongs there",
                progress.lineage
            )));
        }
        if progress.lineage < self.lineage {
            return Ok(None);
        }
        if progress.topic != self.topic {
            return Err(EngineError::definition(format!(
                "it has written to the topic '{}' so far; start with --fresh to let it write to '{}'",
                progress.topic, self.topic
            )));
        }
        match (&progress.topic_id, topic_id) {
            (Some(then), Some(now)) if then != now => Err(EngineError::corrupt(format!(
                "{self} was deleted and made anew (its id was {then} and is {now}): the results up to checkpoint {} went with the \
                 old one. Start over with --fresh, which writes them again; or let the job write to another topic",
                progress.checkpoint
            ))),
            _ => Ok(Some(progress)),
        }
    }

    /// The progress that a checkpoint's rows are added to, which may be written.
    pub fn base(&self, progress: Option<&Progress>, topic_id: Option<&str>, staged: &StagedCheckpoint) -> Progress {
        let own = self.own_of(progress, topic_id, staged.attempt).ok().flatten().cloned();
        let base = own.unwrap_or_else(|| Progress::begun(self, topic_id));
        Progress { topic_id: topic_id.map(str::to_owned), ..base }
    }

    /// What is to become of a checkpoint.
    ///
    /// # Errors
    /// As [`Writer::own`]; and when checkpoints before it are missing.
    pub fn judge(
        &self,
        progress: Option<&Progress>,
        topic_id: Option<&str>,
        staged: &StagedCheckpoint,
    ) -> Result<Verdict> {
        let own = self.own_of(progress, topic_id, staged.attempt)?;
        let whole = own.map_or(CheckpointId(0), Progress::whole);
        if whole >= staged.checkpoint {
            return Ok(Verdict::Done);
        }
        if let Some(before) = staged.after.filter(|before| whole < *before) {
            return Err(self.is_behind(whole, before));
        }
        Ok(match own {
            Some(progress) if progress.checkpoint == staged.checkpoint => Verdict::Write { from: progress.rows },
            _ => Verdict::Write { from: 0 },
        })
    }

    /// Whether the topic is where the checkpoint that is resumed from says: `newest` is the newest one that has rows for it; before
    /// they are committed, it may be behind.
    ///
    /// # Errors
    /// As [`Writer::own`]; and when the topics or the checkpoints were restored to another state than the other.
    pub fn compare(
        &self,
        progress: Option<&Progress>,
        topic_id: Option<&str>,
        newest: CheckpointId,
        is_committed: bool,
    ) -> Result<()> {
        let own = self.own(progress, topic_id)?;
        let (whole, some) =
            own.map_or((CheckpointId(0), CheckpointId(0)), |progress| (progress.whole(), progress.checkpoint));
        if whole < newest && is_committed {
            return Err(self.is_behind(whole, newest));
        }
        if some <= newest {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "the checkpoint that was restored has rows for {self} up to checkpoint {newest}, but those of checkpoint {some} are in \
             it already: an older state of the job was restored, and resuming would write them twice. Restore the newest \
             checkpoints; or start with --fresh, or under another name, with another topic"
        )))
    }

    /// # Errors
    /// When checkpoints of another place decide what is written.
    fn check_owner(&self, progress: &Progress) -> Result<()> {
        if progress.owner == self.owner {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "{self} has the results of another run of job '{}', whose checkpoints lie elsewhere (another --data-dir or storage, or \
             one that was removed): both together would count twice. Run the job from there; or start it with --fresh, which \
             writes everything once more; or give it another name and another topic",
            self.job
        )))
    }

    fn is_behind(&self, at: CheckpointId, newest: CheckpointId) -> EngineError {
        EngineError::corrupt(format!(
            "by the progress that the brokers have, checkpoint {at} is the newest in {self}, but the job has committed checkpoint \
             {newest} to it: the progress topic was emptied, deleted or restored, or this is another cluster. Bring it back; or \
             start with --fresh, which writes everything once more"
        ))
    }
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the topic '{}' at '{}'", self.topic, self.shown)
    }
}
