//! Asks an HTTP port of this machine, many times over one connection, so that what is measured is the answer.

use crate::child;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, and how long it took.
#[derive(Debug)]
pub struct Answer {
    /// As in `200`.
    pub status: u16,
    /// What it says.
    pub body: Vec<u8>,
    /// From before the question was sent to after the last byte of the answer.
    pub milliseconds: f64,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to `host:port`.
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { address: address.into(), stream: BufReader::new(stream) })
    }

    /// `GET path`.
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        let begun = child::now();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let first = self.line(path)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{path}: no status in '{first}'"))?;
        let mut length = 0;
        loop {
            let header = self.line(path)?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            ensure!(!header.starts_with("transfer-encoding"), "{path}: an answer without its length");
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().with_context(|| format!("{path}: '{header}'"))?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).with_context(|| format!("{path}: half an answer"))?;
        Ok(Answer { status, body, milliseconds: (child::now() - begun).as_secs_f64() * 1e3 })
    }

    /// The JSON at a path, which must be there, and how many milliseconds it took.
    pub fn json(&mut self, path: &str) -> Result<(Value, f64)> {
        let answer = self.get(path)?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok((serde_json::from_slice(&answer.body).with_context(|| format!("{path} is no JSON"))?, answer.milliseconds))
    }

    fn line(&mut self, path: &str) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).with_context(|| format!("{path}: no answer"))?;
        ensure!(!line.is_empty(), "{path}: the connection was closed");
        Ok(line.trim_end().into())
    }
}

/// An address that nobody listens on.
pub fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_has_many_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = BufReader::new(stream.try_clone().unwrap());
            for status in ["200 OK", "503 Service Unavailable"] {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    asked.read_line(&mut line).unwrap();
                }
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\n{{\"a\": 12}}").unwrap();
            }
        });
        let mut client = Client::connect(&address).unwrap();
        assert_eq!(client.json("/a").unwrap().0["a"], 12);
        let answer = client.get("/a").unwrap();
        assert_eq!((answer.status, answer.body.len()), (503, 9));
        server.join().unwrap();
        assert!(client.get("/a").is_err(), "the server is gone");
    }
}
