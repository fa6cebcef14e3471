//! Reads the keys of one table, and remembers which were asked for: all others are mistakes.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Entry, KeyPath, Kind, Mistake, Value, duration};
use crate::moment;

/// What has been found wrong so far.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Notes one more.
    pub fn add(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// All of them, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// One table being read. Every getter notes its key as known; wrong types are noted as mistakes and read as absent.
pub struct Reader<'a> {
    entries: &'a [Entry],
    /// Where the table stands.
    pub path: KeyPath,
    mistakes: &'a Mistakes,
    known: RefCell<Vec<String>>,
}

impl<'a> Reader<'a> {
    /// A reader of a value that should be a table.
    pub fn new(value: &'a Value, path: KeyPath, mistakes: &'a Mistakes) -> Self {
        let entries = match &value.kind {
            Kind::Table(entries) => entries.as_slice(),
            other => {
                mistakes.add(Mistake::new(path.clone(), "this should be a table").found(other.show()));
                &[]
            }
        };
        Reader { entries, path, mistakes, known: RefCell::default() }
    }

    /// Notes something that is wrong with the value of a key.
    pub fn refuse(&self, key: &str, message: impl Into<String>, expected: &str) {
        let mut mistake = Mistake::new(self.path.key(key), message).expected(expected);
        mistake.found = self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.kind.show());
        self.mistakes.add(mistake);
    }

    /// Notes that a key is missing.
    pub fn missing(&self, key: &str, expected: &str) {
        let message = format!("the key `{key}` is missing");
        // What a whole section lacks is reported at the section; a missing section, under its own name.
        let path = if self.path.0.is_empty() { self.path.key(key) } else { self.path.clone() };
        self.mistakes.add(Mistake::on_key(path, message).expected(format!("{key} = {expected}")));
    }

    /// Notes that a key is missing, if it is.
    pub fn require(&self, key: &str, expected: &str) {
        if self.value(key).is_none() {
            self.missing(key, expected);
        }
    }

    /// Notes a mistake anywhere.
    pub fn note(&self, mistake: Mistake) {
        self.mistakes.add(mistake);
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The raw value of a key.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        if !self.known.borrow().iter().any(|known| known == key) {
            self.known.borrow_mut().push(key.to_owned());
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// A value of one kind: `what` it should be, and how that is written.
    fn typed<T>(&self, key: &str, what: &str, expected: &str, read: impl Fn(&'a Kind) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let read = read(&value.kind);
        if read.is_none() {
            self.refuse(key, format!("`{key}` is not {what}"), expected);
        }
        read
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<String> {
        self.typed(key, "a text", "a text in quotes", |kind| match kind {
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// A text that has to be there.
    pub fn required_text(&self, key: &str, example: &str) -> String {
        self.require(key, example);
        self.text(key).unwrap_or_default()
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.typed(key, "true or false", "true or false, without quotes", |kind| match kind {
            Kind::Boolean(value) => Some(*value),
            _ => None,
        })
    }

    /// A whole number in a range.
    pub fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.typed(key, &expected, &expected, |kind| match kind {
            Kind::Integer(number) if range.contains(number) => Some(*number),
            _ => None,
        })
    }

    /// A whole number from 1 to 2^30.
    pub fn positive_integer(&self, key: &str) -> Option<u64> {
        self.integer(key, 1..=1 << 30).map(i64::unsigned_abs)
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        if let Some(Kind::Text(text)) = self.value(key).map(|value| &value.kind)
            && let Some(why) = duration::out_of_range(text)
        {
            self.refuse(key, format!("`{key}` is {why}"), duration::EXAMPLES);
            return None;
        }
        self.typed(key, "a duration", duration::EXAMPLES, |kind| match kind {
            Kind::Text(text) => duration::parse(text),
            _ => None,
        })
    }

    /// A duration that is longer than nothing.
    pub fn positive_duration(&self, key: &str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            self.refuse(key, format!("`{key}` is zero"), "a duration above zero");
            return None;
        }
        Some(duration)
    }

    /// A point in time, in milliseconds since 1970.
    pub fn moment(&self, key: &str) -> Option<i64> {
        self.typed(key, "a point in time", moment::EXAMPLES, |kind| match kind {
            Kind::Text(text) | Kind::Datetime(text) => moment::parse(text),
            Kind::Integer(seconds) => seconds.checked_mul(1_000),
            _ => None,
        })
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        self.typed(key, "a list of texts", "texts in quotes between brackets, as in [\"ad_id\", \"user_id\"]", |kind| {
            match kind {
                Kind::Array(values) => values
                    .iter()
                    .map(|value| match &value.kind {
                        Kind::Text(text) => Some(text.clone()),
                        _ => None,
                    })
                    .collect(),
                _ => None,
            }
        })
    }

    /// Named texts in the order written, as in `{ count = "count(*)" }`.
    pub fn named_texts(&self, key: &str) -> Option<Vec<(String, String)>> {
        let expected = "names and texts, as in { name = \"...\" }";
        let entries = self.typed(key, "a table of texts", expected, |kind| match kind {
            Kind::Table(entries) => Some(entries),
            _ => None,
        })?;
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            match &entry.value.kind {
                Kind::Text(text) => named.push((entry.key.clone(), text.clone())),
                other => self.mistakes.add(
                    Mistake::new(self.path.key(key).key(&entry.key), format!("this is {}", other.name()))
                        .found(other.show())
                        .expected("a text in quotes"),
                ),
            }
        }
        Some(named)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let message = format!("there is no {key} called `{text}`");
            let mistake = Mistake::new(self.path.key(key), message);
            self.mistakes.add(mistake.one_of(key, &names).meant(&text, &names));
        }
        found
    }

    /// A table inside.
    pub fn table(&self, key: &str) -> Option<Reader<'a>> {
        let value = self.value(key)?;
        Some(Reader::new(value, self.path.key(key), self.mistakes))
    }

    /// A list of tables, as in `[{ columns = [...] }, { columns = [...] }]`; empty if it is not there.
    pub fn tables(&self, key: &str) -> Vec<Reader<'a>> {
        let list = self.typed(key, "a list of tables", "tables between brackets, as in [{ ... }]", |kind| match kind {
            Kind::Array(values) => Some(values),
            _ => None,
        });
        let place = |number: usize| self.path.key(key).index(number);
        let read = |(number, value)| Reader::new(value, place(number), self.mistakes);
        list.into_iter().flatten().enumerate().map(read).collect()
    }

    /// The tables inside, whatever their names, as in `[map.valid]` and `[map.other]`.
    pub fn children(&self) -> impl Iterator<Item = (&'a str, Reader<'a>)> {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), Reader::new(&entry.value, self.path.key(&entry.key), self.mistakes)))
    }

    /// The keys, in the order written.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Leaves the other keys unjudged.
    pub fn ignore_others(self) {
        drop(self);
    }

    /// Notes every key that was not asked for as a mistake.
    pub fn finish(self) {
        let known = self.known.into_inner();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key)) {
            let mistake = Mistake::on_key(self.path.key(&entry.key), format!("the key `{}` is unknown", entry.key));
            self.mistakes.add(mistake.one_of("keys", &known).meant(&entry.key, &known));
        }
    }
}
