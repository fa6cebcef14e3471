//! An HTTP service: a `GET` for each key, to a URL with the key in it. The answer is a JSON object, or that there is none.
//!
//! Invariant: no value leads elsewhere. It stands where a definition puts it, escaped, and never makes the path another one.

use super::{
    LookupConfig,
    patience::{Patience, Trouble},
};
use crate::{
    confinement::{Location, Place},
    definition::{KeyPath, Mistake},
    format::settings::{Format, FormatSettings},
    lookup::answer::{Told, answer_of},
    sink::http::{
        answer::{Answer, judge},
        client::{beginning, cause_of},
        headers,
    },
    source::column_type::DeclaredSchema,
};
use arrow::{
    array::{ArrayRef, RecordBatch},
    util::display::array_value_to_string,
};
use futures::{FutureExt, future::BoxFuture};
use reqwest::{Client, Response, redirect::Policy};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};
use url::Url;
use weir_engine::{
    EngineError, Result,
    hidden::{Hidden, without_password},
    operator::LookupService,
    secrets::{self, Reference, SecretMistake},
};

/// An answer of more bytes is none.
const MOST_BYTES: usize = 1 << 20;

/// An HTTP service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLookup {
    /// Where it is asked about a key: `{column}` stands for a value. Secrets are references.
    pub url: Hidden<String>,
    /// Headers of each request; secrets are references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Hidden<String>>,
}

/// A part of a URL.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Plain(&'a str),
    Column(&'a str),
}

/// The parts of a URL. What stands in braces behind a `$` is a reference to a secret, and no column.
fn parts(url: &str) -> Vec<Part<'_>> {
    let (mut parts, mut plain, mut at) = (Vec::new(), 0, 0);
    while let Some(open) = url[at..].find('{').map(|open| at + open) {
        let Some(close) = url[open..].find('}').map(|close| open + close) else { break };
        at = close + 1;
        if url[..open].ends_with('$') {
            continue;
        }
        parts.push(Part::Plain(&url[plain..open]));
        parts.push(Part::Column(&url[open + 1..close]));
        plain = at;
    }
    parts.push(Part::Plain(&url[plain..]));
    parts
}

impl HttpLookup {
    /// The columns in the URL, each once.
    pub(crate) fn key(&self) -> Vec<String> {
        let mut key: Vec<String> = Vec::new();
        for part in parts(&self.url) {
            if let Part::Column(name) = part
                && !key.iter().any(|known| known == name)
            {
                key.push(name.to_owned());
            }
        }
        key
    }

    /// What is wrong with the URL, as far as that is known without secrets and values.
    pub(crate) fn check_url(&self) -> Result<(), SecretMistake> {
        let wrong = |message: &str| SecretMistake {
            message: message.to_owned(),
            expected: Some("such as \"https://ads.internal/ads/{ad_id}\"".to_owned()),
        };
        secrets::references(&self.url)?;
        if self.key().is_empty() {
            return Err(wrong("no column stands in it, so that the answer would be the same for all rows"));
        }
        let (first, second) = (self.with(|_| "x".to_owned()), self.with(|_| "y".to_owned()));
        let known = |text: &str| secrets::replaced(text, "x").ok().and_then(|text| Url::parse(&text).ok());
        let (Some(first), Some(second)) = (known(&first), known(&second)) else {
            // All of it, or its beginning, is a secret.
            return if self.url.starts_with("${") { Ok(()) } else { Err(wrong("this is no URL")) };
        };
        if !matches!(first.scheme(), "http" | "https") || first.host_str().is_none_or(str::is_empty) {
            return Err(wrong("only http and https are spoken"));
        }
        if !first.username().is_empty() || first.password().is_some() {
            return Err(wrong("a user and a password go into the header `Authorization`"));
        }
        if (first.host_str(), first.port()) != (second.host_str(), second.port()) || first.fragment().is_some() {
            return Err(wrong("a column can only stand in the path or behind the `?`"));
        }
        Ok(())
    }

    /// The URL with something for each column.
    fn with(&self, value: impl Fn(&str) -> String) -> String {
        let part = |part| match part {
            Part::Plain(plain) => plain.to_owned(),
            Part::Column(name) => value(name),
        };
        parts(&self.url).into_iter().map(part).collect()
    }

    pub(super) fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if !runs_here {
            return;
        }
        let mut note = |place: KeyPath, missing: SecretMistake| {
            let mistake = Mistake::new(place, missing.message);
            mistakes.push(match missing.expected {
                None => mistake,
                Some(expected) => mistake.expected(expected),
            });
        };
        if let Err(missing) = secrets::resolve(&self.with(|_| "x".to_owned())) {
            note(at.key("url"), missing);
        }
        for (name, text) in &self.headers {
            if let Err(missing) = secrets::resolve_plain(text) {
                note(at.key(headers::KEY).key(name), missing);
            }
        }
    }

    /// Where it leads: what stands before the first value, and files with secrets.
    pub(super) fn locations(&self) -> Result<Vec<Location>> {
        let wrong = |mistake: SecretMistake| EngineError::definition(format!("`url`: {mistake}"));
        self.check_url().map_err(wrong)?;
        // What a reference stands for is not known here. In a path it leads nowhere else; a host that begins like this is never
        // allowed by name.
        let shown = secrets::replaced(&self.with(|_| "*".to_owned()), "%00").map_err(wrong)?;
        let place = match Url::parse(&shown) {
            Ok(url) => Place::of_url(&url),
            Err(_) => Place::url("https", "?url", ""),
        };
        let mut locations = vec![Location { key: "url", place }];
        let headers = self.headers.values().map(|text| (headers::KEY, text));
        for (key, text) in std::iter::once(("url", &self.url)).chain(headers) {
            for reference in secrets::references(text).map_err(wrong)? {
                if let Reference::File(path) = reference {
                    locations.push(Location::path(key, path));
                }
            }
        }
        Ok(locations)
    }

    pub(super) fn note(&self) -> String {
        without_password(&self.url)
    }

    /// The URL for a key, with the secrets that this process has now.
    pub(super) fn url_of(&self, keys: &RecordBatch, row: usize) -> Result<Url, Trouble> {
        let lasting =
            |why: String| Trouble::Lasting(EngineError::definition(format!("`url` '{}': {why}", self.note())));
        let columns: BTreeMap<&str, String> = (keys.schema_ref().fields().iter().zip(keys.columns()))
            .map(|(field, column)| (field.name().as_str(), text_of(column, row)))
            .collect();
        let text = self.with(|name| escaped(columns.get(name).map_or("", String::as_str)));
        let text = secrets::resolve(&text).map_err(|mistake| lasting(mistake.to_string()))?;
        let url = Url::parse(&text).map_err(|error| lasting(format!("this is no URL: {error}")))?;
        // `..` as a value would lead elsewhere, and an empty one to what is above.
        let plain = secrets::resolve(&self.with(|_| "x".to_owned())).map_err(|mistake| lasting(mistake.to_string()))?;
        let plain = Url::parse(&plain).map_err(|error| lasting(format!("this is no URL: {error}")))?;
        let parts = |url: &Url| url.path().split('/').map(str::is_empty).collect::<Vec<_>>();
        if parts(&url) != parts(&plain) {
            return Err(Trouble::Refused("such a value cannot stand in a URL".to_owned()));
        }
        Ok(url)
    }
}

fn text_of(column: &ArrayRef, row: usize) -> String {
    array_value_to_string(column, row).unwrap_or_default()
}

/// A value as a part of a URL.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into memory does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Asks an HTTP service. Redirects are not followed, so that nothing but the definition's own place is spoken to.
pub(super) struct HttpService(Arc<Server>);

struct Server {
    lookup: HttpLookup,
    columns: DeclaredSchema,
    format: FormatSettings,
    client: Client,
    patience: Patience,
}

impl HttpService {
    pub fn new(lookup: &HttpLookup, config: &LookupConfig, patience: Patience) -> Result<Self> {
        let wrong = |why: String| EngineError::definition(format!("HTTP lookup: {why}"));
        lookup.check_url().map_err(|mistake| wrong(mistake.to_string()))?;
        secrets::resolve(&lookup.with(|_| "x".to_owned())).map_err(|mistake| wrong(mistake.to_string()))?;
        headers::resolved(&lookup.headers)?;
        let timeout = Duration::from_millis(config.timeout_ms);
        let client = Client::builder().timeout(timeout).connect_timeout(timeout).redirect(Policy::none());
        let client = client.user_agent(concat!("weir/", env!("CARGO_PKG_VERSION"))).build();
        Ok(HttpService(Arc::new(Server {
            lookup: lookup.clone(),
            columns: config.columns.clone(),
            format: Format::Json { schema: config.columns.clone() }.into(),
            client: client.map_err(|error| wrong(error.to_string()))?,
            patience,
        })))
    }
}

impl LookupService for HttpService {
    fn ask(&self, keys: RecordBatch) -> BoxFuture<'static, Result<RecordBatch>> {
        let server = self.0.clone();
        async move { server.answer(&keys).await }.boxed()
    }
}

/// What the server says about a key.
enum Body {
    Object(Vec<u8>),
    Nothing,
}

impl Server {
    async fn answer(&self, keys: &RecordBatch) -> Result<RecordBatch> {
        let nothing = RecordBatch::new_empty(self.columns.arrow_schema());
        let mut told = Vec::with_capacity(keys.num_rows());
        let mut values = vec![nothing.clone()];
        let mut found = 0;
        for row in 0..keys.num_rows() {
            told.push(match self.patience.ask(|| self.patience.in_time(self.ask(keys, row))).await? {
                Err(reason) => Told::Failed(reason),
                Ok(Body::Nothing) => Told::Missing,
                Ok(Body::Object(body)) => match self.read(&body).await? {
                    Err(reason) => Told::Failed(format!("the answer is not what is expected: {reason}")),
                    Ok(object) => {
                        values.push(object);
                        found += 1;
                        Told::Found(found - 1)
                    }
                },
            });
        }
        answer_of(&told, &arrow::compute::concat_batches(nothing.schema_ref(), &values)?)
    }

    async fn ask(&self, keys: &RecordBatch, row: usize) -> Result<Body, Trouble> {
        let url = self.lookup.url_of(keys, row)?;
        let headers = headers::resolved(&self.lookup.headers).map_err(Trouble::Lasting)?;
        let request = self.client.get(url).header("accept", "application/json").headers(headers);
        let response = request.send().await.map_err(|error| Trouble::passing(cause_of(&error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        match status.as_u16() {
            204 | 404 | 410 => return Ok(Body::Nothing),
            200..=299 => return body_of(response).await,
            _ => {}
        }
        let told = beginning(response).await;
        Err(match judge(status, &headers, &told, self.patience.env.wall_clock_ms()) {
            Answer::Refused(cause) => Trouble::Refused(cause),
            Answer::Later { cause, after } => Trouble::Passing { cause, after },
            Answer::InWork(cause) => Trouble::passing(cause),
            Answer::Taken => Trouble::Refused(format!("it answers {status}")),
        })
    }

    /// The object as a row, or what is wrong with it.
    async fn read(&self, body: &[u8]) -> Result<Result<RecordBatch, String>> {
        let names: Vec<String> = self.columns.columns.iter().map(|column| column.name.clone()).collect();
        let mut decoder = self.format.messages(&names, &self.patience.env)?.decoder()?;
        decoder.push(body, 0);
        let decoded = decoder.finish().await?;
        Ok(match decoded.bad_lines.into_iter().next() {
            Some(bad) => Err(bad.reason),
            None => Ok(decoded.records),
        })
    }
}

async fn body_of(mut response: Response) -> Result<Body, Trouble> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| Trouble::passing(cause_of(&error)))? {
        body.extend_from_slice(&piece);
        if body.len() > MOST_BYTES {
            return Err(Trouble::Refused(format!("it answers with more than {MOST_BYTES} bytes")));
        }
    }
    let text = body.trim_ascii();
    Ok(if text.is_empty() || text == b"null" { Body::Nothing } else { Body::Object(text.to_vec()) })
}
