//! Changes to a local disk that must last: the one place where folders are made and files made, linked and synced whose loss in
//! a power cut would be noticed.
//!
//! Invariant: what has been made lasts when the file is synced ([`sync`]), and then the folder that it stands in
//! ([`sync_folder`]); [`make_folder`] and [`make_private_folder`] do that for folders. A test can [`watch`] all of it, and so know what a power cut may
//! leave.

use parking_lot::RwLock;
use std::{
    fmt,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// There is a new folder.
    FolderMade(&'a Path),
    /// There is a new file, or one that was there is empty now.
    Made(&'a Path),
    /// What is in a file lasts.
    Synced(&'a Path),
    /// A file has a second name.
    Linked(&'a Path, &'a Path),
    /// A file has another name.
    Renamed(&'a Path, &'a Path),
    /// The names in a folder last.
    FolderSynced(&'a Path),
}

/// Hears of changes.
pub trait Watcher: Send + Sync {
    /// It was made.
    fn changed(&self, change: Change<'_>);
}

type Watchers = Vec<(PathBuf, Arc<dyn Watcher>)>;

static WATCHERS: RwLock<Watchers> = RwLock::new(Vec::new());
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// Tells `watcher` of changes below a folder, until what is returned is dropped.
pub fn watch(folder: &Path, watcher: Arc<dyn Watcher>) -> Watched {
    WATCHERS.write().push((folder.into(), watcher.clone()));
    WATCHED.fetch_add(1, Ordering::SeqCst);
    Watched(watcher)
}

/// Dropped, it ends the watching.
pub struct Watched(Arc<dyn Watcher>);

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watchers = WATCHERS.write();
        watchers.retain(|(_, watcher)| !Arc::ptr_eq(watcher, &self.0));
        WATCHED.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tell(path: &Path, change: Change<'_>) {
    if WATCHED.load(Ordering::Relaxed) == 0 {
        return;
    }
    let watchers: Watchers = WATCHERS.read().clone();
    watchers.iter().filter(|(folder, _)| path.starts_with(folder)).for_each(|(_, watcher)| watcher.changed(change));
}

/// Makes a folder and those above it, so that they last.
///
/// # Errors
/// Those of the disk.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    make(folder, 0o777)
}

/// The same, for its owner alone; a folder that is there already keeps its mode.
///
/// # Errors
/// Those of the disk.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    make(folder, 0o700)
}

/// Makes what is missing of a path, with this mode less the process's mask.
fn make(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    make(parent(folder), mode)?;
    match DirBuilder::new().mode(mode).create(folder) {
        Ok(()) => tell(folder, Change::FolderMade(folder)),
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(error) => return Err(error),
    }
    sync_folder(parent(folder))
}

/// A folder as it was found once: what tells it from another one that has its path later, because something was mounted there, or is
/// no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFolder {
    path: PathBuf,
    /// Its file system, and its number there.
    number: (u64, u64),
}

impl FoundFolder {
    /// The folder that is there now.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn find(path: &Path) -> io::Result<FoundFolder> {
        Ok(FoundFolder { path: path.into(), number: number_of(path)? })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// One that waiting can heal, when it is not; those of the disk.
    pub fn check(&self) -> io::Result<()> {
        match number_of(&self.path) {
            Ok(number) if number == self.number => return Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let path = self.path.display();
        Err(io::Error::new(
            ErrorKind::StaleNetworkFileHandle,
            format!("'{path}' is not the folder that it was: bring that back, or mount what was mounted there"),
        ))
    }
}

fn number_of(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes a file, or empties it.
///
/// # Errors
/// Those of the disk.
pub fn create(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    tell(path, Change::Made(path));
    Ok(file)
}

/// Makes an empty file, for its name, so that it lasts.
///
/// # Errors
/// Those of the disk.
pub fn make_file(path: &Path) -> io::Result<()> {
    sync(&create(path)?, path)?;
    sync_folder(parent(path))
}

/// Removes a file, so that it stays away.
///
/// # Errors
/// Those of the disk.
pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_folder(parent(path))
}

/// What is in a file lasts when this returns; its name may not.
///
/// # Errors
/// Those of the disk.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    tell(path, Change::Synced(path));
    Ok(())
}

/// Gives a file a second name, at which there must be none.
///
/// # Errors
/// Those of the disk.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    tell(to, Change::Linked(from, to));
    Ok(())
}

/// Gives a file another name.
///
/// # Errors
/// Those of the disk.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    tell(to, Change::Renamed(from, to));
    Ok(())
}

/// The names in a folder last when this returns.
///
/// # Errors
/// Those of the disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()?;
    tell(folder, Change::FolderSynced(folder));
    Ok(())
}

/// Removes a folder if nothing is in it. One that stays is only untidy; one that comes back after a power cut, too.
pub fn remove_folder_if_empty(folder: &Path) {
    // Whether it is empty, the system says.
    let _ = fs::remove_dir(folder);
}

/// Removes the empty folders below a folder. A process that is about to create a file in one creates the folder again.
///
/// # Errors
/// Those of the disk; a folder that is not there is none.
pub fn remove_empty_folders(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty_folders(&entry.path())?;
            remove_folder_if_empty(&entry.path());
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Watcher for Told {
        fn changed(&self, change: Change<'_>) {
            self.0.lock().push(format!("{change:?}"));
        }
    }

    #[test]
    fn whoever_watches_hears_of_changes_below_his_folder_until_he_stops() {
        let (watched, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let told = Arc::new(Told::default());
        let watching = watch(watched.path(), told.clone());
        make_folder(&watched.path().join("a/b")).unwrap();
        make_folder(&other.path().join("a")).unwrap();
        let lines = std::mem::take(&mut *told.0.lock());
        let begins = ["FolderMade", "FolderSynced", "FolderMade", "FolderSynced"];
        assert!(lines.len() == 4 && lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:?}");
        make_file(&watched.path().join("a/mark")).unwrap();
        let lines = std::mem::take(&mut *told.0.lock());
        let begins = ["Made", "Synced", "FolderSynced"];
        assert!(lines.len() == 3 && lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:?}");
        remove_file(&watched.path().join("a/mark")).unwrap();
        assert!(std::mem::take(&mut *told.0.lock()).concat().starts_with("FolderSynced"));
        drop(watching);
        make_folder(&watched.path().join("c")).unwrap();
        assert!(told.0.lock().is_empty());
    }

    #[test]
    fn private_folders_are_their_owners_alone_and_watched_like_others() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let _watching = watch(root.path(), told.clone());
        let mode = |folder: &str| fs::metadata(root.path().join(folder)).unwrap().permissions().mode() & 0o777;
        make_folder(&root.path().join("open")).unwrap();
        let open = mode("open");
        make_private_folder(&root.path().join("own/inner")).unwrap();
        make_private_folder(&root.path().join("open/inner")).unwrap();
        assert_eq!((mode("own"), mode("own/inner"), mode("open/inner")), (0o700, 0o700, 0o700));
        assert_eq!(mode("open"), open, "what is there stays as it is");
        let lines = told.0.lock();
        let made: Vec<&String> = lines.iter().filter(|line| line.starts_with("FolderMade")).collect();
        assert!(made.len() == 4 && lines.len() == 8, "each is made and synced: {lines:?}");
    }

    #[test]
    fn only_folders_without_a_file_are_removed() {
        let root = tempfile::tempdir().unwrap();
        make_folder(&root.path().join("empty/empty")).unwrap();
        make_folder(&root.path().join("a/b")).unwrap();
        make_folder(&root.path().join("a/empty")).unwrap();
        create(&root.path().join("a/b/file")).unwrap();
        remove_empty_folders(root.path()).unwrap();
        remove_folder_if_empty(&root.path().join("a/b"));
        let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
        assert_eq!((names(root.path()), names(&root.path().join("a")), names(&root.path().join("a/b"))), (1, 1, 1));
        remove_empty_folders(&root.path().join("not there")).unwrap();
    }
}
