//! Builds the program of the crate `jobs/examples/own_operator`.
//!
//! The crate stands outside of the workspace, as a user's does. Built there by itself, all of Weir would be compiled once more: cargo
//! tells crates by where they stand in their workspace, and by the features that the others have turned on. So it is built in a
//! workspace that is the same but for this one more member: a folder with links to all that is in ours, and our target folder.

use super::complaint;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Where the crate is in the repository.
pub const CRATE: &str = "jobs/examples/own_operator";

/// The repository.
pub fn root() -> PathBuf {
    fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap()
}

/// The program, built once, after the tests of its crate have passed.
pub fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&workspace()))
}

/// The workspace with the crate in it.
fn workspace() -> PathBuf {
    let (root, folder) = (root(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("workspace_with_own_operator"));
    // Folders on the way to the crate are folders of their own, which all that is not on it is linked into.
    let mut way = PathBuf::new();
    for part in Path::new(CRATE) {
        link_all(
            &root.join(&way),
            &folder.join(&way),
            &["Cargo.toml", "Cargo.lock", "target", ".git"],
            Path::new(part),
        );
        way.push(part);
    }
    link_all(&root.join(CRATE), &folder.join(CRATE), &["Cargo.toml", "Cargo.lock", "target"], Path::new(""));
    link(&root.join("jobs/Cargo.toml"), &folder.join("jobs/Cargo.toml"));
    let change = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no '{from}'");
        fs::write(folder.join(file), text.replacen(from, to, 1)).unwrap();
    };
    change("Cargo.toml", "members = [", &format!("members = [\"{CRATE}\", "));
    change(&format!("{CRATE}/Cargo.toml"), "[workspace]\n", "");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    folder
}

/// Links all that is in a folder into another, but for what has one of these names.
fn link_all(from: &Path, to: &Path, except: &[&str], next: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if name != next.as_os_str() && !except.iter().any(|other| name == *other) {
            link(&from.join(&name), &to.join(&name));
        }
    }
}

fn link(from: &Path, to: &Path) {
    if fs::symlink_metadata(to).is_err() {
        std::os::unix::fs::symlink(from, to).unwrap();
    }
}

/// As `cargo test --workspace` builds, so that all below the crate is what this test itself is made of.
fn build(workspace: &Path) -> PathBuf {
    let path = path();
    let profile = path.parent().expect("target/PROFILE");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--workspace", "--offline", "--test", "pauses", "--manifest-path"]);
    cargo.arg(workspace.join("Cargo.toml")).arg("--target-dir").arg(profile.parent().unwrap());
    if let Some(name) = profile.file_name().and_then(|name| name.to_str()).filter(|name| *name != "debug") {
        cargo.args(["--profile", name]);
    }
    // What cargo tells a test of its crate would have build scripts run again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_")) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.current_dir(workspace).stdin(Stdio::null()).output().expect("cargo can be started");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{printed}", complaint(&output));
    assert!(printed.contains("4 passed"), "the tests of the crate: {printed}");
    path
}

/// Where the program is once it is built.
pub fn path() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.parent().and_then(Path::parent).expect("target/PROFILE/deps").join("own-operator")
}
