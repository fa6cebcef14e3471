//! How the programs of this crate end: 0 when all was right, 1 when a run failed, with what was wrong on standard error and no
//! backtrace. (A wrong argument ends one with clap's words and 2, before anything has begun.)

use std::process::ExitCode;

/// The exit code, after the error was told.
pub fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
