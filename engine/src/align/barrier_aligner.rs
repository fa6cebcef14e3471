//! Alignment of a checkpoint's barriers over the channels of a subtask, those of all of its inputs.
//!
//! Invariant: between the first and the last barrier *n*, nothing is read from a channel that has delivered its barrier *n*; so
//! the state at [`Alignment::Aligned`] holds exactly what came before the barriers. An ended channel counts as aligned.

use crate::{
    element::Barrier,
    error::{EngineError, Result},
};

/// Which channels have delivered the current barrier.
#[derive(Debug)]
pub struct BarrierAligner {
    channels: Vec<State>,
    current: Option<Barrier>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Aligned,
    Ended,
}

/// What a barrier or an end of input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Other channels are still to come.
    Waiting,
    /// All channels have delivered this barrier: take the snapshot, then read on from all of them.
    Aligned(Barrier),
}

impl BarrierAligner {
    /// For so many channels.
    pub fn new(channels: usize) -> Self {
        BarrierAligner { channels: vec![State::Open; channels], current: None }
    }

    /// Whether nothing may be read from `channel` now.
    pub fn is_blocked(&self, channel: usize) -> bool {
        self.channels[channel] == State::Aligned
    }

    /// Whether every channel has ended.
    pub fn all_ended(&self) -> bool {
        self.channels.iter().all(|channel| *channel == State::Ended)
    }

    /// `channel` delivered a barrier.
    ///
    /// # Errors
    /// When it is not the barrier that the others delivered, or the channel had delivered one, or had ended.
    pub fn on_barrier(&mut self, channel: usize, barrier: Barrier) -> Result<Alignment> {
        if let Some(current) = self.current
            && current != barrier
        {
            return Err(EngineError::internal(format!(
                "channel {channel} delivered barrier {} while {} is being aligned",
                barrier.checkpoint, current.checkpoint
            )));
        }
        if self.channels[channel] != State::Open {
            return Err(EngineError::internal(format!(
                "channel {channel} delivered barrier {} although it is {:?}",
                barrier.checkpoint, self.channels[channel]
            )));
        }
        self.current = Some(barrier);
        self.channels[channel] = State::Aligned;
        Ok(self.check())
    }

    /// `channel` ended.
    pub fn on_end(&mut self, channel: usize) -> Alignment {
        self.channels[channel] = State::Ended;
        self.check()
    }

    fn check(&mut self) -> Alignment {
        match self.current {
            Some(barrier) if !self.channels.contains(&State::Open) => {
                self.current = None;
                for channel in self.channels.iter_mut().filter(|channel| **channel == State::Aligned) {
                    *channel = State::Open;
                }
                Alignment::Aligned(barrier)
            }
            _ => Alignment::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CheckpointId;
    use Alignment::*;

    fn barrier(checkpoint: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId(checkpoint), last: false }
    }

    #[test]
    fn all_channels_must_deliver_and_are_blocked_meanwhile() {
        let mut aligner = BarrierAligner::new(3);
        assert_eq!(aligner.on_barrier(1, barrier(1)).unwrap(), Waiting);
        assert!(aligner.is_blocked(1) && !aligner.is_blocked(0));
        assert_eq!(aligner.on_barrier(0, barrier(1)).unwrap(), Waiting);
        assert_eq!(aligner.on_barrier(2, barrier(1)).unwrap(), Aligned(barrier(1)));
        assert!((0..3).all(|channel| !aligner.is_blocked(channel)));
        assert_eq!(aligner.on_barrier(0, barrier(2)).unwrap(), Waiting);
    }

    #[test]
    fn an_ended_channel_counts_as_aligned() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.on_end(0), Waiting);
        assert_eq!(aligner.on_barrier(1, barrier(1)).unwrap(), Aligned(barrier(1)));
        assert_eq!(aligner.on_end(1), Waiting);
        assert!(aligner.all_ended());
    }

    #[test]
    fn a_channel_that_ends_during_alignment_completes_it() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.on_barrier(0, barrier(7)).unwrap(), Waiting);
        assert_eq!(aligner.on_end(1), Aligned(barrier(7)));
        assert!(!aligner.is_blocked(0), "the other channel goes on");
    }

    #[test]
    fn a_barrier_out_of_order_is_an_error() {
        let mut aligner = BarrierAligner::new(2);
        aligner.on_barrier(0, barrier(1)).unwrap();
        assert!(aligner.on_barrier(1, barrier(2)).is_err());
        assert!(aligner.on_barrier(0, barrier(1)).is_err());
    }
}
