//! Whether a table's key fits results: each of them has a row of its own, which its corrections find.
//!
//! A key that leaves the window out would keep whichever window comes first, unless it is said that the newest one stays; one
//! that holds a value would keep a correction beside what it corrects.

use super::check::Check;
use crate::{
    columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START},
    definition::Mistake,
    sink::{SinkGiven, SinkResults, SinkWindows},
};

impl Check<'_> {
    /// Checks a key of columns that are there.
    pub(super) fn result_key(&mut self) {
        let key = self.sql.primary_key();
        let Some(results) = self.given.results else {
            if self.sql.keep_newest {
                let mistake = Mistake::new(self.at.key("keep"), "its rows are events, of which the first is kept");
                self.mistakes.push(mistake.found("\"newest\"").expected("no `keep`"));
            }
            return;
        };
        let before = self.mistakes.len();
        self.values_in_key(&key, results);
        if self.mistakes.len() > before {
            return;
        }
        let is = |column: &'static str| key.iter().any(|name| results.origin(name) == Some(column));
        let has_window = match results.windows {
            // Of those that begin at once, only the end says which one it is.
            SinkWindows::Growing => is(WINDOW_END),
            _ => is(WINDOW_START) || is(WINDOW_END),
        };
        if results.windows == SinkWindows::None {
            self.key_without_windows();
        } else if is(RECORD_ID) || (has_window && !results.sessions) {
            if self.sql.keep_newest {
                let mistake = Mistake::new(self.at.key("keep"), "every window has a row of its own with this key");
                self.mistakes.push(mistake.found("\"newest\"").expected("a `key` without the window, or no `keep`"));
            }
        } else if results.sessions {
            self.key_of_sessions();
        } else if self.sql.keep_newest {
            self.newest_windows(results);
        } else {
            self.key_without_window(&key, results);
        }
        self.columns_left_out(&key, results, is(RECORD_ID));
    }

    /// A key has one result, which each later one takes the place of anyway.
    fn key_without_windows(&mut self) {
        if self.sql.keep_newest {
            let mistake = Mistake::new(self.at.key("keep"), "its results have no window, and the newest stays anyway");
            self.mistakes.push(mistake.found("\"newest\"").expected("no `keep`"));
        }
    }

    fn values_in_key(&mut self, key: &[String], results: &SinkResults) {
        for (number, name) in key.iter().enumerate().filter(|(_, name)| !results.is_fixed(name) && *name != REVISION) {
            let message = format!("`{name}` is computed: a correction that changes it would be a second row");
            let mistake = Mistake::new(self.at.key("key").index(number), message);
            self.mistakes.push(mistake.expected("columns of the aggregate's key, its window, or `record_id`"));
        }
    }

    fn key_of_sessions(&mut self) {
        let message = "a session that grows is another record, and the one before is withdrawn: with this key the two would be one row";
        let place = if self.sql.keep_newest { "keep" } else { "key" };
        let mistake = Mistake::new(self.at.key(place), message);
        self.mistakes.push(mistake.expected("`record_id` in the key, or no `key` at all"));
    }

    /// A row that gives way to a newer window is gone, so that the newer one must stay.
    fn newest_windows(&mut self, results: &SinkResults) {
        let place = self.at.key("keep");
        if results.withdrawable {
            let message = "a result may be withdrawn here, and by then the row of the window before it is gone";
            let expected = "the window in the `key`, or an aggregate as `input` and no computed columns";
            self.mistakes.push(Mistake::new(place.clone(), message).found("\"newest\"").expected(expected));
        }
        if newest_by(self.given).is_none() {
            let message = "it does not write which window a row is of";
            self.mistakes
                .push(Mistake::new(place, message).found("\"newest\"").expected("`window_end` in the `select`"));
        }
    }

    fn key_without_window(&mut self, key: &[String], results: &SinkResults) {
        // Something that is computed of the window may tell windows apart, or not.
        let computed = key.iter().any(|name| results.origin(name).is_none());
        let message = "the key leaves the window out, so one window's row would replace all others";
        let bound = match results.windows {
            SinkWindows::Growing => "`window_end`",
            _ => "`window_start` or `window_end`",
        };
        if computed {
            let mistake =
                Mistake::warning(self.at.key("key"), format!("{message}, unless a computed column tells them apart"));
            self.mistakes.push(mistake.expected(format!("{bound} in the key")));
            return;
        }
        let mistake = Mistake::new(self.at.key("key"), message).found(format!("{key:?}"));
        self.mistakes.push(
            mistake.expected(format!("{bound} in it, or `keep = \"newest\"`: the row of the newest window is kept")),
        );
    }

    /// Whether results of one window get into each other's way. A `where` may leave only one of them.
    fn columns_left_out(&mut self, key: &[String], results: &SinkResults, by_record: bool) {
        let left_out = results.left_out(key);
        let computed = key.iter().any(|name| results.origin(name).is_none());
        if by_record || computed || left_out.is_empty() {
            return;
        }
        let message = format!(
            "the key leaves `{}` out: results that differ only in it replace each other, unless a `where` keeps only one",
            left_out.join("`, `")
        );
        self.mistakes.push(Mistake::warning(self.at.key("key"), message));
    }
}

/// The column that says which of two windows is the newer one.
pub(super) fn newest_by<'a>(given: &SinkGiven<'a>) -> Option<&'a str> {
    let results = given.results?;
    let of = |column: &str| given.columns.names().find(|name| results.origin(name) == Some(column));
    of(WINDOW_END).or_else(|| of(WINDOW_START))
}
