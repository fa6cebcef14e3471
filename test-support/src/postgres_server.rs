//! A PostgreSQL server of a test's own: made, killed and started again, gone when it is dropped. For tests alone.
//!
//! It needs PostgreSQL's programs on this machine: where they are missing a test is skipped, and in CI it fails. Started by root it runs as `nobody`,
//! as PostgreSQL refuses to be root.
#![allow(clippy::disallowed_methods, reason = "it waits for a real process")]

use crate::{place::Place, ports::free_port, server_process::ServerProcess};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The user `nobody`, which root must switch to.
const NOBODY: u32 = 65_534;

/// Tries, a tenth of a second apart, until a server answers.
const TRIES: u32 = 600;

/// A server, on a port of its own, with a user `t` who needs no password.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    place: Place,
    folder: PathBuf,
    port: u16,
    as_nobody: bool,
    process: ServerProcess,
    databases: AtomicU64,
}

impl PostgresServer {
    /// Starts a new one. `None`: PostgreSQL is not installed here, which has been [said](crate::missing).
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> io::Result<Option<Self>> {
        Self::start_at(Place::loopback())
    }

    /// Starts a new one there.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_at(place: Place) -> io::Result<Option<Self>> {
        let Some(programs) = find_programs() else {
            crate::missing("PostgreSQL", "apt-get install postgresql");
            return Ok(None);
        };
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weir-postgres-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let as_nobody = fs::metadata(&folder)?.uid() == 0;
        if as_nobody {
            chown(&folder, Some(NOBODY), Some(NOBODY))?;
        }
        let port = free_port()?;
        let mut server = PostgresServer {
            programs,
            place,
            folder,
            port,
            as_nobody,
            process: ServerProcess::none("PostgreSQL"),
            databases: AtomicU64::new(0),
        };
        let data = server.data();
        server.finish("initdb", &["-D", &data, "-A", "trust", "-U", "t", "--no-sync", "-E", "UTF8"])?;
        if !server.place.is_loopback() {
            let mut rules = fs::OpenOptions::new().append(true).open(server.folder.join("data/pg_hba.conf"))?;
            writeln!(rules, "host all all all trust")?;
        }
        server.restart()?;
        Ok(Some(server))
    }

    /// The server of all tests of a process that want a database and nothing else of it: started by the first of them, and
    /// gone when the process ends. (Making one takes longer than most of these tests.)
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn shared() -> io::Result<Option<Arc<Self>>> {
        let mut shared = lock_shared();
        if shared.is_none() {
            *shared = Self::start()?.map(Arc::new);
            // SAFETY: the function is an `extern "C" fn()` of this program, as `atexit` wants it, and panics nowhere.
            unsafe { libc::atexit(end_shared) };
        }
        Ok(shared.clone())
    }

    /// The URL of a new database.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_database(&self) -> io::Result<String> {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.finish("createdb", &["-h", &self.host(), "-p", &self.port.to_string(), "-U", "t", &name])?;
        Ok(self.url(&name))
    }

    /// The URL of a database, whether it is there or not.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://t@{}:{}/{database}", self.host(), self.port)
    }

    /// Ends it at once, as a power failure would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Freezes all of it: connections stay, and nothing is answered.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&self) -> io::Result<()> {
        self.process.signal_all("STOP")
    }

    /// Lets it go on where it was [stopped](Self::stop).
    ///
    /// # Errors
    /// When it is not running.
    pub fn go_on(&self) -> io::Result<()> {
        self.process.signal_all("CONT")
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        let (host, port) = (self.host(), self.port.to_string());
        for _ in 0..TRIES {
            // What was killed may still hold its memory: then the new one gives up, and is started again.
            if !self.process.runs()? {
                self.spawn()?;
            }
            if self.command("pg_isready").args(["-q", "-h", &host, "-p", &port]).status()?.success() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(io::Error::other(format!("PostgreSQL does not answer on port {port}: {log}")))
    }

    fn spawn(&mut self) -> io::Result<()> {
        let log = fs::File::create(self.folder.join("log"))?;
        let (data, port) = (self.data(), self.port.to_string());
        let sockets = self.folder.to_string_lossy().into_owned();
        let mut command = self.command("postgres");
        // -F: it is killed, but the machine does not lose its power, so that nothing has to be forced onto the disk.
        command.args(["-F", "-D", &data, "-p", &port, "-h", &self.host(), "-k", &sockets]);
        self.process.begin(&mut command, log)
    }

    fn finish(&self, program: &str, arguments: &[&str]) -> io::Result<()> {
        let done = self.command(program).args(arguments).output()?;
        if done.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&done.stderr))))
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match self.as_nobody {
            true => self.place.command_as(NOBODY, program),
            false => self.place.command(program),
        };
        command.current_dir(&self.folder);
        command
    }

    fn host(&self) -> String {
        self.place.address().to_string()
    }

    fn data(&self) -> String {
        self.folder.join("data").to_string_lossy().into_owned()
    }
}

static SHARED: Mutex<Option<Arc<PostgresServer>>> = Mutex::new(None);

/// Of a test that failed to start one there is nothing left.
fn lock_shared() -> MutexGuard<'static, Option<Arc<PostgresServer>>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A static is never dropped.
extern "C" fn end_shared() {
    drop(lock_shared().take());
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The newest of Debian's versions, or what the search path has.
fn find_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    candidates.append(&mut folders);
    let has_all =
        |folder: &Path| ["initdb", "postgres", "createdb", "pg_isready"].iter().all(|name| folder.join(name).is_file());
    candidates.into_iter().rev().find(|folder| has_all(folder))
}
