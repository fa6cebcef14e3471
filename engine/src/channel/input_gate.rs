//! Merges the channels of a subtask into one stream, those of all of its inputs: barriers aligned, watermarks merged, ends
//! counted. Rows come out with the input that they were sent to.
//!
//! Invariant: no channel waits for another but for barriers. So an operator cannot choose which input to read, and a graph in
//! which one stream reaches a node by two ways cannot come to a standstill.

use super::ChannelReceiver;
use crate::{
    align::{Alignment, BarrierAligner, ChannelTime, MergedTime, WatermarkMerger},
    element::{Barrier, Batch, StreamElement},
    error::Result,
};
use std::collections::VecDeque;

/// The inputs of a subtask.
pub struct InputGate {
    receiver: ChannelReceiver,
    /// The input that each channel feeds.
    inputs: Vec<usize>,
    aligner: BarrierAligner,
    merger: WatermarkMerger,
    /// What one element led to beyond its first event.
    pending: VecDeque<GateEvent>,
}

/// What a gate knows of one of its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateChannel {
    /// The input that it feeds.
    pub input: usize,
    /// What it has to do with the others, as far as time goes.
    pub time: ChannelTime,
}

impl GateChannel {
    /// From a source into the first input.
    pub fn of_source() -> Self {
        GateChannel { input: 0, time: ChannelTime { group: 0, from_source: true } }
    }
}

/// What comes out of a gate.
#[derive(Debug)]
pub enum GateEvent {
    /// Rows.
    Batch {
        /// The input that they were sent to.
        input: usize,
        /// The rows.
        batch: Batch,
    },
    /// Merged event time has risen.
    Watermark(i64),
    /// No channel has anything to say about time.
    Idle,
    /// One has again; event time is still this.
    Active(i64),
    /// The barrier has come on every channel: take the snapshot now.
    Barrier(Barrier),
    /// Every channel has ended.
    EndOfInput,
}

impl InputGate {
    /// Over these channels: `channels` says of each of the receiver's what it is.
    pub fn new(receiver: ChannelReceiver, channels: &[GateChannel]) -> Self {
        debug_assert_eq!(receiver.channels(), channels.len());
        let times: Vec<ChannelTime> = channels.iter().map(|channel| channel.time).collect();
        InputGate {
            receiver,
            inputs: channels.iter().map(|channel| channel.input).collect(),
            aligner: BarrierAligner::new(channels.len()),
            merger: WatermarkMerger::new(&times),
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
            let (channel, element) = self.receiver.receive().await?;
            self.accept(channel, element)?;
        }
    }

    fn accept(&mut self, channel: usize, element: StreamElement) -> Result<()> {
        match element {
            StreamElement::Batch(batch) => {
                let time = self.merger.on_rows(channel);
                self.push_time(time);
                self.pending.push_back(GateEvent::Batch { input: self.inputs[channel], batch });
            }
            StreamElement::Watermark(watermark) => {
                let time = self.merger.on_watermark(channel, watermark);
                self.push_time(time);
            }
            StreamElement::Idle => {
                let time = self.merger.on_idle(channel);
                self.push_time(time);
            }
            StreamElement::Barrier(barrier) => {
                let alignment = self.aligner.on_barrier(channel, barrier)?;
                self.receiver.block(channel);
                self.push_alignment(alignment);
            }
            StreamElement::EndOfInput => {
                let alignment = self.aligner.on_end(channel);
                self.push_alignment(alignment);
                let time = self.merger.on_end(channel);
                self.push_time(time);
                if self.aligner.all_ended() {
                    self.pending.push_back(GateEvent::EndOfInput);
                }
            }
        }
        Ok(())
    }

    fn push_time(&mut self, time: Option<MergedTime>) {
        self.pending.extend(time.map(|time| match time {
            MergedTime::Watermark(watermark) => GateEvent::Watermark(watermark),
            MergedTime::Idle => GateEvent::Idle,
            MergedTime::Active(watermark) => GateEvent::Active(watermark),
        }));
    }

    fn push_alignment(&mut self, alignment: Alignment) {
        if let Alignment::Aligned(barrier) = alignment {
            self.receiver.unblock_all();
            self.pending.push_back(GateEvent::Barrier(barrier));
        }
    }
}

#[cfg(test)]
mod tests;
