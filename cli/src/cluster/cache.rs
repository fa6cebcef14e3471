//! Where a worker caches state files: a folder and a limit.

use clap::Args;
use std::{ffi::OsString, path::PathBuf, sync::Arc};
use weir_engine::{
    checkpoint::{CheckpointStore, OpenStore, StateCache},
    disk,
};

/// The cache of a worker.
#[derive(Clone, Debug, Args)]
pub struct CacheArguments {
    /// Cache of recent state files for a fast restart, for storage with s3:// [default: weir/state in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Maximum size of that cache, in MiB; 0 disables it
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    cache_mib: u64,
}

impl CacheArguments {
    /// Opens checkpoint stores that have this cache.
    pub fn open_store(&self) -> OpenStore {
        let Some(folder) = self.folder() else { return super::open_store() };
        // State contains user data. A folder that cannot be created is reported when something is to be stored there.
        let _ = disk::make_private_folder(&folder);
        let cache = StateCache::new(folder, self.cache_mib << 20);
        Arc::new(move |url, job| Ok(CheckpointStore::open(url, job)?.with_cache(cache.clone())))
    }

    fn folder(&self) -> Option<PathBuf> {
        let folder = self.cache_dir.clone().or_else(|| users_folder(|name| std::env::var_os(name)))?;
        (self.cache_mib > 0).then_some(folder)
    }
}

/// Not the folder for temporary files: that is often kept in memory, and everybody can write there.
fn users_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("weir/state"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_users_own_or_none() {
        let folder = |set: &[(&str, &str)]| {
            users_folder(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert_eq!(folder(&[("HOME", "/home/ada")]), Some("/home/ada/.cache/weir/state".into()));
        assert_eq!(folder(&[("HOME", "/home/ada"), ("XDG_CACHE_HOME", "/big")]), Some("/big/weir/state".into()));
        assert_eq!(folder(&[("XDG_CACHE_HOME", "relative")]), None);
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn nothing_is_kept_where_that_is_asked_for() {
        let arguments = |cache_mib| CacheArguments { cache_dir: Some("/cache".into()), cache_mib };
        assert!(arguments(0).folder().is_none());
        assert!(arguments(1).folder().is_some());
    }
}
