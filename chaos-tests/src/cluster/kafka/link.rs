//! The only way from workers to the broker: what it carries can be held back, or cut off, while everything else is well. The broker
//! tells clients that come this way of no other.
//!
//! Invariant: what is held back arrives when the link is mended, however late, and in order; or its connection has ended.

use super::super::waiting::pause;
use anyhow::{Context, Result};
use parking_lot::{Condvar, Mutex};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

/// How often an idle connection looks whether it is to end, and the listener whether somebody comes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a link can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing arrives on either side, and connections stay.
    Silent,
    /// What workers send arrives; no answer comes back, and connections stay.
    NoAnswers,
    /// Connections end, and so do new ones.
    Closed,
}

/// Carries connections for as long as it is there.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The broker's port.
    to: u16,
}

#[derive(Debug, Default)]
struct State {
    cut: Option<Cut>,
    /// Connections of an earlier one end.
    generation: u64,
    open: usize,
    is_over: bool,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    ToBroker,
    ToWorker,
}

impl Link {
    /// From a port to the broker's, both on this machine.
    ///
    /// # Errors
    /// When somebody else has the port.
    pub fn begin(listen: u16, to: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen)).with_context(|| format!("port {listen}"))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), to });
        let listening = std::thread::spawn({
            let shared = shared.clone();
            move || shared.listen(&listener)
        });
        Ok(Link { shared, listening: Some(listening) })
    }

    /// Cuts it. How many connections that hits.
    pub fn cut(&self, cut: Cut) -> usize {
        let mut state = self.shared.state.lock();
        state.cut = Some(cut);
        if cut == Cut::Closed {
            state.generation += 1;
        }
        state.open
    }

    /// Mends it. What was held back arrives now; or its connections end, and it never does.
    pub fn mend(&self, arrives: bool) {
        let mut state = self.shared.state.lock();
        state.cut = None;
        if !arrives {
            state.generation += 1;
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.state.lock().is_over = true;
        self.shared.changed.notify_all();
        if let Some(listening) = self.listening.take() {
            // It ends without a word, whatever has become of it.
            let _ = listening.join();
        }
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        while !self.state.lock().is_over {
            match listener.accept() {
                // Whoever comes while the broker is away, or while the link is closed, is sent away.
                Ok((worker, _)) => {
                    let _ = self.connect(worker);
                }
                Err(_) => pause(LOOK_EVERY),
            }
        }
    }

    fn connect(self: &Arc<Self>, worker: TcpStream) -> Result<()> {
        let born = {
            let state = self.state.lock();
            anyhow::ensure!(state.cut != Some(Cut::Closed), "the link is closed");
            state.generation
        };
        let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to))?;
        for stream in [&worker, &broker] {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LOOK_EVERY))?;
        }
        let ways = [(Way::ToBroker, worker.try_clone()?, broker.try_clone()?), (Way::ToWorker, broker, worker)];
        self.state.lock().open += 1;
        for (way, from, to) in ways {
            let shared = self.clone();
            std::thread::spawn(move || {
                shared.carry(way, born, &from, &to);
                // The other way ends with this one.
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                if way == Way::ToBroker {
                    shared.state.lock().open -= 1;
                }
            });
        }
        Ok(())
    }

    /// Carries bytes until one side ends.
    fn carry(&self, way: Way, born: u64, mut from: &TcpStream, mut to: &TcpStream) {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = match from.read(&mut bytes) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
                Err(_) => return,
            };
            if !self.may_pass(way, born) || to.write_all(&bytes[..read]).is_err() {
                return;
            }
        }
    }

    /// Waits for as long as nothing gets through. `false`: the connection is over.
    fn may_pass(&self, way: Way, born: u64) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.is_over || state.generation != born {
                return false;
            }
            match state.cut {
                Some(Cut::Silent) => {}
                Some(Cut::NoAnswers) if way == Way::ToWorker => {}
                _ => return true,
            }
            self.changed.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that answers each byte with the same one, and a link to it.
    fn echoing() -> (Link, u16) {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = broker.local_addr().unwrap().port();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = broker.accept() {
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        (Link::begin(free, to).unwrap(), free)
    }

    fn connect(port: u16) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        stream
    }

    /// What comes back; `None`: nothing for now; an error: the connection is over.
    fn read(mut stream: &TcpStream) -> Result<Option<u8>, ErrorKind> {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => Err(ErrorKind::UnexpectedEof),
            Ok(_) => Ok(Some(byte[0])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn what_is_held_back_arrives_when_the_link_is_mended() {
        let (link, port) = echoing();
        let mut stream = connect(port);
        stream.write_all(&[1]).unwrap();
        assert_eq!(read(&stream), Ok(Some(1)));
        for cut in [Cut::Silent, Cut::NoAnswers] {
            assert_eq!(link.cut(cut), 1);
            stream.write_all(&[2]).unwrap();
            assert_eq!(read(&stream), Ok(None), "{cut:?}");
            link.mend(true);
            assert_eq!(read(&stream), Ok(Some(2)), "{cut:?}");
        }
    }

    #[test]
    fn connections_end_when_they_are_closed_or_not_to_go_on() {
        let (link, port) = echoing();
        for (cut, arrives) in [(Cut::Silent, false), (Cut::NoAnswers, false), (Cut::Closed, true)] {
            let mut stream = connect(port);
            stream.write_all(&[1]).unwrap();
            assert_eq!(read(&stream), Ok(Some(1)));
            link.cut(cut);
            if cut == Cut::Closed {
                assert!(read(&stream).is_err());
                assert!(read(&connect(port)).is_err(), "a new one ends as well");
            }
            link.mend(arrives);
            assert!(read(&stream).is_err(), "{cut:?}");
        }
        let mut stream = connect(port);
        stream.write_all(&[3]).unwrap();
        assert_eq!(read(&stream), Ok(Some(3)), "it is mended");
    }
}
