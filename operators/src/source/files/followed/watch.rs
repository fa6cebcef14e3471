//! What the readers of a subtask and its search for files share: the splits, and the only door to the files.
//!
//! Invariant: whatever cannot be read now is named once, waited for, and holds nothing else up.

use super::{
    identity::{FileId, Head, Identify, Stamp},
    open_files::OpenFiles,
    prefix::{Prefix, Thorough},
    resting::Resting,
    search::{Listing, folder_of},
};
use crate::source::files::{
    lines::{LinePosition, LineSettings},
    listing::{LocalPath, cannot_read},
};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use weir_engine::{env::Env, error::Result};

/// What is done with a file that is equal to the beginning of another one, or to all of it, and stays so. Bytes cannot tell
/// whether it is a copy of that one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copies {
    /// It is read as a file of its own, once the other one has not been truncated for the rotation grace.
    #[default]
    Read,
    /// It is not read as long as it is equal.
    Skip,
}

/// What could be listed.
pub(super) struct AllListed {
    pub(super) files: Vec<Listed>,
    pub(super) folders: Vec<PathBuf>,
    /// Nothing could not.
    pub(super) is_whole: bool,
}

/// A split, as its reader keeps it up to date and checkpoints hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Followed {
    /// The last known name.
    pub(super) path: PathBuf,
    /// None in checkpoints of versions that did not know it.
    #[serde(default)]
    pub(super) device: Option<u64>,
    pub(super) inode: u64,
    /// The device of the folder that the file was found in, which distinguishes a file that is gone from a mount that is.
    #[serde(default)]
    pub(super) folder_device: Option<u64>,
    #[serde(rename = "fingerprint")]
    pub(super) head: Head,
    /// How many files had this number before and began alike.
    pub(super) generation: u32,
    /// The bytes that were read. They reach at least as far as the position.
    #[serde(default)]
    pub(super) read: Prefix,
    /// How far the file was known to reach, in bytes.
    pub(super) seen: u64,
    #[serde(flatten)]
    pub(super) position: LinePosition,
    /// The file started over: what is in it now is another split.
    #[serde(default)]
    pub(super) began_anew: bool,
    /// What is read now is a copy that will not grow.
    #[serde(default)]
    pub(super) is_copy: bool,
    /// All that is in the file was read elsewhere. Should it grow, it was no copy, and is read from its beginning.
    #[serde(default)]
    pub(super) passed_over: bool,
    /// The split has ended.
    #[serde(default)]
    pub(super) ended: bool,
    /// It was read to its end, and its name was gone: it is no longer written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) left: bool,
    /// Its file has been found in this process.
    #[serde(skip)]
    pub(super) found: bool,
    /// Its file cannot be reached, and is waited for.
    #[serde(skip)]
    pub(super) away: bool,
    /// Its file was closed, all of it being read, and is not there any more.
    #[serde(skip)]
    pub(super) vanished: bool,
}

impl Followed {
    /// A new split at the beginning of its file.
    pub(super) fn new(file: &Listed, head: Head, generation: u32) -> Self {
        Followed {
            path: file.path.clone(),
            device: Some(file.id.device),
            inode: file.id.inode,
            folder_device: None,
            head,
            generation,
            read: Prefix::default(),
            seen: file.stamp.bytes,
            position: LinePosition::default(),
            began_anew: false,
            is_copy: false,
            passed_over: false,
            ended: false,
            left: false,
            found: true,
            away: false,
            vanished: false,
        }
    }

    /// Whether its file had that number when it was seen last.
    pub(super) fn is(&self, file: FileId) -> bool {
        self.inode == file.inode && self.device == Some(file.device)
    }

    /// Whether a file is the one that was read, as far as it is looked at.
    pub(super) fn fits(&self, file: &File, thorough: Thorough) -> io::Result<bool> {
        Ok((self.read.length >= self.head.length || self.head.fits(file)?) && self.read.fits(file, thorough)?)
    }

    /// Whether more was read than what any file of its kind may begin with, or nothing at all: only then do equal bytes prove
    /// something about a file with another number.
    pub(super) fn is_proof(&self) -> bool {
        self.knows_file() || self.read.length == 0 && self.position.offset == 0
    }

    /// Whether more was read than what any file of its kind may begin with.
    pub(super) fn knows_file(&self) -> bool {
        self.read.length > self.head.length
    }

    fn file(&self) -> Option<FileId> {
        self.device.map(|device| FileId { device, inode: self.inode })
    }
}

/// A file as it is listed.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) stamp: Stamp,
}

/// The splits of a subtask, by their ids, by their files and by what these begin with.
#[derive(Default)]
pub(super) struct Splits {
    splits: BTreeMap<String, Followed>,
    of_files: HashMap<FileId, BTreeSet<String>>,
    of_heads: HashMap<Head, BTreeSet<String>>,
}

impl Splits {
    pub(super) fn insert(&mut self, id: &str, split: Followed) {
        let is_where_it_was =
            self.splits.get(id).is_some_and(|before| before.file() == split.file() && before.head == split.head);
        if !is_where_it_was {
            self.remove(id);
            if let Some(file) = split.file() {
                self.of_files.entry(file).or_default().insert(id.to_owned());
            }
            self.of_heads.entry(split.head.clone()).or_default().insert(id.to_owned());
        }
        self.splits.insert(id.to_owned(), split);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(split) = self.splits.remove(id) else { return };
        if let Some(file) = split.file() {
            remove_from(&mut self.of_files, &file, id);
        }
        remove_from(&mut self.of_heads, &split.head, id);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Followed> {
        self.splits.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Followed)> {
        self.splits.iter()
    }

    /// Those whose file had that number when it was seen last.
    pub(super) fn of_file(&self, file: FileId) -> impl Iterator<Item = (&String, &Followed)> {
        self.of_files.get(&file).into_iter().flatten().filter_map(|id| self.splits.get_key_value(id))
    }

    /// Those whose files begin so.
    pub(super) fn of_head(&self, head: &Head) -> impl Iterator<Item = (&String, &Followed)> {
        self.of_heads.get(head).into_iter().flatten().filter_map(|id| self.splits.get_key_value(id))
    }
}

fn remove_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<String>>, key: &K, id: &str) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

pub(super) struct Watch {
    pub(super) path: LocalPath,
    pub(super) settings: Arc<LineSettings>,
    /// Lines that make a head: the first says nothing where it names the columns.
    pub(super) head_lines: usize,
    pub(super) rotation_grace: Duration,
    pub(super) copies: Copies,
    pub(super) identify: Identify,
    pub(super) env: Env,
    pub(super) subtask: usize,
    pub(super) parallelism: usize,
    pub(super) known: Mutex<Splits>,
    pub(super) open_files: Mutex<OpenFiles>,
    pub(super) resting: Mutex<Resting>,
    /// Folders whose events can be relied on.
    pub(super) announcing: Mutex<HashSet<PathBuf>>,
    /// Something has happened that may be seen in the list of files only.
    pub(super) look: AtomicBool,
    /// What cannot be read now, so that it is said once.
    pub(super) unreadable: Mutex<BTreeMap<PathBuf, String>>,
    /// What files began with, as they were then.
    pub(super) heads: Mutex<HashMap<FileId, (Stamp, Option<Head>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Watch {
    pub(super) fn known(&self) -> MutexGuard<'_, Splits> {
        lock(&self.known)
    }

    pub(super) fn open_files(&self) -> MutexGuard<'_, OpenFiles> {
        lock(&self.open_files)
    }

    pub(super) fn resting(&self) -> MutexGuard<'_, Resting> {
        lock(&self.resting)
    }

    /// Folders that tell what happens in them. Whether one of them is new.
    pub(super) fn set_announcing(&self, folders: HashSet<PathBuf>) -> bool {
        let mut announcing = lock(&self.announcing);
        let is_new = !folders.is_subset(&announcing);
        *announcing = folders;
        is_new
    }

    pub(super) fn is_announcing(&self, folder: &Path) -> bool {
        lock(&self.announcing).contains(folder)
    }

    /// Whether events tell of all that happens to a file under that name: not through links to it.
    pub(super) fn is_announced(&self, path: &Path) -> bool {
        self.is_announcing(folder_of(path))
            && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
    }

    /// It is to be looked for files soon.
    pub(super) fn look_soon(&self) {
        self.look.store(true, Ordering::Relaxed);
    }

    /// The files that there are, by name.
    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        Ok(self.list_all()?.files)
    }

    /// The files that there are. What cannot be listed is said, and left out.
    pub(super) fn list_all(&self) -> Result<AllListed> {
        let found = self.path.list()?;
        for (path, error) in &found.unreadable {
            self.cannot_open(path, &error.message);
        }
        let base = self.path.base();
        let is_back =
            !found.unreadable.iter().any(|(path, _)| path == base) && lock(&self.unreadable).remove(base).is_some();
        if is_back && self.subtask == 0 {
            tracing::info!(path = %base.display(), "it can be read again");
        }
        let files = found.files.into_iter().map(|(path, file)| self.listed(path, &file)).collect();
        Ok(AllListed { files, folders: found.folders, is_whole: found.unreadable.is_empty() })
    }

    pub(super) fn listed(&self, path: PathBuf, file: &fs::Metadata) -> Listed {
        Listed { path, id: (self.identify)(file), stamp: Stamp::of(file) }
    }

    /// Says, once, what cannot be listed or opened and is waited for. All subtasks look; one of them says it.
    fn cannot_open(&self, path: &Path, problem: &str) {
        if self.is_news(path, problem) && self.subtask == 0 {
            say_unreadable(path, problem);
        }
    }

    /// Says, once, that a file of this subtask cannot be read on and is waited for.
    pub(super) fn cannot_read_on(&self, path: &Path, error: &io::Error) {
        let problem = cannot_read(path, error).message;
        if self.is_news(path, &problem) {
            say_unreadable(path, &problem);
        }
    }

    fn is_news(&self, path: &Path, problem: &str) -> bool {
        lock(&self.unreadable).insert(path.to_owned(), problem.to_owned()).is_none_or(|said| said != problem)
    }

    /// Opens a file, if there is still the same one under that name; one that cannot be opened is said.
    pub(super) fn open(&self, listed: &Listed) -> Option<File> {
        let opened = File::open(&listed.path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        match opened {
            Ok((file, metadata)) => {
                lock(&self.unreadable).remove(&listed.path);
                ((self.identify)(&metadata) == listed.id).then_some(file)
            }
            Err(error) => {
                self.failed(&listed.path, &error);
                None
            }
        }
    }

    /// What an operation on a file brought; an error is said, unless the file has just gone.
    pub(super) fn or_say<T>(&self, path: &Path, outcome: io::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.failed(path, &error)).ok()
    }

    fn failed(&self, path: &Path, error: &io::Error) {
        if !is_missing(error) {
            self.cannot_open(path, &cannot_read(path, error).message);
        }
    }

    /// What a file begins with; read once as long as it does not change.
    pub(super) fn head(&self, listed: &Listed) -> Option<Head> {
        let known = lock(&self.heads).get(&listed.id).filter(|(stamp, _)| *stamp == listed.stamp).cloned();
        match known {
            Some((_, head)) => head,
            None => self.head_of(listed, &self.open(listed)?),
        }
    }

    /// The same of an open file.
    pub(super) fn head_of(&self, listed: &Listed, file: &File) -> Option<Head> {
        let head = self.or_say(&listed.path, Head::of(file, self.head_lines))?;
        lock(&self.heads).insert(listed.id, (listed.stamp, head.clone()));
        head
    }

    /// Forgets what was known of files that are not listed any more.
    pub(super) fn forget_all_but(&self, listing: &Listing) {
        lock(&self.heads).retain(|id, _| listing.has(*id));
        let is_there = |path: &Path| !fs::symlink_metadata(path).is_err_and(|error| is_missing(&error));
        lock(&self.unreadable).retain(|path, _| path == self.path.base() || is_there(path));
    }

    /// Opens a file if it has all that was read of a split, and is not read itself.
    pub(super) fn has_all_of(&self, id: &str, split: &Followed, listed: &Listed) -> Option<(Listed, File)> {
        if split.is(listed.id) || listed.stamp.bytes < split.read.length.max(1) || self.head(listed)? != split.head {
            return None;
        }
        let file = self.open(listed)?;
        let has_it = self.or_say(&listed.path, split.fits(&file, Thorough::All))?
            && !self.is_taken(id, listed, &file)
            && (split.knows_file() || !self.is_better_known(id, split, &file));
        has_it.then(|| (listed.clone(), file))
    }

    /// Whether a file has what was read of another split that begins alike, more than that: it may be its copy.
    fn is_better_known(&self, id: &str, split: &Followed, file: &File) -> bool {
        let others: Vec<Followed> = {
            let known = self.known();
            let others = known.of_head(&split.head).filter(|(other, split)| *other != id && split.knows_file());
            others.map(|(_, split)| split.clone()).collect()
        };
        others.iter().any(|other| other.fits(file, Thorough::Much).unwrap_or(false))
    }

    /// Whether a file belongs to another split than `id`.
    fn is_taken(&self, id: &str, listed: &Listed, file: &File) -> bool {
        let others: Vec<Followed> = {
            let known = self.known();
            let others = known.of_file(listed.id).filter(|(other, _)| *other != id);
            others.map(|(_, split)| split.clone()).collect()
        };
        others.iter().any(|split| {
            // More than the first line, that is: a file with its number may begin with that, too.
            let all_was_read = listed.stamp.bytes <= split.read.length;
            let was_read =
                || split.ended && !split.began_anew && !split.passed_over && (split.knows_file() || all_was_read);
            let reads_it = !split.ended && split.found && !split.away;
            reads_it || was_read() && split.fits(file, Thorough::Much).unwrap_or(false)
        })
    }

    /// Whether it cannot be said that a file is gone: its folder is not there, or another one, as long as a disk is not mounted.
    pub(super) fn is_away(&self, split: &Followed) -> bool {
        if fs::metadata(self.path.base()).is_err() {
            return true;
        }
        // It is there, and cannot be opened.
        if fs::metadata(&split.path).is_ok_and(|metadata| split.is((self.identify)(&metadata))) {
            return true;
        }
        let mut folder = folder_of(&split.path);
        loop {
            match fs::metadata(folder) {
                Ok(metadata) => {
                    let device = (self.identify)(&metadata).device;
                    return split.folder_device.is_some_and(|known| known != device);
                }
                Err(error) if is_missing(&error) && folder.parent().is_some() => folder = folder_of(folder),
                Err(_) => return true,
            }
        }
    }

    /// A split continues in a file that has what was read of it.
    pub(super) fn go_on_in(&self, split: &mut Followed, file: &Listed) {
        (split.path, split.device, split.inode) = (file.path.clone(), Some(file.id.device), file.id.inode);
        split.folder_device = self.folder_device(&file.path);
        (split.found, split.away, split.ended, split.vanished) = (true, false, false, false);
    }

    /// The device of the folder that a file is in.
    pub(super) fn folder_device(&self, path: &Path) -> Option<u64> {
        fs::metadata(folder_of(path)).ok().map(|metadata| (self.identify)(&metadata).device)
    }
}

fn say_unreadable(path: &Path, problem: &str) {
    tracing::warn!(path = %path.display(), "{problem}; waiting for it, and reading the others");
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
