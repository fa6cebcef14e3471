//! The programs of this crate take the arguments that documents show, explain each of them, and refuse others before they begin.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const PROGRAMS: [(&str, &str); 5] = [
    ("chaos", env!("CARGO_BIN_EXE_chaos")),
    ("grammar", env!("CARGO_BIN_EXE_grammar")),
    ("kill", env!("CARGO_BIN_EXE_kill")),
    ("simulate", env!("CARGO_BIN_EXE_simulate")),
    ("soak", env!("CARGO_BIN_EXE_soak")),
];

fn run(program: &str, arguments: &[&str]) -> (Output, String) {
    let (_, path) = PROGRAMS.iter().find(|(name, _)| *name == program).expect("a program of this crate");
    let output = Command::new(path).args(arguments).env("RUST_BACKTRACE", "1").output().expect("it starts");
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output, said)
}

/// Words as a shell has them, up to a comment. Only single quotes are known here.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let comment = words.iter().position(|word| word == "#").unwrap_or(words.len());
    words.truncate(comment);
    words
}

#[test]
fn documented_commands_have_arguments_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = |entry: fs::DirEntry| entry.path();
    let mut pages: Vec<_> = fs::read_dir(root.join("docs")).unwrap().flatten().map(page).collect();
    pages.extend(["README.md", "chaos-tests/src/lib.rs"].map(|page| root.join(page)));
    pages.extend(fs::read_dir(root.join("chaos-tests/src/bin")).unwrap().flatten().map(page));
    let mut documented = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for line in text.lines() {
            let line = line.trim_start_matches("//!").trim();
            let Some(command) = line.strip_prefix("cargo run --release -p weir-chaos-tests --bin ") else { continue };
            let words = words(command);
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(words[1], "--", "{line}");
            // What stands before it is read, with its values, before the help is shown.
            words.push("--help");
            let (output, said) = run(words[0], &words[2..]);
            assert!(output.status.success(), "{}: {line}: {said}", page.display());
            documented += 1;
        }
    }
    assert!(documented > 20, "documents are read: {documented}");
}

#[test]
fn a_wrong_argument_is_refused_with_2_and_without_a_backtrace() {
    for (program, _) in PROGRAMS {
        let (help, said) = run(program, &["--help"]);
        assert!(help.status.success() && said.contains("[default: "), "{program}: {said}");
        let (output, said) = run(program, &["--sed", "1"]);
        assert_eq!(output.status.code(), Some(2), "{program}: {said}");
        assert!(said.contains("'--sed'") && said.contains("'--seed'"), "{program} says what was meant: {said}");
        assert!(!said.contains("backtrace"), "{program}: {said}");
    }
    for (program, arguments) in [
        ("chaos", ["--faults", "0"]),
        ("chaos", ["--only", "nobody killed"]),
        ("grammar", ["--jobs", "many"]),
        ("kill", ["--store", "oracle"]),
        ("kill", ["--longest-pause-ms", "0"]),
        ("simulate", ["--seeds", "0"]),
        ("soak", ["--seconds", "-1"]),
    ] {
        let (output, said) = run(program, &arguments);
        assert_eq!(output.status.code(), Some(2), "{program} {arguments:?}: {said}");
        assert!(said.contains(arguments[1]), "{program} {arguments:?}: {said}");
    }
}

#[test]
fn a_run_that_fails_says_why_with_1_and_without_a_backtrace() {
    let folder = tempfile::tempdir().unwrap();
    // A folder that cannot be made: a file is where it would be.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (_, path) = PROGRAMS[2];
    let output = Command::new(path)
        .args(["--kills", "1"])
        .env("RUST_BACKTRACE", "1")
        .env("WEIR_BINARY", file.join("weir"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && !said.contains("backtrace"), "{said}");
}
