//! One request, and what became of it.

use super::{
    answer::{Answer, judge},
    batches::{Row, body_of, key_of},
    config::HttpSinkConfig,
    headers::{self, IDEMPOTENCY_KEY},
    provided::{Post, provided},
};
use reqwest::{Client, Response, StatusCode, header::HeaderMap, redirect::Policy};
use std::{fmt, time::Duration};
use weir_engine::{
    error::{EngineError, Result},
    operator::CommitterContext,
};

/// So much of an answer is looked at.
const TOLD_BYTES: usize = 512;

/// Posts to one server. Redirects are not followed, so that nothing but the definition's own place is spoken to.
#[derive(Debug)]
pub(super) struct Poster {
    config: HttpSinkConfig,
    way: Way,
}

/// How the server is reached.
enum Way {
    Network(Client),
    Provided(Post),
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Network(_) => "Network",
            Way::Provided(_) => "Provided",
        })
    }
}

impl Poster {
    /// # Errors
    /// When a secret is missing, or the URL leads nowhere.
    pub fn new(config: HttpSinkConfig) -> Result<Self> {
        config.resolved_url()?;
        headers::resolved(&config.headers)?;
        if let Some(server) = provided(&config.url) {
            return Ok(Poster { config, way: Way::Provided(server) });
        }
        let timeout = Duration::from_millis(config.timeout_ms);
        let client = Client::builder().timeout(timeout).connect_timeout(timeout).redirect(Policy::none());
        let client = client.user_agent(concat!("weir/", env!("CARGO_PKG_VERSION"))).build();
        let client = client.map_err(|error| EngineError::definition(format!("HTTP sink: {error}")))?;
        Ok(Poster { config, way: Way::Network(client) })
    }

    /// Posts rows once. That nothing answers is an answer, too: it may have got them.
    pub async fn post(&self, context: &CommitterContext, rows: &[Row]) -> Answer {
        match self.try_post(context, rows).await {
            Ok(answer) => answer,
            Err(cause) => Answer::Later { cause, after: None },
        }
    }

    async fn try_post(&self, context: &CommitterContext, rows: &[Row]) -> Result<Answer, String> {
        // As they are now: one that was replaced is known with the next request.
        let url = self.config.resolved_url().map_err(|error| error.message)?;
        let headers = headers::resolved(&self.config.headers).map_err(|error| error.message)?;
        let body = body_of(rows, self.config.format);
        let client = match &self.way {
            Way::Network(client) => client,
            Way::Provided(server) => {
                let status = server(body).await.map_err(|error| format!("it does not answer: {error}"))?;
                let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
                return Ok(judge(status, &HeaderMap::new(), "", context.env.wall_clock_ms()));
            }
        };
        let request = client
            .post(url)
            .header("content-type", self.config.format.content_type())
            .headers(headers)
            .header(IDEMPOTENCY_KEY, key_of(context, rows))
            .body(body);
        let response = request.send().await.map_err(|error| cause_of(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        // The status counts; a body that does not come takes nothing back.
        let told = if status.is_success() { String::new() } else { beginning(response).await };
        Ok(judge(status, &headers, &told, context.env.wall_clock_ms()))
    }
}

/// The beginning of what a server says, on one line.
pub(crate) async fn beginning(mut response: Response) -> String {
    let mut told = Vec::new();
    while told.len() < TOLD_BYTES
        && let Ok(Some(piece)) = response.chunk().await
    {
        told.extend_from_slice(&piece);
    }
    told.truncate(TOLD_BYTES);
    let text = String::from_utf8_lossy(&told).into_owned();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What is the matter, without the URL: that may have a secret in it.
pub(crate) fn cause_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| "it does not answer".to_owned(), |cause| format!("it does not answer: {cause}"))
}
