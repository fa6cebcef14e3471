//! Channels within a process: the queues of one input gate behind one lock, taken once a batch.
//!
//! Invariants: what is sent on a channel is received in order; data waits while the channel holds `capacity` bytes or more,
//! signals never wait; a blocked channel keeps what it holds.

use crate::{
    element::StreamElement,
    error::{EngineError, Result},
};
use parking_lot::{Mutex, MutexGuard};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::Notify;

struct Shared {
    state: Mutex<State>,
    /// Something came, or a sender went away.
    arrived: Notify,
    /// One per channel: credit came back.
    credit: Vec<Notify>,
    capacity: usize,
}

struct State {
    channels: Vec<Queue>,
    /// Where the receiver looks first, so that no channel starves another.
    next: usize,
    receiver_gone: bool,
}

#[derive(Default)]
struct Queue {
    elements: VecDeque<(StreamElement, usize)>,
    bytes: usize,
    blocked: bool,
    ended: bool,
    sender_gone: bool,
    /// Why the sender is gone, where that is known.
    failure: Option<EngineError>,
    /// Told of bytes that were taken out, where the producer is elsewhere and keeps the credit itself.
    on_taken: Option<TakenCallback>,
}

/// Told of bytes that a consumer has taken out of a channel.
pub type TakenCallback = Arc<dyn Fn(usize) + Send + Sync>;

/// The sending end of one channel.
pub struct LocalSender {
    shared: Arc<Shared>,
    channel: usize,
}

/// The receiving ends of all channels of one gate.
pub struct ChannelReceiver {
    shared: Arc<Shared>,
}

/// Channels into one gate, each with a credit of `capacity` bytes.
pub fn local_channels(count: usize, capacity: usize) -> (Vec<LocalSender>, ChannelReceiver) {
    let channels = (0..count).map(|_| Queue::default()).collect();
    let shared = Arc::new(Shared {
        state: Mutex::new(State { channels, next: 0, receiver_gone: false }),
        arrived: Notify::new(),
        credit: (0..count).map(|_| Notify::new()).collect(),
        capacity,
    });
    let senders = (0..count).map(|channel| LocalSender { shared: shared.clone(), channel }).collect();
    (senders, ChannelReceiver { shared })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl LocalSender {
    /// Sends; a batch waits for credit.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub async fn send(&self, element: StreamElement) -> Result<()> {
        let bytes = match &element {
            StreamElement::Batch(batch) => batch.bytes().max(1),
            _ => 0,
        };
        let ends = matches!(element, StreamElement::EndOfInput);
        let mut element = Some(element);
        loop {
            {
                let mut state = self.shared.lock();
                if state.receiver_gone {
                    return Err(consumer_gone());
                }
                let queue = &mut state.channels[self.channel];
                if bytes == 0 || queue.bytes < self.shared.capacity {
                    if let Some(element) = element.take() {
                        queue.elements.push_back((element, bytes));
                    }
                    queue.bytes += bytes;
                    queue.ended |= ends;
                    drop(state);
                    self.shared.arrived.notify_one();
                    return Ok(());
                }
            }
            // A permit left by an earlier notification makes this return at once; the loop looks again.
            self.shared.credit[self.channel].notified().await;
        }
    }

    /// Puts an element in without waiting: its producer, elsewhere, keeps the credit. `bytes` is what it counts.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub fn deliver(&self, element: StreamElement, bytes: usize) -> Result<()> {
        let mut state = self.shared.lock();
        if state.receiver_gone {
            return Err(consumer_gone());
        }
        let queue = &mut state.channels[self.channel];
        queue.ended |= matches!(element, StreamElement::EndOfInput);
        queue.bytes += bytes;
        queue.elements.push_back((element, bytes));
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Has `callback` told of every element with bytes that the receiver takes out.
    pub fn on_taken(&self, callback: TakenCallback) {
        self.shared.lock().channels[self.channel].on_taken = Some(callback);
    }

    /// Closes the channel for a reason, which the receiver reports.
    pub fn fail(self, error: EngineError) {
        self.shared.lock().channels[self.channel].failure = Some(error);
    }
}

fn consumer_gone() -> EngineError {
    EngineError::disconnected("the consumer of a channel is gone")
}

impl Drop for LocalSender {
    fn drop(&mut self) {
        self.shared.lock().channels[self.channel].sender_gone = true;
        self.shared.arrived.notify_one();
    }
}

impl ChannelReceiver {
    /// The next element of any channel that is not blocked, with the channel's number. Cancel-safe.
    ///
    /// # Errors
    /// When a sender went away without ending its channel.
    pub async fn receive(&mut self) -> Result<(usize, StreamElement)> {
        loop {
            if let Some(found) = self.try_receive()? {
                return Ok(found);
            }
            self.shared.arrived.notified().await;
        }
    }

    fn try_receive(&mut self) -> Result<Option<(usize, StreamElement)>> {
        let mut state = self.shared.lock();
        let count = state.channels.len();
        for step in 0..count {
            let channel = (state.next + step) % count;
            let queue = &mut state.channels[channel];
            if queue.blocked {
                continue;
            }
            if let Some((element, bytes)) = queue.elements.pop_front() {
                queue.bytes -= bytes;
                let on_taken = if bytes > 0 { queue.on_taken.clone() } else { None };
                state.next = (channel + 1) % count;
                drop(state);
                if bytes > 0 {
                    self.shared.credit[channel].notify_one();
                }
                if let Some(on_taken) = on_taken {
                    on_taken(bytes);
                }
                return Ok(Some((channel, element)));
            }
            if queue.sender_gone && !queue.ended {
                return Err(queue.failure.clone().unwrap_or_else(|| {
                    EngineError::disconnected(format!("channel {channel} closed without an end of input"))
                }));
            }
        }
        Ok(None)
    }

    /// Nothing more is read from a channel until [`ChannelReceiver::unblock_all`].
    pub fn block(&mut self, channel: usize) {
        self.shared.lock().channels[channel].blocked = true;
    }

    /// Reads on from all channels.
    pub fn unblock_all(&mut self) {
        self.shared.lock().channels.iter_mut().for_each(|queue| queue.blocked = false);
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.shared.credit.len()
    }
}

impl Drop for ChannelReceiver {
    fn drop(&mut self) {
        self.shared.lock().receiver_gone = true;
        self.shared.credit.iter().for_each(Notify::notify_one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Batch;
    use arrow::{
        array::{ArrayRef, Int64Array},
        record_batch::RecordBatch,
    };
    use futures::FutureExt;

    fn batch(rows: usize) -> StreamElement {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
        StreamElement::Batch(Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap()))
    }

    #[tokio::test]
    async fn data_waits_for_credit_and_signals_do_not() {
        let (senders, mut receiver) = local_channels(1, 100);
        senders[0].send(batch(20)).await.unwrap();
        assert!(senders[0].send(batch(1)).now_or_never().is_none(), "160 bytes are in flight");
        senders[0].send(StreamElement::Watermark(5)).now_or_never().expect("signals pass").unwrap();
        assert!(matches!(receiver.receive().await.unwrap(), (0, StreamElement::Batch(_))));
        senders[0].send(batch(1)).now_or_never().expect("credit is back").unwrap();
        assert!(matches!(receiver.receive().await.unwrap(), (0, StreamElement::Watermark(5))));
    }

    #[tokio::test]
    async fn a_blocked_channel_keeps_its_elements_and_others_go_on() {
        let (senders, mut receiver) = local_channels(2, 100);
        senders[0].send(batch(1)).await.unwrap();
        senders[1].send(StreamElement::Watermark(1)).await.unwrap();
        receiver.block(0);
        assert!(matches!(receiver.receive().await.unwrap(), (1, StreamElement::Watermark(1))));
        assert!(receiver.receive().now_or_never().is_none());
        receiver.unblock_all();
        assert!(matches!(receiver.receive().await.unwrap(), (0, StreamElement::Batch(_))));
    }

    #[tokio::test]
    async fn a_channel_that_closes_without_an_end_is_a_failure() {
        let (mut senders, mut receiver) = local_channels(2, 100);
        senders[1].send(StreamElement::EndOfInput).await.unwrap();
        senders.pop();
        assert!(matches!(receiver.receive().await.unwrap(), (1, StreamElement::EndOfInput)));
        assert!(receiver.receive().now_or_never().is_none(), "a proper end is no failure");
        senders.pop();
        assert!(receiver.receive().await.unwrap_err().message.contains("without an end"));
    }

    #[tokio::test]
    async fn what_comes_from_elsewhere_never_waits_and_its_producer_hears_of_what_is_taken() {
        let (mut senders, mut receiver) = local_channels(1, 1);
        let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = taken.clone();
        senders[0].on_taken(Arc::new(move |bytes| {
            count.fetch_add(bytes, std::sync::atomic::Ordering::SeqCst);
        }));
        senders[0].deliver(batch(1), 70).unwrap();
        senders[0].deliver(batch(1), 30).unwrap();
        receiver.receive().await.unwrap();
        receiver.receive().await.unwrap();
        assert_eq!(taken.load(std::sync::atomic::Ordering::SeqCst), 100);
        senders.remove(0).fail(EngineError::disconnected("worker b is gone"));
        assert!(receiver.receive().await.unwrap_err().message.contains("worker b"));
    }

    #[tokio::test]
    async fn a_sender_learns_that_its_consumer_is_gone_even_while_it_waits() {
        let (senders, receiver) = local_channels(1, 1);
        senders[0].send(batch(1)).await.unwrap();
        let waiting = senders[0].send(batch(1));
        let (result, ()) = futures::join!(waiting, async { drop(receiver) });
        assert!(result.is_err());
    }
}
