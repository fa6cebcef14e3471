//! Object storage behind a URL, with its settings from the environment.
//!
//! The library keeps to itself with which status a server has answered, where it has no error of its own for that: it has failed,
//! was asked too much, has no such bucket, refuses listings. Here such an answer is an error of a type of its own
//! ([`Answered`]), so that [`availability`](crate::availability) can tell who refuses from who is away. Who waits for
//! one that is away is [`patient_store`](crate::patient_store).

use async_trait::async_trait;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
    path::Path,
};
use std::{fmt, sync::Arc, time::Duration};
use url::Url;

/// How much of a server's answer is reported.
const LONGEST_ANSWER: usize = 300;

/// Settings of S3: `AWS_…` of the environment.
pub fn environment() -> Vec<(String, String)> {
    let named = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
    named.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

/// Opens the storage that a URL is in, with these settings; and where in it.
///
/// # Errors
/// When the URL or a setting is wrong. No server is asked.
pub fn open(url: &Url, settings: Vec<(String, String)>) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    opened(url, settings, RetryConfig::default())
}

/// The same for whoever repeats requests himself, and wants to know soon that he has to.
///
/// # Errors
/// When the URL or a setting is wrong. No server is asked.
pub fn open_with_few_retries(
    url: &Url,
    settings: Vec<(String, String)>,
) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
    opened(url, settings, RetryConfig { backoff, max_retries: 4, retry_timeout: Duration::from_secs(30) })
}

fn opened(
    url: &Url,
    settings: Vec<(String, String)>,
    retries: RetryConfig,
) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    match ObjectStoreScheme::parse(url)? {
        (ObjectStoreScheme::AmazonS3, path) => {
            Ok((Arc::new(configured(url.as_str(), settings).with_retry(retries).build()?), path))
        }
        _ => object_store::parse_url_opts(url, settings).map(|(store, path)| (Arc::from(store), path)),
    }
}

/// The same by a client that repeats the requests of an upload for as long as it takes: nobody else can repeat a part of one.
///
/// # Errors
/// When the URL or a setting is wrong. No server is asked.
pub fn open_for_uploads(
    url: &Url,
    settings: Vec<(String, String)>,
) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    opened(url, settings, RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: Duration::MAX })
}

/// Opens the bucket of a URL, with these settings.
///
/// # Errors
/// When the URL or a setting is wrong. No server is asked.
pub fn s3(url: &str, settings: Vec<(String, String)>) -> object_store::Result<AmazonS3> {
    configured(url, settings).build()
}

fn configured(url: &str, settings: Vec<(String, String)>) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new().with_url(url).with_http_connector(TellingConnector);
    for (name, value) in settings {
        // There are settings that are not the library's.
        if let Ok(name) = name.parse() {
            builder = builder.with_config(name, value);
        }
    }
    builder
}

/// A server's answer that it has not done what it was asked.
#[derive(Debug)]
pub struct Answered {
    /// The status of HTTP.
    pub status: u16,
    /// What the server said.
    pub said: String,
}

impl Answered {
    /// Whether it may answer otherwise when it is asked again: it has failed, or was asked too much.
    pub fn passes(&self) -> bool {
        passes(self.status)
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answered with status {}", self.status)?;
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

impl std::error::Error for Answered {}

fn passes(status: u16) -> bool {
    // 501: it does not know how to, and never will.
    matches!(status, 408 | 429 | 500..=599) && status != 501
}

#[derive(Debug)]
struct TellingConnector;

impl HttpConnector for TellingConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(TellingService(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct TellingService(HttpClient);

#[async_trait]
impl HttpService for TellingService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_list = request.method().as_str() == "GET"
            && request.uri().query().is_some_and(|query| query.contains("list-type="));
        let response = self.0.execute(request).await?;
        let status = response.status().as_u16();
        if !is_ours(status, is_list) {
            return Ok(response);
        }
        let body = response.into_body().bytes().await?;
        let said = told(&String::from_utf8_lossy(&body));
        // The library tries again after an error of this kind, as after such a status; and not after the other.
        let kind = if passes(status) { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
        Err(HttpError::new(kind, Answered { status, said }))
    }
}

/// Whether an answer is one that the library has no error for.
fn is_ours(status: u16, is_list: bool) -> bool {
    match status {
        304 => false,
        // Of an object; of a list it has none.
        401 | 403 | 404 | 409 | 412 => is_list,
        300..600 => true,
        _ => false,
    }
}

/// Code and message of an answer in XML, or the answer.
fn told(answer: &str) -> String {
    let of = |tag: &str| {
        let (_, from) = answer.split_once(&format!("<{tag}>"))?;
        from.split_once(&format!("</{tag}>")).map(|(text, _)| text)
    };
    let told = match (of("Code"), of("Message")) {
        (Some(code), Some(message)) => format!("{code}, {message}"),
        (Some(code), None) => code.to_owned(),
        _ => answer.to_owned(),
    };
    told.chars().take(LONGEST_ANSWER).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{EngineError, ErrorKind};
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A server that has one answer to everything; where it is.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4096]).await;
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}")
    }

    fn bucket(endpoint: &str) -> AmazonS3 {
        let retry = RetryConfig {
            max_retries: 1,
            backoff: BackoffConfig { init_backoff: Duration::from_millis(1), ..BackoffConfig::default() },
            ..RetryConfig::default()
        };
        AmazonS3Builder::new()
            .with_url("s3://bucket/")
            .with_http_connector(TellingConnector)
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_access_key_id("id")
            .with_secret_access_key("secret")
            .with_retry(retry)
            .build()
            .unwrap()
    }

    async fn listed(endpoint: &str) -> EngineError {
        bucket(endpoint).list(None).try_collect::<Vec<_>>().await.unwrap_err().into()
    }

    async fn read(endpoint: &str) -> EngineError {
        bucket(endpoint).get(&Path::from("a")).await.unwrap_err().into()
    }

    #[tokio::test]
    async fn a_server_that_refuses_says_why_and_is_not_waited_for() {
        let body = "<Error><Code>NoSuchBucket</Code><Message>there is none</Message></Error>";
        let no_bucket = server(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 72\r\nConnection: close\r\n\r\n<Error><Code>NoSuchBucket</Code><Message>there is none</Message></Error>",
        );
        assert_eq!(body.len(), 72);
        let error = listed(&no_bucket.await).await;
        assert_eq!(error.kind, ErrorKind::Io, "{error}");
        assert!(error.message.contains("404: NoSuchBucket, there is none"), "{error}");
        for answer in [
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 501 What\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ] {
            let endpoint = server(answer).await;
            assert_eq!(listed(&endpoint).await.kind, ErrorKind::Io, "{answer}");
            assert_eq!(read(&endpoint).await.kind, ErrorKind::Io, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_or_overloaded_is_waited_for() {
        for answer in [
            "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            // No HTTP, and hardly begun.
            "no",
        ] {
            let endpoint = server(answer).await;
            assert_eq!(listed(&endpoint).await.kind, ErrorKind::Unavailable, "{answer}");
            assert_eq!(read(&endpoint).await.kind, ErrorKind::Unavailable, "{answer}");
        }
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = listed(&format!("http://{free}")).await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
}
