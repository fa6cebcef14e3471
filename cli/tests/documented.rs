//! Every command that the documentation marks as tested is run as it stands there.
//!
//! A `sh` block behind the line `<!-- tested -->` is run by a shell, in a fresh folder for each document that holds the
//! repository's `jobs`; blocks of one document follow one another in that folder. `weir` and `cargo run --release --` are the
//! binary under test. Lines of a `text` block behind `<!-- printed -->` must be what the command before it printed, digits
//! and white space aside, in that order.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};
use support::Workplace;

/// A marked block.
#[derive(Debug, PartialEq)]
enum Block {
    Run(String),
    Printed(String),
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let tested = match line.trim() {
            "<!-- tested -->" => true,
            "<!-- printed -->" => false,
            _ => continue,
        };
        let opening = lines.next().unwrap_or_default();
        assert_eq!(opening.trim(), if tested { "```sh" } else { "```text" }, "what follows '{line}'");
        let body: String =
            lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{line}\n")).collect();
        blocks.push(if tested { Block::Run(body) } else { Block::Printed(body) });
    }
    blocks
}

/// `weir`, and a `cargo` that only knows `run --release -- ARGUMENTS`.
fn tools(folder: &Path) -> PathBuf {
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weir"), tools.join("weir")).unwrap();
    let cargo = "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || { echo \"not a run: $*\" >&2; exit 64; }\nshift 3\nexec weir \"$@\"\n";
    fs::write(tools.join("cargo"), cargo).unwrap();
    fs::set_permissions(tools.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    tools
}

/// Words without digits: what stays when a run is faster, or prints another number.
fn skeleton(line: &str) -> String {
    let words = line.replace(|c: char| c.is_ascii_digit() || ",.─═┄".contains(c), " ");
    let units = ["ms", "s", "min", "kB", "MB", "B"];
    words.split_whitespace().filter(|word| !units.contains(&word.trim_end_matches(';'))).collect::<Vec<_>>().join(" ")
}

fn assert_printed(document: &str, expected: &str, printed: &str) {
    let printed: Vec<String> = printed.lines().map(skeleton).collect();
    let mut from = 0;
    for line in expected.lines().map(skeleton).filter(|line| !line.is_empty()) {
        let found = printed[from..].iter().position(|one| *one == line);
        let found = found
            .unwrap_or_else(|| panic!("{document}: '{line}' was not printed; from there on: {:#?}", &printed[from..]));
        from += found + 1;
    }
}

fn run_document(path: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{path} has no tested block");
    let place = Workplace::new();
    let tools = tools(&place.path(""));
    let search = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut printed = String::new();
    for block in blocks {
        match block {
            Block::Run(script) => {
                let mut shell = Command::new("bash");
                let output =
                    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(place.path("")).env("PATH", &search);
                let output = output.env_remove("WEIR_LOG").output().expect("a shell");
                let complaint = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{path}: {}\n{script}\n{complaint}", output.status);
                printed = format!("{complaint}{}", String::from_utf8_lossy(&output.stdout));
            }
            Block::Printed(expected) => assert_printed(path, &expected, &printed),
        }
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
fn generate() {
    run_document("docs/generate.md");
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
    assert!(std::panic::catch_unwind(|| assert_printed("-", "c 1\n", "d 1\n")).is_err());
}
