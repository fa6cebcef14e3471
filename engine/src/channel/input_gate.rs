//! Merges the channels of a subtask's input into one stream: barriers aligned, watermarks merged, ends counted.

use super::ChannelReceiver;
use crate::{
    align::{Alignment, BarrierAligner, MergedTime, WatermarkMerger},
    element::{Barrier, Batch, StreamElement},
    error::Result,
};
use std::collections::VecDeque;

/// The input of a subtask.
pub struct InputGate {
    receiver: ChannelReceiver,
    aligner: BarrierAligner,
    merger: WatermarkMerger,
    /// What one element led to beyond its first event.
    pending: VecDeque<GateEvent>,
}

/// What comes out of a gate.
#[derive(Debug)]
pub enum GateEvent {
    /// Rows.
    Batch(Batch),
    /// Merged event time has risen.
    Watermark(i64),
    /// All inputs are idle.
    Idle,
    /// The barrier has come on every input: take the snapshot now.
    Barrier(Barrier),
    /// Every input has ended.
    EndOfInput,
}

impl InputGate {
    /// Over these channels.
    pub fn new(receiver: ChannelReceiver) -> Self {
        let inputs = receiver.channels();
        InputGate {
            receiver,
            aligner: BarrierAligner::new(inputs),
            merger: WatermarkMerger::new(inputs),
            pending: VecDeque::new(),
        }
    }

    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// When a channel fails, or barriers come out of order.
    pub async fn next(&mut self) -> Result<GateEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let (input, element) = self.receiver.receive().await?;
            self.accept(input, element)?;
        }
    }

    fn accept(&mut self, input: usize, element: StreamElement) -> Result<()> {
        match element {
            StreamElement::Batch(batch) => {
                self.merger.on_rows(input);
                self.pending.push_back(GateEvent::Batch(batch));
            }
            StreamElement::Watermark(watermark) => {
                let time = self.merger.on_watermark(input, watermark);
                self.push_time(time);
            }
            StreamElement::Idle => {
                let time = self.merger.on_idle(input);
                self.push_time(time);
            }
            StreamElement::Barrier(barrier) => {
                let alignment = self.aligner.on_barrier(input, barrier)?;
                self.receiver.block(input);
                self.push_alignment(alignment);
            }
            StreamElement::EndOfInput => {
                let alignment = self.aligner.on_end(input);
                self.push_alignment(alignment);
                let time = self.merger.on_end(input);
                self.push_time(time);
                if self.aligner.all_ended() {
                    self.pending.push_back(GateEvent::EndOfInput);
                }
            }
        }
        Ok(())
    }

    fn push_time(&mut self, time: Option<MergedTime>) {
        match time {
            None => {}
            Some(MergedTime::Watermark(watermark)) => self.pending.push_back(GateEvent::Watermark(watermark)),
            Some(MergedTime::Idle) => self.pending.push_back(GateEvent::Idle),
        }
    }

    fn push_alignment(&mut self, alignment: Alignment) {
        if let Alignment::Aligned(barrier) = alignment {
            self.receiver.unblock_all();
            self.pending.push_back(GateEvent::Barrier(barrier));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel::local_channels, ids::CheckpointId};
    use futures::FutureExt;

    fn barrier(checkpoint: u64) -> StreamElement {
        StreamElement::Barrier(Barrier { checkpoint: CheckpointId(checkpoint), last: false })
    }

    #[tokio::test]
    async fn what_follows_a_barrier_waits_for_the_other_barriers() {
        let (senders, receiver) = local_channels(2, 100);
        let mut gate = InputGate::new(receiver);
        senders[0].send(barrier(1)).await.unwrap();
        senders[0].send(StreamElement::Watermark(9)).await.unwrap();
        senders[1].send(StreamElement::Watermark(3)).await.unwrap();
        assert!(gate.next().now_or_never().is_none(), "watermark 9 stands behind the barrier");
        senders[1].send(barrier(1)).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), GateEvent::Barrier(_)));
        assert!(matches!(gate.next().await.unwrap(), GateEvent::Watermark(3)));
    }

    #[tokio::test]
    async fn ends_complete_an_alignment_and_then_the_stream() {
        let (senders, receiver) = local_channels(2, 100);
        let mut gate = InputGate::new(receiver);
        senders[0].send(barrier(4)).await.unwrap();
        senders[1].send(StreamElement::EndOfInput).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), GateEvent::Barrier(_)));
        senders[0].send(StreamElement::EndOfInput).await.unwrap();
        assert!(matches!(gate.next().await.unwrap(), GateEvent::EndOfInput));
    }
}
