//! Taking connections, and finding out who is there.

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
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use weir_engine::ids::Attempt as AttemptNumber;
use weir_proto::net::{BoxConnection, Listener};

/// How long to wait when the machine refuses to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the plane is closed.
pub(in super::super) async fn listen(plane: Arc<Plane>, mut listener: Box<dyn Listener>) {
    let strangers = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            biased;
            () = plane.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => match Seat::take(&strangers, plane.settings.max_strangers) {
                Some(seat) => {
                    tokio::spawn(receive(plane.clone(), connection, seat));
                }
                None => tracing::warn!("closed a connection: too many others have not said yet who they are"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections from other workers");
                plane.env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The right to be a stranger; there are only so many.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let seat = Seat(taken.clone());
        // Given back by the seat's drop if there was none left.
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn receive(plane: Arc<Plane>, connection: BoxConnection, seat: Seat) {
    let (mut reader, out) = split(connection, HELLO_BYTES, plane.traffic.clone());
    let greeted = tokio::select! {
        biased;
        () = plane.closed() => return,
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
        None => tracing::warn!("closed a connection to the data port that did not say who it is"),
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
    let (mine, theirs) = (weir_proto::PROTOCOL_VERSION, hello.protocol);
    if mine != theirs {
        return Err(format!("this worker speaks version {mine} of the protocol, the other {theirs}"));
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
