//! Files on a local disk.

use super::{HIDDEN, OtherNames, STAGING, Wanted, cannot_read, is_hidden, not_wanted, refuse_unread};
use crate::source::files::{
    bounded::{read_at, read_fully},
    glob,
    passed_over::{PassedOver, Teller},
};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use weir_engine::error::{EngineError, Result};

/// Folders nested deeper than this are taken for a loop of links.
const DEEPEST_FOLDER: usize = 64;

const NO_FILE: &str = "since it is no file (a socket, a pipe or a device)";
const DANGLING: &str = "since the link leads nowhere";
const LOOP: &str = "since the link leads back to a folder that contains it";
const TOO_DEEP: &str = "since it is nested too deep";
const FORBIDDEN: &str = "since the user that weir runs as is not permitted to read it";
const ANOTHER_NAME: &str = "since it is another name of a file that is read";

/// A path on a local disk, without the pattern that may follow it.
#[derive(Clone, Debug)]
pub(in crate::source::files) struct LocalPath {
    base: PathBuf,
    pattern: Option<String>,
    pub(super) teller: Teller,
}

/// A file and what is known of it.
type LocalFile = (PathBuf, Metadata);

/// What a path stands for now.
#[derive(Debug, Default)]
pub(in crate::source::files) struct Found {
    /// By name, where they are followed.
    pub(in crate::source::files) files: Vec<LocalFile>,
    /// The folders that were listed.
    pub(in crate::source::files) folders: Vec<PathBuf>,
    /// What could not be listed, and why.
    pub(in crate::source::files) unreadable: Vec<(PathBuf, EngineError)>,
}

impl LocalPath {
    pub(in crate::source::files) fn parse(path: &str) -> Self {
        if !glob::is_pattern(path) || Path::new(path).exists() {
            return LocalPath { base: PathBuf::from(path), pattern: None, teller: Teller::default() };
        }
        let names: Vec<&str> = path.split('/').collect();
        let plain = names.iter().take_while(|name| !glob::is_pattern(name)).count();
        let base = match names[..plain].join("/") {
            base if base.is_empty() && path.starts_with('/') => "/".to_owned(),
            base if base.is_empty() => ".".to_owned(),
            base => base,
        };
        LocalPath { base: PathBuf::from(base), pattern: Some(names[plain..].join("/")), teller: Teller::default() }
    }

    /// The file or folder that has everything in it.
    pub(in crate::source::files) fn base(&self) -> &Path {
        &self.base
    }

    /// What follows the base, if the path is a pattern.
    pub(super) fn pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }

    /// The files that are followed and that can be listed now, and what cannot. One that vanishes while the list is made is
    /// left out.
    ///
    /// # Errors
    /// When the path names something that is never read.
    pub(in crate::source::files) fn list(&self) -> Result<Found> {
        let mut passed_over = PassedOver::default();
        let mut found = self.look(Wanted::GrowingLines, &mut passed_over)?;
        found.files.sort_by(|a, b| a.0.cmp(&b.0));
        self.teller.tell(&passed_over);
        Ok(found)
    }

    fn look(&self, wanted: Wanted, passed_over: &mut PassedOver) -> Result<Found> {
        let mut found = Found::default();
        match fs::metadata(&self.base) {
            Err(error) => found.unreadable.push((self.base.clone(), cannot_read(&self.base, &error))),
            Ok(metadata) if !metadata.is_dir() => {
                refuse_unread(&self.base.to_string_lossy(), wanted)?;
                found.folders.extend(self.base.parent().map(Path::to_owned));
                found.files.push((self.base.clone(), metadata));
            }
            Ok(metadata) => {
                let pattern = self.pattern.as_deref();
                let mut folder = FolderListing { pattern, wanted, passed_over, found };
                folder.list(&self.base, "", &mut vec![identity(&metadata)]);
                found = folder.found;
            }
        }
        Ok(found)
    }

    /// The files that there are now, by name.
    pub(super) fn find(
        &self,
        wanted: Wanted,
        other_names: OtherNames,
        passed_over: &mut PassedOver,
    ) -> Result<Vec<LocalFile>> {
        let Found { files: mut found, unreadable, .. } = self.look(wanted, passed_over)?;
        if let Some((_, error)) = unreadable.into_iter().next() {
            return Err(error);
        }
        // As texts: the files are many, and comparing folder by folder takes long.
        found.sort_unstable_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
        if other_names == OtherNames::PassOver && !(found.len() == 1 && found[0].0 == self.base) {
            found.retain(|(path, _)| {
                let readable = !matches!(File::open(path), Err(error) if error.kind() == ErrorKind::PermissionDenied);
                if !readable {
                    passed_over.add(path.display().to_string(), FORBIDDEN);
                }
                readable
            });
            found = without_other_names(found, &self.base, passed_over);
        }
        Ok(found)
    }
}

/// A folder being listed, with all below it.
struct FolderListing<'a> {
    pattern: Option<&'a str>,
    wanted: Wanted,
    passed_over: &'a mut PassedOver,
    found: Found,
}

impl FolderListing<'_> {
    /// `above` are the folder and all that it lies in.
    fn list(&mut self, folder: &Path, relative: &str, above: &mut Vec<(u64, u64)>) {
        let at_the_base = above.len() == 1;
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound && !at_the_base => return,
            Err(error) if self.is_forbidden(&error) && !at_the_base => return self.pass_over(folder, FORBIDDEN),
            Err(error) => return self.cannot_read(folder, &error),
        };
        self.found.folders.push(folder.to_owned());
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // The rest of the folder cannot be listed.
                Err(error) => return self.cannot_read(folder, &error),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let relative = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            // Without the way to the folder again; where that tells nothing, what a link leads to may.
            let metadata = match entry.metadata().ok().filter(|metadata| !metadata.is_symlink()) {
                Some(metadata) => Ok(metadata),
                None => fs::metadata(&path),
            };
            let metadata = match metadata {
                Ok(metadata) => metadata,
                Err(error) => {
                    match error.kind() {
                        // A file that vanished has no link either.
                        ErrorKind::NotFound if fs::symlink_metadata(&path).is_err() => {}
                        ErrorKind::NotFound => self.pass_over_file(&path, &relative, DANGLING),
                        _ if self.is_forbidden(&error) => self.pass_over_file(&path, &relative, FORBIDDEN),
                        _ if is_loop(&error) => self.pass_over_file(&path, &relative, LOOP),
                        _ => self.cannot_read(&path, &error),
                    }
                    continue;
                }
            };
            if is_hidden(&name) && !self.pattern.is_some_and(glob::names_hidden) {
                if !(name == STAGING && metadata.is_dir()) && self.pattern.is_none() {
                    self.pass_over(&path, HIDDEN);
                }
            } else if metadata.is_dir() {
                self.list_below(&path, &relative, &metadata, above);
            } else if self.pattern.is_none_or(|pattern| glob::matches(pattern, &relative)) {
                let reason = if metadata.is_file() {
                    not_wanted(&name, metadata.len(), self.wanted, self.pattern.is_some())
                } else {
                    Some(NO_FILE)
                };
                match reason {
                    Some(reason) => self.pass_over(&path, reason),
                    None => self.found.files.push((path, metadata)),
                }
            }
        }
    }

    fn list_below(&mut self, path: &Path, relative: &str, metadata: &Metadata, above: &mut Vec<(u64, u64)>) {
        let identity = identity(metadata);
        let reason =
            if above.contains(&identity) { Some(LOOP) } else { (above.len() > DEEPEST_FOLDER).then_some(TOO_DEEP) };
        if let Some(reason) = reason {
            // A pattern need not mean what is behind the link.
            if self.pattern.is_none() {
                self.pass_over(path, reason);
            }
        } else {
            above.push(identity);
            self.list(path, relative, above);
            above.pop();
        }
    }

    /// Whether something may not be read, and so is not. Among files that are followed it is waited for.
    fn is_forbidden(&self, error: &io::Error) -> bool {
        error.kind() == ErrorKind::PermissionDenied && self.wanted != Wanted::GrowingLines
    }

    fn cannot_read(&mut self, path: &Path, error: &io::Error) {
        self.found.unreadable.push((path.to_owned(), cannot_read(path, error)));
    }

    fn pass_over_file(&mut self, path: &Path, relative: &str, reason: &'static str) {
        let hidden = relative.rsplit('/').next().is_some_and(is_hidden);
        if self.pattern.map_or(!hidden, |pattern| glob::matches(pattern, relative)) {
            self.pass_over(path, reason);
        }
    }

    fn pass_over(&mut self, path: &Path, reason: &'static str) {
        self.passed_over.add(path.display().to_string(), reason);
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Too many links, one leading to the next.
fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// Of files that are the same one the first by name, or the first that no link leads to. Different files never count as one,
/// whatever a file system says about their numbers: they are looked into.
fn without_other_names(found: Vec<LocalFile>, base: &Path, passed_over: &mut PassedOver) -> Vec<LocalFile> {
    let mut firsts: HashMap<(u64, u64), usize> = HashMap::with_capacity(found.len());
    // Of most files there is no other.
    let mut several: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, (_, metadata)) in found.iter().enumerate() {
        let first = *firsts.entry(identity(metadata)).or_insert(index);
        if first != index {
            several.entry(first).or_insert_with(|| vec![first]).push(index);
        }
    }
    let mut kept = vec![true; found.len()];
    for mut alike in several.into_values() {
        alike.sort_by_key(|index| (is_behind_a_link(&found[*index].0, base), *index));
        let (first, others) = (alike[0], &alike[1..]);
        for other in others {
            if is_same_file(&found[first], &found[*other]) {
                kept[*other] = false;
                passed_over.add(found[*other].0.display().to_string(), ANOTHER_NAME);
            }
        }
    }
    let mut kept = kept.into_iter();
    found.into_iter().filter(|_| kept.next().unwrap_or(true)).collect()
}

/// Whether a link below `base` leads to a file.
fn is_behind_a_link(path: &Path, base: &Path) -> bool {
    let (Ok(real), Ok(base_is)) = (fs::canonicalize(path), fs::canonicalize(base)) else { return true };
    path.strip_prefix(base).map_or(true, |relative| base_is.join(relative) != real)
}

/// Whether two names with the same device and inode are of one file.
fn is_same_file(one: &LocalFile, other: &LocalFile) -> bool {
    let (a, b) = (&one.1, &other.1);
    let differ = a.len() != b.len() || (a.mtime(), a.mtime_nsec()) != (b.mtime(), b.mtime_nsec());
    let linked = a.nlink() > 1 || fs::canonicalize(&one.0).ok() == fs::canonicalize(&other.0).ok();
    !differ && (linked || have_same_bytes(&one.0, &other.0).unwrap_or(false))
}

fn have_same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    let (mut bytes, mut others) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut offset = 0;
    loop {
        let read = read_at(&one, &mut bytes, offset)?;
        if read == 0 {
            return Ok(read_at(&other, &mut others[..1], offset)? == 0);
        }
        if read_fully(&other, &mut others[..read], offset)? < read || bytes[..read] != others[..read] {
            return Ok(false);
        }
        offset += read as u64;
    }
}
