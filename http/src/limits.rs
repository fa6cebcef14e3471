//! How many connections a port has, and how long silent ones stay: what keeps strangers from holding a port, or all of its
//! process's descriptors, by connecting and saying nothing.
//!
//! A connection is a *stranger* until something that it asks for is let in ([`Visitor::let_in`]): the first request, or the
//! first one with the secret where there is one. A stranger has [`Limits::introduction`] for that. One that was let in is
//! *silent* while it asks nothing and is answered nothing; bytes that only come do not count, so that half a request now and
//! then keeps nothing open. At a full port, a new connection replaces the oldest stranger, else the one that
//! has been silent for longest.
//!
//! Invariant: a port has at most [`Limits::connections`] open, whoever connects, and a failed accept ends nothing.

use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_engine::env::{Env, Moment};
use weir_proto::net::{BoxConnection, Listener};

/// How long a failed accept is waited out: when no descriptors are left, asking again at once changes nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a full port is reported, at most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How many connections a port has, and how long silent ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most that are open at a time.
    pub connections: usize,
    /// How long one may take until something that it asks for is let in.
    pub introduction: Duration,
    /// How long one that was let in may be silent.
    pub silence: Duration,
    /// One that was silent for less does not make place for another.
    pub spared: Duration,
}

impl Limits {
    /// Of a port for people and programs that ask and go, in a process that may have so many descriptors open. A quarter of
    /// them is the most that one port takes; the rest is for files, storage and other ports.
    pub fn of_pages(descriptors: u64) -> Self {
        Limits {
            connections: usize::try_from(descriptors / 4).unwrap_or(usize::MAX).clamp(4, 4096),
            introduction: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            spared: Duration::from_secs(1),
        }
    }

    /// Of a port whose callers stay and give a sign of life at least as often as `heartbeat` says.
    pub fn of_callers(descriptors: u64, heartbeat: Duration) -> Self {
        let spared = (heartbeat * 2).max(Duration::from_secs(30));
        Limits { silence: spared * 10, spared, ..Limits::of_pages(descriptors) }
    }
}

impl Default for Limits {
    /// Of pages, in a process with the usual 1,024 descriptors.
    fn default() -> Self {
        Limits::of_pages(1024)
    }
}

/// A listener that keeps to [`Limits`].
pub struct LimitedListener {
    inner: Box<dyn Listener>,
    port: Arc<Port>,
    told: Option<Moment>,
}

/// What is open.
struct Port {
    limits: Limits,
    env: Env,
    began: Moment,
    open: Mutex<BTreeMap<u64, Arc<Open>>>,
    next: AtomicU64,
}

/// A connection that is open.
struct Open {
    /// Milliseconds since the port began, as all times here.
    since: u64,
    /// When something was asked or answered last.
    last: AtomicU64,
    is_let_in: AtomicBool,
    /// Requests that are being worked on.
    busy: AtomicUsize,
    stream: Mutex<Stream>,
}

/// Its bytes, until it is closed, and who waits for them.
struct Stream {
    connection: Option<BoxConnection>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl LimitedListener {
    /// Over a listener.
    pub fn new(inner: Box<dyn Listener>, limits: Limits, env: Env) -> Self {
        let port = Port { limits, began: env.now(), env, open: Mutex::default(), next: AtomicU64::new(0) };
        LimitedListener { inner, port: Arc::new(port), told: None }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.inner.address()
    }

    /// The next connection that there is room for. Closes, meanwhile, those whose time is over.
    pub async fn accept(&mut self) -> Limited {
        let env = self.port.env.clone();
        loop {
            let next = self.port.close_overdue();
            let accepted = tokio::select! {
                biased;
                accepted = self.inner.accept() => accepted,
                () = at(&env, next) => continue,
            };
            match accepted {
                Ok(connection) => match self.port.seat(connection) {
                    (Some(limited), false) => return limited,
                    (Some(limited), true) => {
                        self.tell("idle ones are closed to make room");
                        return limited;
                    }
                    (None, _) => self.tell("a new one was closed, because none of those is idle"),
                },
                Err(error) => {
                    tracing::warn!(address = self.address(), %error, "cannot accept a connection; retrying");
                    self.port.make_room(1);
                    env.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn tell(&mut self, what: &str) {
        let now = self.port.env.now();
        if self.told.is_none_or(|told| now >= told + TELL_EVERY) {
            self.told = Some(now);
            let (address, most) = (self.address(), self.port.limits.connections);
            tracing::warn!(address, "all {most} connections that this port may have are open: {what}");
        }
    }
}

/// Waits until a moment, or for ever.
async fn at(env: &Env, moment: Option<Moment>) {
    match moment {
        Some(moment) => env.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Port {
    fn now(&self) -> u64 {
        millis(self.env.now() - self.began)
    }

    /// When a connection has to be closed, as things stand. One that works on a request is not silent.
    fn ends(&self, open: &Open) -> u64 {
        if !open.is_let_in() {
            open.since.saturating_add(millis(self.limits.introduction))
        } else if open.is_busy() {
            u64::MAX
        } else {
            open.last().saturating_add(millis(self.limits.silence))
        }
    }

    /// Closes those whose time is over. Returns when to look again.
    fn close_overdue(&self) -> Option<Moment> {
        let now = self.now();
        let mut open = lock(&self.open);
        open.retain(|_, open| {
            let stays = self.ends(open) > now;
            if !stays {
                open.close();
            }
            stays
        });
        // A busy one is looked at again as soon as it could have been silent for too long.
        let looked_at = |open: &Arc<Open>| match self.ends(open) {
            u64::MAX => now.saturating_add(millis(self.limits.silence)),
            ends => ends,
        };
        let next = open.values().map(looked_at).min()?;
        Some(self.began + Duration::from_millis(next))
    }

    /// A place for a connection, if there is one or can be made; and whether one had to be made.
    fn seat(self: &Arc<Self>, connection: BoxConnection) -> (Option<Limited>, bool) {
        let is_full = lock(&self.open).len() >= self.limits.connections;
        if is_full && !self.make_room(self.limits.connections - 1) {
            return (None, true);
        }
        let now = self.now();
        let stream = Mutex::new(Stream { connection: Some(connection), reader: None, writer: None });
        let open = Arc::new(Open {
            since: now,
            last: AtomicU64::new(now),
            is_let_in: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            stream,
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.open).insert(number, open.clone());
        (Some(Limited(Arc::new(Seat { number, open, port: self.clone() }))), is_full)
    }

    /// Closes one, if that leaves at least `rest`: the oldest stranger, else the one that has been silent for longest.
    fn make_room(&self, rest: usize) -> bool {
        let now = self.now();
        let mut all = lock(&self.open);
        if all.len() <= rest {
            return false;
        }
        // Numbers rise with time.
        let stranger = all.iter().find(|(_, open)| !open.is_let_in() && !open.is_busy()).map(|(number, _)| *number);
        let silent = || {
            let spared = millis(self.limits.spared);
            let silent = all.iter().filter(|(_, open)| !open.is_busy() && open.last().saturating_add(spared) <= now);
            silent.min_by_key(|(_, open)| open.last()).map(|(number, _)| *number)
        };
        match stranger.or_else(silent).and_then(|number| all.remove(&number)) {
            Some(open) => {
                open.close();
                true
            }
            None => false,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Open {
    fn is_let_in(&self) -> bool {
        self.is_let_in.load(Ordering::Relaxed)
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Returns its descriptor at once, and notifies the waiter.
    fn close(&self) {
        let mut stream = lock(&self.stream);
        let (connection, reader, writer) = (stream.connection.take(), stream.reader.take(), stream.writer.take());
        drop(stream);
        drop(connection);
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }
}

/// A place at a port, returned when its last owner is dropped.
struct Seat {
    number: u64,
    open: Arc<Open>,
    port: Arc<Port>,
}

impl Seat {
    fn touch(&self) {
        self.open.last.store(self.port.now(), Ordering::Relaxed);
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.0.open.close();
        lock(&self.0.port.open).remove(&self.0.number);
    }
}

/// A connection of a port with limits.
pub struct Limited(Arc<Seat>);

/// Who is at the other end of a connection, for code that authenticates. Cheap to clone.
#[derive(Clone)]
pub struct Visitor(Arc<Seat>);

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visitor({})", self.0.number)
    }
}

impl Visitor {
    /// No stranger any more: what it asked for was let in.
    pub fn let_in(&self) {
        self.0.touch();
        self.0.open.is_let_in.store(true, Ordering::Relaxed);
    }

    /// It has sent a request: until the answer is sent, it is not replaced.
    pub fn asks(&self) -> Asking {
        self.0.open.busy.fetch_add(1, Ordering::Relaxed);
        Asking(self.0.clone())
    }
}

/// A request that is being worked on.
pub struct Asking(Arc<Seat>);

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asking({})", self.0.number)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.touch();
        self.0.open.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limited {
    /// Who is at the other end.
    pub fn visitor(&self) -> Visitor {
        Visitor(self.0.clone())
    }

    /// What `poll` says of the bytes; an error when the connection was closed to make room or because its time was over.
    fn with<T>(
        &self,
        waker: fn(&mut Stream) -> &mut Option<Waker>,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut BoxConnection>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut stream = lock(&self.0.open.stream);
        let Some(connection) = &mut stream.connection else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed: no request came")));
        };
        let polled = poll(Pin::new(connection), context);
        let waiting = waker(&mut stream);
        if polled.is_pending() && !waiting.as_ref().is_some_and(|waiting| waiting.will_wake(context.waker())) {
            *waiting = Some(context.waker().clone());
        }
        polled
    }

    fn written(&self, polled: &Poll<io::Result<usize>>) {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.0.touch();
        }
    }
}

impl AsyncRead for Limited {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| &mut stream.reader, context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Limited {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled =
            self.with(|stream| &mut stream.writer, context, |stream, context| stream.poll_write(context, bytes));
        self.written(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write =
            |stream: Pin<&mut BoxConnection>, context: &mut Context<'_>| stream.poll_write_vectored(context, bytes);
        let polled = self.with(|stream| &mut stream.writer, context, write);
        self.written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0.open.stream).connection.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| &mut stream.writer, context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| &mut stream.writer, context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
