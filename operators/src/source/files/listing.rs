//! Which files a path stands for: a file, a folder with all that is below it, or a pattern; on a local disk or in object
//! storage.
//!
//! Invariant: the list is sorted by name, so that every subtask and every attempt sees the same order. Files and folders
//! whose names begin with `.` or `_` are not listed below a folder: they are what others are still working on.

use super::glob;
use crate::memory_stores::memory_store;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};
use weir_engine::error::{EngineError, Result};

/// Folders nested deeper than this are taken for a loop of links.
const DEEPEST_FOLDER: usize = 32;

/// Endings of compressed files, which are not read.
const COMPRESSED: [&str; 5] = ["gz", "zst", "bz2", "xz", "zip"];

/// Where a source's files are, as configured.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// On a local disk.
    Local(LocalPath),
    /// In an object store.
    Store {
        store: Arc<dyn ObjectStore>,
        /// What stands before an object's path in its name.
        root: String,
        /// An object, what the paths of objects begin with, or a pattern.
        path: String,
    },
}

/// A path on a local disk, without the pattern that may follow it.
#[derive(Clone, Debug)]
pub(super) struct LocalPath {
    base: PathBuf,
    pattern: Option<String>,
}

/// What a local path stands for now.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By name.
    pub(super) files: Vec<(PathBuf, Metadata)>,
    /// What could not be listed, and why.
    pub(super) unreadable: Vec<(PathBuf, EngineError)>,
}

impl Found {
    fn cannot_read(&mut self, path: &Path, error: &std::io::Error) {
        self.unreadable.push((path.to_owned(), cannot_read(path, error)));
    }
}

/// A file that was found.
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    /// Its whole name, which says where it is.
    pub(super) name: String,
    pub(super) place: Place,
}

impl FoundFile {
    /// Its size now.
    pub(super) fn bytes(&self) -> Result<u64> {
        match &self.place {
            Place::Local(path) => Ok(fs::metadata(path).map_err(|error| cannot_read(path, &error))?.len()),
            Place::Object { bytes, .. } => Ok(*bytes),
        }
    }
}

/// How to get at a file.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Local(PathBuf),
    Object { store: Arc<dyn ObjectStore>, path: object_store::path::Path, bytes: u64 },
}

impl Location {
    /// Understands what a definition says: a path, `file://`, `s3://` or `memory://`. Settings of S3 come from the
    /// environment (`AWS_ENDPOINT`, `AWS_ACCESS_KEY_ID` …).
    pub(super) fn parse(path: &str) -> Result<Self> {
        if path.is_empty() {
            return Err(EngineError::definition("path = \"\": it must name a file, a folder or a pattern"));
        }
        let Some((scheme, rest)) = path.split_once("://") else {
            return Ok(Location::Local(LocalPath::parse(path)));
        };
        match scheme {
            "file" => Ok(Location::Local(LocalPath::parse(rest))),
            "memory" => {
                let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
                Ok(Location::over(memory_store(name), &format!("memory://{name}/"), key))
            }
            "s3" => {
                // A pattern is no part of a URL, so only the bucket is.
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                let root = format!("{scheme}://{bucket}/");
                let url = url::Url::parse(&root).map_err(|error| cannot_open(path, &error))?;
                let settings = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
                let settings = settings.map(|(name, value)| (name.to_lowercase(), value));
                let (store, _) =
                    object_store::parse_url_opts(&url, settings).map_err(|error| cannot_open(path, &error))?;
                Ok(Location::over(Arc::from(store), &root, key))
            }
            other => Err(EngineError::definition(format!(
                "path = \"{path}\": there is no '{other}://'; write a path, file://, s3:// or memory://"
            ))),
        }
    }

    /// Over a store that is there already.
    pub(super) fn over(store: Arc<dyn ObjectStore>, root: &str, path: &str) -> Self {
        Location::Store { store, root: root.to_owned(), path: path.trim_matches('/').to_owned() }
    }

    /// The files that there are now, by name. Below folders only those that end in `.ending`, if one is given.
    pub(super) async fn list(&self, ending: Option<&str>) -> Result<Vec<FoundFile>> {
        let mut files = match self {
            Location::Local(path) => {
                let found = path.list(ending)?.into_iter().map(|(path, _)| path);
                found.map(|path| FoundFile { name: path.display().to_string(), place: Place::Local(path) }).collect()
            }
            Location::Store { store, root, path } => list_objects(store, root, path, ending).await?,
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}

fn cannot_open(path: &str, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::definition(format!("path = \"{path}\": cannot open this storage: {error}"))
}

impl LocalPath {
    pub(super) fn parse(path: &str) -> Self {
        if !glob::is_pattern(path) || Path::new(path).exists() {
            return LocalPath { base: PathBuf::from(path), pattern: None };
        }
        let names: Vec<&str> = path.split('/').collect();
        let plain = names.iter().take_while(|name| !glob::is_pattern(name)).count();
        let base = match names[..plain].join("/") {
            base if base.is_empty() && path.starts_with('/') => "/".to_owned(),
            base if base.is_empty() => ".".to_owned(),
            base => base,
        };
        LocalPath { base: PathBuf::from(base), pattern: Some(names[plain..].join("/")) }
    }

    /// The files that there are now. One that vanishes while the list is made is left out.
    pub(super) fn list(&self, ending: Option<&str>) -> Result<Vec<(PathBuf, Metadata)>> {
        let found = self.list_readable(ending)?;
        match found.unreadable.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(found.files),
        }
    }

    /// The file or folder that has everything in it.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// The files that can be listed now, and what cannot.
    ///
    /// # Errors
    /// When the path names something that is never read.
    pub(super) fn list_readable(&self, ending: Option<&str>) -> Result<Found> {
        let mut found = Found::default();
        let metadata = match fs::metadata(&self.base) {
            Ok(metadata) => metadata,
            Err(error) => {
                found.cannot_read(&self.base, &error);
                return Ok(found);
            }
        };
        if !metadata.is_dir() {
            if let Some(compressed) = compressed_ending(&self.base.to_string_lossy()) {
                return Err(EngineError::definition(format!(
                    "{} is compressed ({compressed}), which is not read: unpack it first",
                    self.base.display()
                )));
            }
            found.files.push((self.base.clone(), metadata));
            return Ok(found);
        }
        self.list_folder(&self.base, "", ending, 0, &mut found);
        found.files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn list_folder(&self, folder: &Path, relative: &str, ending: Option<&str>, depth: usize, found: &mut Found) {
        if depth > DEEPEST_FOLDER {
            let problem = format!("it is nested more than {DEEPEST_FOLDER} folders deep; is there a loop of links?");
            return found.cannot_read(folder, &std::io::Error::other(problem));
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound && depth > 0 => return,
            Err(error) => return found.cannot_read(folder, &error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // The rest of the folder cannot be listed.
                Err(error) => return found.cannot_read(folder, &error),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(['.', '_']) {
                continue;
            }
            let path = entry.path();
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    found.cannot_read(&path, &error);
                    continue;
                }
            };
            let relative = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            if metadata.is_dir() {
                self.list_folder(&path, &relative, ending, depth + 1, found);
            } else if metadata.is_file() && self.wants(&relative, ending) {
                found.files.push((path, metadata));
            }
        }
    }

    fn wants(&self, relative: &str, ending: Option<&str>) -> bool {
        match &self.pattern {
            Some(pattern) => glob::matches(pattern, relative) && compressed_ending(relative).is_none(),
            None => has_wanted_ending(relative, ending),
        }
    }
}

fn has_wanted_ending(name: &str, ending: Option<&str>) -> bool {
    match ending {
        Some(ending) => Path::new(name).extension().is_some_and(|found| found == ending),
        None => compressed_ending(name).is_none(),
    }
}

fn compressed_ending(name: &str) -> Option<&'static str> {
    let found = Path::new(name).extension()?;
    COMPRESSED.into_iter().find(|ending| found == *ending)
}

async fn list_objects(
    store: &Arc<dyn ObjectStore>,
    root: &str,
    path: &str,
    ending: Option<&str>,
) -> Result<Vec<FoundFile>> {
    let found = |path: object_store::path::Path, bytes| FoundFile {
        name: format!("{root}{path}"),
        place: Place::Object { store: store.clone(), path, bytes },
    };
    let problem = |error: object_store::Error| EngineError::io(format!("cannot list {root}{path}: {error}"));
    let plain: Vec<&str> = path.split('/').take_while(|name| !glob::is_pattern(name)).collect();
    let prefix = object_store::path::Path::from(plain.join("/"));
    let is_pattern = glob::is_pattern(path);
    if !is_pattern && !path.is_empty() {
        match store.head(&prefix).await {
            Ok(object) => return Ok(vec![found(object.location, object.size)]),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(problem(error)),
        }
    }
    let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await.map_err(problem)?;
    let wanted = objects.into_iter().filter(|object| {
        let name = object.location.as_ref();
        let below = name.strip_prefix(prefix.as_ref()).unwrap_or(name);
        let hidden = below.split('/').any(|name| name.starts_with(['.', '_']));
        let fits = if is_pattern { glob::matches(path, name) } else { has_wanted_ending(name, ending) };
        !hidden && fits
    });
    Ok(wanted.map(|object| found(object.location, object.size)).collect())
}

/// What went wrong with a path, and what can be done.
pub(super) fn cannot_read(path: &Path, error: &std::io::Error) -> EngineError {
    let path = path.display();
    let advice = match error.kind() {
        ErrorKind::NotFound => ": is the path right, seen from the folder in which weir was started?",
        ErrorKind::PermissionDenied => ": give the user that weir runs as the permission to read it",
        ErrorKind::NotADirectory => ": a part of the path is a file",
        _ => "",
    };
    EngineError::io(format!("cannot read {path}: {error}{advice}"))
}
