//! Every measurement is described in the README with a command that exists, and every command is described there.

use std::{collections::BTreeSet, process::Command};

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weir-bench")).args(arguments).arg("--help").output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn commands_and_their_descriptions_agree() {
    let readme = include_str!("../README.md");
    let described: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("cargo run --release -p weir-benches -- "))
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    let listed = help(&[]);
    let commands = listed.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: BTreeSet<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    let commands: BTreeSet<&str> = commands.into_iter().filter(|command| *command != "help").collect();
    assert_eq!(described, commands);
    for line in readme.lines().filter_map(|line| line.strip_prefix("cargo run --release -p weir-benches -- ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let known = help(&words[..1]);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(known.contains(option), "{line}: there is no {option}");
        }
    }
}
