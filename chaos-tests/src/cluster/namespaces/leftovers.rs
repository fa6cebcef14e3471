//! What a run that was killed has left behind: namespaces that are named after its process, and the processes in them.

use super::commands::ip;
use anyhow::Result;
use std::{path::Path, process::Command};

/// Where namespaces are that have names.
pub const NAMESPACES: &str = "/run/netns";
/// Ours begin with this and the process id of who made them.
pub const PREFIX: &str = "weir-chaos-";

/// Removes what belongs to processes that are gone.
///
/// # Errors
/// When the namespaces cannot be listed.
pub fn remove() -> Result<()> {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            end_processes(&name);
            remove_namespace(&name);
        }
    }
    Ok(())
}

/// Removes a namespace. One that is not there, or not ours to remove, stays as it is.
pub fn remove_namespace(name: &str) {
    let _ = ip(&format!("netns del {name}"));
}

fn end_processes(name: &str) {
    let pids = ip(&format!("netns pids {name}")).unwrap_or_default();
    for pid in pids.lines() {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-9", pid]).status();
    }
}

/// The process id in such a name.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_made_it() {
        assert_eq!(maker("weir-chaos-4711-0-hub"), Some(4711));
        assert_eq!(maker("weir-chaos-x-0"), None);
        assert_eq!(maker("somebody-elses"), None);
    }
}
