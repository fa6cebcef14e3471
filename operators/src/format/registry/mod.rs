//! A schema registry, as Confluent's and those compatible with it answer: schemas by their numbers and by the subject that they
//! belong to. Nothing is written to it but the schema of a sink that says so.
//!
//! Invariant: a schema is fetched once and never changes. A registry that does not answer, or says that it can't now, is an error
//! that waiting heals; one that knows no such schema has answered. Redirects are not followed, so that nothing but the
//! registry's own place is asked.

pub mod framing;
mod settings;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

pub use settings::RegistrySettings;

use backon::Retryable;
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::HashMap, sync::Arc, time::Duration};
use url::Url;
use weir_engine::{
    env::Env,
    error::{EngineError, ErrorKind, Result},
    hidden::Hidden,
    retry, secrets,
};

/// How long one answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The first pause before it is asked again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// How often it is asked again before the job has to wait.
const RETRIES: usize = 4;
/// An answer of more bytes is none.
const MOST_BYTES: usize = 16 << 20;
/// Of a reason so many bytes are shown.
const SHOWN_BYTES: usize = 1_000;
/// In what it speaks.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A registry, and what it has answered.
pub struct SchemaRegistry {
    base: Url,
    access: Access,
    client: Client,
    env: Env,
    schemas: Mutex<HashMap<u32, Arc<str>>>,
}

enum Access {
    Open,
    Basic { user: String, password: Hidden<String> },
    Bearer(Hidden<String>),
}

/// What a registry knows of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A schema of Avro.
    Schema(Arc<str>),
    /// Nothing that is of use; why.
    None(String),
}

/// An answer.
#[derive(Deserialize)]
struct Answer {
    schema: String,
    /// Missing for Avro.
    #[serde(default, rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

/// What a registry answers who tells it a schema.
#[derive(Deserialize)]
struct Number {
    id: u32,
}

impl Answer {
    fn of_avro(self) -> std::result::Result<Arc<str>, String> {
        match self.kind.as_deref() {
            None | Some("AVRO") if self.references.is_empty() => Ok(self.schema.into()),
            None | Some("AVRO") => Err("it refers to schemas of other subjects, which are not looked up".to_owned()),
            Some(other) => Err(format!("it is one of {other}, and not of Avro")),
        }
    }
}

impl SchemaRegistry {
    /// Resolves the secrets; nothing is asked yet.
    ///
    /// # Errors
    /// When a secret or the URL leads nowhere.
    pub fn new(settings: &RegistrySettings, env: Env) -> Result<Self> {
        let base = settings.base()?;
        let failed = |problem: String| EngineError::definition(format!("the schema registry {base}: {problem}"));
        let secret = |text: &Hidden<String>| secrets::resolve(text).map_err(|mistake| failed(mistake.to_string()));
        let access = match (&settings.user, &settings.password, &settings.token) {
            (_, _, Some(token)) => Access::Bearer(secret(token)?),
            (Some(user), Some(password), None) => Access::Basic { user: user.clone(), password: secret(password)? },
            _ => Access::Open,
        };
        let client = Client::builder().timeout(ANSWER_TIME).redirect(Policy::none()).build();
        let client = client.map_err(|error| failed(error.to_string()))?;
        Ok(SchemaRegistry { base, access, client, env, schemas: Mutex::default() })
    }

    /// The schema with a number.
    ///
    /// # Errors
    /// When the registry does not answer, or refuses to.
    pub async fn schema(&self, id: u32) -> Result<Known> {
        let known = self.schemas.lock().get(&id).cloned();
        if let Some(schema) = known {
            return Ok(Known::Schema(schema));
        }
        let answer = self.ask(&["schemas", "ids", &id.to_string()]).await?;
        let Some(answer) = answer else {
            return Ok(Known::None(format!("the registry {} knows no schema {id}", self.base)));
        };
        Ok(match answer.of_avro() {
            Ok(schema) => {
                self.schemas.lock().insert(id, schema.clone());
                Known::Schema(schema)
            }
            Err(why) => Known::None(format!("the schema {id} of the registry {} is of no use: {why}", self.base)),
        })
    }

    /// The newest schema of a subject.
    ///
    /// # Errors
    /// When there is none, and when the registry does not answer.
    pub async fn latest(&self, subject: &str) -> Result<Arc<str>> {
        let failed = |why: &str| {
            EngineError::definition(format!(
                "the schema of the subject '{subject}' in the registry {}: {why}",
                self.base
            ))
        };
        let answer = self.ask(&["subjects", subject, "versions", "latest"]).await?;
        answer.ok_or_else(|| failed("there is no such subject"))?.of_avro().map_err(|why| failed(&why))
    }

    /// The number of a schema of Avro among those of a subject. Told to `register` it, the registry gives it one if it has none,
    /// and the same one each time.
    ///
    /// # Errors
    /// When there is none, when it does not go together with those before, and when the registry does not answer.
    pub async fn number_of(&self, subject: &str, schema: &str, register: bool) -> Result<u32> {
        let path: &[&str] = if register { &["subjects", subject, "versions"] } else { &["subjects", subject] };
        let answer: Option<Number> = self.tell(path, &serde_json::json!({ "schema": schema })).await?;
        answer.map(|number| number.id).ok_or_else(|| {
            EngineError::definition(format!(
                "the subject '{subject}' of the registry {} has no such schema: register it, or let `register = true` do so",
                self.base
            ))
        })
    }

    /// Asks until there is an answer, or for a while; none: there is no such thing.
    async fn ask(&self, path: &[&str]) -> Result<Option<Answer>> {
        let url = self.url(path);
        self.until_answered(|| self.client.get(url.clone())).await
    }

    /// Asks with something in hand.
    async fn tell<T: DeserializeOwned>(&self, path: &[&str], body: &serde_json::Value) -> Result<Option<T>> {
        let url = self.url(path);
        let body = body.to_string();
        let request = || self.client.post(url.clone()).header("Content-Type", MEDIA_TYPE).body(body.clone());
        self.until_answered(request).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn until_answered<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Result<Option<T>> {
        let (first, longest) = PAUSES;
        let pauses = retry::jittered(&self.env, first, longest).take(RETRIES);
        (|| self.ask_once(request()))
            .retry(pauses)
            .sleep(retry::sleeper(&self.env))
            .when(|error: &EngineError| error.kind == ErrorKind::Unavailable)
            .await
    }

    async fn ask_once<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Option<T>> {
        let request = self.with_access(request).header("Accept", MEDIA_TYPE).build();
        let request = request.map_err(|error| EngineError::definition(format!("the schema registry: {error}")))?;
        let url = &request.url().clone();
        let response = self.client.execute(request).await.map_err(|error| away(url, &error))?;
        let status = response.status();
        match status {
            StatusCode::OK => {
                let body = body_of(url, response).await?;
                let answer = serde_json::from_slice(&body);
                let refused =
                    |error| EngineError::io(format!("{url} answers with no schema: {error}. Is it a schema registry?"));
                answer.map(Some).map_err(refused)
            }
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_server_error() || passes(status) => {
                Err(EngineError::unavailable(format!("the schema registry can't answer now: {url}: {status}")))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(EngineError::definition(format!(
                "the schema registry refuses to answer: {url}: {status}. Are `user` and `password`, or `token`, right?"
            ))),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                let body = body_of(url, response).await?;
                let why = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
                Err(EngineError::definition(format!(
                    "the schema registry does not take the schema: {url}: {status}: {why}"
                )))
            }
            status => Err(EngineError::io(format!("the schema registry does not answer: {url}: {status}"))),
        }
    }

    fn with_access(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.access {
            Access::Open => request,
            Access::Basic { user, password } => request.basic_auth(user, Some(password.as_str())),
            Access::Bearer(token) => request.bearer_auth(token.as_str()),
        }
    }
}

fn passes(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// No answer came, or not all of one.
fn away(url: &Url, error: &reqwest::Error) -> EngineError {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let cause = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
    EngineError::unavailable(format!("the schema registry does not answer: {url}: {cause}"))
}

async fn body_of(url: &Url, mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| away(url, &error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(EngineError::io(format!(
                "{url} answers with more than {MOST_BYTES} bytes. Is it a schema registry?"
            )));
        }
    }
    Ok(body)
}
