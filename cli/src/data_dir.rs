//! The data dir: where a job keeps its files on this machine, and the lock that gives it to one process.
//!
//! ```text
//! <data dir>/<job>/lock            held by the process that runs the job; says which
//! <data dir>/<job>/starting-over   `--fresh` has begun to remove and is not through
//! <data dir>/storage/              checkpoints, unless --storage or the definition says otherwise
//! ```
//!
//! Invariant: of two processes on one machine with the same data dir, only one runs a job. The lock goes with the process,
//! however it ends. What is in a data dir is for its owner alone: a definition may hold a password, and state holds users.

use crate::{failure::Failure, text};
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use url::Url;
use weir_engine::{disk, env::Env};

/// The default, in the current folder.
pub const DEFAULT: &str = ".weir";

/// A job's folder in a data dir.
#[derive(Debug)]
pub struct JobDir {
    root: PathBuf,
    folder: PathBuf,
    job: String,
}

/// Held while a job runs.
#[derive(Debug)]
pub struct JobLock(#[expect(dead_code, reason = "held, not read: the lock goes when the file is closed")] File);

impl JobDir {
    /// Makes the folder of a job.
    pub fn open(root: &Path, job: &str) -> Result<Self, Failure> {
        let root = std::path::absolute(root)
            .map_err(|error| Failure::refused(format!("--data-dir '{}': {error}", root.display())))?;
        let folder = root.join(job);
        disk::make_private_folder(&root).and_then(|()| own_folder(&folder)).map_err(|error| {
            Failure::failed(format!(
                "cannot create the folder '{}': {error}; name another with --data-dir",
                folder.display()
            ))
        })?;
        Ok(JobDir { root, folder, job: job.into() })
    }

    /// Takes the job, or says who has it.
    pub fn lock(&self, env: &Env) -> Result<JobLock, Failure> {
        let path = self.folder.join("lock");
        let failed = |error: io::Error| Failure::failed(format!("cannot lock '{}': {error}", path.display()));
        let mut file = private_file().truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy; that it is held is what counts.
                let _ = file.read_to_string(&mut holder);
                let holder =
                    if holder.trim().is_empty() { "another process".into() } else { holder.trim().to_string() };
                return Err(Failure::failed(format!(
                    "job '{}' is being run in '{}' by {holder}; wait for it, stop it, or use another --data-dir",
                    self.job,
                    self.root.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let holder = format!("process {} (since {})\n", std::process::id(), text::moment(env.wall_clock_ms()));
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(failed)?;
        Ok(JobLock(file))
    }

    /// The mark of a start-over that is not through.
    pub fn starting_over(&self) -> PathBuf {
        self.folder.join("starting-over")
    }
}

/// Makes a folder that nobody but Weir makes, its owner's alone: one that was made open, by an older version, is closed.
fn own_folder(path: &Path) -> io::Result<()> {
    disk::make_private_folder(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        match fs::set_permissions(path, Permissions::from_mode(0o700)) {
            // Another user's: it was given to this one on purpose.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            closed => closed?,
        }
    }
    Ok(())
}

/// The storage that is meant, for a process that will write there: the one in the data dir is made, its owner's alone.
pub fn make_storage(given: Option<&str>, data_dir: &Path) -> Result<String, Failure> {
    if given.is_none() {
        let folder = data_dir.join("storage");
        own_folder(&folder)
            .map_err(|error| Failure::failed(format!("cannot create the folder '{}': {error}", folder.display())))?;
    }
    storage_url(given, data_dir)
}

/// Options for a file that is its owner's alone, made where it is not there.
pub fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.create(true).read(true).write(true).mode(0o600);
    options
}

/// The storage that is meant: `--storage`, or what the definition says, or the one in the data dir. A URL, or a folder.
pub fn storage_url(given: Option<&str>, data_dir: &Path) -> Result<String, Failure> {
    let folder = match given {
        Some(url) if url.contains("://") => return Ok(url.into()),
        Some(folder) => PathBuf::from(folder),
        None => data_dir.join("storage"),
    };
    let absolute = std::path::absolute(&folder)
        .map_err(|error| Failure::refused(format!("the storage folder '{}': {error}", folder.display())))?;
    Url::from_file_path(&absolute)
        .map(String::from)
        .map_err(|()| Failure::refused(format!("the storage folder '{}' is not a path", absolute.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let job = JobDir::open(folder.path(), "ad-click").unwrap();
        let env = Env::default();
        let first = job.lock(&env).unwrap();
        let Err(Failure::Failed(message)) = job.lock(&env) else { panic!("locked twice") };
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(JobDir::open(folder.path(), "other").unwrap().lock(&env).is_ok(), "other jobs are free");
        drop(first);
        assert!(job.lock(&env).is_ok());
    }

    #[test]
    fn folders_become_urls_and_urls_stay() {
        let url = |given| storage_url(given, Path::new("/data dir")).unwrap();
        assert_eq!(url(None), "file:///data%20dir/storage");
        assert_eq!(url(Some("s3://bucket/weir")), "s3://bucket/weir");
        assert_eq!(url(Some("/a/b")), "file:///a/b");
        assert!(url(Some("relative")).starts_with("file:///"));
    }
}
