//! A schema registry for tests: it speaks HTTP over a socket of this machine.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// A registry that answers until it is dropped.
pub(crate) struct TestRegistry {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Status and body, by path.
    answers: HashMap<String, (u16, String)>,
    /// The first line of each request, and who asked.
    asked: Vec<(String, Option<String>)>,
    /// All that is answered instead.
    failing: Option<u16>,
}

impl TestRegistry {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match socket.read(&mut piece).await {
                        Ok(0) | Err(_) => break,
                        Ok(read) => request.extend_from_slice(&piece[..read]),
                    }
                }
                let answer = answer(&served, &String::from_utf8_lossy(&request));
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        TestRegistry { url, state, task }
    }

    /// What is answered at a path.
    pub(crate) fn set(&self, path: &str, status: u16, body: impl Into<String>) {
        self.state.lock().answers.insert(path.to_owned(), (status, body.into()));
    }

    /// A schema by its number, and as the newest of a subject.
    pub(crate) fn add(&self, id: u32, subject: &str, schema: &str) {
        let body = serde_json::json!({ "subject": subject, "version": id, "id": id, "schema": schema }).to_string();
        self.set(&format!("/schemas/ids/{id}"), 200, body.clone());
        self.set(&format!("/subjects/{subject}/versions/latest"), 200, body);
    }

    /// Answers everything with a status from now on; none: as it should.
    pub(crate) fn fail(&self, status: Option<u16>) {
        self.state.lock().failing = status;
    }

    /// The paths that were asked for, and the `Authorization` of each.
    pub(crate) fn asked(&self) -> Vec<(String, Option<String>)> {
        self.state.lock().asked.clone()
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(state: &Mutex<State>, request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let access = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let mut state = state.lock();
    state.asked.push((path.clone(), access));
    let not_found = (404, "{\"error_code\":40403,\"message\":\"Schema not found\"}".to_owned());
    let (status, body) = match state.failing {
        Some(status) => (status, String::new()),
        None => state.answers.get(&path).cloned().unwrap_or(not_found),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n{body}"
    )
}
