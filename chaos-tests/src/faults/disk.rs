//! A local disk that has its power cut: what was not synced is gone, or not, as it happens.
//!
//! The files are real, and whatever makes them last is watched. A file's content lasts once the file was synced, a name once
//! its folder was, and a folder is a name in the folder above. After a cut, of all that does not last each thing is there or
//! not by chance: a name without its content, a part of the content, a file that had been removed.

use anyhow::{Context, Result};
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, rngs::StdRng};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use weir_engine::disk::{Change, Watched, Watcher, watch};

/// What a disk forgets although it was synced, if it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgets {
    /// Nothing.
    Nothing,
    /// All names.
    Names,
    /// The names of folders: as if only the folder were synced that a file stands in, and not the one above.
    Folders,
}

/// Folders on such a disk.
pub struct UnsyncedDisk {
    roots: Vec<PathBuf>,
    seen: Arc<Seen>,
    _watched: Vec<Watched>,
}

/// What has been seen to happen.
struct Seen {
    forgets: Forgets,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: u64,
    /// What is there.
    names: BTreeMap<PathBuf, Entry>,
    /// What lasts of it, and what lasts although it was removed.
    lasting: BTreeMap<PathBuf, Entry>,
    /// By file: what lasts of its content.
    contents: HashMap<u64, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    File(u64),
}

impl UnsyncedDisk {
    /// Of folders that are not there yet, in a folder that lasts. A wrong one forgets.
    pub fn new(roots: &[PathBuf], forgets: Forgets) -> Self {
        let seen = Arc::new(Seen { forgets, state: Mutex::default() });
        let _watched = roots.iter().map(|root| watch(root, seen.clone())).collect();
        // The folder that the roots are in lasts, and they with it.
        roots.iter().for_each(|root| {
            seen.state().names.insert(root.clone(), Entry::Folder);
            seen.state().lasting.insert(root.clone(), Entry::Folder);
        });
        UnsyncedDisk { roots: roots.into(), seen, _watched }
    }

    /// Cuts the power, while nobody writes.
    ///
    /// # Errors
    /// When the files cannot be put into the state that is left.
    pub fn cut(&self, dice: &mut StdRng) -> Result<()> {
        let mut state = self.seen.state();
        let mut left: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        let mut contents = HashMap::new();
        let all: BTreeMap<PathBuf, Entry> =
            state.names.iter().chain(&state.lasting).map(|(p, e)| (p.clone(), *e)).collect();
        // Parents come before what is in them.
        for (path, entry) in all {
            let is_root = self.roots.contains(&path);
            let has_parent = path.parent().is_some_and(|parent| left.contains_key(parent));
            let is_certain = state.lasting.contains_key(&path) && path.exists();
            let is_possible = state.lasting.contains_key(&path) || path.exists();
            if !is_root && !(has_parent && is_possible && (is_certain || dice.random_range(0..2) == 0)) {
                continue;
            }
            if let Entry::File(file) = entry {
                let content = match state.contents.get(&file) {
                    Some(content) => content.clone(),
                    None => {
                        let mut content = fs::read(&path).unwrap_or_default();
                        content.truncate(dice.random_range(0..=content.len()));
                        content
                    }
                };
                contents.insert(file, content);
            }
            left.insert(path, entry);
        }
        // A root is the same folder afterwards: storage whose folder is another one is taken for a disk that is gone.
        self.roots.iter().try_for_each(|root| emptied(root).with_context(|| root.display().to_string()))?;
        for (path, entry) in &left {
            match entry {
                Entry::Folder if path.is_dir() => Ok(()),
                Entry::Folder => fs::create_dir(path),
                Entry::File(file) => fs::write(path, &contents[file]),
            }
            .with_context(|| path.display().to_string())?;
        }
        (state.names, state.lasting, state.contents) = (left.clone(), left, contents);
        Ok(())
    }
}

/// Removes what is in a folder, if it is there.
fn emptied(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Watcher for Seen {
    fn changed(&self, change: Change<'_>) {
        let mut state = self.state();
        match change {
            Change::FolderMade(path) => {
                state.names.insert(path.into(), Entry::Folder);
            }
            Change::Made(path) => {
                state.files += 1;
                let file = Entry::File(state.files);
                state.names.insert(path.into(), file);
            }
            Change::Synced(path) => {
                if let (Some(Entry::File(file)), Ok(content)) = (state.names.get(path).copied(), fs::read(path)) {
                    state.contents.insert(file, content);
                }
            }
            Change::Linked(from, to) => {
                if let Some(entry) = state.names.get(from).copied() {
                    state.names.insert(to.into(), entry);
                }
            }
            Change::Renamed(from, to) => {
                if let Some(entry) = state.names.remove(from) {
                    state.names.insert(to.into(), entry);
                }
            }
            Change::FolderSynced(folder) => state.sync_folder(folder, self.forgets),
        }
    }
}

impl State {
    fn sync_folder(&mut self, folder: &Path, forgets: Forgets) {
        let is_in = |path: &Path| path.parent() == Some(folder);
        self.names.retain(|path, _| !is_in(path) || path.exists());
        self.lasting.retain(|path, _| !is_in(path) || path.exists());
        let lasts = |entry: &Entry| match forgets {
            Forgets::Nothing => true,
            Forgets::Names => false,
            Forgets::Folders => *entry != Entry::Folder,
        };
        let now = self
            .names
            .iter()
            .filter(|(path, entry)| is_in(path) && lasts(entry))
            .map(|(path, entry)| (path.clone(), *entry));
        self.lasting.extend(now.collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::io::Write;
    use weir_engine::disk;

    #[test]
    fn what_was_synced_is_left_and_nothing_else_is_certain() {
        let mut halves = (0, 0);
        for seed in 0..40 {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            let unsynced = UnsyncedDisk::new(std::slice::from_ref(&root), Forgets::Nothing);
            disk::make_folder(&root.join("a/b")).unwrap();
            for (name, synced) in [("lasts", true), ("may be gone", false)] {
                let path = root.join("a/b").join(name);
                let mut file = disk::create(&path).unwrap();
                file.write_all(b"content").unwrap();
                if synced {
                    disk::sync(&file, &path).unwrap();
                    disk::sync_folder(&root.join("a/b")).unwrap();
                }
            }
            unsynced.cut(&mut StdRng::seed_from_u64(seed)).unwrap();
            assert_eq!(fs::read(root.join("a/b/lasts")).unwrap(), b"content");
            match fs::read(root.join("a/b/may be gone")) {
                Ok(content) => {
                    assert!(b"content".starts_with(&content));
                    halves.0 += 1;
                }
                Err(_) => halves.1 += 1,
            }
        }
        assert!(halves.0 > 0 && halves.1 > 0, "{halves:?}");
    }
}
