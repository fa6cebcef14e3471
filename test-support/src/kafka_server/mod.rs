//! An Apache Kafka of a test's own, one broker that is its own controller: made, killed, stopped and started again, gone when it
//! is dropped or when the test process has ended in whatever way. For tests alone.
//!
//! It needs Java and, the first time, Maven: where they are missing a test is skipped, and in CI it fails.
#![allow(clippy::disallowed_methods, reason = "it waits for a real process")]

mod installation;

use crate::{place::Place, ports::free_port, server_process::ServerProcess};
use installation::Installation;
use std::{
    ffi::OsString,
    fs, io,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Tries, a tenth of a second apart, until a broker serves: much more than it takes, on a machine that has other work.
const TRIES: u32 = 1_800;

/// What the broker says when it serves.
const SERVING: &str = "Kafka Server started";

/// A broker, on ports of its own.
#[derive(Debug)]
pub struct KafkaServer {
    installation: Installation,
    place: Place,
    folder: PathBuf,
    port: u16,
    behind_proxy: u16,
    proxy: u16,
    settings: Vec<(String, String)>,
    compiler: &'static str,
    process: ServerProcess,
}

/// A test is over before Java's second compiler pays: without it, a start takes half of the processor time.
const QUICK: &str = "-XX:TieredStopAtLevel=1";
const FAST: &str = "-XX:+TieredCompilation";

impl KafkaServer {
    /// Starts a new one. `None`: Java or Kafka is missing here, which has been [said](crate::missing).
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> io::Result<Option<Self>> {
        Self::start_with(&[])
    }

    /// Starts a new one that is as fast as it can be: for measurements.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_to_measure() -> io::Result<Option<Self>> {
        Self::start_compiled(Place::loopback(), &[], FAST)
    }

    /// Starts a new one with further settings, which take the place of the usual ones.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> io::Result<Option<Self>> {
        Self::start_compiled(Place::loopback(), settings, QUICK)
    }

    /// Starts a new one there.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_at(place: Place) -> io::Result<Option<Self>> {
        Self::start_compiled(place, &[], QUICK)
    }

    fn start_compiled(place: Place, settings: &[(&str, &str)], compiler: &'static str) -> io::Result<Option<Self>> {
        let Some(installation) = installation::find()? else { return Ok(None) };
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weir-kafka-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (port, controller, behind_proxy, proxy) = (free_port()?, free_port()?, free_port()?, free_port()?);
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut server = KafkaServer {
            installation,
            place,
            folder,
            port,
            behind_proxy,
            proxy,
            settings,
            compiler,
            process: ServerProcess::none("Kafka"),
        };
        fs::write(server.folder.join("log4j2.yaml"), include_str!("log4j2.yaml"))?;
        fs::write(server.folder.join("guard.sh"), include_str!("guard.sh"))?;
        fs::write(server.folder.join("server.properties"), server.properties(controller))?;
        server.format()?;
        server.restart()?;
        Ok(Some(server))
    }

    /// The broker of all tests of a process that want topics and no faults: started by the first of them, and gone with the
    /// process.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn shared() -> io::Result<Option<Arc<Self>>> {
        static SHARED: Mutex<Option<Arc<KafkaServer>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            *shared = Self::start()?.map(Arc::new);
        }
        Ok(shared.clone())
    }

    /// A name for a topic, a group or a transactional id that no other test has.
    pub fn new_name(&self, what: &str) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Where clients find it.
    pub fn brokers(&self) -> String {
        format!("{}:{}", self.place.address(), self.port)
    }

    /// The ports for a proxy before it: where the proxy forwards to, and where it listens. Clients that begin at the latter are
    /// told of no other port.
    pub fn proxy_ports(&self) -> (u16, u16) {
        (self.behind_proxy, self.proxy)
    }

    /// The folder with the log of a partition.
    pub fn log_folder(&self, topic: &str, partition: i32) -> PathBuf {
        self.folder.join("data").join(format!("{topic}-{partition}"))
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

    /// Starts it again, on the same ports and data, and waits until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        let log = fs::File::create(self.folder.join("log"))?;
        let mut command = self.java(self.compiler, &["kafka.Kafka", "server.properties"]);
        self.process.begin(&mut command, log)?;
        for _ in 0..TRIES {
            if self.log().contains(SERVING) {
                return Ok(());
            }
            if !self.process.runs()? {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(io::Error::other(format!("Kafka does not serve on port {}: {}", self.port, self.log())))
    }

    /// The command that one of Kafka's own programs is, by its class.
    pub fn tool(&self, class: &str) -> Vec<OsString> {
        let jars = self.installation.jars.join("*");
        let options = ["-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"].map(OsString::from);
        let java = self.installation.java.clone().into_os_string();
        [java].into_iter().chain(options).chain([jars.into_os_string(), class.into()]).collect()
    }

    /// What it has said since it was started last.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Writes what a new data folder begins with.
    fn format(&self) -> io::Result<()> {
        let arguments = [
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            "MkU3OEVBNTcwNTJENDM2Qg",
            "-c",
            "server.properties",
        ];
        let done = self.java(QUICK, &arguments).stdin(Stdio::null()).output()?;
        if done.status.success() {
            return Ok(());
        }
        let said = [done.stdout, done.stderr].concat();
        Err(io::Error::other(format!("formatting Kafka's storage: {}", String::from_utf8_lossy(&said))))
    }

    fn java(&self, compiler: &str, arguments: &[&str]) -> Command {
        let mut command = self.place.command("sh");
        command.current_dir(&self.folder).args(["guard.sh", &std::process::id().to_string()]).arg(&self.folder);
        command.arg(&self.installation.java);
        if let Some(classes) = &self.installation.classes {
            command.arg(format!("-XX:SharedArchiveFile={}", classes.display()));
        }
        command.args(["-Xmx512m", "-XX:+UseSerialGC", compiler, "-Dlog4j2.configurationFile=log4j2.yaml", "-cp"]);
        command.arg(self.installation.jars.join("*")).args(arguments);
        command
    }

    /// What takes long in Kafka's defaults is short here: a transaction that has timed out is looked for every second.
    fn properties(&self, controller: u16) -> String {
        let (host, port, behind_proxy, proxy) = (self.place.address(), self.port, self.behind_proxy, self.proxy);
        let data = self.folder.join("data");
        let mut lines = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers={host}:{controller}\n\
             listeners=PLAIN://{host}:{port},PROXIED://{host}:{behind_proxy},CONTROLLER://{host}:{controller}\n\
             advertised.listeners=PLAIN://{host}:{port},PROXIED://{host}:{proxy},\
             CONTROLLER://{host}:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAIN\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,PROXIED:PLAINTEXT\n\
             log.dirs={}\n",
            data.display()
        );
        let usual = [
            ("auto.create.topics.enable", "false"),
            ("background.threads", "2"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("log.cleaner.dedupe.buffer.size", "16777216"),
            ("num.io.threads", "4"),
            ("num.network.threads", "2"),
            ("offsets.topic.num.partitions", "4"),
            ("offsets.topic.replication.factor", "1"),
            ("share.coordinator.state.topic.min.isr", "1"),
            ("share.coordinator.state.topic.replication.factor", "1"),
            ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
            ("transaction.state.log.min.isr", "1"),
            ("transaction.state.log.num.partitions", "4"),
            ("transaction.state.log.replication.factor", "1"),
        ];
        // Of two lines with one name, the last holds.
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in usual.into_iter().chain(given) {
            lines.push_str(&format!("{name}={value}\n"));
        }
        lines
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
