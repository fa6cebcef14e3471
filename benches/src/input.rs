//! The clicks that are read, made once and kept.

use crate::{case::InputFormat, child};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the first `events` clicks of the benchmark stream, in a format. They are made if they are not there, by
/// `weir generate --benchmark` beside it and under another name until they are whole.
pub fn folder(cache: &Path, weir: &Path, format: InputFormat, events: u64) -> Result<PathBuf> {
    let folder = cache.join(format!("{}-{events}", format.name()));
    if folder.exists() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove '{}'", unfinished.display()))?;
    }
    eprintln!("making {events} clicks in '{}', once", folder.display());
    let mut generate = Command::new(weir);
    generate.args(["generate", "--benchmark", "--quiet", "--json", "--format", format.name()]);
    generate.arg("--events").arg(events.to_string()).arg(&unfinished);
    child::measure(&mut generate)?;
    fs::rename(&unfinished, &folder).with_context(|| format!("cannot rename '{}'", unfinished.display()))?;
    Ok(folder)
}

/// An empty folder: what was in it is removed.
pub fn empty_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove '{}'", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make '{}'", folder.display()))
}

/// Reads all files once, so that the first contestant finds them in memory as the later ones do.
pub fn read_through(folder: &Path) -> Result<()> {
    let failed = || format!("cannot read '{}'", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let mut file = fs::File::open(entry.with_context(failed)?.path()).with_context(failed)?;
        std::io::copy(&mut file, &mut std::io::sink()).with_context(failed)?;
    }
    Ok(())
}
