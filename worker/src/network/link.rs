//! What both ends of a connection share: a queue that is written, a stream of frames that is read, and keepalives.

use super::{
    frame::{Frame, FrameDecoder, FrameKind, frame},
    rope::Rope,
    settings::KeepAlive,
    traffic::Traffic,
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf},
    sync::Notify,
};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};
use weir_proto::net::BoxConnection;

/// Small frames are read and written together in portions of this size; longer pieces pass by without a copy.
const PORTION_BYTES: usize = 64 << 10;

/// How long a connection that is being closed is given to take the reason.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a reason may be: it must fit where a Hello fits.
const REASON_CHARS: usize = 1000;
/// How much is read away meanwhile.
const LAST_BYTES: usize = 16 << 20;

pub(super) type Writer = BufWriter<WriteHalf<BoxConnection>>;

/// The two directions of a connection, the first frames of which are at most `max_body` long.
pub(super) fn split(connection: BoxConnection, max_body: usize, traffic: Arc<Traffic>) -> (FrameReader, Writer) {
    let (read, write) = tokio::io::split(connection);
    let reader = FrameReader {
        input: BufReader::with_capacity(PORTION_BYTES, read),
        decoder: FrameDecoder::new(max_body),
        life: Arc::default(),
        traffic,
    };
    (reader, BufWriter::with_capacity(PORTION_BYTES, write))
}

/// Waits for `work` no longer than `duration`.
pub(super) async fn within<T>(env: &Env, duration: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = env.sleep(duration) => None,
    }
}

/// Whether something came or went since one last looked.
#[derive(Debug, Default)]
pub(super) struct Life {
    heard: AtomicBool,
    said: AtomicBool,
}

/// The frames that come.
pub(super) struct FrameReader {
    input: BufReader<ReadHalf<BoxConnection>>,
    decoder: FrameDecoder,
    life: Arc<Life>,
    traffic: Arc<Traffic>,
}

impl FrameReader {
    /// The next frame; `None` when the other side closed the connection between two. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, or brings something that is no frame. The text says which.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(|error| error.to_string())? {
                return Ok(Some(frame));
            }
            let read = self.input.read_buf(&mut self.decoder.space()).await.map_err(|error| error.to_string())?;
            if read == 0 {
                let whole = self.decoder.is_between_frames();
                return if whole { Ok(None) } else { Err("closed in the middle of a frame".into()) };
            }
            self.life.heard.store(true, Ordering::Relaxed);
            self.traffic.received(read);
        }
    }

    /// Allows bodies of this length from the next frame on, and counts for another.
    pub(super) fn promote(&mut self, max_body: usize, traffic: Arc<Traffic>) {
        self.decoder.allow(max_body);
        self.traffic = traffic;
    }

    pub(super) fn life(&self) -> Arc<Life> {
        self.life.clone()
    }
}

/// Frames that wait to be written, and whether any more may come.
#[derive(Default)]
pub(super) struct WriteQueue {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: Rope,
    /// Nothing more will come: what waits is written, and then the connection is shut down for writing.
    finished: bool,
    /// Nothing more can go.
    closed: bool,
}

impl WriteQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }

    /// Adds frames at the end. Those for a connection that is closed are dropped: the failure is reported elsewhere.
    pub(super) fn push(&self, frames: Rope) {
        let mut state = self.lock();
        if !state.closed && !state.finished {
            state.waiting.append(frames);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Nothing more will be pushed.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_one();
    }

    /// Forgets what waits, and takes nothing more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting = Rope::default();
        drop(state);
        self.changed.notify_one();
    }

    /// Everything that waits; `None` at the end.
    async fn take(&self) -> Option<Rope> {
        loop {
            {
                let mut state = self.lock();
                if !state.waiting.is_empty() {
                    return Some(std::mem::take(&mut state.waiting));
                }
                if state.finished || state.closed {
                    return None;
                }
            }
            // A permit left by an earlier notification makes this return at once; the loop looks again.
            self.changed.notified().await;
        }
    }

    /// Writes what is pushed, until the end, and shuts the connection down for writing.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn write(&self, out: &mut Writer, life: &Life, traffic: &Traffic) -> Result<(), String> {
        while let Some(mut bytes) = self.take().await {
            while !bytes.is_empty() {
                // One write of as many pieces as the system takes at once.
                let written = out.write_buf(&mut bytes).await.map_err(|error| error.to_string())?;
                if written == 0 {
                    return Err("the connection takes no more bytes".into());
                }
                traffic.sent(written);
                life.said.store(true, Ordering::Relaxed);
            }
            out.flush().await.map_err(|error| error.to_string())?;
        }
        out.shutdown().await.map_err(|error| error.to_string())
    }
}

/// Says something where nothing is said, and ends with the reason when nothing is heard for too long.
///
/// It counts periods, not time: a process that was stopped itself does not consider the others dead when it continues.
pub(super) async fn keep_alive(
    env: &Env,
    keepalive: &KeepAlive,
    queue: &WriteQueue,
    life: &Life,
    attempt: u64,
) -> String {
    let mut silent = Duration::ZERO;
    loop {
        let (period, _) = keepalive.now();
        env.sleep(period).await;
        if !life.said.swap(false, Ordering::Relaxed) {
            queue.push(frame(FrameKind::KeepAlive, attempt, 0, &[]));
        }
        silent = if life.heard.swap(false, Ordering::Relaxed) { Duration::ZERO } else { silent + period };
        let (_, timeout) = keepalive.now();
        if silent >= timeout {
            return format!("no sign of life for {silent:?}");
        }
    }
}

/// Gives the other side the reason and closes. What it still sends is read away for a moment: closing a connection with bytes
/// unread would make the system drop the reason.
pub(super) async fn refuse(env: &Env, attempt: u64, reason: &str, reader: FrameReader, mut out: Writer) {
    let mut input = reader.input;
    let last_words = async {
        let reason: String = reason.chars().take(REASON_CHARS).collect();
        let mut words = frame(FrameKind::Refused, attempt, 0, reason.as_bytes());
        out.write_all_buf(&mut words).await?;
        out.shutdown().await?;
        let mut scratch = vec![0; 8 << 10];
        let mut total = 0;
        loop {
            let read = input.read(&mut scratch).await?;
            total += read;
            if read == 0 || total > LAST_BYTES {
                return std::io::Result::Ok(());
            }
        }
    };
    // Whether they are heard changes nothing.
    let _ = within(env, LAST_WORDS, last_words).await;
}

/// What the other side gave as the reason.
pub(super) fn reason_of(refusal: &Frame) -> String {
    String::from_utf8_lossy(&refusal.body).into_owned()
}

/// The error of all channels of a connection.
pub(super) fn lost(peer: &str, cause: &str) -> EngineError {
    EngineError::disconnected(format!("the connection with worker {peer} is lost: {cause}"))
}
