//! The address of a database: `sqlite:PATH` or `postgres://USER@HOST/DATABASE`.

use crate::{dialect::Dialect, role::Role};
use std::{fmt, path::Path};
use weir_engine::{
    error::{EngineError, Result},
    secrets::SecretMistake,
};

/// How the addresses of databases are written.
pub const EXAMPLES: &str = "\"sqlite:path/of/file\" or \"postgres://user@host/database\"";

/// Why a URL is not the address of a database. It never holds the URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlMistake {
    /// What is wrong.
    pub message: String,
    /// What would be right, as far as that is known.
    pub expected: Option<String>,
}

impl UrlMistake {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        UrlMistake { message: message.into(), expected: Some(EXAMPLES.into()) }
    }
}

impl fmt::Display for UrlMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expected {
            None => f.write_str(&self.message),
            Some(expected) => write!(f, "{}; expected {expected}", self.message),
        }
    }
}

impl std::error::Error for UrlMistake {}

impl From<UrlMistake> for EngineError {
    fn from(mistake: UrlMistake) -> Self {
        EngineError::definition(mistake.to_string())
    }
}

impl From<SecretMistake> for UrlMistake {
    fn from(mistake: SecretMistake) -> Self {
        UrlMistake { message: mistake.to_string(), expected: None }
    }
}

/// The path in the URL of a file.
pub fn path_of(url: &str) -> &str {
    let rest = url.trim_start_matches("sqlite:");
    rest.strip_prefix("//").unwrap_or(rest).split('?').next().unwrap_or_default()
}

/// A URL as the driver takes it, for a connection of this role: with the mode that a file is opened in, and with the folder of a
/// file that may be made.
pub(crate) fn for_driver(url: &str, dialect: Dialect, role: Role) -> Result<String> {
    let Some(mode) = role.file_mode().filter(|_| dialect == Dialect::Sqlite) else { return Ok(url.to_owned()) };
    if role == Role::Sink {
        make_folder(path_of(url))?;
    }
    Ok(match url.split_once('?') {
        Some((_, options)) if options.split('&').any(|option| option.starts_with("mode=")) => url.to_owned(),
        Some(_) => format!("{url}&mode={mode}"),
        None => format!("{url}?mode={mode}"),
    })
}

fn make_folder(path: &str) -> Result<()> {
    let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    weir_engine::disk::make_folder(folder).map_err(|error| {
        EngineError::definition(format!("cannot create the folder '{}' of '{path}': {error}", folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_as_its_role_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/new/store.sqlite", folder.path().display());
        let driven = |url: &str, role| for_driver(url, Dialect::Sqlite, role).unwrap();
        assert_eq!(driven(&url, Role::Query), format!("{url}?mode=ro"));
        assert_eq!(driven(&url, Role::Recalculation), url);
        assert!(!folder.path().join("new").exists(), "only a sink makes anything");
        assert_eq!(driven(&url, Role::Sink), format!("{url}?mode=rwc"));
        assert!(folder.path().join("new").exists());
        assert_eq!(driven("sqlite:x?cache=shared", Role::Query), "sqlite:x?cache=shared&mode=ro");
        assert_eq!(driven("sqlite:x?mode=rw", Role::Query), "sqlite:x?mode=rw");
        let server = "postgres://u@h/d";
        assert_eq!(for_driver(server, Dialect::Postgres, Role::Query).unwrap(), server);
    }

    #[test]
    fn paths_are_found_in_urls() {
        for (url, path) in [("sqlite:a/b", "a/b"), ("sqlite:///a/b?mode=ro", "/a/b"), ("sqlite:", "")] {
            assert_eq!(path_of(url), path, "{url}");
        }
    }
}
