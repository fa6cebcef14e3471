//! Random schedules: whatever is done to log files on several disks, and whenever the reader is stopped or killed, every line
//! comes out exactly once, except those that were destroyed before they were read.
//!
//! The model knows lines and where they are, and nothing of how files are identified. Numbers of files are reused as
//! soon as a system could do so; time is virtual. `WEIR_FOLLOW_SCHEDULES` says how many schedules are tried.

mod found;

use super::{
    events::{self, Listen, News},
    identity::{FileId, Identify},
};
use crate::source::{
    files::{
        config::FilesConfig,
        listing::Location,
        tests::{Seen, click, config, context},
    },
    reader::SourceReader,
    settings::SourceSettings,
};
use parking_lot::Mutex;
use proptest::{prelude::*, test_runner::RngSeed};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use weir_engine::operator::{Source, SourceEvent, SplitState};

/// Long enough for everything to be read, and for waiting to be over.
const READ: Duration = Duration::from_millis(400);
const DEVICES: usize = 3;
/// The disk of each server, and how many lines each of its logs begins with.
const SERVERS: [(usize, usize); 5] = [(0, 1), (0, 0), (1, 1), (2, 2), (1, 1)];

#[derive(Clone, Debug)]
enum Step {
    Append(usize, u32),
    /// The first half of a line.
    Half(usize),
    Rename(usize),
    /// Out of what is followed.
    MoveOut(usize),
    MoveToDisk(usize, usize),
    CopyTruncate(usize, bool),
    /// With the same first lines, and so many others.
    WriteAnew(usize, u32),
    Empty(usize),
    Delete(usize),
    /// By a new file with all that was in it and more, as by rsync.
    Replace(usize, u32),
    Link(usize, bool),
    /// Another file that is equal to its beginning.
    Twin(usize, usize),
    /// One that was rotated long ago, and is no twin. Its number is given to the next file.
    RemoveOld(usize),
    /// A line in a file that was renamed.
    LateAppend(usize),
    Unmount(usize),
    Mount,
    Read,
    Snapshot,
    Stop,
    Kill,
    Start(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let server = 0..SERVERS.len();
    prop_oneof![
        12 => (server.clone(), prop_oneof![6 => 1u32..4, 1 => 120u32..300]).prop_map(|(server, lines)| Step::Append(server, lines)),
        3 => server.clone().prop_map(Step::Half),
        4 => server.clone().prop_map(Step::Rename),
        2 => server.clone().prop_map(Step::MoveOut),
        2 => (server.clone(), 0..DEVICES).prop_map(|(server, disk)| Step::MoveToDisk(server, disk)),
        4 => (server.clone(), prop::bool::weighted(0.8)).prop_map(|(server, inside)| Step::CopyTruncate(server, inside)),
        3 => (server.clone(), prop_oneof![3 => 0u32..4, 1 => 150u32..250]).prop_map(|(server, lines)| Step::WriteAnew(server, lines)),
        1 => server.clone().prop_map(Step::Empty),
        2 => server.clone().prop_map(Step::Delete),
        2 => (server.clone(), 0u32..3).prop_map(|(server, lines)| Step::Replace(server, lines)),
        2 => (server.clone(), any::<bool>()).prop_map(|(server, hard)| Step::Link(server, hard)),
        1 => (server.clone(), 1usize..5).prop_map(|(server, lines)| Step::Twin(server, lines)),
        3 => server.clone().prop_map(Step::RemoveOld),
        1 => server.prop_map(Step::LateAppend),
        1 => (0..DEVICES).prop_map(Step::Unmount),
        1 => Just(Step::Mount),
        8 => Just(Step::Read),
        3 => Just(Step::Snapshot),
        2 => Just(Step::Stop),
        3 => Just(Step::Kill),
        5 => (1usize..4).prop_map(Step::Start),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Unread,
    /// Since the last snapshot.
    Read,
    Safe,
    Lost,
}

#[derive(Debug)]
struct Line {
    ad: String,
    state: State,
    /// It is in a file that can be listed.
    present: bool,
}

#[derive(Debug)]
struct Log {
    /// One, or several links; the first is the one it is written under.
    names: Vec<PathBuf>,
    device: usize,
    lines: Vec<usize>,
    half: Option<usize>,
    /// Its reader surely has it open.
    open: bool,
    /// Its disk was away, and it has not grown since: it may have been taken for complete, and is opened when it grows.
    complete: bool,
    id: FileId,
}

/// What the reader has to do with.
#[derive(Clone, Copy, Debug)]
enum Circumstances {
    Events,
    NoEvents,
    /// Most events are lost.
    LostEvents,
    /// Hardly any files may be open, and some events are lost.
    FewOpen,
}

const CIRCUMSTANCES: [Circumstances; 4] =
    [Circumstances::Events, Circumstances::NoEvents, Circumstances::LostEvents, Circumstances::FewOpen];

/// The events of the system, of which some are lost.
struct Lossy {
    events: Box<dyn Listen>,
    count: usize,
    /// Of so many one comes.
    one_of: usize,
}

impl Listen for Lossy {
    fn listen_to(&mut self, folder: &Path) -> bool {
        self.events.listen_to(folder)
    }

    fn news(&mut self) -> Vec<News> {
        let mut news = self.events.news();
        news.retain(|_| {
            self.count += 1;
            self.count.is_multiple_of(self.one_of)
        });
        news
    }
}

struct World {
    circumstances: Circumstances,
    folder: tempfile::TempDir,
    config: Value,
    lines: Vec<Line>,
    /// The log of each server, if there is one.
    logs: Vec<Option<Log>>,
    /// Files that are no longer written.
    old: Vec<Log>,
    /// Lines of files that are gone, but still open.
    open_lines: Vec<usize>,
    away: [bool; DEVICES],
    /// What the system says a file's number is.
    numbers: Arc<Mutex<HashMap<(u64, u64), FileId>>>,
    free: Vec<FileId>,
    free_when_closed: Vec<FileId>,
    next: u64,
    clock: u64,
    sources: Vec<Box<dyn Source>>,
    seen: Seen,
    snapshot: (Vec<SplitState>, Seen),
    steps: Vec<String>,
}

impl World {
    fn new(circumstances: Circumstances) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        for name in ["in", "out"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let mut config = config(&folder.path().join("in"));
        for (key, value) in [("poll_ms", 10), ("discover_ms", 20), ("rotation_grace_ms", 60)] {
            config[key] = value.into();
        }
        config["follow"] = true.into();
        let world = World {
            circumstances,
            folder,
            config,
            lines: Vec::new(),
            logs: SERVERS.iter().map(|_| None).collect(),
            old: Vec::new(),
            open_lines: Vec::new(),
            away: [false; DEVICES],
            numbers: Arc::default(),
            free: Vec::new(),
            free_when_closed: Vec::new(),
            next: 2,
            clock: 0,
            sources: Vec::new(),
            seen: Seen::default(),
            snapshot: (Vec::new(), Seen::default()),
            steps: Vec::new(),
        };
        for device in 0..DEVICES {
            let path = world.device(device);
            fs::create_dir(&path).expect("a folder");
            world.number(&path, FileId { device: 100 + device as u64, inode: 1 });
        }
        world
    }

    fn device(&self, device: usize) -> PathBuf {
        self.folder.path().join("in").join(format!("disk-{device}"))
    }

    fn number(&self, path: &Path, id: FileId) {
        let metadata = fs::metadata(path).expect("there");
        self.numbers.lock().insert((metadata.dev(), metadata.ino()), id);
    }

    /// A number that no file on that disk has.
    fn new_number(&mut self, device: usize) -> FileId {
        let device = 100 + device as u64;
        match self.free.iter().rposition(|id| id.device == device) {
            Some(index) => self.free.remove(index),
            None => {
                self.next += 1;
                FileId { device, inode: self.next }
            }
        }
    }

    fn is_running(&self) -> bool {
        !self.sources.is_empty()
    }

    /// A name that was never used.
    fn name(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{what}.{}", self.next)
    }

    fn line(&mut self, ad: String) -> usize {
        self.lines.push(Line { ad, state: State::Unread, present: true });
        self.lines.len() - 1
    }

    fn text(&self, line: usize) -> String {
        click(&self.lines[line].ad, 1)
    }

    fn text_of(&self, log: &Log) -> String {
        let whole: String = log.lines.iter().map(|line| self.text(*line)).collect();
        let half = log.half.map(|line| self.text(line)[..20].to_owned());
        whole + &half.unwrap_or_default()
    }

    fn new_lines(&mut self, count: u32) -> Vec<usize> {
        (0..count)
            .map(|_| {
                let ad = format!("u{}", self.lines.len());
                self.line(ad)
            })
            .collect()
    }

    fn banner(&mut self, server: usize) -> Vec<usize> {
        (0..SERVERS[server].1).map(|line| self.line(format!("banner-{line}"))).collect()
    }

    /// Writes and leaves a time behind that no other change has.
    fn write(&mut self, path: &Path, text: &str, append: bool) {
        let mut file =
            OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
        self.touch(&file);
    }

    fn touch(&mut self, file: &File) {
        self.clock += 1;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_646_352_000 + self.clock)).expect("a time");
    }

    fn create(&mut self, path: PathBuf, device: usize, lines: Vec<usize>) -> Log {
        let id = self.new_number(device);
        let log = Log { names: vec![path.clone()], device, lines, half: None, open: false, complete: false, id };
        let text = self.text_of(&log);
        self.write(&path, &text, false);
        self.number(&path, id);
        log
    }

    fn append(&mut self, server: usize, count: u32) {
        let lines = self.new_lines(count);
        let Some(mut log) = self.logs[server].take() else {
            let device = SERVERS[server].0;
            let path = self.device(device).join(format!("server-{server}.log"));
            let mut all = self.banner(server);
            all.extend(lines);
            self.logs[server] = Some(self.create(path, device, all));
            return;
        };
        let rest = log.half.take().map(|line| (line, self.text(line)[20..].to_owned()));
        let mut text = String::new();
        if let Some((line, rest)) = rest {
            text.push_str(&rest);
            log.lines.push(line);
        }
        lines.iter().for_each(|line| text.push_str(&self.text(*line)));
        log.lines.extend(lines);
        log.complete &= text.is_empty();
        self.write(&log.names[0].clone(), &text, true);
        self.logs[server] = Some(log);
    }

    /// Its lines cannot be read any more, except by a process that has the file open.
    fn destroy(&mut self, lines: &[usize], open: bool) {
        for line in lines {
            let line_ = &mut self.lines[*line];
            line_.present = false;
            if line_.state == State::Unread {
                if open { self.open_lines.push(*line) } else { line_.state = State::Lost }
            }
        }
    }

    /// What a log has from now on is another split, which is not open yet.
    fn emptied(&mut self, server: usize, mut log: Log, lines: Vec<usize>) {
        (log.lines, log.open) = (lines, false);
        let text = self.text_of(&log);
        self.write(&log.names[0].clone(), &text, false);
        self.logs[server] = Some(log);
    }

    /// All names of a file have gone.
    fn gone(&mut self, log: &Log) {
        let open = log.open && self.is_running();
        self.destroy(&log.lines, open);
        if let Some(half) = log.half {
            self.lines[half].state = State::Lost;
        }
        if self.is_running() { self.free_when_closed.push(log.id) } else { self.free.push(log.id) }
    }

    /// The log of a server, complete, and read as far as there could be doubt who has it open.
    async fn take(&mut self, server: usize) -> Option<Log> {
        let device = self.logs[server].as_ref()?.device;
        if self.away[device] {
            return None;
        }
        if self.logs[server].as_ref()?.half.is_some() {
            self.append(server, 0);
        }
        if self.is_running() && !self.logs[server].as_ref()?.open {
            self.read().await;
        }
        self.logs[server].take()
    }

    /// How many lines of a log are read for ever.
    fn safe(&self, log: &Log) -> usize {
        log.lines.iter().take_while(|line| self.lines[**line].state == State::Safe).count()
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(server, count) => {
                if self.logs[server].as_ref().map_or(!self.away[SERVERS[server].0], |log| !self.away[log.device]) {
                    self.append(server, count);
                }
            }
            Step::Half(server) => {
                let Some(log) = &self.logs[server] else { return };
                if self.away[log.device] || log.half.is_some() {
                    return;
                }
                let line = self.new_lines(1)[0];
                let text = self.text(line)[..20].to_owned();
                let Some(log) = &mut self.logs[server] else { return };
                log.half = Some(line);
                let path = log.names[0].clone();
                self.write(&path, &text, true);
            }
            Step::Rename(server) => {
                let Some(mut log) = self.take(server).await else { return };
                let to = log.names[0].with_file_name(self.name(&format!("server-{server}.log")));
                fs::rename(&log.names[0], &to).expect("renamed");
                log.names[0] = to;
                self.old.push(log);
            }
            Step::MoveOut(server) => {
                let Some(log) = self.take(server).await else { return };
                if log.names.len() > 1 {
                    self.logs[server] = Some(log);
                    return;
                }
                let to = self.folder.path().join("out").join(self.name("moved"));
                fs::rename(&log.names[0], to).expect("moved");
                self.gone(&log);
            }
            Step::Delete(server) => {
                let Some(log) = self.take(server).await else { return };
                log.names.iter().for_each(|name| fs::remove_file(name).expect("removed"));
                self.gone(&log);
            }
            Step::MoveToDisk(server, disk) => {
                let Some(log) = self.take(server).await else { return };
                if self.safe(&log) < 2 || self.away[disk] || log.names.len() > 1 || disk == log.device {
                    self.logs[server] = Some(log);
                    return;
                }
                let path = self.device(disk).join(self.name("moved"));
                let moved = self.create(path, disk, log.lines.clone());
                fs::remove_file(&log.names[0]).expect("removed");
                self.replaced(log);
                self.old.push(moved);
                self.read_if_running().await;
            }
            Step::Replace(server, count) => {
                let Some(log) = self.take(server).await else { return };
                if self.safe(&log) < 2 || log.names.len() > 1 {
                    self.logs[server] = Some(log);
                    return;
                }
                let mut lines = log.lines.clone();
                lines.extend(self.new_lines(count));
                let device = log.device;
                let beside = self.device(device).join(".replacement");
                let mut new = self.create(beside.clone(), device, lines);
                fs::rename(&beside, &log.names[0]).expect("renamed");
                new.names = log.names.clone();
                self.replaced(log);
                self.logs[server] = Some(new);
                self.read_if_running().await;
            }
            Step::CopyTruncate(server, inside) => {
                let Some(mut log) = self.take(server).await else { return };
                // If it is removed next, one line of a copy cannot be distinguished from the beginning of another log.
                if log.lines.iter().filter(|line| self.lines[**line].state != State::Unread).count() == 1 {
                    self.logs[server] = Some(log);
                    return;
                }
                let name = self.name(&format!("server-{server}.log"));
                let lines = std::mem::take(&mut log.lines);
                if inside {
                    let copy = self.create(log.names[0].with_file_name(name), log.device, lines);
                    self.old.push(copy);
                } else {
                    self.destroy(&lines, false);
                }
                let banner = self.banner(server);
                self.emptied(server, log, banner);
            }
            Step::WriteAnew(server, count) => {
                let Some(log) = self.take(server).await else { return };
                self.destroy(&log.lines, false);
                let mut lines = self.banner(server);
                lines.extend(self.new_lines(count));
                self.emptied(server, log, lines);
            }
            Step::Empty(server) => {
                let Some(log) = self.take(server).await else { return };
                self.destroy(&log.lines, false);
                self.emptied(server, log, Vec::new());
            }
            Step::Link(server, hard) => {
                let name = self.name("link");
                let Some(log) = &mut self.logs[server] else { return };
                if self.away[log.device] {
                    return;
                }
                let link = log.names[0].with_file_name(name);
                if hard {
                    fs::hard_link(&log.names[0], &link).expect("linked");
                    log.names.push(link);
                    // Its reader may look at either name.
                    log.open = false;
                } else {
                    std::os::unix::fs::symlink(&log.names[0], &link).expect("linked");
                }
            }
            Step::Twin(server, count) => {
                if !self.is_running() {
                    return;
                }
                self.read().await;
                let Some(log) = &self.logs[server] else { return };
                if self.away[log.device] || log.lines.is_empty() || !log.open {
                    return;
                }
                let ads: Vec<String> = log.lines.iter().take(count).map(|line| self.lines[*line].ad.clone()).collect();
                let device = (log.device + 1) % DEVICES;
                if self.away[device] {
                    return;
                }
                let lines = ads.into_iter().map(|ad| self.line(ad)).collect();
                let path = self.device(device).join(self.name("twin"));
                let twin = self.create(path, device, lines);
                self.old.push(twin);
                self.read().await;
                self.take_snapshot();
            }
            Step::RemoveOld(nth) => {
                self.read_if_running().await;
                // Another twin under the number of one that was removed is the same file, as far as anybody can see.
                let is_twin =
                    |log: &Log| log.names[0].file_name().is_some_and(|name| name.to_string_lossy().starts_with("twin"));
                let there = |log: &usize| !self.away[self.old[*log].device] && !is_twin(&self.old[*log]);
                let there: Vec<usize> = (0..self.old.len()).filter(there).collect();
                if there.is_empty() {
                    return;
                }
                let log = self.old.remove(there[nth % there.len()]);
                log.names.iter().for_each(|name| fs::remove_file(name).expect("removed"));
                self.gone(&log);
            }
            Step::LateAppend(nth) => {
                let line = self.new_lines(1)[0];
                let text = self.text(line);
                let away = self.away;
                let renamed = |log: &&mut Log| {
                    let name = log.names[0].file_name().expect("a name").to_string_lossy().into_owned();
                    name.starts_with("server") && !away[log.device]
                };
                let mut logs: Vec<&mut Log> = self.old.iter_mut().filter(renamed).collect();
                let count = logs.len();
                if count == 0 {
                    self.lines[line].state = State::Lost;
                    return;
                }
                let log = &mut logs[nth % count];
                log.lines.push(line);
                let path = log.names[0].clone();
                self.write(&path, &text, true);
                self.read_if_running().await;
            }
            Step::Unmount(device) => {
                if self.away[device] {
                    return;
                }
                for server in 0..SERVERS.len() {
                    if self.logs[server].as_ref().is_some_and(|log| log.device == device && log.half.is_some()) {
                        self.append(server, 0);
                    }
                }
                // A disk with unread files that are open is in use.
                self.read_if_running().await;
                let path = self.device(device);
                fs::rename(&path, self.folder.path().join("out").join(format!("disk-{device}"))).expect("away");
                fs::create_dir(&path).expect("a mount point");
                self.away[device] = true;
                self.old
                    .iter_mut()
                    .chain(self.logs.iter_mut().flatten())
                    .filter(|log| log.device == device)
                    .for_each(|log| (log.open, log.complete) = (false, true));
            }
            Step::Mount => {
                for device in 0..DEVICES {
                    if std::mem::take(&mut self.away[device]) {
                        let path = self.device(device);
                        fs::remove_dir(&path).expect("a mount point");
                        fs::rename(self.folder.path().join("out").join(format!("disk-{device}")), path).expect("back");
                    }
                }
            }
            Step::Read => self.read_if_running().await,
            Step::Snapshot => {
                if self.is_running() {
                    self.take_snapshot();
                }
            }
            Step::Stop => {
                if self.is_running() {
                    self.take_snapshot();
                    self.end();
                }
            }
            Step::Kill => {
                if self.is_running() {
                    self.seen = Seen { ads: self.snapshot.1.ads.clone(), dead: self.snapshot.1.dead.clone() };
                    for line in self.lines.iter_mut().filter(|line| line.state == State::Read) {
                        line.state = if line.present { State::Unread } else { State::Lost };
                    }
                    self.end();
                }
            }
            Step::Start(parallelism) => {
                if !self.is_running() {
                    self.start(parallelism).await;
                }
            }
        }
    }

    /// A file is gone whose lines are all in another one.
    fn replaced(&mut self, log: Log) {
        if self.is_running() { self.free_when_closed.push(log.id) } else { self.free.push(log.id) }
    }

    async fn start(&mut self, parallelism: usize) {
        let numbers = self.numbers.clone();
        let identify: Identify = Arc::new(move |metadata| {
            let real = FileId::of(metadata);
            numbers.lock().get(&(real.device, real.inode)).copied().unwrap_or(real)
        });
        for subtask in 0..parallelism {
            let context = context(subtask, parallelism);
            let settings = SourceSettings::read(&self.config, &context).expect("settings");
            let files = FilesConfig::deserialize(&self.config).expect("files");
            let location = Location::parse(&files.path).expect("a path");
            let connector = files.followed(&location, &settings, &context).expect("followed");
            let lossy = |one_of| {
                let events = events::of_system()?;
                Some(Box::new(Lossy { events, count: 0, one_of }) as Box<dyn Listen>)
            };
            let connector = connector.identifying(identify.clone());
            let connector = Box::new(match self.circumstances {
                Circumstances::Events => connector,
                Circumstances::NoEvents => connector.hearing(None),
                Circumstances::LostEvents => connector.hearing(lossy(5)),
                Circumstances::FewOpen => connector.hearing(lossy(2)).keeping_open(2),
            });
            let mut source = SourceReader::new(files.reader_settings(&settings), connector, &context);
            source.restore(self.snapshot.0.clone()).await.expect("opened");
            self.sources.push(Box::new(source));
        }
    }

    /// Nothing is open any more.
    fn end(&mut self) {
        self.sources.clear();
        for line in std::mem::take(&mut self.open_lines) {
            if self.lines[line].state == State::Unread {
                self.lines[line].state = State::Lost;
            }
        }
        self.free.append(&mut self.free_when_closed);
        self.old.iter_mut().chain(self.logs.iter_mut().flatten()).for_each(|log| log.open = false);
    }

    fn take_snapshot(&mut self) {
        let snapshots = self.sources.iter_mut().flat_map(|source| source.snapshot().expect("a snapshot"));
        let text = serde_json::to_string(&snapshots.collect::<Vec<_>>()).expect("serialisable");
        let seen = Seen { ads: self.seen.ads.clone(), dead: self.seen.dead.clone() };
        self.snapshot = (serde_json::from_str(&text).expect("the same"), seen);
        for line in self.lines.iter_mut().filter(|line| line.state == State::Read) {
            line.state = State::Safe;
        }
    }

    async fn read_if_running(&mut self) {
        if self.is_running() {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        for source in &mut self.sources {
            let seen = &mut self.seen;
            let read = async {
                loop {
                    match source.next().await.expect("an event") {
                        SourceEvent::EndOfInput => panic!("a followed source has no end"),
                        event => seen.take(&event),
                    }
                }
            };
            let _elapsed = tokio::time::timeout(READ, read).await;
        }
        let away = self.away;
        let listed: Vec<usize> = self
            .old
            .iter()
            .chain(self.logs.iter().flatten())
            .filter(|log| !away[log.device])
            .flat_map(|log| log.lines.clone())
            .collect();
        for line in listed.into_iter().chain(std::mem::take(&mut self.open_lines)) {
            if self.lines[line].state == State::Unread {
                self.lines[line].state = State::Read;
            }
        }
        self.free.append(&mut self.free_when_closed);
        for log in self.logs.iter_mut().flatten().filter(|log| !away[log.device]) {
            // A file that begins with half a line is not known yet; one with several names may be looked at under another; and
            // one of nothing but lines that others begin with, too, may be taken for a copy until it grows.
            let own = log.lines.iter().any(|line| !self.lines[*line].ad.starts_with("banner"));
            // Where few files may be open, this one may be closed again.
            let few = matches!(self.circumstances, Circumstances::FewOpen);
            log.open = own && log.names.len() == 1 && !log.complete && !few;
        }
        self.check();
    }

    fn check(&self) {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        let own = |ad: &&str| !ad.starts_with("banner");
        for line in self.lines.iter().filter(|line| matches!(line.state, State::Read | State::Safe)) {
            *counts.entry(&line.ad).or_default() += 1;
        }
        for ad in &self.seen.ads {
            *counts.entry(ad).or_default() -= 1;
        }
        counts.retain(|ad, count| own(ad) && *count != 0);
        assert!(
            counts.is_empty(),
            "{:?}: too few are counted above zero, too many below: {counts:?}\nsteps: {}\ndead letters: {:?}",
            self.circumstances,
            self.steps.join(", "),
            self.seen.dead
        );
    }
}

/// So many schedules, always the same ones; as many others as `WEIR_FOLLOW_SCHEDULES` says.
fn schedules() -> ProptestConfig {
    let asked = std::env::var("WEIR_FOLLOW_SCHEDULES").ok().and_then(|count| count.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(40) };
    ProptestConfig {
        cases: asked.unwrap_or(64),
        rng_seed,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn run(steps: &[Step]) {
    CIRCUMSTANCES.into_iter().for_each(|circumstances| run_in(circumstances, steps));
}

fn run_in(circumstances: Circumstances, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut world = World::new(circumstances);
        let end = [Step::Mount, Step::Start(2), Step::Read, Step::Read];
        for step in steps.iter().chain(&end) {
            world.steps.push(format!("{step:?}"));
            world.step(step).await;
        }
    });
}

proptest! {
    #![proptest_config(schedules())]
    #[test]
    fn every_line_comes_once_whatever_is_done_to_the_files(
        circumstances in prop::sample::select(&CIRCUMSTANCES[..]),
        steps in proptest::collection::vec(step(), 10..50),
    ) {
        run_in(circumstances, &steps);
    }
}
