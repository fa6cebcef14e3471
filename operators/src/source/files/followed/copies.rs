//! Whether a file that is listed for the first time is a copy of one that is followed.
//!
//! Invariant: only equal bytes make a copy, and only what happened to the original makes it certain: it was truncated or is
//! gone. As long as neither is so and the bytes are equal, the file waits; it is read in full as soon as it differs, or has
//! been at rest for the rotation grace (unless copies are to be skipped): then it is another server's log, for a file is
//! truncated right after it was copied. A copy that grows was none, and is read in full, too.

use super::{
    FollowedFiles,
    identity::{FileId, Head, Stamp},
    prefix::{Prefix, Thorough},
    search::Listing,
    watch::{Copies, Followed, Listed},
};
use std::fs::File;
use weir_engine::env::Moment;

/// So much is compared before all of a long file is.
const FIRST_LOOK_BYTES: u64 = 64 << 10;

/// A file that is equal to the beginning of another one.
pub(super) struct Waiting {
    stamp: Stamp,
    prefix: Prefix,
    /// Since when it has been at rest.
    since: Moment,
    said: bool,
}

/// What a file that is not read is.
pub(super) enum Verdict {
    /// One of its own.
    New,
    /// What this split continues in.
    GoesOn(String, Followed),
    /// A copy with these bytes, all of which were read elsewhere.
    Copy(Prefix),
    /// That will be seen.
    NotYet,
}

/// What one file that begins alike says about it.
enum Opinion {
    Nothing,
    GoesOn,
    Copy,
    Wait,
    /// The other one is about to end, and then it will be seen.
    Later,
}

impl FollowedFiles {
    /// Judges a file by those that begin alike. `id` is what it will be called if it is one of its own.
    pub(super) fn compare(&mut self, id: &str, file: &Listed, open: &File, head: &Head, listing: &Listing) -> Verdict {
        let bytes = file.stamp.bytes;
        let now = self.watch.env.now();
        let waiting = self.waiting.remove(&file.id);
        let waiting = waiting.filter(|waiting| waiting.prefix.fits(open, Thorough::Much).unwrap_or(false));
        let was_waiting = waiting.is_some();
        let mut waiting =
            waiting.unwrap_or(Waiting { stamp: file.stamp, prefix: Prefix::default(), since: now, said: false });
        if waiting.stamp != file.stamp {
            (waiting.stamp, waiting.since) = (file.stamp, now);
        }
        let prefix = &mut waiting.prefix;
        for most in [bytes.min(FIRST_LOOK_BYTES), bytes] {
            let extended = prefix.extend_to(open, most);
            // It may have shrunk in the meantime.
            if self.watch.or_say(&file.path, extended).is_none() || prefix.length < most {
                return Verdict::NotYet;
            }
            if self.alike(prefix, head).is_empty() {
                self.begun.insert(id.to_owned(), waiting.prefix);
                return Verdict::New;
            }
        }
        let (mut original, mut later) = (None, false);
        for (id, split) in self.alike(prefix, head) {
            match self.opinion(file, open, prefix, (&id, &split), listing, was_waiting) {
                Opinion::Nothing => {}
                Opinion::GoesOn => return Verdict::GoesOn(id, split),
                Opinion::Copy => {
                    tracing::info!(
                        file = %file.path.display(),
                        original = %split.path.display(),
                        "a file is a copy of one that was truncated or is gone, and has nothing that was not read"
                    );
                    return Verdict::Copy(waiting.prefix);
                }
                Opinion::Wait => original = Some(split),
                Opinion::Later => later = true,
            }
        }
        if later {
            self.waiting.insert(file.id, waiting);
            return Verdict::NotYet;
        }
        let rested = now - waiting.since >= self.watch.rotation_grace;
        match original {
            Some(original) if rested && self.watch.copies == Copies::Read => {
                say_equal(file, &original, "is read as a file of its own; if it is a copy, set copies = \"skip\"");
            }
            Some(original) => {
                if rested && !waiting.said {
                    waiting.said = true;
                    say_equal(file, &original, "is not read as long as it is (copies = \"skip\")");
                }
                self.waiting.insert(file.id, waiting);
                return Verdict::NotYet;
            }
            None => {}
        }
        self.begun.insert(id.to_owned(), waiting.prefix);
        Verdict::New
    }

    /// The splits that may have the same bytes as a file with this prefix, as far as both go.
    fn alike(&self, prefix: &Prefix, head: &Head) -> Vec<(String, Followed)> {
        let known = self.watch.known();
        let alike = known.of_head(head).filter(|(id, split)| {
            // What it begins with may be known, although it was not read yet.
            let begun = self.begun.get(*id).filter(|begun| begun.length > split.read.length);
            prefix.agrees(begun.unwrap_or(&split.read))
        });
        alike.map(|(id, split)| (id.clone(), split.clone())).collect()
    }

    /// Whether the file of a split is listed. One that ended is not open, and its number may be another file's by now.
    fn is_there(&self, split: &Followed, original: FileId, listing: &Listing) -> bool {
        let Some(name) = listing.names(original).next() else { return false };
        if !split.ended || listing.is_at(original, &split.path) {
            return true;
        }
        let Some(file) = self.watch.open(name) else { return true };
        split.fits(&file, Thorough::Little).unwrap_or(true)
    }

    fn opinion(
        &self,
        file: &Listed,
        open: &File,
        prefix: &Prefix,
        (id, split): (&str, &Followed),
        listing: &Listing,
        was_waiting: bool,
    ) -> Opinion {
        if split.passed_over || split.away || split.is(file.id) {
            return Opinion::Nothing;
        }
        let within = prefix.length <= split.read.length;
        let has_all = || split.is_proof() && split.fits(open, Thorough::All).unwrap_or(false);
        if split.began_anew {
            let since = self.missing.get(id);
            let just_now = since.is_some_and(|since| self.watch.env.now() - *since <= self.watch.rotation_grace);
            return match (was_waiting || just_now, within) {
                (true, true) => Opinion::Copy,
                (true, false) if has_all() => Opinion::GoesOn,
                _ => Opinion::Nothing,
            };
        }
        let original = FileId { device: split.device.unwrap_or_default(), inode: split.inode };
        if !self.is_there(split, original, listing) {
            // The original is gone. A file that has all that was read of it takes over from it, or is what it was moved to.
            if prefix.length < split.read.length || split.read.length == 0 || !has_all() {
                return Opinion::Nothing;
            }
            if !split.ended {
                return Opinion::Later; // It may still have something to read.
            }
            return match (listing.is_at(file.id, &split.path), within) {
                (true, _) => Opinion::GoesOn,
                (false, true) => Opinion::Copy,
                (false, false) => Opinion::Nothing,
            };
        }
        let Some(original) = listing.names(original).find(|name| name.path == split.path) else {
            // A rotated file is not truncated any more.
            return if within && self.watch.copies == Copies::Skip { Opinion::Wait } else { Opinion::Nothing };
        };
        // Looked at now: it may have grown before it was copied, or be another one already.
        let Some(other) = self.watch.open(original) else { return Opinion::Later };
        let bytes = other.metadata().map_or(original.stamp.bytes, |metadata| metadata.len());
        match split.fits(&other, Thorough::Little) {
            Ok(true) if within || file.stamp.bytes <= bytes => Opinion::Wait,
            Ok(true) => Opinion::Nothing,
            _ => Opinion::Later, // Its reader is about to see that.
        }
    }
}

fn say_equal(file: &Listed, other: &Followed, what: &str) {
    tracing::warn!(
        file = %file.path.display(),
        other = %other.path.display(),
        "a file is equal to the beginning of another one, or to all of it, and {what}"
    );
}
