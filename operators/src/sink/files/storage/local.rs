//! A folder of the local file system.
//!
//! A published file is a hard link that is made only where there is no file yet, followed by a sync of its folder: it
//! appears whole or not at all, and stays through a power cut.
//!
//! A disk that is full or read-only is waited for, where somebody has the patience. What a sync has not done is not tried again:
//! nobody knows what is on the disk then, so that is for the next attempt, from its checkpoint.

use super::{NewFile, Storage, TimedFile};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use weir_engine::{
    availability, disk,
    error::{EngineError, ErrorKind as Kind, Result},
    operator::Patience,
};
use xxhash_rust::xxh3::Xxh3;

/// A local folder. Made when the first file is.
#[derive(Clone, Debug)]
pub struct LocalFolder {
    root: PathBuf,
    patience: Option<Patience>,
}

impl LocalFolder {
    /// The folder at a path, and who waits for its disk.
    pub fn new(root: PathBuf, patience: Option<Patience>) -> Self {
        LocalFolder { root, patience }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Runs disk I/O where it blocks no other task; again, where waiting heals what it failed of.
    fn run<T: Send + 'static>(
        &self,
        doing: String,
        work: impl Fn() -> std::result::Result<T, Undone> + Clone + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let patience = self.patience.clone();
        async move {
            let passes = |error: &io::Error| availability::kind_of(error) == Kind::Unavailable;
            patiently(patience.as_ref(), &doing, passes, || blocking(work.clone())).await
        }
        .boxed()
    }
}

/// What was not done.
enum Undone {
    /// It may be tried again.
    NotYet(io::Error),
    /// A sync: nobody knows what is on the disk.
    Unsynced(io::Error),
}

impl From<io::Error> for Undone {
    fn from(error: io::Error) -> Self {
        Undone::NotYet(error)
    }
}

/// Does something until its outcome is one that waiting does not heal, or once where nobody has the patience.
async fn patiently<T, F: Future<Output = Result<std::result::Result<T, Undone>>>>(
    patience: Option<&Patience>,
    doing: &str,
    passes: impl Fn(&io::Error) -> bool,
    work: impl Fn() -> F,
) -> Result<T> {
    let once = || async {
        let (error, waiting_heals) = match work().await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Undone::NotYet(error))) => (explain(doing, &error), passes(&error)),
            Ok(Err(Undone::Unsynced(error))) => (explain(doing, &error), false),
            Err(error) => (error, false),
        };
        Err(Failed { error, waiting_heals })
    };
    let done = match patience {
        Some(patience) => patience.until_answered("the disk", |failed| failed.waiting_heals, once).await,
        None => once().await,
    };
    done.map_err(|failed| failed.error)
}

/// Why something was not done.
struct Failed {
    error: EngineError,
    waiting_heals: bool,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl Storage for LocalFolder {
    fn create<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Box<dyn NewFile>>> {
        let path = self.at(path);
        async move {
            let doing = format!("cannot write '{}'", path.display());
            let opened = {
                let path = path.clone();
                self.run(doing.clone(), move || Ok(make_in_folder(&path, || disk::create(&path))?))
            };
            let file = Some(Arc::new(opened.await?));
            Ok(Box::new(LocalFile { path, file, doing, patience: self.patience.clone() }) as Box<dyn NewFile>)
        }
        .boxed()
    }

    fn create_new<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool>> {
        let path = self.at(path);
        self.run(format!("cannot write '{}'", path.display()), move || {
            let beside = beside(&path);
            let made = make_new(&beside, &path, &content);
            // Whatever has become of it, it was only a step.
            let removed = fs::remove_file(&beside);
            let made = made?;
            removed?;
            disk::sync_folder(parent(&path)).map_err(Undone::Unsynced)?;
            Ok(made)
        })
    }

    fn find<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        let path = self.at(path);
        self.run(format!("cannot read '{}'", path.display()), move || match fs::read(&path) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    fn size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        let path = self.at(path);
        self.run(format!("cannot look up '{}'", path.display()), move || match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    fn checksum<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        let path = self.at(path);
        self.run(format!("cannot read '{}'", path.display()), move || {
            let mut file = File::open(&path)?;
            let mut hasher = Xxh3::new();
            let mut buffer = vec![0; 1 << 20];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.digest()),
                    read => hasher.update(&buffer[..read]),
                }
            }
        })
    }

    fn publish<'a>(&'a self, staged: &'a str, path: &'a str) -> BoxFuture<'a, Result<()>> {
        let (staged, path) = (self.at(staged), self.at(path));
        let doing = format!("cannot move '{}' to '{}'", staged.display(), path.display());
        self.run(doing, move || {
            match make_in_folder(&path, || disk::link(&staged, &path)) {
                Ok(()) => {}
                Err(error) if !knows_links(&error) && !path.try_exists()? => disk::rename(&staged, &path)?,
                Err(error) => return Err(error.into()),
            }
            disk::sync_folder(parent(&path)).map_err(Undone::Unsynced)
        })
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        let path = self.at(path);
        self.run(format!("cannot remove '{}'", path.display()), move || match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        let (root, folder) = (self.root.clone(), self.at(folder));
        self.run(format!("cannot list '{}'", folder.display()), move || {
            let mut files = Vec::new();
            walk(folder.clone(), |entry| {
                files.extend(relative(&root, &entry.path()));
                Ok(())
            })?;
            files.sort();
            Ok(files)
        })
    }

    fn list_with_times<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<TimedFile>>> {
        let (root, folder) = (self.root.clone(), self.at(folder));
        self.run(format!("cannot list '{}'", folder.display()), move || {
            let mut files = Vec::new();
            walk(folder.clone(), |entry| {
                let written = match entry.metadata() {
                    // Another process has just removed it.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    found => found?.modified()?,
                };
                let written_ms = chrono::DateTime::<chrono::Utc>::from(written).timestamp_millis();
                files.extend(relative(&root, &entry.path()).map(|path| TimedFile { path, written_ms }));
                Ok(())
            })?;
            files.sort();
            Ok(files)
        })
    }

    fn prune<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<()>> {
        let folder = self.at(folder);
        self.run(format!("cannot tidy up '{}'", folder.display()), move || {
            remove_empty(&folder);
            Ok(())
        })
    }

    fn describe(&self, path: &str) -> String {
        match path {
            "" => self.root.display().to_string(),
            path => self.at(path).display().to_string(),
        }
    }
}

/// Makes a whole file where there is none. `false`: there is one.
fn make_new(beside: &Path, path: &Path, content: &[u8]) -> std::result::Result<bool, Undone> {
    let mut file = make_in_folder(beside, || disk::create(beside))?;
    file.write_all(content)?;
    disk::sync(&file, beside).map_err(Undone::Unsynced)?;
    match disk::link(beside, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) if knows_links(&error) => Err(error.into()),
        Err(_) if path.try_exists()? => Ok(false),
        // Without links, two that do this at the same moment are not told apart.
        Err(_) => {
            fs::copy(beside, path).map_err(Undone::Unsynced)?;
            let made = File::open(path)?;
            disk::sync(&made, path).map_err(Undone::Unsynced)?;
            Ok(true)
        }
    }
}

/// A local file that is being written.
struct LocalFile {
    path: PathBuf,
    /// Away while a write is on its way.
    file: Option<Arc<File>>,
    doing: String,
    patience: Option<Patience>,
}

impl LocalFile {
    fn file(&mut self) -> Result<Arc<File>> {
        self.file.take().ok_or_else(|| EngineError::io(format!("{}: an earlier write failed", self.doing)))
    }
}

/// Appends what has not been yet; `done` bytes have.
fn append(mut file: &File, bytes: &[u8], done: &AtomicUsize) -> std::result::Result<(), Undone> {
    while let Some(rest) = bytes.get(done.load(Ordering::Relaxed)..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
            Ok(written) => drop(done.fetch_add(written, Ordering::Relaxed)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether an open file may take more later. (One of a network file system that is stale stays so.)
fn has_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
}

impl NewFile for LocalFile {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            let (file, done) = (self.file()?, Arc::new(AtomicUsize::new(0)));
            let work = || {
                let (file, bytes, done) = (Arc::clone(&file), bytes.clone(), Arc::clone(&done));
                blocking(move || append(&file, &bytes, &done))
            };
            patiently(self.patience.as_ref(), &self.doing, has_no_room, work).await?;
            self.file = Some(file);
            Ok(())
        }
        .boxed()
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        async move {
            let file = self.file()?;
            let path = self.path;
            let synced = blocking(move || {
                disk::sync(&file, &path)?;
                disk::sync_folder(parent(&path))
            });
            synced.await?.map_err(|error| explain(&self.doing, &error))
        }
        .boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            // Best effort: what stays is swept with the attempt.
            let _ = blocking(move || fs::remove_file(&self.path)).await;
        }
        .boxed()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| EngineError::internal(format!("a file operation did not end: {error}")))
}

/// A hidden name beside a path, which is given only once.
fn beside(path: &Path) -> PathBuf {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = GIVEN.fetch_add(1, Ordering::Relaxed);
    parent(path).join(format!(".{name}.{}-{number}", std::process::id()))
}

/// Creates the folders above a path, and then what is to be in them. A clean-up may remove an empty folder in
/// between: then once more.
fn make_in_folder<T>(path: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 3;
    loop {
        match disk::make_folder(parent(path)).and_then(|()| make()) {
            Err(error) if error.kind() == ErrorKind::NotFound && tries > 0 => tries -= 1,
            outcome => return outcome,
        }
    }
}

/// Calls something for each file below a folder.
fn walk(folder: PathBuf, mut each: impl FnMut(&fs::DirEntry) -> io::Result<()>) -> io::Result<()> {
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => each(&entry)?,
            }
        }
    }
    Ok(())
}

/// Removes what is empty; whatever is not, or cannot be, stays.
fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path.strip_prefix(root).ok()?.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

/// Whether a failed hard link failed for another reason than that the file system has none.
fn knows_links(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::CrossesDevices)
}

/// The cause in words that say what to do about it.
pub(in crate::sink::files) fn explain(doing: &str, error: &io::Error) -> EngineError {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space, and the job resumes without loss",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; the folder must be writable for this user",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "; every part of the path must be a folder",
        _ => "",
    };
    EngineError::caused_by(error, format!("{doing}: {error}{hint}"))
}
