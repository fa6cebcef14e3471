//! A web server of this machine that notes what is posted to it, and answers as a test says.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// What was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The method and the path, as in `POST /hooks`.
    pub request: String,
    /// The headers, by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status, further headers (each line ends with `\r\n`), and a body.
    Status(u16, String, String),
    /// Nothing: the connection is closed.
    None,
}

impl Answer {
    /// A status alone.
    pub fn of(status: u16) -> Self {
        Answer::Status(status, String::new(), String::new())
    }
}

type Judge = dyn Fn(&Posted) -> Answer + Send + Sync;

struct State {
    posted: Vec<(Posted, Answer)>,
    judge: Arc<Judge>,
}

/// A server that answers until it is dropped.
pub struct WebServer {
    address: String,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl WebServer {
    /// One that answers everything with 200.
    pub fn start() -> Self {
        WebServer::at("127.0.0.1:0")
    }

    /// The same at an address of this machine.
    pub fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("a socket");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(Mutex::new(State { posted: Vec::new(), judge: Arc::new(|_| Answer::of(200)) }));
        let ended = Arc::new(AtomicBool::new(false));
        let (served, end) = (Arc::clone(&state), Arc::clone(&ended));
        let listening = std::thread::spawn(move || {
            for socket in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(socket), state) = (socket, Arc::clone(&served)) else { continue };
                std::thread::spawn(move || serve(socket, &state));
            }
        });
        WebServer { address, state, ended, listening: Some(listening) }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Answers so from now on.
    pub fn answer(&self, judge: impl Fn(&Posted) -> Answer + Send + Sync + 'static) {
        lock(&self.state).judge = Arc::new(judge);
    }

    /// All that was posted so far, in its order, and what was answered.
    pub fn posted(&self) -> Vec<(Posted, Answer)> {
        lock(&self.state).posted.clone()
    }

    /// What was posted and answered with a success.
    pub fn taken(&self) -> Vec<Posted> {
        let is_taken = |answer: &Answer| matches!(answer, Answer::Status(200..=299, ..));
        self.posted().into_iter().filter(|(_, answer)| is_taken(answer)).map(|(posted, _)| posted).collect()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(&self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request, and the end of the connection.
fn serve(mut socket: TcpStream, state: &Mutex<State>) {
    let Some(posted) = read(&socket) else { return };
    let judge = Arc::clone(&lock(state).judge);
    let answer = judge(&posted);
    lock(state).posted.push((posted, answer.clone()));
    if let Answer::Status(status, headers, body) = answer {
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        let _ = socket.write_all(text.as_bytes());
    }
}

fn read(socket: &TcpStream) -> Option<Posted> {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    let mut next = |reader: &mut BufReader<&TcpStream>| {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let request = next(&mut reader)?;
    let mut headers = BTreeMap::new();
    while let Some(header) = next(&mut reader).filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request = request.rsplit_once(' ').map_or(request.as_str(), |(request, _)| request).to_owned();
    Some(Posted { request, headers, body: String::from_utf8(body).ok()? })
}
