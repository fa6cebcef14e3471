//! Commands that must succeed.

use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

/// Runs `ip` with these words, and takes what it prints.
///
/// # Errors
/// When it fails; with what it said.
pub fn ip(words: &str) -> Result<String> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    run(command)
}

/// Runs a command, and takes what it prints.
///
/// # Errors
/// When it fails; with what it said.
pub fn run(mut command: Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let complaint = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}", complaint.trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
