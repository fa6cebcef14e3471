//! Where the `weir` is that the tests run.

use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Names another `weir` than the one that is built beside this program.
pub const VARIABLE: &str = "WEIR_BINARY";

/// The `weir` binary: the one named by `WEIR_BINARY`, or the one beside this program, brought up to date first when cargo
/// runs us. Asked again, it is the same.
///
/// # Errors
/// When it does not build, or is not there.
pub fn weir() -> Result<PathBuf> {
    static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.clone().map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        ensure!(named.is_file(), "{VARIABLE} names '{}', which is no file", named.display());
        return Ok(named);
    }
    let this = std::env::current_exe().context("where am I?")?;
    let mut folder = this.parent().context("this program lies in no folder")?;
    let is_test = folder.ends_with("deps");
    if is_test {
        folder = folder.parent().context("'deps' lies in no folder")?;
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(&cargo, folder, is_test)?;
    }
    let beside = folder.join("weir");
    ensure!(beside.is_file(), "there is no '{}': build it with cargo, or name one in {VARIABLE}", beside.display());
    Ok(beside)
}

/// With the features of the whole workspace, so that nothing is compiled twice. The tests' own dependencies turn on some more, and
/// so a test asks for the program as it is built beside tests.
fn build(cargo: &std::ffi::OsStr, folder: &Path, is_test: bool) -> Result<()> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut build = Command::new(cargo);
    match is_test {
        true => build.args(["test", "--no-run", "--quiet", "--workspace", "--test", "links"]),
        false => build.args(["build", "--quiet", "--workspace", "--bin", "weir"]),
    };
    if profile != "dev" {
        build.args(["--profile", profile]);
    }
    // What cargo tells a test of its crate: build scripts that look at such a variable would run again, and all above be compiled.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_")) {
            build.env_remove(name);
        }
    }
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("cannot start cargo to build weir")?;
    ensure!(status.success(), "weir does not build");
    Ok(())
}
