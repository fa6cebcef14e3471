//! What users ask about savepoints of a job, until an attempt's driver takes it up: the next checkpoint is triggered at once, and
//! pinned when its results are visible.

use crate::ids::CheckpointId;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// Told which checkpoint has become the savepoint. Dropped, if the attempt ended before: it may be asked of the next one.
pub(super) type Reply = oneshot::Sender<CheckpointId>;

/// The savepoints that a job's attempts are asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Savepoints {
    asked: Arc<Mutex<Asked>>,
    changed: watch::Sender<()>,
}

/// What was asked and not taken up yet.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub wanted: Vec<Reply>,
    /// No savepoints any more: they go like other checkpoints.
    pub released: Vec<CheckpointId>,
}

impl Default for Savepoints {
    fn default() -> Self {
        Savepoints { asked: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl Savepoints {
    /// Asks for a savepoint: of a checkpoint that is triggered after this.
    pub fn ask(&self) -> oneshot::Receiver<CheckpointId> {
        let (reply, answer) = oneshot::channel();
        let mut asked = self.asked.lock();
        asked.wanted.retain(|other| !other.is_closed());
        asked.wanted.push(reply);
        drop(asked);
        self.changed.send_replace(());
        answer
    }

    /// A savepoint was released: its mark is gone.
    pub fn release(&self, checkpoint: CheckpointId) {
        self.asked.lock().released.push(checkpoint);
        self.changed.send_replace(());
    }

    /// Waits until something is asked, and takes it up.
    pub(super) async fn next(&self) -> Asked {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let mut asked = std::mem::take(&mut *self.asked.lock());
            // Of those that have gone nobody would learn that there is a savepoint.
            asked.wanted.retain(|reply| !reply.is_closed());
            if !asked.wanted.is_empty() || !asked.released.is_empty() {
                return asked;
            }
            // The sender lives as long as self.
            let _ = changed.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_taken_up() {
        let savepoints = Savepoints::default();
        drop(savepoints.ask());
        assert!(savepoints.next().now_or_never().is_none());
        (0..100).for_each(|_| drop(savepoints.ask()));
        assert_eq!(savepoints.asked.lock().wanted.len(), 1, "they do not become more and more");
        let answer = savepoints.ask();
        let asked = savepoints.next().await;
        assert_eq!(asked.wanted.len(), 1);
        asked.wanted.into_iter().for_each(|reply| reply.send(CheckpointId(7)).unwrap());
        assert_eq!(answer.await, Ok(CheckpointId(7)));
    }
}
