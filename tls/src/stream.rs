//! An encrypted connection. One that was accepted begins with its handshake when it is first read or written, so that whoever
//! accepts waits for nobody, and a port's limits hold for callers that do not finish it.

use crate::{
    accept::{self, Port},
    explain,
    rewound::Rewound,
};
use parking_lot::Mutex;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;
use weir_proto::net::BoxConnection;

/// A connection after its handshake.
pub(crate) type Established = TlsStream<Rewound>;

type Handshake = Pin<Box<dyn Future<Output = io::Result<Established>> + Send>>;

/// An encrypted connection.
pub(crate) struct Stream {
    state: State,
    waiting: Arc<Waiting>,
}

enum State {
    Handshake(Handshake),
    Open(Box<Established>),
    Failed,
}

/// Who waits for the handshake: reader and writer may be different tasks, and either may stop to wait.
#[derive(Default)]
struct Waiting(Mutex<[Option<Waker>; 2]>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock());
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

#[derive(Clone, Copy)]
enum Side {
    Reader,
    Writer,
}

impl Stream {
    /// One that was accepted.
    pub(crate) fn accepted(connection: BoxConnection, port: Port) -> Self {
        let handshake: Handshake = Box::pin(accept::accept(connection, port));
        Stream { state: State::Handshake(handshake), waiting: Arc::default() }
    }

    /// One whose handshake is done.
    pub(crate) fn open(stream: Established) -> Self {
        Stream { state: State::Open(Box::new(stream)), waiting: Arc::default() }
    }

    /// The connection, once the handshake is done.
    fn poll_open(&mut self, context: &mut Context<'_>, side: Side) -> Poll<io::Result<Pin<&mut Established>>> {
        if let State::Handshake(handshake) = &mut self.state {
            self.waiting.0.lock()[side as usize] = Some(context.waker().clone());
            let waker = Waker::from(self.waiting.clone());
            let done = ready!(handshake.as_mut().poll(&mut Context::from_waker(&waker)));
            self.waiting.wake_by_ref();
            match done {
                Ok(stream) => self.state = State::Open(Box::new(stream)),
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.state {
            State::Open(stream) => Ok(Pin::new(stream)),
            State::Handshake(_) | State::Failed => Err(io::Error::other("the TLS handshake failed")),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = ready!(self.poll_open(context, Side::Reader))?;
        match ready!(stream.poll_read(context, buffer)) {
            // What speaks here has ends of its own (frames, lengths), as it must over plain connections: a connection that
            // broke is told as the same thing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(explain::broken(error))),
            Ok(()) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context, Side::Writer))?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(context, Side::Writer))?.poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context, Side::Writer))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(context, Side::Writer))?.poll_shutdown(context)
    }
}
