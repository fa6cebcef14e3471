//! The consuming end of connections: accepting them, and delivering what they bring.
//!
//! Invariant: the reader of a connection never waits for a consumer; what it delivers, its producer had credit for. A channel's
//! end and its failure are delivered exactly once.

mod accept;

pub(super) use accept::listen;

use super::{
    codec::BatchDecoder,
    frame::{Frame, FrameKind, frame},
    handshake::{Welcome, to_body},
    link::{FrameReader, WriteQueue, Writer, keep_alive, lost, refuse},
    plane::{Attempt, Plane},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use weir_engine::{
    channel::LocalSender,
    element::StreamElement,
    error::{EngineError, Result},
    ids::ChannelId,
};

/// A connection that was let in.
pub(super) struct Joined {
    pub(super) attempt: Arc<Attempt>,
    /// The producing worker.
    pub(super) peer: String,
    pub(super) channels: Vec<(ChannelId, LocalSender)>,
}

/// A channel at its consumer.
struct Channel {
    id: ChannelId,
    /// `None` once its end was delivered, or its consumer is gone.
    sender: Option<LocalSender>,
    decoder: BatchDecoder,
    ended: bool,
}

/// The channels of a connection. Dropped, it fails those that have not ended.
struct Inbound {
    channels: Vec<Channel>,
    failure: EngineError,
}

impl Drop for Inbound {
    fn drop(&mut self) {
        for channel in self.channels.iter_mut().filter(|channel| !channel.ended) {
            if let Some(sender) = channel.sender.take() {
                sender.fail(self.failure.clone());
            }
        }
    }
}

/// The life of a connection at its consumer.
pub(super) async fn carry(plane: Arc<Plane>, joined: Joined, mut reader: FrameReader, mut out: Writer) {
    let Joined { attempt, peer, channels } = joined;
    let number = attempt.key.attempt.0;
    let queue = Arc::new(WriteQueue::default());
    let life = reader.life();
    let channels = channels.into_iter().enumerate();
    let channels = channels.map(|(index, (id, sender))| {
        give_credit_back(&sender, &queue, number, index as u32, plane.settings.channel_bytes);
        Channel { id, sender: Some(sender), decoder: BatchDecoder::default(), ended: false }
    });
    let mut inbound = Inbound {
        channels: channels.collect(),
        failure: EngineError::disconnected("the network of this attempt was closed"),
    };
    let welcome = Welcome { channel_bytes: plane.settings.channel_bytes as u64 };
    queue.push(frame(FrameKind::Welcome, number, 0, &to_body(&welcome)));
    let ended = tokio::select! {
        biased;
        () = attempt.closed() => None,
        ended = hear(&mut reader, &mut inbound, &attempt, &queue) => Some(ended),
        Err(cause) = queue.write(&mut out, &life, &attempt.traffic) => Some(Err(cause)),
        cause = keep_alive(&plane.env, &plane.keepalive, &queue, &life, number) => Some(Err(cause)),
    };
    queue.close();
    if let Some(Err(cause)) = ended {
        let error = lost(&peer, &cause);
        inbound.failure = error.clone();
        drop(inbound);
        attempt.report(&peer, error);
        refuse(&plane.env, number, &cause, reader, out).await;
    }
}

/// Has the producer told of what is taken out of a channel, when it is half of the credit or more.
fn give_credit_back(sender: &LocalSender, queue: &Arc<WriteQueue>, attempt: u64, index: u32, channel_bytes: usize) {
    let (queue, taken, worth_telling) = (queue.clone(), AtomicU64::new(0), (channel_bytes as u64 / 2).max(1));
    sender.on_taken(Arc::new(move |bytes| {
        let bytes = bytes as u64;
        if taken.fetch_add(bytes, Ordering::Relaxed) + bytes >= worth_telling {
            let credit = taken.swap(0, Ordering::Relaxed);
            queue.push(frame(FrameKind::Credit, attempt, index, &credit.to_le_bytes()));
        }
    }));
}

/// Delivers what the producer sends, until it closes the connection.
async fn hear(
    reader: &mut FrameReader,
    inbound: &mut Inbound,
    attempt: &Attempt,
    queue: &WriteQueue,
) -> Result<(), String> {
    let number = attempt.key.attempt.0;
    while let Some(frame) = reader.next().await? {
        let header = frame.header;
        if header.attempt != number {
            return Err(format!("a frame of attempt {}, where it is {number}", header.attempt));
        }
        if header.kind == FrameKind::KeepAlive {
            continue;
        }
        let count = inbound.channels.len();
        let Some(channel) = inbound.channels.get_mut(header.channel as usize) else {
            return Err(format!("a frame of channel {}, where there are {count}", header.channel));
        };
        if !channel.hear(frame, attempt)? {
            queue.push(super::frame::frame(FrameKind::Gone, number, header.channel, &[]));
        }
    }
    let open = inbound.channels.iter().filter(|channel| !channel.ended).count();
    if open == 0 { Ok(()) } else { Err(format!("closed by the other side with {open} channels open")) }
}

impl Channel {
    /// Delivers a frame. False when it finds that the consumer is gone.
    fn hear(&mut self, frame: Frame, attempt: &Attempt) -> Result<bool, String> {
        let (header, id) = (frame.header, self.id);
        if self.ended {
            return Err(format!("a frame of kind {:?} after the end of channel {id}", header.kind));
        }
        let element = match header.kind {
            // What comes for a consumer that is gone is not even decoded.
            FrameKind::Batch if self.sender.is_none() => return Ok(true),
            FrameKind::Batch => {
                attempt.traffic.batch_received();
                let batch = self.decoder.decode(frame).map_err(|error| format!("channel {id}: {error}"))?;
                StreamElement::Batch(batch)
            }
            FrameKind::Watermark => StreamElement::Watermark(frame.number() as i64),
            FrameKind::Idle => StreamElement::Idle,
            FrameKind::Barrier | FrameKind::LastBarrier => StreamElement::Barrier(frame.barrier()),
            FrameKind::EndOfInput => StreamElement::EndOfInput,
            FrameKind::Gone => {
                self.ended = true;
                if let Some(sender) = self.sender.take() {
                    sender.fail(EngineError::disconnected(format!("the producer of channel {id} is gone")));
                }
                return Ok(true);
            }
            other => return Err(format!("a producer has no frames of kind {other:?}")),
        };
        self.ended |= header.kind == FrameKind::EndOfInput;
        let bytes = if header.kind == FrameKind::Batch { header.cost() } else { 0 };
        let Some(sender) = &self.sender else { return Ok(true) };
        let there = sender.deliver(element, bytes).is_ok();
        if !there || self.ended {
            self.sender = None;
        }
        Ok(there)
    }
}
