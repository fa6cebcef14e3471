//! The keys of a line's object in the order in which they mostly come, the unwanted ones among them: a producer writes the same keys
//! in the same order line after line, so that a key is mostly known by comparing it with the next one of the last lines.
//!
//! Invariant: what is read does not hang on it. A key that is not where it was is looked up by its name.

use super::json_paths::{WantedKey, pattern_of, place_of};
use super::json_scanner::Text;

/// Objects with more keys than this have no order worth knowing, such as maps of ids.
const MOST_KEYS: usize = 64;

/// What keys come in which order.
#[derive(Debug)]
pub(super) struct KeyOrder {
    keys: Vec<KnownKey>,
    /// Nothing is learned of objects whose keys are ever new ones.
    is_learning: bool,
}

/// A key that lines have.
#[derive(Debug)]
struct KnownKey {
    name: String,
    /// The key as it mostly stands in a line: `"name":`.
    pattern: String,
    /// Its place among the wanted keys.
    wanted: Option<usize>,
}

impl KnownKey {
    fn new(name: &str, wanted: Option<usize>) -> Self {
        KnownKey { name: name.to_owned(), pattern: pattern_of(name), wanted }
    }
}

impl KeyOrder {
    /// At first, that of the wanted keys.
    pub(super) fn new(wanted: &[WantedKey]) -> Self {
        let keys = wanted.iter().enumerate().map(|(place, key)| KnownKey::new(&key.name, Some(place)));
        KeyOrder { keys: keys.collect(), is_learning: true }
    }

    /// The key that mostly comes at this step, as it stands in a line, and its place among the wanted ones.
    #[inline]
    pub(super) fn expected(&self, step: usize) -> Option<(&str, Option<usize>)> {
        self.keys.get(step).map(|key| (key.pattern.as_str(), key.wanted))
    }

    /// A key that came instead of the one of `step`: its place among the wanted ones, and the step after it.
    pub(super) fn find(&mut self, key: &Text<'_>, step: usize, wanted: &[WantedKey]) -> (Option<usize>, usize) {
        if !self.is_learning {
            let place = place_of(key, wanted);
            return (place, place.map_or(step, |place| place + 1));
        }
        let name = key.unescaped();
        if let Some(known) = self.keys.iter().position(|known| known.name == *name) {
            return (self.keys[known].wanted, known + 1);
        }
        // All wanted ones are known.
        if self.keys.len() >= MOST_KEYS.max(2 * wanted.len()) {
            *self = KeyOrder { is_learning: false, ..KeyOrder::new(wanted) };
            return (None, step);
        }
        let at = step.min(self.keys.len());
        self.keys.insert(at, KnownKey::new(&name, None));
        (None, at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{json_paths::wanted_keys, json_scanner::Scanner};
    use crate::source::column_type::{ColumnType, DeclaredColumn, DeclaredSchema};

    fn wanted(names: &[&str]) -> Vec<WantedKey> {
        let columns = names.iter().map(|name| DeclaredColumn::new(*name, ColumnType::Integer)).collect();
        wanted_keys(&DeclaredSchema { columns })
    }

    /// The places of a line's keys, and how many of these came as expected.
    fn walk(order: &mut KeyOrder, wanted: &[WantedKey], line: &str) -> (Vec<Option<usize>>, usize) {
        let (mut places, mut expected, mut step) = (Vec::new(), 0, 0);
        let mut scanner = Scanner::new(line);
        scanner.begin_object().unwrap();
        loop {
            let place = match order.expected(step) {
                Some((pattern, place)) if scanner.pass_key(pattern) => {
                    (step, expected) = (step + 1, expected + 1);
                    place
                }
                _ => match scanner.next_key().unwrap() {
                    Some(key) => {
                        let place;
                        (place, step) = order.find(&key, step, wanted);
                        place
                    }
                    None => return (places, expected),
                },
            };
            places.push(place);
            scanner.skip_value().unwrap();
        }
    }

    #[test]
    fn the_second_line_finds_all_keys_where_they_were() {
        let wanted = wanted(&["b", "d"]);
        let mut order = KeyOrder::new(&wanted);
        let line = r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#;
        let places = vec![None, Some(0), None, Some(1), None];
        assert_eq!(walk(&mut order, &wanted, line).0, places);
        assert_eq!(walk(&mut order, &wanted, line), (places, 5));
    }

    #[test]
    fn keys_that_are_missing_more_or_elsewhere_are_found_by_name() {
        let wanted = wanted(&["b", "d"]);
        let mut order = KeyOrder::new(&wanted);
        walk(&mut order, &wanted, r#"{"a":1,"b":2,"c":3,"d":4}"#);
        assert_eq!(walk(&mut order, &wanted, r#"{"d":4,"c":3,"b":2}"#).0, [Some(1), None, Some(0)]);
        assert_eq!(walk(&mut order, &wanted, r#"{"b":2,"x":0,"d":4,"d":5}"#).0, [Some(0), None, Some(1), Some(1)]);
        assert_eq!(walk(&mut order, &wanted, r#"{ "a" : 1, "\u0062" : 2 }"#).0, [None, Some(0)]);
        assert_eq!(walk(&mut order, &wanted, "{}").0, []);
    }

    #[test]
    fn ever_new_keys_are_not_remembered() {
        let wanted = wanted(&["b"]);
        let mut order = KeyOrder::new(&wanted);
        for number in 0..1_000 {
            let line = format!(r#"{{"k{number}":1,"b":2,"l{number}":3}}"#);
            assert_eq!(walk(&mut order, &wanted, &line).0, [None, Some(0), None]);
            assert!(order.keys.len() <= MOST_KEYS);
        }
        assert_eq!((order.is_learning, order.keys.len()), (false, 1));
    }
}
