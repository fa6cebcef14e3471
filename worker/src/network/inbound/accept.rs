//! Accepting connections, and authenticating them.

use super::{
    super::{
        AttemptKey,
        frame::{Frame, FrameKind},
        handshake::{Channels, HELLO_BYTES, Hello, from_body},
        link::{FrameReader, refuse, split, within},
        plane::{Attempt, Plane},
    },
    Joined, carry,
};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;
use weir_engine::ids::Attempt as AttemptNumber;
use weir_proto::{
    net::{BoxConnection, Listener},
    protocol,
};

/// How long to wait when the machine refuses to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the plane is closed.
pub(in super::super) async fn listen(plane: Arc<Plane>, mut listener: Box<dyn Listener>) {
    let strangers = Arc::new(Strangers::new(plane.settings.max_strangers));
    loop {
        let accepted = tokio::select! {
            biased;
            () = plane.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                tokio::spawn(receive(plane.clone(), connection, strangers.clone().enter()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections from other workers");
                strangers.make_room(1);
                plane.env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Those who have not authenticated yet. There are only so many: a new one replaces the oldest, so that one
/// who is expected gets in while strangers say nothing.
struct Strangers {
    most: usize,
    /// By the order in which they came. Dropping one closes it.
    here: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    next: AtomicU64,
}

impl Strangers {
    fn new(most: usize) -> Self {
        Strangers { most, here: Mutex::default(), next: AtomicU64::new(0) }
    }

    fn here(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.here.lock()
    }

    /// A place for one more.
    fn enter(self: Arc<Self>) -> Seat {
        if self.make_room(self.most - 1) {
            tracing::warn!("closed a connection to the data port: too many have not authenticated yet");
        }
        let (stays, gone) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.here().insert(number, stays);
        Seat { strangers: self, number, gone }
    }

    /// Sends the oldest away, if that leaves at least so many.
    fn make_room(&self, rest: usize) -> bool {
        let mut here = self.here();
        here.len() > rest && here.pop_first().is_some()
    }
}

/// The place of one stranger.
struct Seat {
    strangers: Arc<Strangers>,
    number: u64,
    gone: oneshot::Receiver<()>,
}

impl Seat {
    /// Waits until the place is another's.
    async fn lost(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.gone).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.strangers.here().remove(&self.number);
    }
}

async fn receive(plane: Arc<Plane>, connection: BoxConnection, mut seat: Seat) {
    let (mut reader, out) = split(connection, HELLO_BYTES, plane.traffic.clone());
    let greeted = tokio::select! {
        biased;
        () = plane.closed() => return,
        () = seat.lost() => return,
        greeted = within(&plane.env, plane.settings.handshake_timeout, greet(&plane, &mut reader)) => greeted,
    };
    match greeted {
        Some(Ok(joined)) => {
            drop(seat);
            carry(plane, joined, reader, out).await;
        }
        Some(Err(reason)) => {
            tracing::warn!(reason, "refused a connection to the data port");
            refuse(&plane.env, 0, &reason, reader, out).await;
        }
        None => tracing::warn!("closed a connection to the data port that did not authenticate"),
    }
}

/// Listens to who it is and what it wants. Nothing is changed before all of it was found right.
async fn greet(plane: &Plane, reader: &mut FrameReader) -> Result<Joined, String> {
    let hello: Hello = from_body(&expect(reader, FrameKind::Hello).await?.body)?;
    let attempt = admit(plane, &hello)?;
    reader.promote(plane.settings.max_frame_bytes, attempt.traffic.clone());
    let list: Channels = from_body(&expect(reader, FrameKind::Channels).await?.body)?;
    let channels = attempt.join(&hello.sender, &list.channels)?;
    Ok(Joined { attempt, peer: hello.sender, channels })
}

async fn expect(reader: &mut FrameReader, kind: FrameKind) -> Result<Frame, String> {
    match reader.next().await? {
        Some(frame) if frame.header.kind == kind => Ok(frame),
        Some(frame) => Err(format!("expected a frame of kind {kind:?}, got {:?}", frame.header.kind)),
        None => Err("closed during the handshake".into()),
    }
}

fn admit(plane: &Plane, hello: &Hello) -> Result<Arc<Attempt>, String> {
    let theirs = format!("worker {:?}", hello.sender);
    if let Some(why) = protocol::mismatch(&theirs, hello.protocol, "this worker") {
        return Err(why);
    }
    if hello.receiver != plane.settings.worker {
        return Err(format!("this is worker {}, not {:?}", plane.settings.worker, hello.receiver));
    }
    let key = AttemptKey { job: hello.job.clone(), attempt: AttemptNumber(hello.attempt) };
    let found = plane.attempt(&key);
    // One answer for both, so that a stranger does not learn what runs here.
    let attempt = found.filter(|attempt| attempt.token.matches(&hello.token));
    attempt.ok_or_else(|| {
        format!(
            "attempt {} of job {:?} is not open on worker {}, or the token is wrong",
            hello.attempt, hello.job, plane.settings.worker
        )
    })
}
