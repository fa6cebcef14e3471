//! The contract between the sources' common part ([`SourceReader`](super::reader::SourceReader)) and a connector.
//!
//! A connector knows which splits there are and reads them. It knows no event time, no watermark and no other split.

use crate::dead_letters::DeadLetter;
use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use weir_engine::error::Result;

/// Reads one split: a file, a part of one, a partition.
pub trait SplitReader: Send {
    /// What comes next, at most `max_rows` records of it. Waits for storage, but not for records that do not exist yet.
    ///
    /// May be dropped while it waits and called again; nothing is lost or repeated by that.
    ///
    /// # Errors
    /// When the split cannot be read any further: names it, the cause, and what can be done. Bad records are no error.
    fn next_chunk(&mut self, max_rows: usize) -> BoxFuture<'_, Result<SplitEvent>>;

    /// What continues right after the last chunk: only records that came out are counted in. Goes into checkpoints.
    fn position(&self) -> serde_json::Value;

    /// Where rows of the last chunk stand and what they looked like; `rows` is in rising order. The reason stays empty.
    fn locate_rows(&self, rows: &[usize]) -> Vec<DeadLetter>;

    /// Whether the next chunk is read without waiting for anybody, as one of a file on this machine is. Rows of all such splits
    /// of a source have the same columns: they are gathered before any is sent.
    fn is_at_hand(&self) -> bool {
        false
    }

    /// Whether it is known already that [`Finished`](SplitEvent::Finished) comes next, and that without waiting. Then it is asked
    /// for it at once, so that it holds nothing while others are read.
    fn is_over(&self) -> bool {
        false
    }

    /// How many bytes of the split lie before its position; for people who watch. 0 where that cannot be told.
    fn bytes_behind(&self) -> u64 {
        0
    }
}

/// What a split has to say.
#[derive(Debug)]
pub enum SplitEvent {
    /// Records, good and bad ones.
    Records {
        /// The good ones.
        columns: RecordBatch,
        /// The bad ones.
        dead_letters: Vec<DeadLetter>,
    },
    /// There is nothing now; ask again later.
    Pending,
    /// There is nothing now, and no need to ask: the connector says when there may be ([`Heard`], [`Discovery`]).
    AtRest,
    /// It can't be told whether there is something, since who has it does not answer; ask again later.
    Away,
    /// There will never be more.
    Finished,
}

/// A split, ready to be read.
pub struct OpenedSplit {
    /// Identity of the split, the same in every attempt.
    pub id: String,
    /// Its name for people, as dead letters show it.
    pub name: String,
    /// What reads it, from the restored position on if there was one.
    pub reader: Box<dyn SplitReader>,
    /// For a split that begins in the middle of something: the largest event time before it, in milliseconds.
    pub newest_before_ms: Option<i64>,
    /// For a split of which is known beforehand that no event of it is older than this, in milliseconds: that is its watermark
    /// from its beginning to its end, and none of its rows is ever behind.
    pub oldest_ms: Option<i64>,
}

/// A split as a checkpoint holds it, as far as it is the connector's business.
#[derive(Clone, Debug)]
pub struct RestoredSplit {
    /// Identity of the split.
    pub id: String,
    /// What [`SplitReader::position`] gave.
    pub position: serde_json::Value,
    /// Whether it had been read to its end.
    pub finished: bool,
}

/// Knows which splits there are and which of them are this subtask's.
pub trait Connector: Send {
    /// Opens this subtask's splits: on a fresh start (`restored` is empty) those that there are, otherwise those of a
    /// checkpoint that are its own. One that had been read to its end is among them, and is not read any further: its
    /// position must stay in the checkpoints, or a later restart would take it for new.
    ///
    /// # Errors
    /// When they cannot be listed, or one of a checkpoint cannot be continued.
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>>;

    /// What came and went since. A split known before is opened again where there is more of it after its end. Called now
    /// and then if it [follows](Nature::follows).
    ///
    /// May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn discover(&mut self) -> BoxFuture<'_, Result<Discovery>> {
        Box::pin(async { Ok(Discovery::default()) })
    }

    /// What has happened to splits that are at rest, as far as that can be told without looking for new ones. Cheap, and called
    /// with every poll if it [listens](Nature::listens).
    fn listen(&mut self) -> Heard {
        Heard::default()
    }

    /// Is told when a split may have something, or something else is to be [heard](Connector::listen): then nobody waits for the
    /// next poll. None: there is nobody who could tell.
    fn woken(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Positions have been taken for a checkpoint.
    fn positions_taken(&mut self) {}

    /// How its records come.
    fn nature(&self) -> Nature;
}

/// How records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// New records and splits may come for ever, so that the source has no end.
    pub follows: bool,
    /// Records are read as they happen, so that none can be held until others come, and the wall clock says which cannot have
    /// happened yet.
    pub live: bool,
    /// Splits may be at rest.
    pub listens: bool,
}

impl Nature {
    /// All that there is, and then the end.
    pub const BOUNDED: Nature = Nature { follows: false, live: false, listens: false };
    /// Whatever comes, for ever.
    pub const FOLLOWED: Nature = Nature { follows: true, live: true, listens: false };
}

/// Something that is done with the splits of another connector.
pub trait OverSplits: Send {
    /// Called before splits are opened, with those of the checkpoint; with none when all of these are opened.
    fn restoring(&mut self, _restored: &[RestoredSplit]) {}

    /// Does it with one split.
    fn over(&mut self, opened: OpenedSplit) -> OpenedSplit;
}

/// A connector with something done with each of its splits. All else is the inner connector's: whoever has something to do with
/// splits need not know what that is, nor can forget it.
pub struct Over<O> {
    inner: Box<dyn Connector>,
    over: O,
}

impl<O: OverSplits + 'static> Over<O> {
    /// Does it with the splits of a connector.
    pub fn boxed(inner: Box<dyn Connector>, over: O) -> Box<dyn Connector> {
        Box::new(Over { inner, over })
    }
}

impl<O: OverSplits> Connector for Over<O> {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        Box::pin(async move {
            self.over.restoring(&restored);
            let opened = self.inner.open(restored).await?;
            let opened = opened.into_iter().map(|opened| self.over.over(opened)).collect();
            self.over.restoring(&[]);
            Ok(opened)
        })
    }

    fn discover(&mut self) -> BoxFuture<'_, Result<Discovery>> {
        Box::pin(async move {
            let found = self.inner.discover().await?;
            let opened = found.opened.into_iter().map(|opened| self.over.over(opened)).collect();
            Ok(Discovery { opened, ..found })
        })
    }

    fn listen(&mut self) -> Heard {
        self.inner.listen()
    }

    fn woken(&self) -> Option<Arc<Notify>> {
        self.inner.woken()
    }

    fn positions_taken(&mut self) {
        self.inner.positions_taken();
    }

    fn nature(&self) -> Nature {
        self.inner.nature()
    }
}

/// What a connector has found.
#[derive(Default)]
pub struct Discovery {
    /// Splits that are new, or continue after their end.
    pub opened: Vec<OpenedSplit>,
    /// Ids of splits that had been read to their end and do not exist any more: they are forgotten.
    pub gone: Vec<String>,
    /// Ids of splits at rest that may have something.
    pub awake: Vec<String>,
    /// How long it need not be looked again, unless [`Heard`] says so; none: as long as the settings say.
    pub next_in: Option<Duration>,
}

/// What a connector has heard.
#[derive(Default)]
pub struct Heard {
    /// Ids of splits at rest that may have something.
    pub awake: Vec<String>,
    /// Whether it is to be looked for new splits now.
    pub look: bool,
}
