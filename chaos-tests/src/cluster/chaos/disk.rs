//! Small disks of members' own, which can be full.

use crate::cluster::namespaces::run;
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

const MIB: usize = 1 << 20;

/// A disk in memory, mounted at a folder.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Makes the folder, and mounts a disk of so many MiB there.
    ///
    /// # Errors
    /// When that is refused; root may do it.
    pub fn mount(folder: &Path, mib: usize) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "weir-chaos"]).arg(folder);
        run(command)?;
        Ok(SmallDisk { folder: folder.into() })
    }

    /// Leaves no byte of it.
    ///
    /// # Errors
    /// When that fails otherwise.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        for size in [MIB, 4_096, 1] {
            let piece = vec![0; size];
            loop {
                match filler.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("the disk cannot be filled"),
                }
            }
        }
        Ok(())
    }

    /// Gives all of that back.
    ///
    /// # Errors
    /// When it was not full.
    pub fn make_room(&self) -> Result<()> {
        fs::remove_file(self.filler()).with_context(|| format!("nothing fills {}", self.folder.display()))
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has files open there keeps them.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
