//! Tests of followed files: whatever is done to log files, every line is read once, and what is lost is said.

use crate::source::files::{
    source,
    tests::{Seen, click, config, context},
};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    time::Duration,
};
use weir_engine::operator::{Source, SourceEvent, SplitState};

/// Long enough for anything to be noticed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for something that should not happen to be noticed mostly.
const A_WHILE: Duration = Duration::from_millis(120);

struct Follower {
    folder: tempfile::TempDir,
    config: Value,
    sources: Vec<Box<dyn Source>>,
    seen: Seen,
}

impl Follower {
    fn new(parallelism: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        for (key, value) in [("poll_ms", 2), ("discover_ms", 5), ("rotation_grace_ms", 30)] {
            config[key] = value.into();
        }
        config["follow"] = true.into();
        let sources = open(&config, parallelism);
        Follower { folder, config, sources, seen: Seen::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.path(name));
        file.expect("opened").write_all(text.as_bytes()).expect("written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    async fn start(&mut self) {
        self.restore(Vec::new()).await;
    }

    async fn restore(&mut self, states: Vec<SplitState>) {
        for source in &mut self.sources {
            source.restore(states.clone()).await.expect("opened");
        }
    }

    /// Ends all sources between two events and begins new ones from their state, at another parallelism.
    async fn restart(&mut self, parallelism: usize) {
        let states = self.stop();
        self.sources = open(&self.config, parallelism);
        self.restore(states).await;
    }

    fn stop(&mut self) -> Vec<SplitState> {
        let snapshots = self.sources.iter_mut().flat_map(|source| source.snapshot().expect("a snapshot"));
        let text = serde_json::to_string(&snapshots.collect::<Vec<_>>()).expect("serialisable");
        self.sources.clear();
        serde_json::from_str(&text).expect("the same")
    }

    async fn read_for(&mut self, time: Duration) {
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
            let _elapsed = tokio::time::timeout(time, read).await;
        }
    }

    /// Reads until the position of some split is as expected.
    async fn until(&mut self, expected: impl Fn(&Value) -> bool) {
        for _ in 0..PATIENCE.as_millis() / 10 {
            let mut states = self.sources.iter_mut().flat_map(|source| source.snapshot().expect("a snapshot"));
            if states.any(|split| expected(&split.state["position"])) {
                return;
            }
            self.read_for(Duration::from_millis(10)).await;
        }
        panic!("no split came as far as expected");
    }

    /// Reads until so many ads and dead letters have come, and looks whether more do.
    async fn expect(&mut self, ads: &[&str], dead: &[&str]) {
        let tries = PATIENCE.as_millis() / 10;
        for _ in 0..tries {
            if self.seen.ads.len() >= ads.len() && self.seen.dead.len() >= dead.len() {
                break;
            }
            self.read_for(Duration::from_millis(10)).await;
        }
        self.read_for(A_WHILE / self.sources.len() as u32).await;
        let mut expected: Vec<&str> = ads.to_vec();
        expected.sort_unstable();
        self.seen.ads.sort();
        assert_eq!(self.seen.ads, expected, "{:?}", self.seen.dead);
        assert_eq!(self.seen.dead.len(), dead.len(), "{:?}", self.seen.dead);
        for (found, expected) in self.seen.dead.iter().zip(dead) {
            assert!(found.contains(expected), "{found} should contain {expected}");
        }
    }
}

fn open(config: &Value, parallelism: usize) -> Vec<Box<dyn Source>> {
    (0..parallelism).map(|subtask| source(config, &context(subtask, parallelism)).expect("valid")).collect()
}

#[tokio::test]
async fn growing_and_new_files_are_read_as_they_come() {
    let mut follower = Follower::new(2);
    follower.append("a.log", &click("a1", 1));
    follower.start().await;
    follower.expect(&["a1"], &[]).await;
    follower.append("a.log", &click("a2", 2));
    follower.append("b.log", "");
    follower.expect(&["a1", "a2"], &[]).await;
    let third = click("a3", 3);
    follower.append("a.log", &third[..20]);
    follower.append("b.log", &click("b1", 1));
    follower.expect(&["a1", "a2", "b1"], &[]).await;
    follower.append("a.log", &third[20..]);
    follower.append("a.log", "garbage\n");
    follower.expect(&["a1", "a2", "b1", "a3"], &["a.log@183: the line does not begin"]).await;
}

#[tokio::test]
async fn rotated_files_are_read_to_their_end_and_the_new_ones_from_their_beginning() {
    let mut follower = Follower::new(1);
    follower.append("clicks.log", &click("a1", 1));
    follower.start().await;
    follower.expect(&["a1"], &[]).await;
    follower.append("clicks.log", &click("a2", 2));
    follower.rename("clicks.log", "clicks.log.1");
    follower.append("clicks.log.1", click("a3", 3).trim_end());
    follower.append("clicks.log", &click("b1", 4));
    // The last line of the rotated file has no end, and counts as soon as nothing more seems to come.
    follower.expect(&["a1", "a2", "a3", "b1"], &[]).await;
    follower.rename("clicks.log.1", "clicks.log.2");
    follower.rename("clicks.log", "clicks.log.1");
    follower.append("clicks.log", &click("c1", 5));
    follower.append("clicks.log.1", &click("b2", 5));
    follower.expect(&["a1", "a2", "a3", "b1", "b2", "c1"], &[]).await;
    // Somebody still has the old file open.
    follower.append("clicks.log.2", &("\n".to_owned() + &click("a4", 6)));
    follower.expect(&["a1", "a2", "a3", "b1", "b2", "c1", "a4"], &["the line is empty"]).await;
    fs::remove_file(follower.path("clicks.log.2")).expect("removed");
    follower
        .until(|split| split["ended"] == true && split["path"].as_str().is_some_and(|path| path.ends_with(".2")))
        .await;
    follower.restart(2).await;
    follower.append("clicks.log", &click("c2", 7));
    follower.expect(&["a1", "a2", "a3", "b1", "b2", "c1", "a4", "c2"], &["the line is empty"]).await;
}

#[tokio::test]
async fn rotation_while_nobody_looks_is_caught_up_with() {
    let mut follower = Follower::new(2);
    follower.append("clicks.log", &click("a1", 1));
    follower.start().await;
    follower.expect(&["a1"], &[]).await;
    let states = follower.stop();
    follower.append("clicks.log", &click("a2", 2));
    follower.rename("clicks.log", "clicks.log.1");
    follower.append("clicks.log", &click("b1", 3));
    follower.sources = open(&follower.config, 3);
    follower.restore(states).await;
    follower.expect(&["a1", "a2", "b1"], &[]).await;
}

#[tokio::test]
async fn an_unlinked_file_is_read_to_its_end() {
    let mut follower = Follower::new(1);
    follower.append("a.log", &click("a1", 1));
    follower.start().await;
    follower.expect(&["a1"], &[]).await;
    follower.append("a.log", &click("a2", 2));
    fs::remove_file(follower.path("a.log")).expect("removed");
    follower.expect(&["a1", "a2"], &[]).await;
}

#[tokio::test]
async fn a_copied_and_truncated_file_is_read_on_in_the_copy() {
    let mut follower = Follower::new(2);
    follower.config["copies"] = "skip".into();
    follower.sources = open(&follower.config, 2);
    follower.append("clicks.log", &(click("a1", 1) + &click("a2", 2)));
    follower.start().await;
    follower.expect(&["a1", "a2"], &[]).await;
    let states = follower.stop();
    follower.append("clicks.log", &click("a3", 3));
    fs::copy(follower.path("clicks.log"), follower.path("clicks.log.1")).expect("copied");
    follower.sources = open(&follower.config, 2);
    follower.restore(states).await;
    // As long as both are there, the copy is nothing new.
    follower.expect(&["a1", "a2", "a3"], &[]).await;
    let states = follower.stop();
    follower.append("clicks.log", &click("a4", 4));
    fs::copy(follower.path("clicks.log"), follower.path("clicks.log.1")).expect("copied");
    fs::write(follower.path("clicks.log"), "").expect("truncated");
    follower.append("clicks.log", &click("b1", 5));
    follower.sources = open(&follower.config, 1);
    follower.restore(states).await;
    follower.expect(&["a1", "a2", "a3", "a4", "b1"], &[]).await;
    follower.append("clicks.log", &click("b2", 6));
    follower.restart(2).await;
    follower.expect(&["a1", "a2", "a3", "a4", "b1", "b2"], &[]).await;
}

#[tokio::test]
async fn a_truncated_file_without_a_copy_begins_anew() {
    let mut follower = Follower::new(1);
    follower.append("a.log", &click("a1", 1));
    follower.start().await;
    follower.expect(&["a1"], &[]).await;
    fs::write(follower.path("a.log"), "").expect("truncated");
    follower.until(|split| split["began_anew"] == true).await;
    // Even with the same first line it is another file now.
    follower.append("a.log", &(click("a1", 1) + &click("b2", 2)));
    follower.expect(&["a1", "a1", "b2"], &[]).await;
    // Written anew between two looks, and longer than before.
    fs::write(follower.path("a.log"), click("c1", 1) + &click("c2", 1) + &click("c3", 1)).expect("written");
    follower.expect(&["a1", "a1", "b2", "c1", "c2", "c3"], &[]).await;
    follower.restart(1).await;
    follower.append("a.log", &click("c4", 2));
    follower.expect(&["a1", "a1", "b2", "c1", "c2", "c3", "c4"], &[]).await;
}

#[tokio::test]
async fn what_a_shrinking_file_loses_is_a_dead_letter() {
    let mut follower = Follower::new(1);
    let two = click("a1", 1) + &click("a2", 2);
    follower.append("a.log", &(two.clone() + &click("a3", 3)));
    follower.start().await;
    follower.expect(&["a1", "a2", "a3"], &[]).await;
    // Cut off in the middle: what is left has been read.
    let file = OpenOptions::new().write(true).open(follower.path("a.log")).expect("opened");
    file.set_len(two.len() as u64).expect("cut off");
    let first = "a.log@122: it shrank from 183 to 122 bytes while it was followed; it was read to byte 183. Nothing of it \
                 is read again: reading goes on at byte 122";
    follower.expect(&["a1", "a2", "a3"], &[first]).await;
    follower.append("a.log", &click("a4", 3));
    follower.expect(&["a1", "a2", "a3", "a4"], &[first]).await;
    // Emptied with a half line that was held back.
    follower.append("a.log", "[AdClickEvent] half");
    follower.until(|split| split["seen"] == 202).await;
    file.set_len(0).expect("emptied");
    let second = "a.log@183: it shrank from 202 to 0 bytes while it was followed, or was rewritten: what it had after \
                  byte 183, to which it was read, is lost";
    follower.expect(&["a1", "a2", "a3", "a4"], &[first, second]).await;
    follower.append("a.log", &click("b1", 4));
    follower.restart(1).await;
    follower.expect(&["a1", "a2", "a3", "a4", "b1"], &[first, second]).await;
}

#[tokio::test]
async fn a_file_that_is_gone_at_a_restart_is_a_dead_letter() {
    let mut follower = Follower::new(2);
    follower.append("a.log", &click("a1", 1));
    follower.append("b.log", &click("b1", 1));
    follower.start().await;
    follower.expect(&["a1", "b1"], &[]).await;
    let states = follower.stop();
    fs::remove_file(follower.path("a.log")).expect("removed");
    follower.sources = open(&follower.config, 1);
    follower.restore(states).await;
    let lost = "a.log@61: it is gone: what was written to it after byte 61, to which it was read, is lost";
    follower.expect(&["a1", "b1"], &[lost]).await;
    follower.restart(2).await;
    follower.append("b.log", &click("b2", 2));
    follower.expect(&["a1", "b1", "b2"], &[lost]).await;
}

#[tokio::test]
async fn files_that_begin_alike_are_all_read_once_they_differ() {
    let mut follower = Follower::new(2);
    follower.append("a.log", &(click("same", 1) + &click("a1", 2)));
    follower.append("b.log", &(click("same", 1) + &click("b1", 2)));
    follower.start().await;
    follower.expect(&["same", "same", "a1", "b1"], &[]).await;
    // No more than the beginning of two others, which are not truncated.
    follower.append("c.log", &click("same", 1));
    follower.expect(&["same", "same", "same", "a1", "b1"], &[]).await;
    follower.append("c.log", &click("c1", 3));
    follower.expect(&["same", "same", "same", "a1", "b1", "c1"], &[]).await;
}

#[tokio::test]
async fn a_header_is_read_once_and_never_a_record() {
    let mut follower = Follower::new(1);
    follower.config["format"] = "csv".into();
    follower.config["schema"] = serde_json::json!({"ad_id": "string", "click_timestamp": "timestamp"});
    follower.sources = open(&follower.config, 1);
    follower.append("a.csv", "click_timestamp,ad_id\n");
    follower.append("b.csv", "ad_id,click_timestamp\nb1,2022-03-04 00:00:01\n");
    follower.start().await;
    follower.expect(&["b1"], &[]).await;
    follower.append("a.csv", "2022-03-04 00:00:01,a1\n");
    follower.expect(&["a1", "b1"], &[]).await;
    follower.restart(2).await;
    follower.append("a.csv", "2022-03-04 00:00:02,a2\n");
    follower.append("b.csv", "b2,2022-03-04 00:00:02\n");
    follower.expect(&["a1", "a2", "b1", "b2"], &[]).await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_waited_for() {
    let mut follower = Follower::new(2);
    follower.config["path"] = follower.path("later").display().to_string().into();
    follower.sources = open(&follower.config, 2);
    follower.start().await;
    follower.expect(&[], &[]).await;
    fs::create_dir(follower.path("later")).expect("a folder");
    follower.append("later/a.log", &click("a1", 1));
    follower.expect(&["a1"], &[]).await;
    // Away for a while, with the files in it.
    follower.rename("later", "elsewhere");
    follower.read_for(A_WHILE).await;
    follower.restart(1).await;
    follower.expect(&["a1"], &[]).await;
    follower.append("elsewhere/a.log", &click("a2", 2));
    follower.rename("elsewhere", "later");
    follower.expect(&["a1", "a2"], &[]).await;
}

#[tokio::test]
async fn one_file_that_is_rotated_is_waited_for() {
    let mut follower = Follower::new(2);
    follower.config["path"] = follower.path("clicks.log").display().to_string().into();
    follower.sources = open(&follower.config, 2);
    follower.append("clicks.log", &click("a1", 1));
    follower.start().await;
    follower.expect(&["a1"], &[]).await;
    follower.rename("clicks.log", "clicks.log.1");
    follower.append("clicks.log.1", &click("a2", 2));
    follower.expect(&["a1", "a2"], &[]).await;
    follower.append("clicks.log", &click("b1", 3));
    follower.expect(&["a1", "a2", "b1"], &[]).await;
    // The same while nobody looks: what the path does not name is found beside it.
    let states = follower.stop();
    follower.append("clicks.log", &click("b2", 4));
    follower.rename("clicks.log", "clicks.log.2");
    follower.sources = open(&follower.config, 1);
    follower.restore(states).await;
    follower.expect(&["a1", "a2", "b1", "b2"], &[]).await;
    follower.append("clicks.log", &click("c1", 5));
    follower.restart(2).await;
    follower.expect(&["a1", "a2", "b1", "b2", "c1"], &[]).await;
}

#[tokio::test]
async fn logs_that_begin_with_the_same_line_and_are_moved_away_are_all_read() {
    let mut follower = Follower::new(2);
    let away = tempfile::tempdir().expect("a folder");
    let log = |number: usize| click("banner", 0) + &click(&format!("a{number}"), 1) + &click(&format!("b{number}"), 2);
    let mut expected: Vec<String> = Vec::new();
    follower.start().await;
    for number in 0..4 {
        follower.append("beside.tmp", &log(number));
        follower.rename("beside.tmp", "a.log");
        expected.extend(["banner".to_owned(), format!("a{number}"), format!("b{number}")]);
        let ads: Vec<&str> = expected.iter().map(String::as_str).collect();
        follower.expect(&ads, &[]).await;
        let to = away.path().join(number.to_string());
        fs::copy(follower.path("a.log"), to).expect("copied");
        fs::remove_file(follower.path("a.log")).expect("removed");
    }
}

#[tokio::test]
async fn a_log_written_anew_with_the_same_first_line_is_read_from_its_beginning() {
    let mut follower = Follower::new(2);
    let log = |from: u32, to: u32| -> String {
        click("banner", 0) + &(from..to).map(|number| click(&format!("a{number:03}"), 1)).collect::<String>()
    };
    let mut expected: Vec<String> = Vec::new();
    let mut add = |from: u32, to: u32| -> Vec<String> {
        expected.push("banner".to_owned());
        expected.extend((from..to).map(|number| format!("a{number:03}")));
        expected.clone()
    };
    fs::write(follower.path("a.log"), log(0, 100)).expect("written");
    follower.start().await;
    let ads = add(0, 100);
    follower.expect(&ads.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
    // Shorter, longer, as long, and no more than the first line; while it runs and while it is stopped.
    for (round, (from, to)) in [(100, 103), (200, 320), (320, 440), (500, 500), (500, 501)].into_iter().enumerate() {
        let states = (round % 2 == 1).then(|| follower.stop());
        fs::write(follower.path("a.log"), log(from, to)).expect("written");
        if let Some(states) = states {
            follower.sources = open(&follower.config, 1 + round % 3);
            follower.restore(states).await;
        }
        let ads = if round == 4 { add(from, to)[..].to_vec() } else { add(from, to) };
        // The fifth is the fourth, grown.
        let mut ads: Vec<&str> = ads.iter().map(String::as_str).collect();
        if round == 4 {
            let banner = ads.iter().rposition(|ad| *ad == "banner").expect("there");
            ads.remove(banner);
        }
        follower.expect(&ads, &[]).await;
    }
}

#[tokio::test]
async fn a_log_that_is_the_beginning_of_another_is_read_too() {
    let mut follower = Follower::new(2);
    follower.append("s1.log", &(click("same", 1) + &click("a1", 2)));
    follower.append("s2.log", &click("same", 1));
    follower.append("s3.log", &click("same", 1));
    follower.start().await;
    follower.expect(&["same", "same", "same", "a1"], &[]).await;
    // Equal ones that come later are read when they have been at rest, and the other one was not truncated.
    follower.append("s4.log", &(click("same", 1) + &click("a1", 2)));
    follower.append("s5.log", &click("same", 1));
    follower.expect(&["same", "same", "same", "same", "same", "a1", "a1"], &[]).await;
    follower.restart(1).await;
    follower.append("s5.log", &click("b1", 3));
    follower.expect(&["same", "same", "same", "same", "same", "a1", "a1", "b1"], &[]).await;
}

#[tokio::test]
async fn a_copy_that_is_skipped_is_read_when_it_differs() {
    let mut follower = Follower::new(2);
    follower.config["copies"] = "skip".into();
    follower.sources = open(&follower.config, 2);
    follower.append("a.log", &(click("same", 1) + &click("a1", 2)));
    follower.start().await;
    follower.expect(&["a1", "same"], &[]).await;
    follower.append("b.log", &(click("same", 1) + &click("a1", 2)));
    follower.expect(&["a1", "same"], &[]).await;
    follower.restart(1).await;
    follower.expect(&["a1", "same"], &[]).await;
    follower.append("b.log", &click("b1", 3));
    follower.expect(&["a1", "a1", "b1", "same", "same"], &[]).await;
}

#[tokio::test]
async fn a_file_that_is_replaced_by_one_with_more_goes_on() {
    let mut follower = Follower::new(2);
    let mut text = click("a1", 1) + &click("a2", 2);
    follower.append("a.log", &text);
    follower.start().await;
    follower.expect(&["a1", "a2"], &[]).await;
    for (number, stopped) in [(3, false), (4, true)] {
        let states = stopped.then(|| follower.stop());
        text += &click(&format!("a{number}"), number);
        fs::write(follower.path(".new"), &text).expect("written");
        follower.rename(".new", "a.log");
        if let Some(states) = states {
            follower.sources = open(&follower.config, 1);
            follower.restore(states).await;
        }
        let ads = ["a1", "a2", "a3", "a4"];
        follower.expect(&ads[..number as usize], &[]).await;
    }
}

#[tokio::test]
async fn a_position_of_a_version_that_knew_less_goes_on() {
    let mut follower = Follower::new(1);
    follower.append("a.log", &(click("a1", 1) + &click("a2", 2)));
    follower.start().await;
    follower.expect(&["a1", "a2"], &[]).await;
    let mut states = follower.stop();
    for state in &mut states {
        let position = state.state["position"].as_object_mut().expect("an object");
        for key in ["device", "folder_device", "read", "passed_over"] {
            assert!(position.remove(key).is_some(), "{key}");
        }
    }
    follower.append("a.log", &click("a3", 3));
    follower.sources = open(&follower.config, 2);
    follower.restore(states).await;
    follower.expect(&["a1", "a2", "a3"], &[]).await;
    follower.restart(1).await;
    follower.append("a.log", &click("a4", 4));
    follower.expect(&["a1", "a2", "a3", "a4"], &[]).await;
}

#[tokio::test]
async fn files_that_are_no_logs_are_one_dead_letter_each_by_their_names() {
    let mut follower = Follower::new(1);
    follower.config["format"] = "csv".into();
    follower.config["schema"] = serde_json::json!({"ad_id": "string", "click_timestamp": "timestamp"});
    follower.sources = open(&follower.config, 1);
    follower.append("1.csv", "ad_id,click_timestamp\na1,2022-03-04 00:00:01\n");
    follower.append("3.csv", "ad,click_timestamp\nb1,2022-03-04 00:00:01\n");
    follower.append("README", "What is in here\nis explained here.\n");
    fs::write(follower.path("core"), [0x7f, b'E', b'L', b'F', 0, 0, 0xff, b'\n', 0xfe, b'\n', 0]).expect("written");
    follower.start().await;
    follower.expect(&["a1"], &["", "", ""]).await;
    for (name, reason) in [("3.csv", "no column \"ad_id\""), ("README", "no column"), ("core@0", "")] {
        let of_it: Vec<_> = follower.seen.dead.iter().filter(|letter| letter.starts_with(name)).collect();
        assert!(of_it.len() == 1 && of_it[0].contains(reason), "{name}: {of_it:?}");
        let others = ["1.csv", "3.csv", "README", "core"].into_iter().filter(|other| !name.starts_with(other));
        assert!(others.into_iter().all(|other| !of_it[0].contains(other)), "{of_it:?}");
    }
    // They may grow, and the others do, too.
    follower.append("README", "More.\n");
    follower.append("1.csv", "a2,2022-03-04 00:00:02\n");
    follower.expect(&["a1", "a2"], &["", "", ""]).await;
    follower.restart(2).await;
    follower.append("1.csv", "a3,2022-03-04 00:00:03\n");
    follower.append("3.csv", "b2,2022-03-04 00:00:01\n");
    follower.expect(&["a1", "a2", "a3"], &["", "", ""]).await;
}
