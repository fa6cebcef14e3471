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
    /// The schemas of each subject, with their numbers.
    subjects: HashMap<String, Vec<(u32, String)>>,
    /// The path of each request, and who asked.
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
                while !is_whole(&request) {
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
        self.state.lock().subjects.entry(subject.to_owned()).or_default().push((id, schema.to_owned()));
        self.set(&format!("/subjects/{subject}/versions/latest"), 200, body);
    }

    /// What it was told to keep under a number.
    pub(crate) fn schema(&self, id: u32) -> String {
        let state = self.state.lock();
        let kept = state.subjects.values().flatten().find(|(kept, _)| *kept == id);
        kept.map(|(_, schema)| schema.clone()).expect("a schema")
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

/// Whether all of a request is there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}

/// What a registry answers who tells it a schema: the number that it has, or gets where it is to be kept.
fn told(state: &mut State, path: &str, request: &str) -> Option<(u16, String)> {
    let mut parts = path.strip_prefix("/subjects/")?.split('/');
    let (subject, keep) = (parts.next()?, parts.next() == Some("versions"));
    let body: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n")?.1).ok()?;
    let schema = body["schema"].as_str()?;
    let schemas = state.subjects.entry(subject.to_owned()).or_default();
    let known = schemas.iter().find(|(_, known)| known == schema).map(|(id, _)| *id);
    let id = match known {
        Some(id) => id,
        None if keep => {
            let id = 100 + schemas.len() as u32;
            schemas.push((id, schema.to_owned()));
            let body = serde_json::json!({ "id": id, "schema": schema }).to_string();
            state.answers.insert(format!("/schemas/ids/{id}"), (200, body));
            id
        }
        None => return None,
    };
    Some((200, serde_json::json!({ "id": id }).to_string()))
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
        None if request.starts_with("POST ") => {
            let fixed = state.answers.get(&path).cloned();
            fixed.or_else(|| told(&mut state, &path, request)).unwrap_or(not_found)
        }
        None => state.answers.get(&path).cloned().unwrap_or(not_found),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n\r\n{body}"
    )
}
