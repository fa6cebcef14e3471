//! Every command that the documentation marks as tested is run as it stands there.
//!
//! A `sh` block behind the line `<!-- tested -->` is run by a shell, in a fresh folder for each document that holds the
//! repository's `jobs`; blocks of one document follow one another in that folder. `weir` and `cargo run --release --` are the
//! binary under test; `own-operator` is the program of `jobs/examples/own_operator`. Lines of a `text` block behind `<!-- printed -->` must be what the command before it printed, digits
//! and white space aside, in that order.
//!
//! A `sh` block behind `<!-- served -->` runs beside those that follow it, until the line `<!-- ended -->`, the next such block
//! or the end of the document ends it by Ctrl-C. It is there when it says where its page is. `127.0.0.1:8080` is a free port
//! of this machine.

mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};
use support::{Workplace, own_program, pause};
use weir_test_support::{kafka_server::KafkaServer, needs_python, ports::free_port};

/// A marked block.
#[derive(Debug, PartialEq)]
enum Block {
    Run(String),
    Serve(String),
    Printed(String),
    End,
}

/// The port that documents serve on.
const DOCUMENTED: &str = "127.0.0.1:8080";
/// How often a server is looked at before it is given up, a tenth of a second apart.
const LOOKS: usize = 600;

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (block, language): (fn(String) -> Block, &str) = match line.trim() {
            "<!-- tested -->" => (Block::Run, "```sh"),
            "<!-- served -->" => (Block::Serve, "```sh"),
            "<!-- printed -->" => (Block::Printed, "```text"),
            "<!-- ended -->" => {
                blocks.push(Block::End);
                continue;
            }
            _ => continue,
        };
        let opening = lines.next().unwrap_or_default();
        assert_eq!(opening.trim(), language, "what follows '{line}'");
        let body: String =
            lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{line}\n")).collect();
        blocks.push(block(body));
    }
    blocks
}

/// `weir`, and a `cargo` that only knows `run --release -- ARGUMENTS`.
fn tools(folder: &Path) -> PathBuf {
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weir"), tools.join("weir")).unwrap();
    std::os::unix::fs::symlink(own_program::path(), tools.join("own-operator")).unwrap();
    let cargo = "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || { echo \"not a run: $*\" >&2; exit 64; }\nshift 3\nexec weir \"$@\"\n";
    fs::write(tools.join("cargo"), cargo).unwrap();
    fs::set_permissions(tools.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    if Command::new("curl").arg("--version").output().is_err() {
        fs::write(tools.join("curl"), CURL).unwrap();
        fs::set_permissions(tools.join("curl"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    tools
}

/// As much of curl as the documents need, for machines that have none: the last argument is what is asked for.
const CURL: &str = r#"#!/bin/bash
set -euo pipefail
address=${@: -1}
address=${address#http://}
host=${address%%/*}
exec 3<>"/dev/tcp/${host/://}"
printf 'GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${address#*/}" "$host" >&3
answer=$(cat <&3)
[[ $answer == *" 200 "* ]] || { echo "$answer" >&2; exit 22; }
printf '%s\n' "${answer#*$'\r\n\r\n'}"
"#;

/// Words without digits: what stays when a run is faster or slower, or prints another number.
fn skeleton(line: &str) -> String {
    let words =
        line.replace(|c: char| c.is_ascii_digit() || ",.─═┄".contains(c), " ").replace("checkpoints", "checkpoint");
    let units = ["ms", "s", "min", "kB", "MB", "B"];
    words.split_whitespace().filter(|word| !units.contains(&word.trim_end_matches(';'))).collect::<Vec<_>>().join(" ")
}

/// The first line that was to be printed and was not.
fn missing(expected: &str, printed: &str) -> Option<String> {
    let printed: Vec<String> = printed.lines().map(skeleton).collect();
    let mut rest = printed.iter();
    expected.lines().map(skeleton).filter(|line| !line.is_empty()).find(|line| !rest.any(|one| one == line))
}

fn assert_printed(document: &str, expected: &str, printed: &str) {
    if let Some(line) = missing(expected, printed) {
        panic!("{document}: '{line}' was not printed in its place: {printed}");
    }
}

/// A command that runs until it is told to end.
struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    fn start(mut shell: Command, log: PathBuf) -> Self {
        let file = fs::File::create(&log).unwrap();
        // A group of its own, so that what is meant for it reaches all of it and nobody else.
        let child = shell.process_group(0).stdout(file.try_clone().unwrap()).stderr(file).spawn().expect("a shell");
        let mut served = Served { child, log };
        served.wait_for("that it serves", |printed| printed.contains("page at http://"));
        served
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        for _ in 0..LOOKS {
            if is_there(&self.printed()) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.printed());
            pause(Duration::from_millis(100));
        }
        panic!("it did not say {what}:\n{}", self.printed());
    }

    /// Ctrl-C, after which it ends well.
    fn end(mut self, document: &str) {
        self.signal("INT");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{document}: {status}\n{}", self.printed());
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        Command::new("kill").args([&format!("-{signal}"), "--", &group]).status().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

fn run_document(path: &str) {
    run_document_in(path, &Workplace::new(), &[]);
}

/// Runs a document in a folder, with other words in the place of some.
fn run_document_in(path: &str, place: &Workplace, words: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{path} has no tested block");
    let tools = tools(&place.path(""));
    let search = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let free = format!("127.0.0.1:{}", free_port().unwrap());
    let shell = |script: &str| {
        let mut shell = Command::new("bash");
        let script =
            words.iter().fold(script.replace(DOCUMENTED, &free), |script, (word, other)| script.replace(word, other));
        shell.args(["-euo", "pipefail", "-c", &script]);
        shell.current_dir(place.path("")).env("PATH", &search).env_remove("WEIR_LOG");
        shell
    };
    let mut served: Option<Served> = None;
    let mut printed = String::new();
    for block in blocks {
        match block {
            Block::Run(script) => {
                let output = shell(&script).output().expect("a shell");
                let complaint = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{path}: {}\n{script}\n{complaint}", output.status);
                printed = format!("{complaint}{}", String::from_utf8_lossy(&output.stdout));
            }
            Block::Serve(script) => {
                if let Some(before) = served.take() {
                    before.end(path);
                }
                served = Some(Served::start(shell(&script), place.path("served.log")));
                printed.clear();
            }
            Block::End => served.take().unwrap_or_else(|| panic!("{path}: nothing is served")).end(path),
            Block::Printed(expected) => match served.as_mut().filter(|_| printed.is_empty()) {
                Some(served) => {
                    let is_there = |printed: &str| missing(&expected, &printed.replace(&free, DOCUMENTED)).is_none();
                    served.wait_for(&expected, is_there);
                }
                None => assert_printed(path, &expected, &printed),
            },
        }
    }
    if let Some(served) = served {
        served.end(path);
    }
}

#[test]
fn the_readme() {
    run_document("README.md");
}

#[test]
fn job_definitions() {
    run_document("docs/job-definition.md");
}

#[test]
fn operations() {
    run_document("docs/operations.md");
}

#[test]
fn cluster() {
    run_document("docs/cluster.md");
}

#[test]
fn outputs() {
    run_document("docs/outputs.md");
}

#[test]
fn replay() {
    run_document("docs/replay.md");
}

#[test]
fn serving() {
    run_document("docs/serving.md");
}

#[test]
fn own_operator() {
    own_program::program();
    run_document("docs/own-operator.md");
}

#[test]
fn generate() {
    run_document("docs/generate.md");
}

/// Makes the documents' names of Kafka's programs those of a server's, in a folder.
fn kafka_programs(server: &KafkaServer, place: &Workplace) -> Vec<(String, String)> {
    let programs = [
        ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
        ("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
        ("kafka-console-producer.sh", "org.apache.kafka.tools.ConsoleProducer"),
    ];
    let written = programs.map(|(name, class)| {
        let words: Vec<String> =
            server.tool(class).iter().map(|word| format!("'{}'", word.to_string_lossy())).collect();
        // The document calls it by its name alone.
        fs::write(place.path(name), format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "))).unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        (name.to_owned(), format!("./{name}"))
    });
    written.to_vec()
}

/// Runs a document with brokers of its own in the place of the documented ones, in it and in the definitions that it names.
fn run_document_of_kafka(path: &str, brokers: &[(&str, &KafkaServer)], definitions: &[&str]) {
    let place = Workplace::new();
    let mut words = kafka_programs(brokers[0].1, &place);
    for (documented, server) in brokers {
        words.push(((*documented).to_owned(), server.brokers()));
    }
    for name in definitions {
        let definition = fs::read_to_string(place.path(&format!("jobs/{name}"))).unwrap();
        assert!(brokers.iter().any(|(documented, _)| definition.contains(documented)));
        let own =
            |text: String, (documented, server): &(&str, &KafkaServer)| text.replace(documented, &server.brokers());
        fs::write(place.path(name), brokers.iter().fold(definition, own)).unwrap();
        words.push((format!("jobs/{name}"), (*name).to_owned()));
    }
    let words: Vec<(&str, &str)> = words.iter().map(|(word, other)| (word.as_str(), other.as_str())).collect();
    run_document_in(path, &place, &words);
}

#[test]
fn kafka() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    run_document_of_kafka("docs/kafka.md", &[("localhost:9092", &server)], &["ad_click_kafka.toml"]);
}

#[test]
fn budget_pacing() {
    if needs_python(&["confluent_kafka"]).is_none() {
        return;
    }
    let Some(server) = KafkaServer::start().unwrap() else { return };
    run_document_of_kafka("docs/budget-pacing.md", &[("localhost:9092", &server)], &["ad_events_kafka.toml"]);
}

#[test]
fn two_regions() {
    let Some(east) = KafkaServer::start().unwrap() else { return };
    let Some(west) = KafkaServer::start().unwrap() else { return };
    let brokers = [("localhost:9092", &east), ("localhost:9094", &west)];
    run_document_of_kafka("docs/two-regions.md", &brokers, &["ad_events_kafka.toml", "union_and_load.toml"]);
}

/// The sample clicks are what their documented command makes, byte for byte.
#[test]
fn the_sample_clicks_are_what_their_command_makes() {
    run_document("jobs/data/README.md");
    let place = Workplace::new();
    let tools = tools(&place.path(""));
    let text = fs::read_to_string(place.path("jobs/data/README.md")).unwrap();
    let Some(Block::Run(script)) = blocks(&text).into_iter().next() else { panic!("no command") };
    let search = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let done =
        Command::new("bash").args(["-euc", &script]).current_dir(place.path("")).env("PATH", search).output().unwrap();
    assert!(done.status.success());
    let mut compared = 0;
    for entry in fs::read_dir(place.path("jobs/data/clicks")).unwrap() {
        let shipped = entry.unwrap().path();
        let made = place.path("sample").join(shipped.file_name().unwrap());
        assert_eq!(fs::read(&made).unwrap(), fs::read(&shipped).unwrap(), "{}", shipped.display());
        compared += 1;
    }
    assert!(compared >= 3, "only {compared} files");
}

#[test]
fn blocks_are_found_and_numbers_do_not_matter() {
    let text =
        "a\n<!-- tested -->\n```sh\nweir x\n```\nb\n<!-- printed -->\n```text\nc  1,234\n```\n```sh\nnot me\n```\n";
    assert_eq!(blocks(text), [Block::Run("weir x\n".into()), Block::Printed("c  1,234\n".into())]);
    assert_printed("-", "c  1,234\nd 5 ms\n", "x\nc 99\nd 6.7 s\n");
    assert_printed("-", "1 checkpoint, the longest 21 ms\n", "2 checkpoints, the longest 796 ms\n");
    assert!(std::panic::catch_unwind(|| assert_printed("-", "c 1\n", "d 1\n")).is_err());
}
