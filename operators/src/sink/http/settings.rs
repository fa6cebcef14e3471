//! The settings of an HTTP sink, as a definition's `[sink.NAME]` has them.

use super::{
    config::{BATCH, BATCHES, BodyFormat, HttpSinkConfig, TIMEOUT, TIMEOUTS, check_url},
    headers,
};
use crate::definition::{Kind, Reader, duration::millis};
use std::{collections::BTreeMap, time::Duration};

/// An HTTP sink as defined. Its node keeps the same.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSinkSettings {
    pub(super) config: HttpSinkConfig,
}

impl HttpSinkSettings {
    /// Posts rows to a URL.
    pub fn to(url: impl Into<String>) -> Self {
        HttpSinkSettings {
            config: HttpSinkConfig {
                url: url.into().into(),
                format: BodyFormat::default(),
                batch: BATCH,
                headers: BTreeMap::new(),
                timeout_ms: in_millis(TIMEOUT),
                rejected_path: None,
            },
        }
    }

    /// How many rows a request has, at most.
    #[must_use]
    pub fn batch(mut self, rows: u32) -> Self {
        self.config.batch = rows.max(1);
        self
    }

    /// A header of each request; `${env:NAME}` and `${file:PATH}` in its value stand for secrets.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.headers.insert(name.into(), value.into().into());
        self
    }

    /// Where rows go that the server refuses: a folder or a URL.
    #[must_use]
    pub fn rejected_path(mut self, path: impl Into<String>) -> Self {
        self.config.rejected_path = Some(path.into());
        self
    }

    /// Reads the keys of a `[sink.NAME]`.
    pub(super) fn read(keys: &Reader<'_>) -> Self {
        let mut settings = HttpSinkSettings::to(keys.required_text("url", "\"https://example.com/hooks/clicks\""));
        let config = &mut settings.config;
        let is_text = matches!(keys.value("url").map(|value| &value.kind), Some(Kind::Text(_)));
        if let Err(wrong) = check_url(&config.url)
            && is_text
        {
            keys.refuse("url", wrong.message, wrong.expected.as_deref().unwrap_or("https://HOST/PATH"));
        }
        config.format = keys.choice("format", &BodyFormat::NAMES).unwrap_or_default();
        if let Some(batch) = keys.integer("batch", BATCHES) {
            config.batch = u32::try_from(batch).unwrap_or(BATCH);
        }
        config.headers = headers::read(keys, &["content-type"]);
        if let Some(timeout) = keys.duration("timeout") {
            if TIMEOUTS.contains(&timeout) {
                config.timeout_ms = in_millis(timeout);
            } else {
                keys.refuse("timeout", "no server is waited for so long, or so briefly", "from \"100ms\" to \"10m\"");
            }
        }
        config.rejected_path = keys.text("rejected_path");
        settings
    }
}

fn in_millis(span: Duration) -> u64 {
    millis(span).unsigned_abs()
}
