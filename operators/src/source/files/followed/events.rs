//! What the system says about folders: that files came, went or changed (inotify).
//!
//! Invariant: events only say where to look, and sooner. Each may be lost, or come twice: whatever they say is found without
//! them, too, only later. Network file systems have none of what other machines do, so there they are not relied on.

use std::path::{Path, PathBuf};

/// Something that has happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The content of a file has changed.
    Changed(PathBuf),
    /// Files came or went, of which this may be one.
    Moved(PathBuf),
    /// Whatever may have happened: some events were lost.
    Lost,
}

/// Listens to folders.
pub(super) trait Listen: Send {
    /// Listens to a folder. Whether that is possible.
    fn listen_to(&mut self, folder: &Path) -> bool;

    /// What has happened since it was last asked.
    fn news(&mut self) -> Vec<News>;
}

/// The events of this system; none where there are none.
pub(super) fn of_system() -> Option<Box<dyn Listen>> {
    #[cfg(target_os = "linux")]
    {
        linux::Inotify::new().map(|inotify| Box::new(inotify) as Box<dyn Listen>)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Listen, News};
    use rustix::{
        fs::{
            inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init},
            statfs,
        },
        io::Errno,
    };
    use std::{
        collections::{BTreeSet, HashMap},
        ffi::OsStr,
        mem::MaybeUninit,
        os::{fd::OwnedFd, unix::ffi::OsStrExt},
        path::{Path, PathBuf},
    };

    const BUFFER_BYTES: usize = 64 << 10;
    /// File systems that may change without the system's knowing: NFS, SMB (three), FUSE, 9P, Ceph, AFS, Lustre, GFS2, OCFS2,
    /// and what VirtualBox and VMware share.
    const REMOTE: [u64; 13] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
        0x0bd0_0bd0,
        0x0116_1970,
        0x7461_636f,
        0x786f_4256,
        0xbacb_acbc,
    ];

    pub(super) struct Inotify {
        inotify: OwnedFd,
        /// The names of each folder.
        folders: HashMap<i32, BTreeSet<PathBuf>>,
        buffer: Vec<MaybeUninit<u8>>,
    }

    impl Inotify {
        pub(super) fn new() -> Option<Self> {
            let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
                .inspect_err(|error| tracing::info!("files are followed without file system events: {error}"))
                .ok()?;
            Some(Inotify { inotify, folders: HashMap::new(), buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES] })
        }
    }

    impl Listen for Inotify {
        fn listen_to(&mut self, folder: &Path) -> bool {
            let is_local = statfs(folder).is_ok_and(|found| !REMOTE.contains(&(found.f_type as u64)));
            let flags = WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            match add_watch(&self.inotify, folder, flags) {
                Ok(watch) => {
                    self.folders.entry(watch).or_default().insert(folder.to_owned());
                    is_local
                }
                Err(_) => false,
            }
        }

        fn news(&mut self) -> Vec<News> {
            let mut news = Vec::new();
            let mut gone = Vec::new();
            let mut reader = Reader::new(&self.inotify, &mut self.buffer);
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => break,
                    Err(_) => {
                        news.push(News::Lost);
                        break;
                    }
                };
                let what = event.events();
                if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                    news.push(News::Lost);
                    continue;
                }
                if what.contains(ReadFlags::IGNORED) {
                    gone.push(event.wd());
                }
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                let is_content = what.intersects(ReadFlags::MODIFY | ReadFlags::ATTRIB);
                for folder in self.folders.get(&event.wd()).into_iter().flatten() {
                    let path = name.as_ref().map_or_else(|| folder.clone(), |name| folder.join(name));
                    let what = if is_content { News::Changed(path) } else { News::Moved(path) };
                    if news.last() != Some(&what) {
                        news.push(what);
                    }
                }
            }
            gone.iter().for_each(|watch| drop(self.folders.remove(watch)));
            news
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_happens_in_a_folder_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut events = of_system().expect("inotify");
        assert!(events.listen_to(folder.path()));
        assert!(!events.listen_to(&path("missing")));
        assert_eq!(events.news(), []);
        fs::write(path("a"), "one").expect("written");
        let news = events.news();
        assert!(news.contains(&News::Moved(path("a"))) && news.contains(&News::Changed(path("a"))), "{news:?}");
        fs::rename(path("a"), path("b")).expect("renamed");
        assert_eq!(events.news(), [News::Moved(path("a")), News::Moved(path("b"))]);
        fs::remove_dir_all(folder.path()).expect("removed");
        assert!(events.news().contains(&News::Moved(path("b"))));
        assert_eq!(events.news(), []);
    }
}
