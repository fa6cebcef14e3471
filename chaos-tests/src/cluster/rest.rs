//! Asks an HTTP port of this machine: one request a connection, and nothing that a library would be needed for.

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_proto::net::TcpNetwork;
use weir_tls::{Tls, TlsFiles};

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

/// A port.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// What it takes to speak TLS with it.
    pub tls: Option<&'a TlsFiles>,
    /// What is shown; empty: nothing.
    pub secret: &'a str,
}

impl<'a> Port<'a> {
    /// One without TLS, where nothing is shown.
    pub fn plain(address: &'a str) -> Self {
        Port { address, tls: None, secret: "" }
    }
}

/// `GET path` from a port.
///
/// # Errors
/// When nobody answers in time, or it is no HTTP.
pub fn get(port: &Port<'_>, path: &str) -> Result<Answer> {
    let address = port.address;
    let shown =
        if port.secret.is_empty() { String::new() } else { format!("Authorization: Bearer {}\r\n", port.secret) };
    let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n{shown}\r\n");
    let bytes = match port.tls {
        None => exchange(address, &question),
        Some(files) => exchange_encrypted(files, address, &question),
    };
    let bytes = bytes.with_context(|| format!("no answer from {address}{path}"))?;
    let text =
        String::from_utf8(bytes).with_context(|| format!("{address}{path} answers with something else than text"))?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("{address}{path} does not speak HTTP: {text}") };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.with_context(|| format!("no status: {head}"))?, body: body.into() })
}

fn exchange(address: &str, question: &str) -> Result<Vec<u8>> {
    let socket: SocketAddr = address.parse().with_context(|| format!("'{address}' is no address"))?;
    let mut stream =
        TcpStream::connect_timeout(&socket, CONNECT_TIMEOUT).with_context(|| format!("cannot reach {address}"))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(question.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn exchange_encrypted(files: &TlsFiles, address: &str, question: &str) -> Result<Vec<u8>> {
    let network = Tls::load(files.clone()).map_err(|error| anyhow!("{error}"))?.network(Arc::new(TcpNetwork));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let mut connection = network.connect(address).await?;
        connection.write_all(question.as_bytes()).await?;
        connection.flush().await?;
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, asked).await })?
}

/// The JSON at a path.
///
/// # Errors
/// When it is not there.
pub fn json(port: &Port<'_>, path: &str) -> Result<Value> {
    let answer = get(port, path)?;
    ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
    serde_json::from_str(&answer.body).with_context(|| format!("{path} is no JSON: {}", answer.body))
}

/// Asks for everything that the port serves.
///
/// # Errors
/// When any of it is not served, or not what it should be.
pub fn probe(port: &Port<'_>) -> Result<()> {
    let page = get(port, "/")?;
    ensure!(page.status == 200 && page.body.contains("<html"), "the page: {} {}", page.status, page.body);
    let metrics = get(port, "/metrics")?;
    ensure!(metrics.status == 200 && metrics.body.contains("# TYPE weir_"), "metrics: {metrics:?}");
    ensure!(json(port, "/api/v1/openapi.json")?["openapi"].is_string(), "the OpenAPI document has no version");
    ensure!(json(port, "/api/v1/cluster")?["coordinator"].is_object(), "the cluster has no coordinator");
    Ok(())
}
