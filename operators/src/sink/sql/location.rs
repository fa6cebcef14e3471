//! Where the URL of a database leads, as its driver understands it.

use crate::confinement::{Location, Place};
use url::Url;
use weir_engine::{
    error::{EngineError, Result},
    hidden::without_password,
    secrets::{self, Reference, SecretMistake},
};
use weir_store::{Dialect, address::path_of};

/// The key in the definition.
const KEY: &str = "url";
/// Parameters that lead nowhere else.
const HARMLESS: [&str; 6] = ["sslmode", "ssl-mode", "application_name", "statement-cache-capacity", "user", "password"];

/// The database and whatever files the URL names.
pub(crate) fn of(url: &str) -> Result<Vec<Location>> {
    let wrong = |why: String| EngineError::definition(format!("`{KEY}` '{}': {why}", without_password(url)));
    let of_secret = |mistake: SecretMistake| wrong(mistake.to_string());
    let references = secrets::references(url).map_err(of_secret)?;
    let files = references.iter().filter_map(|reference| match reference {
        Reference::File(path) => Some(Location::path(KEY, *path)),
        Reference::Env(_) => None,
    });
    let mut locations: Vec<Location> = files.collect();
    // A secret may stand for a user or a password, which are no places. Anywhere else it makes a place that is never allowed.
    let shown = secrets::replaced(url, "%00").map_err(of_secret)?;
    match Dialect::of(&shown)? {
        Dialect::Sqlite => {
            let path = percent_encoding::percent_decode_str(path_of(&shown)).decode_utf8_lossy();
            locations.push(Location::path(KEY, path.as_ref()));
        }
        Dialect::Postgres => {
            let url = Url::parse(&shown).map_err(|error| wrong(error.to_string()))?;
            locations.push(Location { key: KEY, place: Place::of_url(&url) });
            for (name, value) in url.query_pairs().filter(|(name, _)| !HARMLESS.contains(&name.as_ref())) {
                // Another host, or a file with a certificate: no place of its own can be named for it.
                locations.push(Location { key: KEY, place: Place::url("postgres", format!("?{name}={value}"), "") });
            }
        }
    }
    Ok(locations)
}
