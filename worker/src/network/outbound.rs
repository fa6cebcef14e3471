//! The producing end of a connection: the channels to one worker, their credit, and the sending ends that subtasks hold.
//!
//! Invariant: what is sent on a channel is queued in the order in which it was sent; batches only while the channel has credit,
//! signals always. After a failure nothing is queued, and a waiting sender learns of it.

mod dial;

pub(super) use dial::dial;

use super::{
    codec::{BatchEncoder, EncodedFrame},
    flag::Flag,
    frame::{FrameKind, frame},
    link::WriteQueue,
    settings::NetworkSettings,
    traffic::Traffic,
};
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;
use weir_engine::{
    channel::RemoteSender,
    element::{Batch, StreamElement},
    error::{EngineError, Result},
    ids::ChannelId,
};

/// All channels from this worker to another, in one attempt.
pub(super) struct Outbound {
    /// The other worker's id.
    pub(super) peer: String,
    /// Where it listens.
    pub(super) address: String,
    pub(super) attempt: u64,
    queue: WriteQueue,
    state: Mutex<State>,
    /// Whether nothing will happen any more: all has ended, or the connection has failed.
    over: Flag,
    pub(super) traffic: Arc<Traffic>,
}

#[derive(Default)]
struct State {
    channels: Vec<Channel>,
    failure: Option<EngineError>,
    /// The list of channels has been sent.
    dialled: bool,
}

struct Channel {
    id: ChannelId,
    /// Bytes that may be sent. Negative after a batch that was larger than what was left.
    credit: i64,
    credit_came: Arc<Notify>,
    ended: bool,
    consumer_gone: bool,
}

impl Outbound {
    pub(super) fn new(peer: String, address: String, attempt: u64, traffic: Arc<Traffic>) -> Arc<Self> {
        let over = Flag::default();
        let (queue, state) = (WriteQueue::default(), Mutex::default());
        Arc::new(Outbound { peer, address, attempt, queue, state, over, traffic })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A further channel, as long as the list has not been sent.
    pub(super) fn add(self: &Arc<Self>, id: ChannelId, settings: &NetworkSettings) -> Result<RemoteChannel> {
        let mut state = self.lock();
        if state.dialled || state.channels.iter().any(|channel| channel.id == id) {
            let peer = &self.peer;
            return Err(EngineError::internal(format!(
                "channel {id} to worker {peer} is asked for twice, or too late"
            )));
        }
        let index = u32::try_from(state.channels.len()).map_err(|_| EngineError::internal("2^32 channels"))?;
        let credit_came = Arc::new(Notify::new());
        let ended = AtomicBool::new(false);
        let channel = Channel { id, credit: 0, credit_came: credit_came.clone(), ended: false, consumer_gone: false };
        state.channels.push(channel);
        let encoder = Mutex::new(BatchEncoder::new(self.attempt, index, settings));
        Ok(RemoteChannel { outbound: self.clone(), index, id, credit_came, encoder, ended })
    }

    /// The channels, of which there will be no more.
    fn list(&self) -> Vec<ChannelId> {
        let mut state = self.lock();
        state.dialled = true;
        state.channels.iter().map(|channel| channel.id).collect()
    }

    /// The consumer grants every channel its first credit.
    fn welcome(&self, channel_bytes: u64) {
        let channels = self.lock().channels.len();
        for index in 0..channels {
            // Every index is that of a channel.
            let _ = self.give(index as u32, channel_bytes);
        }
    }

    /// Credit of a channel.
    ///
    /// # Errors
    /// When there is no such channel.
    fn give(&self, index: u32, bytes: u64) -> Result<(), String> {
        self.with_channel(index, |channel| {
            channel.credit = channel.credit.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        })
    }

    /// Its consumer is gone.
    ///
    /// # Errors
    /// When there is no such channel.
    fn consumer_gone(&self, index: u32) -> Result<(), String> {
        self.with_channel(index, |channel| channel.consumer_gone = true)
    }

    fn with_channel(&self, index: u32, change: impl FnOnce(&mut Channel)) -> Result<(), String> {
        let mut state = self.lock();
        let count = state.channels.len();
        let Some(channel) = state.channels.get_mut(index as usize) else {
            return Err(format!("it speaks of channel {index}, where there are {count}"));
        };
        change(channel);
        channel.credit_came.notify_one();
        Ok(())
    }

    /// Nothing can be sent any more, for this reason.
    pub(super) fn fail(&self, error: EngineError) {
        let mut state = self.lock();
        state.failure.get_or_insert(error);
        state.channels.iter().for_each(|channel| channel.credit_came.notify_one());
        drop(state);
        self.queue.close();
        self.over.set();
    }

    /// The connection was closed after all had ended.
    fn complete(&self) {
        self.over.set();
    }

    /// Waits until all channels have ended and the consumer has closed the connection, or until it failed.
    pub(super) async fn over(&self) {
        self.over.wait().await;
    }

    /// Whether every channel has ended.
    fn all_ended(&self) -> bool {
        self.lock().channels.iter().all(|channel| channel.ended)
    }

    /// Queues a frame of a channel, unless the connection has failed or the consumer is gone. `cost`: what it takes of the
    /// credit.
    fn send(&self, index: u32, kind: FrameKind, bytes: super::rope::Rope, cost: usize) -> Result<()> {
        let mut state = self.lock();
        state.usable(index)?;
        let channel = state.channel(index)?;
        channel.credit = channel.credit.saturating_sub(cost as i64);
        channel.ended |= kind == FrameKind::EndOfInput;
        // In the lock, so that no frame is queued behind the end of the connection.
        self.queue.push(bytes);
        if kind == FrameKind::EndOfInput && state.channels.iter().all(|channel| channel.ended) {
            self.queue.finish();
        }
        Ok(())
    }

    /// Whether a channel has credit now.
    fn has_credit(&self, index: u32) -> Result<bool> {
        let mut state = self.lock();
        state.usable(index)?;
        Ok(state.channel(index)?.credit > 0)
    }
}

impl State {
    fn usable(&mut self, index: u32) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let channel = self.channel(index)?;
        if channel.consumer_gone {
            return Err(EngineError::disconnected(format!("the consumer of channel {} is gone", channel.id)));
        }
        Ok(())
    }

    fn channel(&mut self, index: u32) -> Result<&mut Channel> {
        let found = self.channels.get_mut(index as usize);
        found.ok_or_else(|| EngineError::internal(format!("no outbound channel {index}")))
    }
}

/// The sending end of one channel. For one subtask: what two tasks send at once has no order.
pub(super) struct RemoteChannel {
    outbound: Arc<Outbound>,
    index: u32,
    id: ChannelId,
    credit_came: Arc<Notify>,
    encoder: Mutex<BatchEncoder>,
    ended: AtomicBool,
}

impl RemoteChannel {
    async fn send_batch(&self, batch: &Batch) -> Result<()> {
        while !self.outbound.has_credit(self.index)? {
            // A permit left by an earlier notification makes this return at once; the loop looks again.
            self.credit_came.notified().await;
        }
        let mut encoder = self.encoder.lock();
        let frames = encoder.encode(batch).map_err(|error| error.context(format!("channel {}", self.id)))?;
        for EncodedFrame { bytes, cost } in frames {
            self.outbound.send(self.index, FrameKind::Batch, bytes, cost)?;
            self.outbound.traffic.batch_sent();
        }
        Ok(())
    }

    fn send_signal(&self, kind: FrameKind, body: &[u8]) -> Result<()> {
        let bytes = frame(kind, self.outbound.attempt, self.index, body);
        self.outbound.send(self.index, kind, bytes, 0)
    }
}

impl RemoteSender for RemoteChannel {
    fn send(&self, element: StreamElement) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match element {
                StreamElement::Batch(batch) => self.send_batch(&batch).await,
                StreamElement::Watermark(watermark) => self.send_signal(FrameKind::Watermark, &watermark.to_le_bytes()),
                StreamElement::Idle => self.send_signal(FrameKind::Idle, &[]),
                StreamElement::Barrier(barrier) => {
                    let kind = if barrier.last { FrameKind::LastBarrier } else { FrameKind::Barrier };
                    self.send_signal(kind, &barrier.checkpoint.0.to_le_bytes())
                }
                StreamElement::EndOfInput => {
                    self.ended.store(true, Ordering::Relaxed);
                    self.send_signal(FrameKind::EndOfInput, &[])
                }
            }
        })
    }
}

impl Drop for RemoteChannel {
    fn drop(&mut self) {
        if !self.ended.load(Ordering::Relaxed) {
            // Where the connection has failed, the consumer knows.
            let _ = self.send_signal(FrameKind::Gone, &[]);
        }
    }
}
