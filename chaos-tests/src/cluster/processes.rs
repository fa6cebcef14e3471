//! Coordinators and workers as processes of their own, on free ports of this machine: started, killed, frozen, thawed,
//! started again, each by its process id.
//!
//! Every process writes to a log of its own. Invariant: all of them are ended when this is dropped, and then, if a test is
//! failing, the ends of their logs are shown.

use super::{
    rest,
    serving::{Serving, Store},
    waiting::{PATIENCE, now, pause, wait_for},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use weir_test_support::{place::Place, ports::free_port};
use weir_tls::TlsFiles;

/// Lines of each log that a failing test shows.
const SHOWN_LINES: usize = 25;

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// The coordinator; of several, the first.
    Coordinator,
    /// Another coordinator, by its number, from 2.
    Peer(usize),
    /// A worker, by its number.
    Worker(usize),
    /// The query service over the store.
    QueryService,
    /// The store's database, where it is a process.
    Database,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Coordinator => f.write_str("coordinator"),
            Member::Peer(number) => write!(f, "coordinator-{number}"),
            Member::Worker(number) => write!(f, "worker-{number}"),
            Member::QueryService => f.write_str("query-service"),
            Member::Database => f.write_str("database"),
        }
    }
}

/// What the processes are told.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The binary.
    pub weir: PathBuf,
    /// Slots of a worker.
    pub slots: usize,
    /// Silence after which a worker is taken for dead.
    pub heartbeat_timeout: Duration,
    /// How many coordinators there are.
    pub coordinators: usize,
    /// Where processes are that are not on this machine's loopback address.
    pub places: BTreeMap<Member, Place>,
    /// Where checkpoints lie, if not in a folder of this machine.
    pub storage: Option<RemoteStorage>,
    /// What else the coordinator is told.
    pub coordinator_arguments: Vec<String>,
    /// What else a worker is told.
    pub worker_arguments: Vec<String>,
    /// The secret; empty: none.
    pub secret: String,
    /// The files of TLS, where all ports and commands have it.
    pub tls: Option<TlsFiles>,
}

/// A storage that processes reach over the network.
#[derive(Clone, Debug)]
pub struct RemoteStorage {
    /// Where checkpoints lie.
    pub url: String,
    /// What processes have in their environment to reach it.
    pub environment: Vec<(String, String)>,
}

impl ClusterSettings {
    /// As the tests want them: workers of two slots that are given up soon.
    ///
    /// # Errors
    /// When there is no `weir` to run.
    pub fn new() -> Result<Self> {
        Ok(ClusterSettings {
            weir: super::binary::weir()?,
            slots: 2,
            heartbeat_timeout: Duration::from_millis(1500),
            coordinators: 1,
            places: BTreeMap::new(),
            storage: None,
            coordinator_arguments: Vec::new(),
            worker_arguments: Vec::new(),
            secret: String::new(),
            tls: None,
        })
    }

    /// Where a process is.
    pub fn place(&self, member: Member) -> Place {
        self.places.get(&member).cloned().unwrap_or_else(Place::loopback)
    }

    /// How long a worker goes on without its coordinator. The same share as in the coordinator's settings.
    pub fn lease(&self) -> Duration {
        self.heartbeat_timeout * 2 / 3
    }
}

/// A process.
#[derive(Debug)]
struct Process {
    member: Member,
    child: Child,
    log: PathBuf,
    output: PathBuf,
    frozen: bool,
}

/// The ports of a coordinator.
#[derive(Debug)]
struct Address {
    rpc: String,
    http: String,
}

/// What a command said at its end.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code; none: a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub complaint: String,
}

/// The cluster. Removed with all that it wrote when dropped.
#[derive(Debug)]
pub struct ClusterProcesses {
    /// What its processes are told.
    pub settings: ClusterSettings,
    folder: tempfile::TempDir,
    /// Where each coordinator is reached.
    coordinators: Vec<Address>,
    /// By coordinator that has joined: whose place it took.
    replaced: BTreeMap<Member, usize>,
    processes: Vec<Process>,
    started: usize,
    serving: Option<Serving>,
}

impl ClusterProcesses {
    /// No process yet.
    ///
    /// # Errors
    /// When no folder can be made or no port is free.
    pub fn new(settings: ClusterSettings) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        std::fs::create_dir(folder.path().join("logs"))?;
        let address = |number| {
            let place = settings.place(coordinator(number));
            Ok(Address { rpc: free_address(&place)?, http: free_address(&place)? })
        };
        let coordinators = (1..=settings.coordinators).map(address).collect::<Result<_>>()?;
        let (replaced, processes) = (BTreeMap::new(), Vec::new());
        Ok(ClusterProcesses { settings, folder, coordinators, replaced, processes, started: 0, serving: None })
    }

    /// The coordinators and so many workers, all registered.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(settings: ClusterSettings, workers: usize) -> Result<Self> {
        let mut cluster = ClusterProcesses::new(settings)?;
        cluster.begin(workers)?;
        Ok(cluster)
    }

    /// Starts all coordinators and so many workers, and waits until these are registered.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn begin(&mut self, workers: usize) -> Result<()> {
        for member in self.all_coordinators() {
            self.start_member(member)?;
        }
        for number in 0..workers {
            self.start_member(Member::Worker(number))?;
        }
        self.wait_for_workers(workers)
    }

    /// Serves a store beside the cluster, whether there is anything in it yet or not.
    ///
    /// # Errors
    /// When the query service does not start.
    pub fn serve(&mut self, store: Store) -> Result<()> {
        self.serving = Some(Serving::new(store, self.folder.path(), free_address(&Place::loopback())?));
        self.start_member(Member::QueryService)
    }

    /// The store that is served.
    ///
    /// # Errors
    /// When none is.
    pub fn serving(&self) -> Result<&Serving> {
        self.serving.as_ref().context("no store is served")
    }

    fn database(&mut self) -> Result<&mut Store> {
        self.serving.as_mut().map(|serving| &mut serving.store).context("no store is served")
    }

    /// Where tests keep what belongs to this cluster.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// All coordinators, running or not.
    pub fn all_coordinators(&self) -> Vec<Member> {
        (1..=self.coordinators.len()).map(coordinator).collect()
    }

    /// Starts an empty coordinator that joins the others, in the place of one of them.
    ///
    /// # Errors
    /// When it does not start.
    pub fn replace_coordinator(&mut self, dead: Member) -> Result<Member> {
        let number = if let Member::Peer(number) = dead { number } else { 1 };
        let newcomer = Member::Peer(self.coordinators.len() + 1);
        let place = self.settings.place(newcomer);
        self.coordinators.push(Address { rpc: free_address(&place)?, http: free_address(&place)? });
        self.replaced.insert(newcomer, number);
        self.start_member(newcomer)?;
        Ok(newcomer)
    }

    /// Where the (first) coordinator is reached.
    pub fn address(&self) -> &str {
        &self.coordinators[0].rpc
    }

    /// Where a coordinator is reached.
    ///
    /// # Errors
    /// When it is none.
    pub fn address_of(&self, coordinator: Member) -> Result<&str> {
        Ok(&self.ports(coordinator)?.rpc)
    }

    fn ports(&self, coordinator: Member) -> Result<&Address> {
        let place = self.all_coordinators().iter().position(|one| *one == coordinator);
        place.map(|place| &self.coordinators[place]).with_context(|| format!("{coordinator} is no coordinator"))
    }

    /// The coordinator that leads, as one of them says that answers.
    ///
    /// # Errors
    /// When none answers.
    pub fn leader(&self) -> Result<Option<Member>> {
        let answers = self.all_coordinators().into_iter().filter_map(|one| self.rest_of(one, "/api/v1/cluster").ok());
        let leaders: Vec<Option<u64>> = answers.map(|cluster| cluster["coordinator"]["leader"].as_u64()).collect();
        ensure!(!leaders.is_empty(), "no coordinator answers");
        let leader = leaders.into_iter().flatten().next();
        Ok(leader.and_then(|number| self.all_coordinators().get(usize::try_from(number).ok()? - 1).copied()))
    }

    /// Where checkpoints lie.
    pub fn storage(&self) -> String {
        match &self.settings.storage {
            Some(remote) => remote.url.clone(),
            None => format!("file://{}", self.path("storage").display()),
        }
    }

    /// The folder in which a coordinator keeps its decisions, or a worker state files of a storage that is not a folder.
    pub fn own_folder(&self, member: Member) -> PathBuf {
        self.path(&member.to_string())
    }

    /// Starts a process, and waits until a coordinator listens.
    ///
    /// # Errors
    /// When it does not start, or one of that name runs.
    pub fn start_member(&mut self, member: Member) -> Result<()> {
        self.start_member_to_crash(member, None)
    }

    /// The same, with a named point at which it ends as if it was killed.
    ///
    /// # Errors
    /// When it does not start, or one of that name runs.
    pub fn start_member_to_crash(&mut self, member: Member, crash_at: Option<&str>) -> Result<()> {
        ensure!(!self.runs(member), "{member} runs already");
        if member == Member::Database {
            return self.database()?.start_again();
        }
        self.processes.retain(|process| process.member != member);
        self.started += 1;
        let stem = self.path("logs").join(format!("{:03}-{member}", self.started));
        let (log, output) = (stem.with_extension("err"), stem.with_extension("out"));
        let mut command = self.weir_at(&self.settings.place(member));
        self.add_arguments(&mut command, member)?;
        command.env("WEIR_LOG", "info").stdout(File::create(&output)?).stderr(File::create(&log)?);
        if let Some(point) = crash_at {
            command.env("WEIR_CRASH_AT", point);
        }
        let child = command.spawn().with_context(|| format!("cannot start {member}"))?;
        self.processes.push(Process { member, child, log, output: output.clone(), frozen: false });
        if let Ok(address) = self.address_of(member) {
            let listens = format!("listening on {address}");
            wait_for("the coordinator to listen", || {
                let says = std::fs::read_to_string(&output)?.contains(&listens);
                // One that is to crash may have done so before it is looked at.
                ensure!(says || crash_at.is_some() || self.runs(member), "{member} does not start: {}", self.tails());
                Ok((says || !self.runs(member)).then_some(()))
            })?;
        }
        Ok(())
    }

    fn add_arguments(&self, command: &mut Command, member: Member) -> Result<()> {
        match member {
            Member::Coordinator | Member::Peer(_) => {
                let timeout = self.settings.heartbeat_timeout.as_millis().to_string();
                let Address { rpc, http } = self.ports(member)?;
                command.args(["coordinator", "--listen", rpc, "--http", http, "--data-dir"]);
                command.arg(self.own_folder(member)).args(["--storage", &self.storage()]);
                if let Some(replaced) = self.replaced.get(&member) {
                    let others = self.coordinators.iter().map(|at| at.rpc.as_str()).filter(|other| other != rpc);
                    command.args(["--join", &others.collect::<Vec<_>>().join(","), "--replace", &replaced.to_string()]);
                } else if self.settings.coordinators > 1 {
                    let number = if let Member::Peer(number) = member { number } else { 1 };
                    let first = self.coordinators.iter().take(self.settings.coordinators);
                    let peers = first.zip(1..).map(|(at, number)| format!("{number}={}", at.rpc));
                    command.args(["--node-id", &number.to_string(), "--peers", &peers.collect::<Vec<_>>().join(",")]);
                }
                command.args(["--heartbeat-timeout-ms", &timeout]).args(&self.settings.coordinator_arguments);
            }
            Member::Worker(_) => {
                command.args(["worker", "--slots", &self.settings.slots.to_string()]);
                let place = self.settings.place(member);
                if !place.is_loopback() {
                    command.args(["--listen", &format!("{}:0", place.address())]);
                }
                if self.settings.storage.is_some() {
                    command.arg("--cache-dir").arg(self.own_folder(member));
                }
                command.args(&self.settings.worker_arguments);
            }
            Member::QueryService => {
                let serving = self.serving()?;
                command.args(["serve", "--store", &serving.url, "--listen", &serving.address]);
                // Whoever asks it shows none.
                command.env_remove("WEIR_SECRET");
            }
            Member::Database => bail!("a database starts by itself"),
        }
        Ok(())
    }

    /// `weir` with these arguments, as a user of this cluster runs it.
    pub fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = self.weir_at(&Place::loopback());
        command.args(arguments);
        command
    }

    fn weir_at(&self, place: &Place) -> Command {
        let mut command = place.command(&self.settings.weir);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("WEIR_LOG").env_remove("WEIR_CRASH_AT");
        let coordinators: Vec<&str> = self.coordinators.iter().map(|at| at.rpc.as_str()).collect();
        command.env("WEIR_COORDINATOR", coordinators.join(",")).env("WEIR_SECRET", &self.settings.secret);
        if let Some(TlsFiles { cert, key, ca }) = &self.settings.tls {
            command.envs([("WEIR_TLS_CERT", cert), ("WEIR_TLS_KEY", key), ("WEIR_TLS_CA", ca)]);
        }
        if let Some(remote) = &self.settings.storage {
            command.envs(remote.environment.iter().map(|(name, value)| (name, value)));
        }
        command
    }

    /// Runs a command to its end, which must come within [`PATIENCE`].
    ///
    /// # Errors
    /// When it cannot be started, or does not end.
    pub fn say(&self, mut command: Command) -> Result<Said> {
        let (output, complaint) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
        let shown = format!("{command:?}");
        command.stdout(output.reopen()?).stderr(complaint.reopen()?);
        let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
        let ended = wait_for(&shown, || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let read = |file: &tempfile::NamedTempFile| {
            std::fs::read(file.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let said = Said { code: None, output: read(&output)?, complaint: read(&complaint)? };
        match ended {
            Ok(status) => Ok(Said { code: status.code(), ..said }),
            Err(error) => Err(error.context(format!("{said:?}"))),
        }
    }

    /// Runs `weir`, which must succeed, and takes what it printed.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        let said = self.say(self.weir(arguments))?;
        ensure!(said.code == Some(0), "weir {arguments:?}: {said:?}");
        Ok(said.output)
    }

    /// Kills a process, as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, member: Member) -> Result<()> {
        if member == Member::Database {
            return self.database()?.kill();
        }
        let process = self.running(member)?;
        process.child.kill().with_context(|| format!("cannot kill {member}"))?;
        process.child.wait().with_context(|| format!("cannot wait for {member}"))?;
        Ok(())
    }

    /// Tells a process to end, as `kill` does, and not whether it has.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&mut self, member: Member) -> Result<()> {
        signal(&self.running(member)?.child, "TERM")
    }

    /// Freezes a process: it keeps all that it has, and does nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self, member: Member) -> Result<()> {
        if member == Member::Database {
            return self.database()?.freeze();
        }
        let process = self.running(member)?;
        signal(&process.child, "STOP")?;
        process.frozen = true;
        Ok(())
    }

    /// Has a frozen process go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self, member: Member) -> Result<()> {
        if member == Member::Database {
            return self.database()?.thaw();
        }
        let process = self.running(member)?;
        signal(&process.child, "CONT")?;
        process.frozen = false;
        Ok(())
    }

    /// Waits until a process ends by itself.
    ///
    /// # Errors
    /// When it goes on.
    pub fn wait_for_end(&mut self, member: Member) -> Result<ExitStatus> {
        let enough = now() + PATIENCE;
        let process = self.process(member)?;
        loop {
            if let Some(status) = process.child.try_wait()? {
                return Ok(status);
            }
            ensure!(now() < enough, "{member} does not end");
            pause(Duration::from_millis(20));
        }
    }

    /// Whether a process is there, frozen or not.
    pub fn runs(&mut self, member: Member) -> bool {
        match member {
            Member::Database => self.serving.as_ref().is_some_and(|serving| serving.store.runs()),
            _ => self.running(member).is_ok(),
        }
    }

    /// Whether a process is there and answers.
    pub fn is_awake(&mut self, member: Member) -> bool {
        match member {
            Member::Database => self.runs(member),
            _ => self.running(member).is_ok_and(|process| !process.frozen),
        }
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&mut self, member: Member) -> Result<u32> {
        Ok(self.running(member)?.child.id())
    }

    /// What a process has logged.
    ///
    /// # Errors
    /// When it was never started.
    pub fn log(&mut self, member: Member) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.process(member)?.log)?).into_owned())
    }

    /// The logs of all processes that were started as this member, one after the other.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn logs(&self, member: Member) -> Result<Vec<String>> {
        let mut logs: Vec<PathBuf> =
            std::fs::read_dir(self.path("logs"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        let ending = format!("-{member}.err");
        logs.retain(|log| log.to_string_lossy().ends_with(&ending));
        logs.sort();
        logs.iter().map(|log| Ok(String::from_utf8_lossy(&std::fs::read(log)?).into_owned())).collect()
    }

    fn process(&mut self, member: Member) -> Result<&mut Process> {
        let found = self.processes.iter_mut().find(|process| process.member == member);
        found.with_context(|| format!("{member} was never started"))
    }

    fn running(&mut self, member: Member) -> Result<&mut Process> {
        let process = self.process(member)?;
        match process.child.try_wait()? {
            None => Ok(process),
            Some(status) => bail!("{member} has ended: {status}"),
        }
    }

    /// What REST says at a path: the first coordinator that answers.
    ///
    /// # Errors
    /// When none does.
    pub fn rest(&self, path: &str) -> Result<Value> {
        let mut answers = self.all_coordinators().into_iter().map(|one| self.rest_of(one, path));
        let first = answers.next().context("there is no coordinator")?;
        first.or_else(|error| answers.find_map(Result::ok).ok_or(error))
    }

    /// What REST of a coordinator says at a path.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn rest_of(&self, coordinator: Member, path: &str) -> Result<Value> {
        rest::json(&self.http_port(coordinator)?, path)
    }

    /// The HTTP port of a coordinator.
    ///
    /// # Errors
    /// When it is none.
    pub fn http_port(&self, coordinator: Member) -> Result<rest::Port<'_>> {
        let address = &self.ports(coordinator)?.http;
        Ok(rest::Port { address, tls: self.settings.tls.as_ref(), secret: &self.settings.secret })
    }

    /// Everything that is served over HTTP is there.
    ///
    /// # Errors
    /// When it is not.
    pub fn probe(&self) -> Result<()> {
        rest::probe(&self.http_port(Member::Coordinator)?)
    }

    /// A job as REST shows it.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub fn job(&self, job: &str) -> Result<Value> {
        self.rest(&format!("/api/v1/jobs/{job}"))
    }

    /// Waits until so many workers are there.
    ///
    /// # Errors
    /// When they are not, after [`PATIENCE`].
    pub fn wait_for_workers(&self, workers: usize) -> Result<()> {
        wait_for(&format!("{workers} workers"), || {
            let cluster = self.rest("/api/v1/cluster")?;
            let all = cluster["workers"].as_array().into_iter().flatten();
            let there = all.filter(|worker| worker["state"] == "available").count();
            Ok((there == workers).then_some(()))
        })
    }

    /// Waits until a job is as it should be.
    ///
    /// # Errors
    /// When it is not, after [`PATIENCE`]; with the job as it is then.
    pub fn wait_for_job(&self, job: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut newest = Value::Null;
        let waited = wait_for(&format!("job {job}: {what}"), || {
            // It may be between two coordinators.
            newest = self.job(job).unwrap_or_default();
            Ok(is_so(&newest).then(|| newest.clone()))
        });
        waited.map_err(|error| error.context(brief(&newest)))
    }

    /// Waits until a job has a state.
    ///
    /// # Errors
    /// When it has not, after [`PATIENCE`].
    pub fn wait_for_state(&self, job: &str, state: &str) -> Result<Value> {
        self.wait_for_job(job, state, |status| status["state"] == state)
    }

    /// The ends of all logs.
    pub fn tails(&self) -> String {
        let mut logs: Vec<PathBuf> = std::fs::read_dir(self.path("logs"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        logs.sort();
        let newest = self.processes.iter().flat_map(|process| [&process.log, &process.output]);
        let newest: Vec<&PathBuf> = newest.collect();
        let shown = logs.iter().filter(|log| newest.contains(log)).map(|log| tail(log));
        shown.collect()
    }
}

impl Drop for ClusterProcesses {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended cannot be killed.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.tails());
        }
    }
}

/// A job without its long parts.
pub fn brief(job: &Value) -> String {
    let of = |key: &str| job[key].clone();
    format!(
        "{}, cause {}, waits for {}, attempt {}, checkpoint {}, committed {}",
        of("state"),
        of("cause"),
        of("waiting_for"),
        of("attempt"),
        of("last_checkpoint"),
        of("committed"),
    )
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"))
}

fn signal(child: &Child, name: &str) -> Result<()> {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err(anyhow!("signal {name} cannot be sent to {}", child.id())) }
}

/// An address there that nobody listens on, to which a process can come back.
fn free_address(place: &Place) -> Result<String> {
    Ok(format!("{}:{}", place.address(), free_port()?))
}

/// A coordinator by its number, from 1.
fn coordinator(number: usize) -> Member {
    if number == 1 { Member::Coordinator } else { Member::Peer(number) }
}
