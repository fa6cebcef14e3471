//! Alignment of a checkpoint's barriers over the inputs of a subtask.
//!
//! Invariant: between the first and the last barrier *n*, nothing is read from an input that has delivered its barrier *n*; so
//! the state at [`Alignment::Aligned`] holds exactly what came before the barriers. An ended input counts as aligned.

use crate::{
    element::Barrier,
    error::{EngineError, Result},
};

/// Which inputs have delivered the current barrier.
#[derive(Debug)]
pub struct BarrierAligner {
    inputs: Vec<Input>,
    current: Option<Barrier>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    Aligned,
    Ended,
}

/// What a barrier or an end of input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Other inputs are still to come.
    Waiting,
    /// All inputs have delivered this barrier: take the snapshot, then read on from all of them.
    Aligned(Barrier),
}

impl BarrierAligner {
    /// For so many inputs.
    pub fn new(inputs: usize) -> Self {
        BarrierAligner { inputs: vec![Input::Open; inputs], current: None }
    }

    /// Whether nothing may be read from `input` now.
    pub fn is_blocked(&self, input: usize) -> bool {
        self.inputs[input] == Input::Aligned
    }

    /// Whether every input has ended.
    pub fn all_ended(&self) -> bool {
        self.inputs.iter().all(|input| *input == Input::Ended)
    }

    /// `input` delivered a barrier.
    ///
    /// # Errors
    /// When it is not the barrier that the others delivered, or the input had delivered one, or had ended.
    pub fn on_barrier(&mut self, input: usize, barrier: Barrier) -> Result<Alignment> {
        if let Some(current) = self.current
            && current != barrier
        {
            return Err(EngineError::internal(format!(
                "input {input} delivered barrier {} while {} is being aligned",
                barrier.checkpoint, current.checkpoint
            )));
        }
        if self.inputs[input] != Input::Open {
            return Err(EngineError::internal(format!(
                "input {input} delivered barrier {} although it is {:?}",
                barrier.checkpoint, self.inputs[input]
            )));
        }
        self.current = Some(barrier);
        self.inputs[input] = Input::Aligned;
        Ok(self.check())
    }

    /// `input` ended.
    pub fn on_end(&mut self, input: usize) -> Alignment {
        self.inputs[input] = Input::Ended;
        self.check()
    }

    fn check(&mut self) -> Alignment {
        match self.current {
            Some(barrier) if !self.inputs.contains(&Input::Open) => {
                self.current = None;
                for input in self.inputs.iter_mut().filter(|input| **input == Input::Aligned) {
                    *input = Input::Open;
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
    fn all_inputs_must_deliver_and_are_blocked_meanwhile() {
        let mut aligner = BarrierAligner::new(3);
        assert_eq!(aligner.on_barrier(1, barrier(1)).unwrap(), Waiting);
        assert!(aligner.is_blocked(1) && !aligner.is_blocked(0));
        assert_eq!(aligner.on_barrier(0, barrier(1)).unwrap(), Waiting);
        assert_eq!(aligner.on_barrier(2, barrier(1)).unwrap(), Aligned(barrier(1)));
        assert!((0..3).all(|input| !aligner.is_blocked(input)));
        assert_eq!(aligner.on_barrier(0, barrier(2)).unwrap(), Waiting);
    }

    #[test]
    fn an_ended_input_counts_as_aligned() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.on_end(0), Waiting);
        assert_eq!(aligner.on_barrier(1, barrier(1)).unwrap(), Aligned(barrier(1)));
        assert_eq!(aligner.on_end(1), Waiting);
        assert!(aligner.all_ended());
    }

    #[test]
    fn an_input_that_ends_during_alignment_completes_it() {
        let mut aligner = BarrierAligner::new(2);
        assert_eq!(aligner.on_barrier(0, barrier(7)).unwrap(), Waiting);
        assert_eq!(aligner.on_end(1), Aligned(barrier(7)));
        assert!(!aligner.is_blocked(0), "the other input goes on");
    }

    #[test]
    fn a_barrier_out_of_order_is_an_error() {
        let mut aligner = BarrierAligner::new(2);
        aligner.on_barrier(0, barrier(1)).unwrap();
        assert!(aligner.on_barrier(1, barrier(2)).is_err());
        assert!(aligner.on_barrier(0, barrier(1)).is_err());
    }
}
