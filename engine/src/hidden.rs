//! What is not shown: values that hold passwords print without them, and texts for people have them taken out.
//!
//! Invariant: a password that stands in a URL is in no `Debug` output, no error, no log and no page.

use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    fmt,
    ops::{Deref, DerefMut},
};

/// What is shown instead of a password.
const STARS: &str = "***";

/// A value that may hold a password. It is written and read as what it is, and not printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden<T>(T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl<T> From<T> for Hidden<T> {
    fn from(value: T) -> Self {
        Hidden(value)
    }
}

impl From<&str> for Hidden<String> {
    fn from(value: &str) -> Self {
        Hidden(value.into())
    }
}

impl<T> Deref for Hidden<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Hidden<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A text as it may be shown: without the passwords of the URLs in it.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(ends_url) {
        let url = word.trim_end_matches(ends_url);
        shown.push_str(&without_password(url));
        shown.push_str(&word[url.len()..]);
    }
    Cow::Owned(shown)
}

/// A value as it may be shown: without the passwords of the URLs in its texts.
pub fn redacted_json(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        // A text of its own may have anything in it, so that it is taken as one URL where it begins as one.
        Value::String(text) if is_url(text) => without_password(text).into(),
        Value::String(text) => redacted(text).into(),
        Value::Array(values) => values.iter().map(redacted_json).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), redacted_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Whether a URL in a value's texts has a password in it, and not just references to one.
pub fn holds_password(value: &serde_json::Value) -> bool {
    let by_reference = by_reference(value);
    redacted_json(&by_reference) != by_reference
}

/// With stars in the place of references.
fn by_reference(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            let mut parts = text.split("${");
            let mut shown = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                shown.push_str(STARS);
                shown.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
            }
            shown.into()
        }
        Value::Array(values) => values.iter().map(by_reference).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), by_reference(value)));
            fields.collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// A URL as it may be shown, also one that is not written right: without its password.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return without_parameters(url) };
    let Some(at) = end_of_user(rest) else { return format!("{scheme}://{}", without_parameters(rest)) };
    let (user, rest) = (&rest[..at], without_parameters(&rest[at + 1..]));
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{STARS}@{rest}"),
        None => format!("{scheme}://{user}@{rest}"),
    }
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'))
}

/// What a URL in a text ends with, if it ends before the text does.
fn ends_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// The place of the `@` behind user and password.
fn end_of_user(rest: &str) -> Option<usize> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.contains('@') {
        // A slash in a password should have been escaped, too.
        return rest[..rest.find(['?', '#']).unwrap_or(rest.len())].rfind('@');
    }
    // What follows a host's colon is a number. Else it is a password in which a character should have been escaped.
    let (_, port) = authority.split_once(':')?;
    if port.is_empty() || port.contains(|c: char| !c.is_ascii_digit()) { rest.rfind('@') } else { None }
}

/// Without the values of parameters that are passwords by their names.
fn without_parameters(rest: &str) -> String {
    let Some((path, parameters)) = rest.split_once('?') else { return rest.into() };
    let shown = parameters.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={STARS}"),
        _ => parameter.into(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

/// Whether a parameter or a header is a secret, by its name.
pub fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "password",
        "passwd",
        "pwd",
        "secret",
        "token",
        "authorization",
        "cookie",
        "credential",
        "signature",
        "api-key",
        "apikey",
        "access-key",
    ];
    let name = name.to_ascii_lowercase().replace('_', "-");
    name == "sig" || PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reference_is_no_password() {
        let held = |url: &str| holds_password(&serde_json::json!({ "sinks": [{ "url": url }] }));
        for url in [
            "postgres://me:secret@host/db",
            "postgres://me:a${env:B}@host/db",
            "http://host/?token=x&y=${env:B}",
            "http://host/?a=b&api_key=x",
            "http://host/?X-Api-Key=x",
            "http://host/?sig=x",
        ] {
            assert!(held(url), "{url}");
        }
        for url in
            ["postgres://me:${env:A}@host/db", "postgres://me@host/db", "http://host/?token=${file:/run/a}", "sqlite:a"]
        {
            assert!(!held(url), "{url}");
        }
    }

    #[test]
    fn passwords_go_and_the_rest_stays() {
        for (url, shown) in [
            ("postgres://me:secret@host/db", "postgres://me:***@host/db"),
            ("postgres://me:secret@host:5432/db?sslmode=require", "postgres://me:***@host:5432/db?sslmode=require"),
            ("postgres://me:sec@ret@host/db", "postgres://me:***@host/db"),
            ("postgres://me:sec/ret@host/db", "postgres://me:***@host/db"),
            ("postgres://me:secret@host:port/db", "postgres://me:***@host:port/db"),
            ("postgres://me@host/db", "postgres://me@host/db"),
            ("postgres://host:5432/db?application_name=a@b", "postgres://host:5432/db?application_name=a@b"),
            ("postgres://host/db?user=me&password=secret&x=1", "postgres://host/db?user=me&password=***&x=1"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            ("file:///tmp/a:b@c", "file:///tmp/a:b@c"),
            ("sqlite:out/store.sqlite", "sqlite:out/store.sqlite"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn texts_lose_the_passwords_of_all_urls() {
        let text = "[sink.a]\nurl = \"postgres://me:one@h/d\"\nurl = 'mysql://you:two@h/d' # http://x/y";
        let shown = "[sink.a]\nurl = \"postgres://me:***@h/d\"\nurl = 'mysql://you:***@h/d' # http://x/y";
        assert_eq!(redacted(text), shown);
        assert!(matches!(redacted("nothing to hide: a@b:c"), Cow::Borrowed(_)));
        let value =
            serde_json::json!({ "a": ["postgres://me:on e\"@h/d", 1], "b": { "c": "at 'postgres://me:one@h'" } });
        let shown = serde_json::json!({ "a": ["postgres://me:***@h/d", 1], "b": { "c": "at 'postgres://me:***@h'" } });
        assert_eq!(redacted_json(&value), shown);
    }

    #[test]
    fn what_is_hidden_is_not_printed() {
        let hidden: Hidden<String> = Hidden::from("postgres://me:secret@host/db");
        assert_eq!(format!("{hidden:?}"), "Hidden(…)");
        assert_eq!(serde_json::to_string(&hidden).unwrap(), "\"postgres://me:secret@host/db\"");
        assert!(hidden.contains("secret"));
    }

    proptest! {
        #[test]
        fn a_password_is_never_left(password in "[^\\s\"'`<>#?&=/]{0,6}Zq7[^\\s\"'`<>?&=#]{0,8}", query: bool) {
            let url = if query {
                format!("postgres://host/db?x=1&password={password}")
            } else {
                format!("postgres://me:{password}@host/db")
            };
            let told = redacted(&format!("cannot reach '{url}' now")).into_owned();
            prop_assert!(!told.contains("Zq7"), "{}", told);
            prop_assert!(told.starts_with("cannot reach 'postgres://") && told.ends_with("' now"), "{}", told);
            prop_assert!(!redacted_json(&url.into()).to_string().contains("Zq7"));
        }
    }
}
