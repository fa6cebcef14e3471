//! Recently read state files in memory: the last one, and those just before it as long as they are small.
//!
//! Parts are read segment by segment, and a small file often has parts of several segments.

use super::{CheckpointStore, manifest::FileRef};
use crate::{env::Env, error::Result};
use bytes::Bytes;
use std::collections::VecDeque;

/// Bytes of the files that are kept besides the one that was read last.
const KEPT_BYTES: usize = 16 << 20;

/// Reads state files, checked, and remembers a few.
pub(crate) struct RecentFiles<'a> {
    store: &'a CheckpointStore,
    env: &'a Env,
    /// The one used last is last.
    files: VecDeque<(String, Bytes)>,
}

impl<'a> RecentFiles<'a> {
    pub(crate) fn new(store: &'a CheckpointStore, env: &'a Env) -> Self {
        RecentFiles { store, env, files: VecDeque::new() }
    }

    /// The content of a file.
    pub(crate) async fn content(&mut self, file: &FileRef) -> Result<Bytes> {
        let at = self.files.iter().position(|(path, _)| *path == file.path);
        let known = at.and_then(|at| self.files.remove(at));
        // Room is made before one is read, so that it is never needed for one more.
        let mut kept: usize = self.files.iter().map(|(_, content)| content.len()).sum();
        while kept > KEPT_BYTES
            && let Some((_, content)) = self.files.pop_front()
        {
            kept -= content.len();
        }
        let content = match known {
            Some((_, content)) => content,
            None => self.store.read_state(self.env, file).await?,
        };
        self.files.push_back((file.path.clone(), content.clone()));
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::manifest::checksum,
        ids::{Attempt, CheckpointId},
    };

    #[tokio::test]
    async fn few_bytes_are_kept_however_many_files_are_read() {
        let (store, env) = (CheckpointStore::in_memory("job"), Env::default());
        let mut files = Vec::new();
        for (n, megabytes) in [1, 2, 40, 3, 9, 1].into_iter().enumerate() {
            let content = Bytes::from(vec![n as u8; megabytes << 20]);
            let path = store.layout().state_file(Attempt(1), CheckpointId(1), "op", n);
            files.push(FileRef { path: path.to_string(), bytes: content.len() as u64, checksum: checksum(&content) });
            store.create(&env, &path, content).await.unwrap();
        }
        let mut recent = RecentFiles::new(&store, &env);
        for round in 0..2 {
            for (n, file) in files.iter().enumerate() {
                let content = recent.content(file).await.unwrap();
                assert_eq!((content[0], content.len() as u64), (n as u8, file.bytes), "round {round}");
                let kept: usize = recent.files.iter().map(|(_, content)| content.len()).sum();
                assert!(kept <= KEPT_BYTES + content.len(), "{kept} with file {n}");
            }
        }
        for file in &files[..2] {
            store.delete(&file.path.as_str().into()).await.unwrap();
        }
        recent.content(&files[0]).await.expect_err("it made way for others");
        recent.content(&files[5]).await.expect("one of the last is here");
    }
}
