//! What tests need beside Rust: a browser, a database server, a web server, a Python with some packages. For tests alone.
//!
//! A person's machine may lack any of it: a test that needs it says so and is skipped. In CI (where the environment variable
//! `CI` is set) the same test fails: there, nothing may pass that was not run.
#![allow(clippy::missing_panics_doc, reason = "a test that fails panics")]

pub mod kafka_server;
pub mod parts;
pub mod place;
pub mod ports;
pub mod postgres_server;
pub mod s3_server;
mod server_process;
pub mod web_server;

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{Command, Stdio},
};

/// Whether this is a run of CI: `CI` is set, to anything but nothing, `0` or `false`.
pub fn in_ci() -> bool {
    is_ci(env::var_os("CI").as_deref())
}

fn is_ci(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !["", "0", "false"].contains(&value.to_str().unwrap_or("set")))
}

/// Says on standard error that a test is skipped, or fails it in CI: what is missing, and how to get it.
pub fn missing(what: &str, remedy: &str) {
    report_missing(what, remedy, in_ci());
}

fn report_missing(what: &str, remedy: &str, in_ci: bool) {
    assert!(!in_ci, "{what} is missing, and in CI no test is skipped: {remedy}");
    eprintln!("skipped: {what} is missing ({remedy})");
}

/// The first of these programs on the search path. `None`: there is none of them, which has been [said](missing).
pub fn needs(programs: &[&str], remedy: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = find(programs, &path);
    if found.is_none() {
        missing(&programs.join(" or "), remedy);
    }
    found
}

/// A program that an environment variable names, or else the first of these on the search path.
pub fn needs_named(variable: &str, programs: &[&str], remedy: &str) -> Option<PathBuf> {
    match env::var_os(variable) {
        Some(named) => Some(named.into()),
        None => needs(programs, remedy),
    }
}

/// A Python that can import all of these packages: the one that `WEIR_PYTHON` names, or `python3`.
pub fn needs_python(packages: &[&str]) -> Option<PathBuf> {
    let remedy =
        format!("`pip install {}`, and name that Python in WEIR_PYTHON if it is not `python3`", packages.join(" "));
    let python = needs_named("WEIR_PYTHON", &["python3"], &remedy)?;
    let imports: Vec<String> = packages.iter().map(|package| format!("import {package}")).collect();
    let tried = Command::new(&python)
        .args(["-c", &imports.join("; ")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    missing(&format!("one of the Python packages {}", packages.join(", ")), &remedy);
    None
}

fn find(programs: &[&str], path: &OsString) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = env::split_paths(path).collect();
    programs.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_is_what_says_so() {
        for (value, expected) in [(None, false), (Some(""), false), (Some("false"), false), (Some("true"), true)] {
            assert_eq!(is_ci(value.map(OsStr::new)), expected, "{value:?}");
        }
    }

    #[test]
    fn programs_are_found_in_the_order_of_their_names() {
        let path: OsString = env::join_paths(["/nowhere", "/bin", "/usr/bin"]).expect("a search path");
        assert_eq!(find(&["no-such-program", "sh"], &path), Some("/bin/sh".into()));
        assert_eq!(find(&["no-such-program"], &path), None);
    }

    #[test]
    fn what_is_missing_skips_a_test() {
        report_missing("a browser", "apt-get install chromium", false);
    }

    #[test]
    #[should_panic(expected = "a browser is missing, and in CI no test is skipped: apt-get install chromium")]
    fn what_is_missing_fails_a_test_in_ci() {
        report_missing("a browser", "apt-get install chromium", true);
    }
}
