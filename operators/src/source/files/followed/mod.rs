//! Files that are followed while they grow, as a log watcher does.
//!
//! A split is a file, whatever its name. It is identified by its device, its number there and the bytes that were read of it,
//! and belongs to a subtask by its first line. What happens to log files, and what is made of it:
//!
//! - **It grows**: whole lines are read. A last line without a line break is held back until it is complete.
//! - **A new one comes**, or the pattern fits one that did not fit before: read from its beginning, as soon as its first line
//!   is complete.
//! - **It is renamed** (rotation) or unlinked: read to its end under whatever name. When its old name has belonged to another
//!   file, or to none, for the rotation grace and nothing more came, the split ends; a last line without a break counts
//!   then. Should it grow after all, it is taken up again.
//! - **It is replaced**, as by rsync: reading continues in a file in its place that has all that was read of it.
//! - **It is copied and truncated** (`copytruncate`): what was not read yet is read from the copy, then the truncated file
//!   is read as a new one. What is equal to the beginning of another file is a copy if that one is truncated or gone; see
//!   `copies`.
//! - **It is rewritten**, shorter or longer: read as a new one. If something was lost by that, a dead letter says so.
//! - **Its end is cut off**, as by a power cut: reading continues at what is left, and a dead letter says so.
//! - **It is gone** at a restart: a dead letter says what may have been lost.
//! - **It cannot be read**, its folder or its disk is away: named once, and waited for.
//!
//! A source that is followed has no end. Forgetting: a split that has ended is kept in the checkpoints as long as its file is
//! there, and some minutes longer.
//!
//! Most files of many are at rest. A file that was read to its end is asked for more only when it has changed, as events or a
//! look at all files tell; it may be closed, and costs a checkpoint nothing.
//!
//! Reading order: `identity` and `prefix` (what a file is known by), `watch` (how it is found again), `reader` (how it is
//! read), `open_files`, `resting` and `events` (what becomes of those at rest), `copies` (what is read at all), and this one,
//! which looks for files.

mod copies;
mod events;
mod identity;
#[cfg(test)]
mod many;
mod open_files;
mod prefix;
mod reader;
mod resting;
#[cfg(test)]
mod schedule;
mod search;
#[cfg(test)]
mod tests;
mod watch;

pub use watch::Copies;

use super::{lines::LineSettings, listing::LocalPath};
use crate::source::split_reader::{Connector, Discovery, Heard, Nature, OpenedSplit, RestoredSplit};
use copies::{Verdict, Waiting};
use events::{Listen, News};
use futures::{FutureExt, future::BoxFuture};
use identity::{FileId, Head, Stamp};
use open_files::{OpenFiles, most_open_files};
use parking_lot::Mutex;
use prefix::{Prefix, Thorough};
use reader::{Begin, FollowedReader};
use search::{LOOKS, Listing, Search, Whereabouts};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use watch::{AllListed, Followed, Listed, Watch};
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
};

/// A file that is not listed for so long is forgotten. A listing may miss a file that is being renamed, so one is not enough.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// The same for a file whose disk is away.
const FORGET_AWAY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Where events tell what happens, it is looked for files so much less often.
const RARELY: u32 = 10;
/// Of all time at most this part is spent on looking for files.
const PART_OF_TIME: u32 = 20;
/// A file that has not changed for so long has not changed since it was looked at.
const SETTLED: Duration = Duration::from_millis(100);

/// How a source's files are followed.
pub(super) struct FollowSettings {
    /// How long a rotated file may still be written to.
    pub(super) rotation_grace: Duration,
    /// What is done with what may be a copy.
    pub(super) copies: Copies,
    /// How often it is looked for files.
    pub(super) discover: Duration,
}

/// The files of a followed source that belong to a subtask.
pub(super) struct FollowedFiles {
    watch: Arc<Watch>,
    /// Listed files that there is nothing to read of, as they were then.
    settled: HashMap<FileId, Unread>,
    /// Files that may be copies.
    waiting: HashMap<FileId, Waiting>,
    /// What files begin with that were followed lately, until they are read so far.
    begun: HashMap<String, Prefix>,
    /// Since when splits' files have not been listed, or have started over.
    missing: BTreeMap<String, Moment>,
    events: Option<Box<dyn Listen>>,
    discover: Duration,
    /// When it may be looked for files again.
    next_look: Moment,
}

/// A file of which nothing is read.
struct Unread {
    stamp: Stamp,
    since: Moment,
    /// It was looked at when it had not changed for a while.
    settled: bool,
}

impl FollowedFiles {
    pub(super) fn new(
        path: LocalPath,
        settings: Arc<LineSettings>,
        follow: FollowSettings,
        env: Env,
        subtask: usize,
        parallelism: usize,
    ) -> Self {
        let head_lines = if settings.format.has_header() { 2 } else { 1 };
        let watch = Watch {
            path,
            settings,
            head_lines,
            rotation_grace: follow.rotation_grace,
            copies: follow.copies,
            identify: Arc::new(FileId::of),
            env,
            subtask,
            parallelism,
            known: Mutex::default(),
            open_files: Mutex::new(OpenFiles::new(most_open_files(parallelism))),
            resting: Mutex::default(),
            announcing: Mutex::default(),
            look: false.into(),
            unreadable: Mutex::default(),
            heads: Mutex::default(),
        };
        // In a simulation files change on its own time, and so are only looked at.
        let events = if watch.env.is_simulated() { None } else { events::of_system() };
        FollowedFiles::over(watch, events, follow.discover)
    }

    fn over(watch: Watch, events: Option<Box<dyn Listen>>, discover: Duration) -> Self {
        FollowedFiles {
            next_look: watch.env.now(),
            events,
            discover,
            watch: Arc::new(watch),
            settled: HashMap::new(),
            waiting: HashMap::new(),
            begun: HashMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// The same with another way to tell files' numbers.
    #[cfg(test)]
    fn identifying(self, identify: identity::Identify) -> Self {
        let Some(watch) = Arc::into_inner(self.watch) else { unreachable!("nothing has been opened") };
        FollowedFiles::over(Watch { identify, ..watch }, self.events, self.discover)
    }

    /// The same with no more open files than this.
    #[cfg(test)]
    fn keeping_open(self, most: usize) -> Self {
        *self.watch.open_files() = OpenFiles::new(most);
        self
    }

    /// The same with other events.
    #[cfg(test)]
    fn hearing(self, events: Option<Box<dyn Listen>>) -> Self {
        FollowedFiles { events, ..self }
    }

    fn restore(&mut self, restored: Vec<RestoredSplit>) -> Result<Vec<OpenedSplit>> {
        let watch = self.watch.clone();
        let mut search = Search::new(&watch)?;
        let mut opened = Vec::new();
        let mut missing = Vec::new();
        for split in restored {
            let mut followed: Followed = serde_json::from_value(split.position).map_err(|error| {
                EngineError::corrupt(format!("the position of split '{}' cannot be read: {error}", split.id))
            })?;
            if followed.head.subtask(self.watch.parallelism) != self.watch.subtask {
                continue;
            }
            if followed.device.is_none() {
                self.prove(&mut followed, &search.listing);
            }
            self.watch.known().insert(&split.id, followed.clone());
            if followed.ended {
                opened.push(self.opened(split.id, followed, Begin::Ended));
            } else {
                missing.push((split.id, followed));
            }
        }
        // Those that are where they were come first: they are not copies of others.
        for look in 0..LOOKS {
            if look > 0 && !missing.is_empty() {
                search = Search::new(&watch)?;
            }
            for (id, split) in std::mem::take(&mut missing) {
                match search.find_same(&split) {
                    Some((listed, file)) => opened.push(self.go_on(id, split, &listed, file)),
                    None => missing.push((id, split)),
                }
            }
        }
        for (id, split) in missing {
            opened.push(match search.find_elsewhere(&id, &split) {
                Whereabouts::Here(listed, file) => {
                    let split = Followed { is_copy: !search.listing.is_at(listed.id, &split.path), ..split };
                    self.go_on(id, split, &listed, file)
                }
                Whereabouts::Away => self.opened(id, Followed { away: true, ..split }, Begin::Away),
                Whereabouts::Gone => self.opened(id, split, Begin::Gone),
            });
        }
        Ok(opened)
    }

    /// A split of a checkpoint that knew neither devices nor what was read: the file with its number and its first lines.
    fn prove(&self, split: &mut Followed, listing: &Listing) {
        let is_it = |file: &&Listed| {
            let long_enough = file.id.inode == split.inode && file.stamp.bytes >= split.position.offset;
            long_enough && self.watch.head(file).as_ref() == Some(&split.head)
        };
        let mut found: Vec<&Listed> = listing.files().filter(is_it).collect();
        // Several devices may have such a number.
        found.sort_by_key(|file| file.path != split.path);
        let Some(file) = found.first() else { return };
        let Some(open) = self.watch.open(file) else { return };
        if let Some(read) = self.watch.or_say(&file.path, Prefix::of(&open, split.position.offset)) {
            (split.device, split.read) = (Some(file.id.device), read);
        }
    }

    fn go_on(&self, id: String, mut split: Followed, listed: &Listed, file: File) -> OpenedSplit {
        self.watch.go_on_in(&mut split, listed);
        self.opened(id, split, Begin::At(file))
    }

    fn opened(&self, id: String, split: Followed, begin: Begin) -> OpenedSplit {
        let name = split.path.display().to_string();
        self.watch.known().insert(&id, split.clone());
        let reader = Box::new(FollowedReader::new(self.watch.clone(), id.clone(), split, begin));
        OpenedSplit { id, name, reader, newest_before_ms: None, oldest_ms: None }
    }

    /// What has come, what is back, and what has been gone for long. At the first start of a job every file is there to be
    /// read: nothing can be a copy of what was read already.
    fn look(&mut self, first: bool) -> Result<Discovery> {
        let watch = self.watch.clone();
        let began = self.watch.env.now();
        watch.look.store(false, Ordering::Relaxed);
        let AllListed { files, folders, is_whole } = watch.list_all()?;
        let is_new = self.listen_to(folders);
        let mut search = Search::in_files(&watch, files);
        self.watch.env.crash_point("files.listed")?;
        self.watch.forget_all_but(&search.listing);
        let mut opened = self.look_for_missing(&mut search);
        let listing = &search.listing;
        let awake = watch.resting().wake_changed(|path| listing.at(path).map(|listed| (listed.id, listed.stamp)));
        self.note_missing(listing);
        let (reading, is_any_away): (HashSet<FileId>, bool) = {
            let known = self.watch.known();
            let reading = known.iter().map(|(_, split)| split).filter(|split| !split.ended && split.found);
            let reading =
                reading.filter_map(|split| Some(FileId { device: split.device?, inode: split.inode })).collect();
            (reading, known.iter().any(|(_, split)| split.away && !split.ended))
        };
        let is_unread = |file: &&Listed| file.stamp.bytes > 0 && !reading.contains(&file.id) && !self.is_settled(file);
        let mut new: Vec<&Listed> = listing.files().filter(is_unread).collect();
        // A copy may be shorter than its original, never longer.
        new.sort_by(|a, b| b.stamp.bytes.cmp(&a.stamp.bytes).then_with(|| a.path.cmp(&b.path)));
        let mut undecided = is_any_away || !is_whole;
        for file in new {
            let judged = self.judge(file, listing, first)?;
            undecided |= judged.is_none() && !self.is_settled(file);
            opened.extend(judged);
        }
        self.settled.retain(|id, _| listing.has(*id));
        self.waiting.retain(|id, _| listing.has(*id));
        let gone = self.forget();
        let known = self.watch.known();
        self.begun.retain(|id, begun| known.get(id).is_some_and(|split| split.read.length < begun.length));
        drop(known);
        let now = self.watch.env.now();
        let at_least = self.discover.max((now - began) * PART_OF_TIME);
        self.next_look = now + at_least;
        let may_rest = self.events.is_some() && !undecided && !is_new && self.is_all_announced(listing);
        let next_in = if may_rest { at_least.max(self.discover * RARELY) } else { at_least };
        Ok(Discovery { opened, gone, awake, next_in: Some(next_in) })
    }

    /// Listens to all folders. Whether there are new ones, so that files may have come before it was listened to them.
    fn listen_to(&mut self, folders: Vec<PathBuf>) -> bool {
        let Some(events) = &mut self.events else { return false };
        let announcing: HashSet<PathBuf> = folders.into_iter().filter(|folder| events.listen_to(folder)).collect();
        self.watch.set_announcing(announcing)
    }

    /// Whether events tell of all folders that files are in.
    fn is_all_announced(&self, listing: &Listing) -> bool {
        let mut folders: Vec<&Path> = listing.files().map(|file| search::folder_of(&file.path)).collect();
        folders.dedup();
        folders.into_iter().all(|folder| self.watch.is_announcing(folder))
    }

    fn is_settled(&self, file: &Listed) -> bool {
        self.settled.get(&file.id).is_some_and(|unread| unread.settled && unread.stamp == file.stamp)
    }

    /// There is nothing to read of a file as it is now.
    fn settle(&mut self, file: &Listed) {
        let now = self.watch.env.now();
        let since = self.settled.get(&file.id).filter(|unread| unread.stamp == file.stamp).map(|unread| unread.since);
        let since = since.unwrap_or(now);
        let unread = Unread { stamp: file.stamp, since, settled: now - since >= SETTLED };
        self.settled.insert(file.id, unread);
    }

    /// What to do with a listed file that is not read: usually nothing.
    fn judge(&mut self, file: &Listed, listing: &Listing, first: bool) -> Result<Option<OpenedSplit>> {
        self.watch.env.crash_point("files.opening")?;
        let Some(open) = self.watch.open(file) else { return Ok(None) };
        self.watch.env.crash_point("files.opened")?;
        let own = |head: &Head| head.subtask(self.watch.parallelism) == self.watch.subtask;
        let Some(head) = self.watch.head_of(file, &open).filter(own) else {
            self.settle(file);
            return Ok(None);
        };
        let ended: Vec<(String, Followed)> = {
            let known = self.watch.known();
            let ended = known.of_file(file.id).filter(|(_, split)| split.ended && !split.began_anew);
            ended.map(|(id, split)| (id.clone(), split.clone())).collect()
        };
        // One of which nothing but the first line was read: others may say more about the file.
        let mut doubtful = None;
        for (id, split) in ended {
            match self.watch.or_say(&file.path, split.fits(&open, Thorough::Much)) {
                None => return Ok(None),
                // It was rewritten, which its reader knows how to judge.
                Some(false) if listing.is_at(file.id, &split.path) && !split.passed_over => {
                    return Ok(Some(self.go_on(id, split, file, open)));
                }
                Some(false) => {} // Its number is another file's now.
                Some(true) if split.knows_file() || file.stamp.bytes <= split.read.length => {
                    return Ok(self.take_up(id, split, file, open));
                }
                Some(true) => doubtful = Some((id, split)),
            }
        }
        let unused = |generation: &u32| self.watch.known().get(&head.split_id(file.id, *generation)).is_none();
        let generation = (0..).find(unused).unwrap_or_default();
        let id = head.split_id(file.id, generation);
        let verdict = match first && self.watch.copies == Copies::Read {
            true => Verdict::New,
            false => self.compare(&id, file, &open, &head, listing),
        };
        if matches!(verdict, Verdict::New)
            && let Some((id, split)) = doubtful
        {
            return Ok(self.take_up(id, split, file, open));
        }
        let new = Followed::new(file, head, generation);
        Ok(match verdict {
            Verdict::New => Some(self.go_on(id, new, file, open)),
            Verdict::GoesOn(id, split) => {
                let split = Followed { is_copy: split.began_anew, began_anew: false, ..split };
                Some(self.go_on(id, split, file, open))
            }
            Verdict::Copy(read) => {
                let folder_device = self.watch.folder_device(&file.path);
                let copy = Followed { read, passed_over: true, ended: true, folder_device, ..new };
                Some(self.opened(id, copy, Begin::Ended))
            }
            Verdict::NotYet => None,
        })
    }

    /// A file whose split had ended: it is read on if there is more of it.
    fn take_up(&mut self, id: String, split: Followed, file: &Listed, open: File) -> Option<OpenedSplit> {
        let grown = if split.passed_over { split.read.length } else { split.position.offset } < file.stamp.bytes;
        if !grown {
            self.settle(file);
            return None;
        }
        tracing::info!(file = %file.path.display(), "a file that seemed complete has grown, and is followed again");
        // What was taken for a copy is no copy.
        let read = if split.passed_over { Prefix::default() } else { split.read.clone() };
        let split = Followed { read, passed_over: false, is_copy: false, ..split };
        Some(self.go_on(id, split, file, open))
    }

    /// Files that could not be reached.
    fn look_for_missing(&mut self, search: &mut Search<'_>) -> Vec<OpenedSplit> {
        let away: Vec<(String, Followed)> = {
            let known = self.watch.known();
            let away = known.iter().filter(|(_, split)| split.away && !split.ended);
            away.map(|(id, split)| (id.clone(), split.clone())).collect()
        };
        let mut opened = Vec::new();
        let mut elsewhere = Vec::new();
        // Those that are where they were come first: they are not copies of others.
        for (id, split) in away {
            match search.find_same(&split) {
                Some((listed, file)) => opened.push(self.go_on(id, split, &listed, file)),
                None => elsewhere.push((id, split)),
            }
        }
        for (id, split) in elsewhere {
            match search.find_elsewhere(&id, &split) {
                Whereabouts::Here(listed, file) => opened.push(self.go_on(id, split, &listed, file)),
                Whereabouts::Away => {}
                Whereabouts::Gone => opened.push(self.opened(id, Followed { away: false, ..split }, Begin::Gone)),
            }
        }
        opened
    }

    /// Notes since when the files of splits that have ended are not there.
    fn note_missing(&mut self, listing: &Listing) {
        let now = self.watch.env.now();
        let known = self.watch.known();
        let reading: HashSet<(Option<u64>, u64)> =
            known.iter().filter(|(_, split)| !split.ended).map(|(_, split)| (split.device, split.inode)).collect();
        for (id, split) in known.iter() {
            let file = split.device.map(|device| FileId { device, inode: split.inode });
            let is_there = file.is_some_and(|file| listing.has(file));
            let is_anothers = split.began_anew || reading.contains(&(split.device, split.inode));
            if !split.ended || is_there && !is_anothers {
                self.missing.remove(id);
            } else {
                self.missing.entry(id.clone()).or_insert(now);
            }
        }
        self.missing.retain(|id, _| known.get(id).is_some());
    }

    fn forget(&mut self) -> Vec<String> {
        let now = self.watch.env.now();
        let long = self.missing.iter().filter(|(_, since)| now - **since >= FORGET_AFTER);
        let mut gone = Vec::new();
        for (id, since) in long {
            let split = self.watch.known().get(id).cloned();
            let away = split.is_some_and(|split| !split.began_anew && self.watch.is_away(&split));
            if !away || now - *since >= FORGET_AWAY_AFTER {
                gone.push(id.clone());
            }
        }
        for id in &gone {
            self.missing.remove(id);
            self.watch.known().remove(id);
        }
        gone
    }
}

impl Connector for FollowedFiles {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        async move {
            let first = restored.is_empty();
            let mut opened = self.restore(restored)?;
            opened.extend(self.look(first)?.opened);
            Ok(opened)
        }
        .boxed()
    }

    fn discover(&mut self) -> BoxFuture<'_, Result<Discovery>> {
        async move { self.look(false) }.boxed()
    }

    fn listen(&mut self) -> Heard {
        let mut awake = Vec::new();
        let news = self.events.as_mut().map(|events| events.news()).unwrap_or_default();
        let mut resting = self.watch.resting();
        for what in news {
            match what {
                News::Changed(path) => {
                    awake.extend(resting.wake(&path));
                    // A file that is being read is asked for more anyway.
                    if !resting.is_followed(&path) {
                        self.watch.look_soon();
                    }
                }
                News::Moved(path) => {
                    awake.extend(resting.moved(&path));
                    self.watch.look_soon();
                }
                News::Lost => self.watch.look_soon(),
            }
        }
        awake.extend(resting.look_at_some(&self.watch.identify));
        drop(resting);
        let look = self.watch.look.load(Ordering::Relaxed) && self.next_look <= self.watch.env.now();
        Heard { awake, look }
    }

    fn nature(&self) -> Nature {
        Nature { listens: true, ..Nature::FOLLOWED }
    }
}
