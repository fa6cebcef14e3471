//! Connecting to the consuming worker, and the connection's task from then on.

use super::{
    super::{
        frame::{Frame, FrameKind, frame},
        handshake::{Channels, HELLO_BYTES, Hello, Welcome, from_body, to_body},
        link::{FrameReader, Writer, keep_alive, lost, reason_of, split, within},
        plane::{Attempt, Plane},
    },
    Outbound,
};
use backon::Retryable;
use std::{sync::Arc, time::Duration};
use tokio::io::AsyncWriteExt;
use weir_engine::{
    error::{EngineError, Result},
    retry,
};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why one try did not lead to a connection.
enum Unreached {
    /// The next may.
    Cut(String),
    /// None will.
    Refused(String),
}

/// Connects, trying again while that may help, and leaves a task that carries the channels.
///
/// # Errors
/// When the worker cannot be reached in time, or refuses.
pub(in super::super) async fn dial(plane: Arc<Plane>, attempt: Arc<Attempt>, outbound: Arc<Outbound>) -> Result<()> {
    let channels = outbound.list();
    let deadline = plane.env.now() + plane.settings.connect_timeout;
    let peer = format!("worker {} at {}", outbound.peer, outbound.address);
    let connected = (|| try_once(&plane, &attempt, &outbound, &channels))
        .retry(retry::pauses(FIRST_PAUSE, LONGEST_PAUSE))
        .sleep(retry::sleeper(&plane.env))
        .when(|unreached| matches!(unreached, Unreached::Cut(_)))
        .adjust(|_, pause| pause.filter(|pause| plane.env.now() + *pause < deadline))
        .await;
    match connected {
        Ok((reader, out, welcome)) => {
            outbound.welcome(welcome.channel_bytes);
            tokio::spawn(carry(plane, attempt, outbound, reader, out));
            Ok(())
        }
        Err(Unreached::Refused(reason)) => Err(EngineError::io(format!("{peer} refused the connection: {reason}"))),
        Err(Unreached::Cut(cause)) => {
            let timeout = plane.settings.connect_timeout;
            Err(EngineError::unavailable(format!("{peer} could not be reached within {timeout:?}: {cause}")))
        }
    }
}

async fn try_once(
    plane: &Plane,
    attempt: &Attempt,
    outbound: &Outbound,
    channels: &[weir_engine::ids::ChannelId],
) -> Result<(FrameReader, Writer, Welcome), Unreached> {
    let greeting = async {
        let cut = |error: std::io::Error| Unreached::Cut(error.to_string());
        let connection = plane.network.connect(&outbound.address).await.map_err(cut)?;
        let (mut reader, mut out) = split(connection, HELLO_BYTES, outbound.traffic.clone());
        let hello = Hello {
            protocol: weir_proto::PROTOCOL_VERSION,
            job: attempt.key.job.clone(),
            attempt: outbound.attempt,
            sender: plane.settings.worker.clone(),
            receiver: outbound.peer.clone(),
            token: attempt.token.bytes().to_vec(),
        };
        let list = Channels { channels: channels.to_vec() };
        let mut greeting = frame(FrameKind::Hello, outbound.attempt, 0, &to_body(&hello));
        greeting.append(frame(FrameKind::Channels, outbound.attempt, 0, &to_body(&list)));
        let length = greeting.len();
        out.write_all_buf(&mut greeting).await.map_err(cut)?;
        out.flush().await.map_err(cut)?;
        outbound.traffic.sent(length);
        let welcome = answer(&mut reader).await?;
        Ok((reader, out, welcome))
    };
    let timeout = plane.settings.handshake_timeout;
    let answered = within(&plane.env, timeout, greeting).await;
    answered.unwrap_or_else(|| Err(Unreached::Cut(format!("no answer within {timeout:?}"))))
}

async fn answer(reader: &mut FrameReader) -> Result<Welcome, Unreached> {
    let Some(frame) = reader.next().await.map_err(Unreached::Cut)? else {
        return Err(Unreached::Cut("closed during the handshake".into()));
    };
    match frame.header.kind {
        FrameKind::Welcome => from_body(&frame.body).map_err(Unreached::Refused),
        FrameKind::Refused => Err(Unreached::Refused(reason_of(&frame))),
        other => Err(Unreached::Refused(format!("it answered with a frame of kind {other:?}"))),
    }
}

/// Fails the channels when the connection's task ends in whatever way.
struct FailOnDrop(Arc<Outbound>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        if !self.0.over.is_set() {
            self.0.fail(EngineError::disconnected("the data plane was stopped"));
        }
    }
}

/// The life of a connection at its producer.
async fn carry(
    plane: Arc<Plane>,
    attempt: Arc<Attempt>,
    outbound: Arc<Outbound>,
    mut reader: FrameReader,
    mut out: Writer,
) {
    let guard = FailOnDrop(outbound.clone());
    let life = reader.life();
    let ended = tokio::select! {
        biased;
        () = attempt.closed() => return,
        heard = hear(&mut reader, &outbound) => heard,
        Err(cause) = outbound.queue.write(&mut out, &life, &outbound.traffic) => Err(cause),
        cause = keep_alive(&plane.env, &plane.keepalive, &outbound.queue, &life, outbound.attempt) => Err(cause),
    };
    match ended {
        Ok(()) => outbound.complete(),
        Err(cause) => {
            let error = lost(&outbound.peer, &cause);
            outbound.fail(error.clone());
            attempt.report(&outbound.peer, error);
        }
    }
    drop(guard);
}

/// Takes what the consumer sends, until it closes the connection.
async fn hear(reader: &mut FrameReader, outbound: &Outbound) -> Result<(), String> {
    while let Some(frame) = reader.next().await? {
        let Frame { header, .. } = &frame;
        if header.attempt != outbound.attempt {
            return Err(format!("a frame of attempt {}, where it is {}", header.attempt, outbound.attempt));
        }
        match header.kind {
            FrameKind::Credit => outbound.give(header.channel, frame.number())?,
            FrameKind::Gone => outbound.consumer_gone(header.channel)?,
            FrameKind::KeepAlive => {}
            FrameKind::Refused => return Err(reason_of(&frame)),
            other => return Err(format!("a consumer has no frames of kind {other:?}")),
        }
    }
    if outbound.all_ended() { Ok(()) } else { Err("closed by the other side".into()) }
}
