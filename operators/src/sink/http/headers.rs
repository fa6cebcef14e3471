//! Headers that a definition adds to each request.
//!
//! Invariant: a header that is a secret by its name stands in a definition as a reference only, is resolved where the request is
//! made, and is printed nowhere.

use crate::definition::{Kind, Reader};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use weir_engine::{
    error::{EngineError, Result},
    hidden::{Hidden, is_secret},
    secrets,
};

/// The key in a definition.
pub(crate) const KEY: &str = "headers";
/// What tells a batch from any other.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Headers that say what is sent, and how.
const OWN: [&str; 6] = [IDEMPOTENCY_KEY, "content-length", "transfer-encoding", "connection", "host", "expect"];

/// Reads `headers = { NAME = "value" }`. `own` are headers, in small letters, that the reader sets itself, beside those that
/// every request has.
pub(crate) fn read(keys: &Reader<'_>, own: &[&str]) -> BTreeMap<String, Hidden<String>> {
    let mut headers: BTreeMap<String, Hidden<String>> = BTreeMap::new();
    let Some(table) = keys.table(KEY) else { return headers };
    for name in table.keys() {
        let is_text = table.value(name).is_some_and(|value| matches!(value.kind, Kind::Text(_)));
        let Some(text) = table.text(name).filter(|_| is_text) else { continue };
        if let Some((message, expected)) = wrong(name, &text, own) {
            table.refuse(name, message, &expected);
        } else if let Some(twin) = headers.keys().find(|twin| twin.eq_ignore_ascii_case(name)) {
            table.refuse(name, format!("it is the same header as `{twin}`"), "each header once");
        }
        headers.insert(name.to_owned(), text.into());
    }
    table.finish();
    headers
}

/// What is wrong with a header, and what would be right.
fn wrong(name: &str, text: &str, own: &[&str]) -> Option<(String, String)> {
    let Ok(known) = HeaderName::try_from(name) else {
        return Some(("this can't be the name of a header".into(), "letters, digits and `-`".into()));
    };
    if OWN.contains(&known.as_str()) || own.contains(&known.as_str()) {
        return Some((format!("`{name}` is set by Weir itself"), "another header".into()));
    }
    let shown = match secrets::references(text) {
        Err(mistake) => return Some((mistake.message, mistake.expected.unwrap_or_else(|| secrets::EXAMPLES.into()))),
        Ok(references) if references.is_empty() && is_secret(known.as_str()) => {
            let message = "a secret stands in the definition, where whoever sees the job reads it";
            return Some((message.into(), secrets::EXAMPLES.into()));
        }
        Ok(_) => secrets::replaced(text, "x").unwrap_or_default(),
    };
    let is_right = HeaderValue::from_str(&shown).is_ok();
    (!is_right).then(|| ("this can't be the value of a header".into(), "text without line breaks".into()))
}

/// All headers, with the secrets that this process has now.
///
/// # Errors
/// When one is missing, or can't be in a header.
pub(crate) fn resolved(headers: &BTreeMap<String, Hidden<String>>) -> Result<HeaderMap> {
    let mut resolved = HeaderMap::new();
    for (name, text) in headers {
        let wrong = |why: String| EngineError::definition(format!("`{KEY}.{name}`: {why}"));
        let value = secrets::resolve_plain(text).map_err(|mistake| wrong(mistake.to_string()))?;
        let named = HeaderName::try_from(name).map_err(|error| wrong(error.to_string()))?;
        let mut value = HeaderValue::from_str(&value).map_err(|error| wrong(error.to_string()))?;
        value.set_sensitive(true);
        resolved.insert(named, value);
    }
    Ok(resolved)
}
