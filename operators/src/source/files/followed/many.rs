//! Tests of many followed files: what those at rest cost, and that they are heard when they grow.

use super::{FollowedFiles, Watch, events};
use crate::source::{
    files::{
        config::FilesConfig,
        listing::Location,
        tests::{Seen, click, config, context},
    },
    reader::SourceReader,
    settings::SourceSettings,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    env::Env,
    operator::{Source, SplitState},
};

/// Longer than files take to come to rest.
const REST: Duration = Duration::from_secs(3);

/// A folder of logs and its reader, on virtual time.
struct Folder {
    folder: tempfile::TempDir,
    config: Value,
    events: bool,
    most_open: usize,
    source: SourceReader,
    watch: Arc<Watch>,
    seen: Seen,
}

impl Folder {
    fn new(files: usize, events: bool, most_open: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for file in 0..files {
            fs::write(folder.path().join(name(file)), click(&format!("a{file}"), 1)).expect("written");
        }
        let mut config = config(folder.path());
        config["follow"] = true.into();
        let (source, watch) = open(&config, events, most_open);
        Folder { folder, config, events, most_open, source, watch, seen: Seen::default() }
    }

    async fn restore(&mut self, states: Vec<SplitState>) {
        self.source.restore(states).await.expect("opened");
    }

    async fn restart(&mut self) {
        let text = serde_json::to_string(&self.source.snapshot().expect("a snapshot")).expect("JSON");
        (self.source, self.watch) = open(&self.config, self.events, self.most_open);
        self.restore(serde_json::from_str(&text).expect("the same")).await;
    }

    /// Reads for so long of virtual time.
    async fn read(&mut self, time: Duration) {
        let seen = &mut self.seen;
        let read = async {
            loop {
                seen.take(&self.source.next().await.expect("an event"));
            }
        };
        let _elapsed = tokio::time::timeout(time, read).await;
    }

    /// How long it takes until so many ads have come.
    async fn until(&mut self, ads: usize) -> Duration {
        let env = Env::default();
        let began = env.now();
        while self.seen.ads.len() < ads {
            assert!(env.now() - began < Duration::from_secs(60), "{} of {ads}", self.seen.ads.len());
            let event = self.source.next().await.expect("an event");
            self.seen.take(&event);
        }
        env.now() - began
    }

    fn append(&self, file: usize, ad: &str) {
        let file = OpenOptions::new().append(true).open(self.path(file));
        file.expect("opened").write_all(click(ad, 2).as_bytes()).expect("written");
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.path().join(name(file))
    }

    fn looks(&self) -> usize {
        self.watch.resting().looks
    }

    /// How many files below the folder this process has open.
    fn descriptors(&self) -> usize {
        let all =
            fs::read_dir("/proc/self/fd").expect("Linux").filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        all.filter(|file| file.starts_with(self.folder.path()) && file != self.folder.path()).count()
    }
}

fn name(file: usize) -> String {
    format!("server-{file:04}.log")
}

fn open(config: &Value, events: bool, most_open: usize) -> (SourceReader, Arc<Watch>) {
    let context = context(0, 1);
    let settings = SourceSettings::read(config, &context).expect("settings");
    let files = FilesConfig::deserialize(config).expect("files");
    let location = Location::parse(&files.path).expect("a path");
    let followed: FollowedFiles = files.followed(&location, &settings, &context).expect("followed");
    let followed = followed.hearing(if events { events::of_system() } else { None }).keeping_open(most_open);
    let watch = followed.watch.clone();
    (SourceReader::new(files.reader_settings(&settings), Box::new(followed), &context), watch)
}

#[tokio::test(start_paused = true)]
async fn with_events_nobody_looks_at_files_at_rest_and_lines_come_with_the_next_poll() {
    let mut folder = Folder::new(600, true, 1_000);
    folder.restore(Vec::new()).await;
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 600);
    assert_eq!(folder.looks(), 0);
    folder.append(317, "new");
    assert!(folder.until(601).await <= Duration::from_millis(60));
    // A new file.
    folder.read(REST).await;
    fs::write(folder.folder.path().join("another.log"), click("other", 1)).expect("written");
    assert!(folder.until(602).await <= Duration::from_millis(600));
    assert_eq!(folder.looks(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_events_some_files_are_looked_at_with_each_poll() {
    let mut folder = Folder::new(600, false, 1_000);
    folder.restore(Vec::new()).await;
    folder.read(REST).await;
    let before = folder.looks();
    folder.read(Duration::from_secs(10)).await;
    let looks = folder.looks() - before;
    assert!((200 * 250..=201 * 256).contains(&looks), "{looks} in 200 polls");
    folder.append(317, "new");
    assert!(folder.until(601).await <= Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn behind_a_link_files_are_looked_at_though_there_are_events() {
    let mut folder = Folder::new(3, true, 1_000);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let target = elsewhere.path().join("target");
    fs::write(&target, click("linked", 1)).expect("written");
    std::os::unix::fs::symlink(&target, folder.folder.path().join("link.log")).expect("linked");
    folder.restore(Vec::new()).await;
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 4);
    let mut file = OpenOptions::new().append(true).open(&target).expect("opened");
    file.write_all(click("more", 2).as_bytes()).expect("written");
    assert!(folder.until(5).await <= Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn few_files_are_open_however_many_are_followed() {
    let mut folder = Folder::new(300, true, 20);
    folder.restore(Vec::new()).await;
    let mut most = 0;
    for _ in 0..40 {
        folder.read(Duration::from_millis(50)).await;
        most = most.max(folder.descriptors());
    }
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 300);
    assert!((15..=21).contains(&most), "{most}");
    (0..300).for_each(|file| folder.append(file, "more"));
    folder.until(600).await;
    assert!(folder.descriptors() <= 21);
    // The same after a restart, and files that were closed may be renamed and removed.
    folder.restart().await;
    folder.read(REST).await;
    assert!(folder.descriptors() <= 21);
    folder.append(7, "before");
    fs::rename(folder.path(7), folder.folder.path().join("server-0007.log.1")).expect("renamed");
    fs::write(folder.path(7), click("after", 3)).expect("written");
    fs::remove_file(folder.path(9)).expect("removed");
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 602);
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 602);
    assert!(folder.seen.dead.is_empty(), "{:?}", folder.seen.dead);
}

#[tokio::test(start_paused = true)]
async fn what_a_checkpoint_says_of_files_at_rest_is_short() {
    let mut folder = Folder::new(400, true, 1_000);
    folder.restore(Vec::new()).await;
    folder.read(REST).await;
    let bytes = |folder: &mut Folder| {
        serde_json::to_string(&folder.source.snapshot().expect("a snapshot")).expect("JSON").len() / 400
    };
    bytes(&mut folder);
    let short = bytes(&mut folder);
    assert!(short < 130, "{short} bytes a file");
    folder.append(33, "more");
    folder.until(401).await;
    folder.restart().await;
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 401);
    (0..400).for_each(|file| folder.append(file, "again"));
    folder.until(801).await;
    folder.restart().await;
    folder.read(REST).await;
    assert_eq!(folder.seen.ads.len(), 801);
}
