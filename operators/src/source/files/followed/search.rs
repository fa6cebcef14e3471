//! How the file of a split is found again, whatever it is called now.
//!
//! Invariant: a file with another number is taken for the one that was read only if its bytes prove it and no other split reads
//! it. However many files are looked for, each folder is listed once, and the beginning of each file read once.

use super::{
    identity::{FileId, Head},
    prefix::Thorough,
    watch::{Followed, Listed, Watch},
};
use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
};
use weir_engine::error::Result;

/// So often the folders are listed before a file is said to be gone: a list may miss one that is being renamed.
pub(super) const LOOKS: usize = 5;

/// The files that there are at a moment.
#[derive(Default)]
pub(super) struct Listing {
    /// By name.
    files: Vec<Listed>,
    ids: HashMap<FileId, Vec<usize>>,
}

impl Listing {
    /// Of files in the order of their names.
    pub(super) fn new(files: Vec<Listed>) -> Self {
        let mut ids: HashMap<FileId, Vec<usize>> = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            ids.entry(file.id).or_default().push(index);
        }
        Listing { files, ids }
    }

    /// Each file once, by the first of its names, in the order of these: of two that may be taken for one, it is always the same
    /// that is.
    pub(super) fn files(&self) -> impl Iterator<Item = &Listed> {
        let is_first =
            |(index, file): &(usize, &Listed)| self.ids.get(&file.id).and_then(|names| names.first()) == Some(index);
        self.files.iter().enumerate().filter(is_first).map(|(_, file)| file)
    }

    pub(super) fn has(&self, id: FileId) -> bool {
        self.ids.contains_key(&id)
    }

    /// The names of a file.
    pub(super) fn names(&self, id: FileId) -> impl Iterator<Item = &Listed> {
        self.ids.get(&id).into_iter().flatten().filter_map(|index| self.files.get(*index))
    }

    /// Whether that is a name of the file.
    pub(super) fn is_at(&self, id: FileId, path: &Path) -> bool {
        self.names(id).any(|name| name.path == path)
    }

    pub(super) fn at(&self, path: &Path) -> Option<&Listed> {
        let index = self.files.binary_search_by(|file| file.path.as_path().cmp(path)).ok()?;
        self.files.get(index)
    }
}

/// Where the file of a split is.
pub(super) enum Whereabouts {
    Here(Listed, File),
    /// Its folder cannot be reached.
    Away,
    Gone,
}

/// One look at all the files.
pub(super) struct Search<'a> {
    watch: &'a Watch,
    pub(super) listing: Listing,
    /// Files by what they begin with.
    heads: Option<HashMap<Head, Vec<Listed>>>,
    /// All files in the folders where some were: a rotated file may have a name that the path does not fit.
    neighbours: HashMap<PathBuf, Listing>,
}

impl<'a> Search<'a> {
    pub(super) fn new(watch: &'a Watch) -> Result<Self> {
        Ok(Search::in_files(watch, watch.list()?))
    }

    /// In files that were just listed.
    pub(super) fn in_files(watch: &'a Watch, files: Vec<Listed>) -> Self {
        Search { watch, listing: Listing::new(files), heads: None, neighbours: HashMap::new() }
    }

    fn neighbours(&mut self, split: &Followed) -> &Listing {
        let folder = folder_of(&split.path);
        let watch = self.watch;
        self.neighbours.entry(folder.to_owned()).or_insert_with_key(|folder| {
            let entries = fs::read_dir(folder).into_iter().flatten();
            let files = entries.filter_map(|entry| {
                let path = entry.ok()?.path();
                let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
                Some(watch.listed(path, &metadata))
            });
            let mut files: Vec<Listed> = files.collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Listing::new(files)
        })
    }

    /// The file of a split that is not open, by its number. At its place it may have been rewritten, which is for its reader
    /// to find out; under another name it may be another file by now.
    pub(super) fn find_same(&mut self, split: &Followed) -> Option<(Listed, File)> {
        let watch = self.watch;
        let by_number = |listing: &Listing| {
            let id = FileId { device: split.device?, inode: split.inode };
            let (at_its_place, others): (Vec<&Listed>, Vec<&Listed>) =
                listing.names(id).partition(|listed| listed.path == split.path);
            at_its_place.into_iter().chain(others).find_map(|listed| {
                let file = watch.open(listed)?;
                let is_it =
                    listed.path == split.path || watch.or_say(&listed.path, split.fits(&file, Thorough::Much))?;
                is_it.then(|| (listed.clone(), file))
            })
        };
        by_number(&self.listing).or_else(|| by_number(self.neighbours(split))).or_else(|| {
            // After a restart of the machine the devices may have other numbers.
            let listed = self.listing.at(&split.path).filter(|listed| listed.id.inode == split.inode)?;
            let file = watch.open(listed)?;
            let is_it = watch.head_of(listed, &file)? == split.head
                && watch.or_say(&listed.path, split.fits(&file, Thorough::Much))?;
            is_it.then(|| (listed.clone(), file))
        })
    }

    /// Where a split continues whose file has another number or does not exist.
    pub(super) fn find_elsewhere(&mut self, id: &str, split: &Followed) -> Whereabouts {
        if self.watch.is_away(split) {
            return Whereabouts::Away;
        }
        let copy = if split.is_proof() { self.find_copy(id, split) } else { None };
        copy.map_or(Whereabouts::Gone, |(listed, file)| Whereabouts::Here(listed, file))
    }

    /// Another file that has all that was read of a split, and is not read itself. Where that is no more than many files begin
    /// with, only one beside it that is named after it.
    pub(super) fn find_copy(&mut self, id: &str, split: &Followed) -> Option<(Listed, File)> {
        let watch = self.watch;
        let listing = &self.listing;
        let heads = self.heads.get_or_insert_with(|| by_head(watch, listing));
        let alike = heads.get(&split.head).map_or(&[][..], Vec::as_slice);
        // A file that was replaced is looked for in its place first.
        let (in_place, others): (Vec<&Listed>, Vec<&Listed>) =
            alike.iter().partition(|file| listing.is_at(file.id, &split.path));
        let may_be = |file: &&Listed| split.is_proof() || is_named_after(&file.path, &split.path);
        let all = in_place.into_iter().chain(others).filter(may_be);
        let found = all.into_iter().find_map(|file| watch.has_all_of(id, split, file));
        found.or_else(|| {
            self.neighbours(split).files().filter(may_be).find_map(|file| watch.has_all_of(id, split, file))
        })
    }
}

fn by_head(watch: &Watch, listing: &Listing) -> HashMap<Head, Vec<Listed>> {
    let mut heads: HashMap<Head, Vec<Listed>> = HashMap::new();
    for file in listing.files() {
        if let Some(head) = watch.head(file) {
            heads.entry(head).or_default().push(file.clone());
        }
    }
    heads
}

/// Whether a file is next to a log and is named like its rotated copies: `clicks.log.1`, `clicks-2022.log`.
fn is_named_after(file: &Path, log: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (name, log_name) = (name(file), name(log));
    let stem = log_name.split('.').next().unwrap_or_default();
    folder_of(file) == folder_of(log) && !stem.is_empty() && name.starts_with(stem)
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::files::followed::identity::Stamp;

    #[test]
    fn files_come_once_each_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any");
        fs::write(&path, "").unwrap();
        let stamp = Stamp::of(&fs::metadata(&path).unwrap());
        // Every third name is another one of the first file, and numbers are in no order.
        let number = |name: u64| if name.is_multiple_of(3) { 0 } else { name * 7 % 31 };
        let listed = |name: u64| Listed {
            path: PathBuf::from(format!("/logs/{name:02}")),
            id: FileId { device: 1, inode: number(name) },
            stamp,
        };
        let listing = Listing::new((0..30).map(listed).collect());
        let found: Vec<u64> =
            listing.files().map(|file| file.path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect();
        let expected: Vec<u64> = (0..30_u64).filter(|name| *name == 0 || !name.is_multiple_of(3)).collect();
        assert_eq!(found, expected);
    }
}
