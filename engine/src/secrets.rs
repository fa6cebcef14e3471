//! Secrets by reference: `${env:NAME}` and `${file:PATH}` in a text stand for what an environment variable or a file holds, where
//! the text is used. So a definition, and whatever keeps it, has the reference and never the secret.
//!
//! Within a text, which is a URL, a secret is escaped as a part of one. Alone it is taken as it is.

use crate::hidden::Hidden;
use std::fmt::{self, Write};

/// What begins a reference.
const OPEN: &str = "${";
/// How references are written.
pub const EXAMPLES: &str = "${env:NAME} or ${file:PATH}";
/// Variables of these belong to the process: the secret of the cluster, the keys of its storage.
const OWN: [&str; 2] = ["WEIR_", "AWS_"];

/// A reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'a> {
    /// To an environment variable, by its name.
    Env(&'a str),
    /// To a file, by its path.
    File(&'a str),
}

/// What is wrong with a reference. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMistake {
    /// What is wrong, naming the reference.
    pub message: String,
    /// What would be right, as far as that is known.
    pub expected: Option<String>,
}

impl fmt::Display for SecretMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expected {
            None => f.write_str(&self.message),
            Some(expected) => write!(f, "{}; {expected}", self.message),
        }
    }
}

impl std::error::Error for SecretMistake {}

fn mistake(message: impl Into<String>) -> SecretMistake {
    SecretMistake { message: message.into(), expected: None }
}

impl SecretMistake {
    fn expected(self, expected: impl Into<String>) -> Self {
        SecretMistake { expected: Some(expected.into()), ..self }
    }
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Plain(&'a str),
    Reference(Reference<'a>),
}

/// The references in a text, in their order.
///
/// # Errors
/// When one is not written right.
pub fn references(text: &str) -> Result<Vec<Reference<'_>>, SecretMistake> {
    let reference = |part| match part {
        Part::Reference(reference) => Some(reference),
        Part::Plain(_) => None,
    };
    Ok(parts(text)?.into_iter().filter_map(reference).collect())
}

/// A text with each reference replaced by something else.
///
/// # Errors
/// When one is not written right.
pub fn replaced(text: &str, by: &str) -> Result<String, SecretMistake> {
    let shown = |part| match part {
        Part::Plain(plain) => plain,
        Part::Reference(_) => by,
    };
    Ok(parts(text)?.into_iter().map(shown).collect())
}

/// A text with what its references stand for, as this process has it.
///
/// # Errors
/// When one is not written right, or there is no such variable or file. The text names it, and nothing that is secret.
pub fn resolve(text: &str) -> Result<Hidden<String>, SecretMistake> {
    resolve_with(text, escape, |name| std::env::var(name).ok(), |path| std::fs::read_to_string(path))
}

/// The same of a text that is no URL: a secret in it is taken as it is.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_plain(text: &str) -> Result<Hidden<String>, SecretMistake> {
    let as_it_is = |secret: &str, out: &mut String| out.push_str(secret);
    resolve_with(text, as_it_is, |name| std::env::var(name).ok(), |path| std::fs::read_to_string(path))
}

fn resolve_with(
    text: &str,
    escape: impl Fn(&str, &mut String),
    variable: impl Fn(&str) -> Option<String>,
    file: impl Fn(&str) -> std::io::Result<String>,
) -> Result<Hidden<String>, SecretMistake> {
    let parts = parts(text)?;
    let is_alone = parts.len() == 1;
    let mut resolved = String::with_capacity(text.len());
    for part in parts {
        let secret = match part {
            Part::Plain(plain) => {
                resolved.push_str(plain);
                continue;
            }
            Part::Reference(Reference::Env(name)) => variable(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| mistake(format!("the environment variable '{name}' is not set, or is empty")))?,
            Part::Reference(Reference::File(path)) => {
                let text =
                    file(path).map_err(|error| mistake(format!("cannot read the secret in '{path}': {error}")))?;
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.is_empty() {
                    return Err(mistake(format!("there is no secret in '{path}': the file is empty")));
                }
                secret.to_owned()
            }
        };
        if is_alone {
            resolved.push_str(&secret);
        } else {
            escape(&secret, &mut resolved);
        }
    }
    Ok(resolved.into())
}

fn escape(secret: &str, out: &mut String) {
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into memory does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, SecretMistake> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(OPEN) {
        let (plain, reference) = (&rest[..at], &rest[at + OPEN.len()..]);
        let endless = || mistake("a reference has no end").expected(format!("write {EXAMPLES}"));
        let (inside, after) = reference.split_once('}').ok_or_else(endless)?;
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        parts.push(Part::Reference(reference_of(inside)?));
        rest = after;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Plain(rest));
    }
    Ok(parts)
}

fn reference_of(inside: &str) -> Result<Reference<'_>, SecretMistake> {
    match inside.split_once(':') {
        Some(("env", name)) if OWN.iter().any(|own| name.starts_with(own)) => {
            Err(mistake(format!("the variable '{name}' is the process's own")).expected("give the secret another name"))
        }
        Some(("env", name)) if is_name(name) => Ok(Reference::Env(name)),
        Some(("env", _)) => Err(mistake("a variable's name has letters, digits and '_', no digit first")),
        Some(("file", "")) => Err(mistake("a reference names no file").expected("write ${file:PATH}")),
        Some(("file", path)) => Ok(Reference::File(path)),
        _ => Err(mistake("there is no such reference").expected(format!("write {EXAMPLES}"))),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<String, String> {
        let variable = |name: &str| match name {
            "PGPASSWORD" => Some("a/b@c%${x}".to_owned()),
            "EMPTY" => Some(String::new()),
            "URL" => Some("postgres://me:a%40b@h/d".to_owned()),
            _ => None,
        };
        let file = |path: &str| match path {
            "/run/secrets/pg" => Ok("from file\r\n".to_owned()),
            "/empty" => Ok("\n".to_owned()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        let resolved = resolve_with(text, escape, variable, file).map_err(|mistake| mistake.to_string())?;
        Ok(String::clone(&resolved))
    }

    #[test]
    fn references_become_secrets_escaped_within_a_url() {
        for (text, expected) in [
            ("postgres://me:${env:PGPASSWORD}@h/d", "postgres://me:a%2Fb%40c%25%24%7Bx%7D@h/d"),
            (
                "postgres://me:${file:/run/secrets/pg}@h/d?x=${env:PGPASSWORD}",
                "postgres://me:from%20file@h/d?x=a%2Fb%40c%25%24%7Bx%7D",
            ),
            ("${env:URL}", "postgres://me:a%40b@h/d"),
            ("postgres://me:$ecret$@h/d", "postgres://me:$ecret$@h/d"),
            ("sqlite:out/store.sqlite", "sqlite:out/store.sqlite"),
            ("", ""),
        ] {
            assert_eq!(resolved(text).unwrap(), expected);
        }
    }

    #[test]
    fn in_a_plain_text_a_secret_is_taken_as_it_is() {
        let path = std::env::var("PATH").unwrap();
        let found = resolve_plain("Bearer ${env:PATH}").unwrap();
        assert_eq!(String::clone(&found), format!("Bearer {path}"));
        assert!(resolve_plain("Bearer ${env:}").is_err());
    }

    #[test]
    fn what_is_missing_or_written_wrong_is_named() {
        for (text, part) in [
            ("p://${env:PGPASSWORT}", "'PGPASSWORT' is not set"),
            ("p://${env:EMPTY}", "'EMPTY' is not set, or is empty"),
            ("p://${file:/run/secret/pg}", "'/run/secret/pg'"),
            ("p://${file:/empty}", "no secret in '/empty'"),
            ("p://${env:}", "a variable's name"),
            ("p://${env:A-B}", "a variable's name"),
            ("p://${file:}", "names no file"),
            ("p://${PGPASSWORD}", "no such reference"),
            ("p://${vault:x}", "no such reference"),
            ("p://${env:PGPASSWORD", "has no end"),
            ("p://${env:WEIR_SECRET}", "the process's own"),
            ("p://${env:AWS_SECRET_ACCESS_KEY}", "the process's own"),
        ] {
            let error = resolved(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("a/b@c"), "{error}");
        }
        let found = references("${env:A}x${file:b}").unwrap();
        assert_eq!(found, [Reference::Env("A"), Reference::File("b")]);
    }
}
