//! Which files a path stands for: a file, a folder with all that is below it, or a pattern; on a local disk or in object
//! storage.
//!
//! Invariant: the list is sorted by name, so that every subtask and every attempt sees the same order. What lies there and is
//! not listed is passed over by name: what begins with `.` or `_`, since others are still working on it, what is packed in a
//! way that is not read, what is no file, and what cannot be opened. (Staging folders of our own sinks are nobody's input, and
//! not worth a word.)

mod local;
mod objects;
#[cfg(test)]
mod tests;

pub(super) use local::LocalPath;

use super::{
    compression::{Compression, ending, ending_inside, ending_not_read},
    glob,
    passed_over::{PassedOver, Teller},
};
use crate::{
    confinement::{Location as Outside, Place as OutsidePlace, from_root},
    memory_stores::memory_store,
};
use object_store::{ObjectStore, list::PaginatedListStore};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};
use weir_engine::{
    error::{EngineError, Result},
    object_storage,
};

/// The folder in which sinks of files stage.
const STAGING: &str = "_staging";

const HIDDEN: &str = "since the name begins with . or _";
const NOT_UNPACKED: &str = "since files packed like this are not read (gzip, zstd and bzip2 are)";
const NOT_PARQUET: &str = "since the name does not end in .parquet";
const PACKED_PARQUET: &str = "since Parquet is compressed inside, and is not read from a compressed file";
const NOT_AVRO: &str = "since the name does not end in .avro";
const EMPTY_PARQUET: &str = "since an empty file is no Parquet";
const COMPRESSED_LOG: &str =
    "since compressed files are not read with follow = true: a rotated log would be counted twice";

/// Which files of a folder are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Files of lines, compressed or not.
    Lines,
    /// Files of lines that grow.
    GrowingLines,
    Parquet,
    Avro,
}

/// What to do about a file that is there under several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherNames {
    /// List it by one of them, if it can be opened. So a file is read once.
    PassOver,
    /// List them all: names that a checkpoint may know.
    Keep,
}

/// Where a source's files are, as configured.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// On a local disk.
    Local(LocalPath),
    /// In an object store.
    Store {
        store: Arc<dyn ObjectStore>,
        /// The same store where it can be asked for a page of its list at a time.
        pages: Option<Pages>,
        /// What stands before an object's path in its name.
        root: String,
        /// An object, what the paths of objects begin with, or a pattern.
        path: String,
        teller: Teller,
    },
}

/// A store that gives its list page by page.
#[derive(Clone)]
pub(super) struct Pages(Arc<dyn PaginatedListStore>);

impl std::fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pages")
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
                let store = object_storage::s3(&root, object_storage::environment());
                let store = Arc::new(store.map_err(|error| cannot_open(path, &error))?);
                let mut location = Location::over(store.clone(), &root, key);
                if let Location::Store { pages, .. } = &mut location {
                    *pages = Some(Pages(store));
                }
                Ok(location)
            }
            other => Err(EngineError::definition(format!(
                "path = \"{path}\": there is no '{other}://'; write a path, file://, s3:// or memory://"
            ))),
        }
    }

    /// Where [`Location::parse`] leads, outside of this process. The pattern that follows is looked for in what is there.
    pub(super) fn outside(path: &str) -> Option<Outside> {
        let local = |path| Some(Outside::path("path", LocalPath::parse(path).base()));
        match path.split_once("://") {
            None => local(path),
            Some(("file", rest)) => local(rest),
            // What is in memory is private.
            Some(("memory", _)) => None,
            Some((scheme, rest)) => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                let plain: Vec<&str> = key.split('/').take_while(|name| !glob::is_pattern(name)).collect();
                Some(Outside { key: "path", place: OutsidePlace::url(scheme, bucket, &plain.join("/")) })
            }
        }
    }

    /// Over a store that is there already.
    pub(super) fn over(store: Arc<dyn ObjectStore>, root: &str, path: &str) -> Self {
        let (root, path) = (root.to_owned(), path.trim_matches('/').to_owned());
        Location::Store { store, pages: None, root, path, teller: Teller::default() }
    }

    /// The same, which reports what it passes over.
    pub(super) fn telling(mut self, to: Teller) -> Self {
        match &mut self {
            Location::Local(path) => path.teller = to,
            Location::Store { teller, .. } => *teller = to,
        }
        self
    }

    /// The files that there are now, by name.
    ///
    /// # Errors
    /// When the folder or the store cannot be listed, or the path is that of a file that is not read.
    pub(super) async fn list(&self, wanted: Wanted, other_names: OtherNames) -> Result<Vec<FoundFile>> {
        Ok(self.list_all(wanted, other_names).await?.0)
    }

    /// The same, which must not be empty.
    pub(super) async fn list_some(&self, wanted: Wanted, other_names: OtherNames) -> Result<Vec<FoundFile>> {
        let (files, passed_over) = self.list_all(wanted, other_names).await?;
        if files.is_empty() {
            let what = match wanted {
                Wanted::Parquet => "files that end in .parquet",
                Wanted::Avro => "files that end in .avro",
                Wanted::Lines | Wanted::GrowingLines => "files",
            };
            let passed_over = passed_over.in_brackets();
            return Err(EngineError::definition(format!("there are no {what} to read{passed_over}")));
        }
        Ok(files)
    }

    async fn list_all(&self, wanted: Wanted, other_names: OtherNames) -> Result<(Vec<FoundFile>, PassedOver)> {
        let mut passed_over = PassedOver::default();
        let (mut files, teller) = match self {
            Location::Local(path) => {
                let found = path.find(wanted, other_names, &mut passed_over)?.into_iter().map(|(path, _)| path);
                let file = |path: PathBuf| FoundFile { name: path.display().to_string(), place: Place::Local(path) };
                (found.map(file).collect(), &path.teller)
            }
            Location::Store { store, pages, root, path, teller } => {
                let listing =
                    objects::Listing { store, pages: pages.as_ref().map(|pages| pages.0.as_ref()), root, path };
                (listing.find(wanted, &mut passed_over).await?, teller)
            }
        };
        files.sort_by(|a: &FoundFile, b: &FoundFile| a.name.cmp(&b.name));
        teller.tell(&passed_over);
        Ok((files, passed_over))
    }
}

/// Whether a file would be listed, if it was there: by its path or URL alone.
pub(super) fn would_list(path: &str, wanted: Wanted, file: &str) -> bool {
    let local = |path: &str| path.strip_prefix("file://").unwrap_or(path).to_owned();
    let (path, file) = (local(path), local(file));
    let below = match (path.contains("://"), file.contains("://")) {
        (false, false) => {
            let path = LocalPath::parse(&path);
            let (base, file) = (from_root(path.base()), from_root(Path::new(&file)));
            let below = file.strip_prefix(base).ok().map(|below| below.to_string_lossy().into_owned());
            below.map(|below| (below, path.pattern().map(str::to_owned)))
        }
        (true, true) => {
            let names: Vec<&str> = path.trim_end_matches('/').split('/').collect();
            let plain = names.iter().take_while(|name| !glob::is_pattern(name)).count();
            let pattern = (plain < names.len()).then(|| names[plain..].join("/"));
            file.strip_prefix(&format!("{}/", names[..plain].join("/"))).map(|below| (below.to_owned(), pattern))
        }
        _ => None,
    };
    let Some((below, pattern)) = below.filter(|(below, _)| !below.is_empty()) else { return false };
    let is_asked_for = match &pattern {
        Some(pattern) => glob::matches(pattern, &below),
        None => !below.split('/').any(is_hidden),
    };
    let name = below.rsplit('/').next().unwrap_or(&below);
    is_asked_for && not_wanted(name, 1, wanted, pattern.is_some()).is_none()
}

/// Why a file of this name is not wanted; of one that a pattern names, endings say nothing.
fn not_wanted(name: &str, bytes: u64, wanted: Wanted, by_pattern: bool) -> Option<&'static str> {
    match wanted {
        Wanted::Parquet if Compression::of_name(name).is_some() => {
            Some(if ending_inside(name).is_some_and(|ending| ending == "parquet") {
                PACKED_PARQUET
            } else {
                NOT_PARQUET
            })
        }
        Wanted::Parquet if !by_pattern && ending(name).is_none_or(|ending| ending != "parquet") => Some(NOT_PARQUET),
        Wanted::Parquet if bytes == 0 => Some(EMPTY_PARQUET),
        Wanted::Parquet => None,
        Wanted::Avro if !by_pattern && ending(name).is_none_or(|ending| ending != "avro") => Some(NOT_AVRO),
        Wanted::Avro => None,
        Wanted::GrowingLines if Compression::of_name(name).is_some() => Some(COMPRESSED_LOG),
        Wanted::Lines | Wanted::GrowingLines => ending_not_read(name).map(|_| NOT_UNPACKED),
    }
}

/// A single file that is named by the path must be one that is read.
fn refuse_unread(name: &str, wanted: Wanted) -> Result<()> {
    if matches!(wanted, Wanted::Parquet | Wanted::Avro) {
        return Ok(());
    }
    if let Some(ending) = ending_not_read(name) {
        return Err(EngineError::definition(format!(
            "{name} is packed ({ending}), which is not read: unpack it first"
        )));
    }
    match Compression::of_name(name) {
        Some(compression) if wanted == Wanted::GrowingLines => Err(EngineError::definition(format!(
            "{name} is compressed ({}), and does not grow: it is read without follow = true",
            compression.name()
        ))),
        _ => Ok(()),
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

fn cannot_open(path: &str, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::definition(format!("path = \"{path}\": cannot open this storage: {error}"))
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
    EngineError::caused_by(error, format!("cannot read {path}: {error}{advice}"))
}
