//! Files in an object store.
//!
//! A key that is no path (`logs//a`, `logs/../a`) cannot be asked for. The library refuses the whole page of the list that
//! such a key is in, so the pages are asked for one by one: a page that is refused is asked for in smaller ones, until the key
//! is alone, and the list continues after it.

use super::{FoundFile, HIDDEN, Place, STAGING, Wanted, is_hidden, not_wanted, refuse_unread};
use crate::source::files::{glob, passed_over::PassedOver};
use futures::TryStreamExt;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt,
    list::{PaginatedListOptions, PaginatedListStore},
    path,
};
use std::sync::Arc;
use weir_engine::error::{EngineError, Result};

/// Keys of a page at most.
const PAGE_KEYS: usize = 1_000;

const NO_PATH: &str =
    "since a key with an empty name, with . or .. as a name or with control characters cannot be asked for";

/// Behind all keys that begin with what this is put behind.
const BEHIND_ALL: char = '\u{10ffff}';

/// What is to be listed.
pub(super) struct Listing<'a> {
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) pages: Option<&'a dyn PaginatedListStore>,
    /// What stands before an object's path in its name.
    pub(super) root: &'a str,
    /// An object, what the paths of objects begin with, or a pattern.
    pub(super) path: &'a str,
}

impl Listing<'_> {
    /// The objects that there are now.
    pub(super) async fn find(&self, wanted: Wanted, passed_over: &mut PassedOver) -> Result<Vec<FoundFile>> {
        let (root, path) = (self.root, self.path);
        let problem =
            |error: object_store::Error| EngineError::caused_by(&error, format!("cannot list {root}{path}: {error}"));
        let plain: Vec<&str> = path.split('/').take_while(|name| !glob::is_pattern(name)).collect();
        let prefix = path::Path::parse(plain.join("/")).map_err(|error| {
            EngineError::definition(format!("path = \"{root}{path}\": objects below it cannot be asked for: {error}"))
        })?;
        let is_pattern = glob::is_pattern(path);
        // A key may look like a pattern.
        if let Some(whole) = path::Path::parse(path).ok().filter(|path| !path.as_ref().is_empty()) {
            match self.store.head(&whole).await {
                Ok(object) => {
                    refuse_unread(&format!("{root}{path}"), wanted)?;
                    return Ok(vec![self.found(object)]);
                }
                Err(object_store::Error::NotFound { .. }) => {}
                // Not every server takes such a key.
                Err(_) if is_pattern => {}
                Err(error) => return Err(problem(error)),
            }
        }
        let objects = match self.pages {
            Some(pages) => list_pages(pages, root, &prefix, passed_over).await.map_err(problem)?,
            None => self.store.list(Some(&prefix)).try_collect().await.map_err(problem)?,
        };
        let pattern = is_pattern.then_some(path);
        let wanted = objects.into_iter().filter(|object| self.wants(object, &prefix, pattern, wanted, passed_over));
        Ok(wanted.map(|object| self.found(object)).collect())
    }

    fn found(&self, object: ObjectMeta) -> FoundFile {
        FoundFile {
            name: format!("{}{}", self.root, object.location),
            place: Place::Object { store: self.store.clone(), path: object.location, bytes: object.size },
        }
    }

    fn wants(
        &self,
        object: &ObjectMeta,
        prefix: &path::Path,
        pattern: Option<&str>,
        wanted: Wanted,
        passed_over: &mut PassedOver,
    ) -> bool {
        let key = object.location.as_ref();
        let below = key.strip_prefix(prefix.as_ref()).unwrap_or(key).trim_start_matches('/');
        if below.is_empty() {
            return false;
        }
        if let Some(pattern) = pattern
            && !glob::matches(pattern, key)
        {
            return false;
        }
        if !pattern.is_some_and(glob::names_hidden) {
            let mut end = key.len() - below.len();
            for name in below.split('/') {
                end += name.len();
                if is_hidden(name) {
                    // A folder is named, not all that is in it.
                    let is_folder = end < key.len();
                    if !(is_folder && name == STAGING) {
                        passed_over.add(format!("{}{}", self.root, &key[..end + usize::from(is_folder)]), HIDDEN);
                    }
                    return false;
                }
                end += 1;
            }
        }
        match not_wanted(key, object.size, wanted, pattern.is_some()) {
            None => true,
            Some(reason) => {
                // Consoles make folders by objects without bytes.
                let is_folder = object.size == 0 && !below.rsplit('/').next().is_some_and(|name| name.contains('.'));
                if !is_folder {
                    passed_over.add(format!("{}{key}", self.root), reason);
                }
                false
            }
        }
    }
}

/// All objects below a path; keys that are no paths are passed over.
async fn list_pages(
    pages: &dyn PaginatedListStore,
    root: &str,
    prefix: &path::Path,
    passed_over: &mut PassedOver,
) -> object_store::Result<Vec<ObjectMeta>> {
    let prefix = if prefix.as_ref().is_empty() { None } else { Some(format!("{prefix}/")) };
    let mut objects = Vec::new();
    let (mut behind, mut page_token, mut keys) = (None, None, PAGE_KEYS);
    loop {
        let options = PaginatedListOptions {
            offset: behind.clone(),
            page_token: page_token.clone(),
            max_keys: Some(keys),
            ..PaginatedListOptions::default()
        };
        match pages.list_paginated(prefix.as_deref(), options).await {
            Ok(page) => {
                objects.extend(page.result.objects);
                if page.page_token.is_none() {
                    return Ok(objects);
                }
                page_token = page.page_token;
                keys = (keys * 2).min(PAGE_KEYS);
            }
            Err(error) => match key_that_is_no_path(&error) {
                Some(key) if keys == 1 => {
                    let folder = folder_that_is_no_path(&key).filter(|folder| {
                        let prefix = prefix.as_deref().unwrap_or_default();
                        folder.starts_with(prefix)
                    });
                    let next = match folder {
                        Some(folder) => {
                            passed_over.add(format!("{root}{folder}"), NO_PATH);
                            format!("{folder}{BEHIND_ALL}")
                        }
                        None => {
                            passed_over.add(format!("{root}{key}"), NO_PATH);
                            key
                        }
                    };
                    (behind, page_token) = (Some(next), None);
                }
                Some(_) => keys = (keys / 8).max(1),
                None => return Err(error),
            },
        }
    }
}

/// The key that a page was refused for.
fn key_that_is_no_path(error: &object_store::Error) -> Option<String> {
    let object_store::Error::InvalidPath { source } = error else { return None };
    match source {
        path::Error::EmptySegment { path } | path::Error::BadSegment { path, .. } => Some(path.clone()),
        _ => None,
    }
}

/// The folder that makes a key no path: no key below it is one.
fn folder_that_is_no_path(key: &str) -> Option<String> {
    let mut end = 0;
    for name in key.split_inclusive('/') {
        end += name.len();
        if name.ends_with('/') && end > 1 && path::Path::parse(format!("a/{name}b")).is_err() {
            return Some(key[..end].to_owned());
        }
    }
    None
}
