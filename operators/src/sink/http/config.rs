//! Settings of an HTTP sink, as the compiled node of a definition's `[sink.NAME]` has them.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};
use url::Url;
use weir_engine::{
    error::{EngineError, Result},
    hidden::{Hidden, without_password},
    secrets::{self, SecretMistake},
};

/// Rows of a batch, where nothing is said.
pub const BATCH: u32 = 500;
/// How many it may be.
pub(super) const BATCHES: RangeInclusive<i64> = 1..=10_000;
/// How long an answer may take, where nothing is said.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may be.
pub(super) const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// Settings of an HTTP sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSinkConfig {
    /// Where rows are posted to; secrets are references.
    pub url: Hidden<String>,
    /// How a batch is written.
    #[serde(default)]
    pub format: BodyFormat,
    /// Rows of a batch, at most.
    pub batch: u32,
    /// Headers of each request; secrets are references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Hidden<String>>,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// The folder or URL for rows that the server refuses; none: they are told of in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_path: Option<String>,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyFormat {
    /// An array of JSON objects.
    #[default]
    Json,
    /// A JSON object a line.
    JsonLines,
}

impl BodyFormat {
    /// As a definition has it.
    pub(super) const NAMES: [(&'static str, BodyFormat); 2] =
        [("json", BodyFormat::Json), ("json_lines", BodyFormat::JsonLines)];

    pub(super) fn content_type(self) -> &'static str {
        match self {
            BodyFormat::Json => "application/json",
            BodyFormat::JsonLines => "application/x-ndjson",
        }
    }
}

impl HttpSinkConfig {
    /// From a node's settings.
    ///
    /// # Errors
    /// Naming the setting that is missing, unknown or wrong.
    pub fn from_json(config: &serde_json::Value) -> Result<Self> {
        let wrong = |error: String| EngineError::definition(format!("HTTP sink: {error}"));
        let config = HttpSinkConfig::deserialize(config).map_err(|error| wrong(error.to_string()))?;
        check_url(&config.url).map_err(|mistake| wrong(mistake.to_string()))?;
        if config.batch == 0 || config.timeout_ms == 0 {
            return Err(wrong("'batch' and 'timeout_ms' are more than nothing".into()));
        }
        Ok(config)
    }

    /// Where rows are posted to, with the secrets that this process has for it now.
    ///
    /// # Errors
    /// When one is missing, or what comes out is no URL.
    pub(super) fn resolved_url(&self) -> Result<Url> {
        let wrong = |why: String| EngineError::definition(format!("`url` '{}': {why}", self.shown()));
        let url = secrets::resolve(&self.url).map_err(|mistake| wrong(mistake.to_string()))?;
        parse(&url).map_err(wrong)
    }

    /// The URL, for people.
    pub(super) fn shown(&self) -> String {
        without_password(&self.url)
    }
}

/// Whether a URL is one that rows can be posted to, as far as it is known without its secrets.
pub(super) fn check_url(text: &str) -> Result<(), SecretMistake> {
    let wrong = |message: String| SecretMistake { message, expected: Some("https://HOST/PATH".to_owned()) };
    let has_reference = !secrets::references(text)?.is_empty();
    match parse(&secrets::replaced(text, "x")?) {
        Ok(_) => Ok(()),
        // All of it, or its beginning, is a secret.
        Err(_) if has_reference && text.starts_with("${") => Ok(()),
        Err(why) => Err(wrong(why)),
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("this is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("rows are posted over http or https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user and a password go into the header `Authorization`".to_owned());
    }
    Ok(url)
}
