//! The files that are open: a bounded number, however many are followed.
//!
//! Invariant: a file is closed only when it has just been seen under its own name, so that it can be opened again. One that was
//! renamed or removed stays open until it has been read to its end, even if there are more of them than there should be.

use super::identity::{FileId, Identify};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    path::PathBuf,
};

/// At least so many files may be open.
const LEAST_FILES: usize = 16;

/// How much is lost if a file is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// It has been read to its end.
    AtRest,
    /// There may be more to read.
    Reading,
    /// Its name is gone.
    Left,
}

/// A file that is open, and where it is found again.
struct Open {
    file: File,
    path: PathBuf,
    id: FileId,
    turn: (Hold, u64),
}

/// The open files of a subtask, by their splits.
pub(super) struct OpenFiles {
    most: usize,
    next: u64,
    files: HashMap<String, Open>,
    /// Those that may be closed, the first one first.
    turns: BTreeMap<(Hold, u64), String>,
}

impl OpenFiles {
    /// At most so many, if it can be helped.
    pub(super) fn new(most: usize) -> Self {
        OpenFiles { most, next: 0, files: HashMap::new(), turns: BTreeMap::new() }
    }

    /// The file of a split, if it is open.
    pub(super) fn take(&mut self, split: &str) -> Option<File> {
        let open = self.files.remove(split)?;
        self.turns.remove(&open.turn);
        Some(open.file)
    }

    /// Keeps the file of a split open, and closes others if there are too many.
    pub(super) fn keep(
        &mut self,
        split: &str,
        file: File,
        (path, id): (PathBuf, FileId),
        hold: Hold,
        identify: &Identify,
    ) {
        self.take(split);
        self.next += 1;
        let turn = (hold, self.next);
        if hold != Hold::Left {
            self.turns.insert(turn, split.to_owned());
        }
        self.files.insert(split.to_owned(), Open { file, path, id, turn });
        while self.files.len() > self.most {
            let Some((_, split)) = self.turns.pop_first() else { break };
            let Some(open) = self.files.get(&split) else { continue };
            // Otherwise its name is gone, which has not been noticed yet.
            if fs::metadata(&open.path).is_ok_and(|metadata| identify(&metadata) == open.id) {
                self.files.remove(&split);
            }
        }
    }
}

/// How many files each of so many subtasks may have open: half of what the process may, for there are others.
pub(super) fn most_open_files(subtasks: usize) -> usize {
    (process_limit() / 2 / subtasks.max(1)).max(LEAST_FILES)
}

/// How many files the process may have open.
fn process_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to the struct that it is given, and to nothing else.
    let outcome = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    if outcome == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1_024 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn those_at_rest_are_closed_first_and_those_without_a_name_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let identify: Identify = Arc::new(FileId::of);
        let mut files = OpenFiles::new(2);
        let mut keep = |name: &str, hold: Hold| {
            let path = folder.path().join(name);
            let file = File::create(&path).expect("created");
            let id = FileId::of(&file.metadata().expect("known"));
            if name.starts_with("gone") {
                fs::remove_file(&path).expect("removed");
            }
            files.keep(name, file, (path, id), hold, &identify);
            let mut open: Vec<&str> = files.files.keys().map(String::as_str).collect();
            open.sort_unstable();
            open.join(" ")
        };
        assert_eq!(keep("a", Hold::Reading), "a");
        assert_eq!(keep("b", Hold::AtRest), "a b");
        assert_eq!(keep("c", Hold::AtRest), "a c");
        assert_eq!(keep("d", Hold::Reading), "a d");
        assert_eq!(keep("e", Hold::Reading), "d e");
        assert_eq!(keep("gone-1", Hold::Left), "e gone-1");
        assert_eq!(keep("gone-2", Hold::AtRest), "gone-1 gone-2");
        assert_eq!(keep("f", Hold::Reading), "gone-1 gone-2");
    }
}
