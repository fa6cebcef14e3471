//! Asks an HTTP port of this machine: one request a connection, and nothing that a library would be needed for.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// As in `200`.
    pub status: u16,
    /// What it says.
    pub body: String,
}

/// `GET path` from `host:port`.
///
/// # Errors
/// When nobody answers in time, or it is no HTTP.
pub fn get(address: &str, path: &str) -> Result<Answer> {
    let socket: SocketAddr = address.parse().with_context(|| format!("'{address}' is no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&socket, CONNECT_TIMEOUT).with_context(|| format!("cannot reach {address}"))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("no answer from {address}{path}"))?;
    let text =
        String::from_utf8(bytes).with_context(|| format!("{address}{path} answers with something else than text"))?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("{address}{path} does not speak HTTP: {text}") };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.with_context(|| format!("no status: {head}"))?, body: body.into() })
}

/// The JSON at a path.
///
/// # Errors
/// When it is not there.
pub fn json(address: &str, path: &str) -> Result<Value> {
    let answer = get(address, path)?;
    ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).with_context(|| format!("{path} is no JSON: {}", answer.body))
}

/// Asks for everything that the port serves.
///
/// # Errors
/// When any of it is not served, or not what it should be.
pub fn probe(address: &str) -> Result<()> {
    let page = get(address, "/")?;
    ensure!(page.status == 200 && page.body.contains("<html"), "the page: {} {}", page.status, page.body);
    let metrics = get(address, "/metrics")?;
    ensure!(metrics.status == 200 && metrics.body.contains("# TYPE weir_"), "metrics: {metrics:?}");
    ensure!(json(address, "/api/v1/openapi.json")?["openapi"].is_string(), "the OpenAPI document has no version");
    ensure!(json(address, "/api/v1/cluster")?["coordinator"].is_object(), "the cluster has no coordinator");
    Ok(())
}
