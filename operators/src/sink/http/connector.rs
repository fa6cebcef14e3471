//! What an HTTP sink is to those that check, compile, show and confine jobs.

use super::{HttpCommitter, HttpSink, HttpSinkConfig, HttpSinkSettings, headers};
use crate::{
    confinement::{Location, Place},
    definition::{KeyPath, Mistake},
    expression::type_name,
    sink::{Owned, SinkConnector, SinkGiven, SinkJob, SinkKind, StoredSink, files::storage, json_rows::can_be_written},
};
use std::sync::Arc;
use url::Url;
use weir_engine::{
    error::{EngineError, Result},
    operator::{Committer, CommitterContext, OperatorContext, Sink},
    secrets::{self, Reference, SecretMistake},
};

/// A webhook.
pub const KIND: SinkKind = SinkKind {
    name: "http",
    read: |keys| Box::new(HttpSinkSettings::read(keys)),
    stored: |config| Ok(Box::new(HttpSinkConfig::from_json(config)?)),
    // A server may move.
    meaning: &[],
};

const URL: &str = "url";
const REJECTED: &str = "rejected_path";

impl SinkConnector for HttpSinkSettings {
    fn kind(&self) -> &'static SinkKind {
        &KIND
    }

    fn check(&self, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        for column in given.columns.columns.iter().filter(|column| !can_be_written(&column.data_type)) {
            let message = format!("`{}` is {}, which JSON has no words for", column.name, type_name(&column.data_type));
            let expected = "a `select` without it, or a `map` that converts it";
            mistakes.push(Mistake::new(given.columns_at(at), message).expected(expected));
        }
        if let Some(path) = &self.config.rejected_path
            && (path.trim().is_empty() || storage::open(path).is_err())
        {
            let mistake = Mistake::new(at.key(REJECTED), "this names no folder").found(format!("{path:?}"));
            mistakes.push(mistake.expected("a folder or a URL"));
        }
    }

    fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
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
        if let Err(missing) = secrets::resolve(&self.config.url) {
            note(at.key(URL), missing);
        }
        for (name, text) in &self.config.headers {
            if let Err(missing) = secrets::resolve_plain(text) {
                note(at.key(headers::KEY).key(name), missing);
            }
        }
    }

    /// Several sinks may well post to one URL.
    fn owns(&self) -> Option<Owned> {
        None
    }

    fn config(&self, _given: &SinkGiven<'_>, _job: &SinkJob<'_>) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn note(&self) -> String {
        let HttpSinkConfig { batch, .. } = &self.config;
        format!("posts to {}, {batch} rows at a time, at least once", self.config.shown())
    }

    fn takes_running(&self) -> bool {
        false
    }

    fn keeps_revisions(&self) -> bool {
        true
    }
}

impl StoredSink for HttpSinkConfig {
    fn sink(&self, context: &OperatorContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(HttpSink::new(context)))
    }

    /// The server is not spoken to before the first need.
    fn committer(&self, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        Ok(Arc::new(HttpCommitter::new(self.clone(), context)?))
    }

    fn locations(&self) -> Result<Vec<Location>> {
        let wrong = |key: &str, mistake: SecretMistake| EngineError::definition(format!("`{key}`: {mistake}"));
        // What a reference stands for is not known here. In a path it leads nowhere else; a host that begins like this is never
        // allowed by name.
        let shown = secrets::replaced(&self.url, "%00").map_err(|mistake| wrong(URL, mistake))?;
        let place = match Url::parse(&shown) {
            Ok(url) => Place::of_url(&url),
            Err(_) => Place::url("https", "?url", ""),
        };
        let mut locations = vec![Location { key: URL, place }];
        let headers = self.headers.values().map(|text| (headers::KEY, text));
        for (key, text) in std::iter::once((URL, &self.url)).chain(headers) {
            for reference in secrets::references(text).map_err(|mistake| wrong(key, mistake))? {
                if let Reference::File(path) = reference {
                    locations.push(Location::path(key, path));
                }
            }
        }
        if let Some(path) = &self.rejected_path {
            let rejected = storage::locations(path)?;
            locations.extend(rejected.into_iter().map(|location| Location { key: REJECTED, ..location }));
        }
        Ok(locations)
    }

    fn shown(&self) -> Option<String> {
        Some(HttpSinkConfig::shown(self))
    }
}
