//! A folder of the local file system.
//!
//! A published file is a hard link that is made only where there is no file yet, followed by a sync of its folder: it
//! appears whole or not at all, and stays through a power cut.

use super::{NewFile, Storage, TimedFile};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use weir_engine::{
    disk,
    error::{EngineError, Result},
};
use xxhash_rust::xxh3::Xxh3;

/// A local folder. Made when the first file is.
#[derive(Clone, Debug)]
pub struct LocalFolder {
    root: PathBuf,
}

impl LocalFolder {
    /// The folder at a path.
    pub fn new(root: PathBuf) -> Self {
        LocalFolder { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Runs disk I/O where it blocks no other task.
    fn run<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        async move { blocking(work).await?.map_err(|error| explain(&doing, &error)) }.boxed()
    }
}

impl Storage for LocalFolder {
    fn create<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Box<dyn NewFile>>> {
        let path = self.at(path);
        async move {
            let doing = format!("cannot write '{}'", path.display());
            let opened = {
                let path = path.clone();
                self.run(doing.clone(), move || make_in_folder(&path, || disk::create(&path)))
            };
            let file = Some(opened.await?);
            Ok(Box::new(LocalFile { path, file, doing }) as Box<dyn NewFile>)
        }
        .boxed()
    }

    fn create_new<'a>(&'a self, path: &'a str, content: Bytes) -> BoxFuture<'a, Result<bool>> {
        let path = self.at(path);
        self.run(format!("cannot write '{}'", path.display()), move || {
            let beside = beside(&path);
            let mut file = make_in_folder(&beside, || disk::create(&beside))?;
            file.write_all(&content)?;
            disk::sync(&file, &beside)?;
            let made = match disk::link(&beside, &path) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                Err(error) if knows_links(&error) => return Err(error),
                Err(_) if path.try_exists()? => false,
                // Without links, two that do this at the same moment are not told apart.
                Err(_) => {
                    fs::copy(&beside, &path)?;
                    disk::sync(&File::open(&path)?, &path)?;
                    true
                }
            };
            fs::remove_file(&beside)?;
            disk::sync_folder(parent(&path))?;
            Ok(made)
        })
    }

    fn find<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        let path = self.at(path);
        self.run(format!("cannot read '{}'", path.display()), move || match fs::read(&path) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn size<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        let path = self.at(path);
        self.run(format!("cannot look up '{}'", path.display()), move || match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
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
                Err(error) => return Err(error),
            }
            disk::sync_folder(parent(&path))
        })
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        let path = self.at(path);
        self.run(format!("cannot remove '{}'", path.display()), move || match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    fn list<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        let (root, folder) = (self.root.clone(), self.at(folder));
        self.run(format!("cannot list '{}'", folder.display()), move || {
            let mut files = Vec::new();
            walk(folder, |entry| {
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
            walk(folder, |entry| {
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

/// A local file that is being written.
struct LocalFile {
    path: PathBuf,
    /// Away while a write is on its way.
    file: Option<File>,
    doing: String,
}

impl LocalFile {
    fn file(&mut self) -> Result<File> {
        self.file.take().ok_or_else(|| EngineError::io(format!("{}: an earlier write failed", self.doing)))
    }
}

impl NewFile for LocalFile {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut file = self.file()?;
            let written = blocking(move || file.write_all(&bytes).map(|()| file)).await?;
            self.file = Some(written.map_err(|error| explain(&self.doing, &error))?);
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
