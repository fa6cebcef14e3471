//! `--set KEY=VALUE`: overrides or adds any key of a definition before it is read.
//!
//! The value is read as TOML where it parses as such, else as text. Missing tables on the way are made.

use toml_edit::Key;

use super::parse::parse_value;
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;
use weir_operators::definition::{Entry, Kind, Origin, Value};

/// Applies the settings in order; a mistake does not keep the others from being applied.
pub(crate) fn apply_overrides(tree: &mut Value, settings: &[String]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (number, setting) in settings.iter().enumerate() {
        if let Err(mut mistake) = apply(tree, setting, Origin::Setting(number)) {
            mistake.setting = Some(number);
            mistakes.push(*mistake);
        }
    }
    mistakes
}

fn apply(tree: &mut Value, setting: &str, origin: Origin) -> Result<(), Box<Mistake>> {
    let wrong = |message: &str| Mistake::new(KeyPath::default(), message.to_owned());
    let (path, value) = split(setting).ok_or_else(|| {
        Box::new(wrong("there is no `=`").expected("KEY=VALUE, as in `source.clicks.path=/data/clicks`"))
    })?;
    let keys = Key::parse(path).map_err(|_| {
        let mistake = wrong("the part before `=` is not a key").found(path);
        Box::new(mistake.expected("names with dots between them, as in `source.clicks.path`"))
    })?;
    let mut value = match parse_value(value) {
        Some(value) => value,
        None => Value { kind: Kind::Text(value.to_owned()), origin },
    };
    value.set_origin(origin);
    let names: Vec<&str> = keys.iter().map(Key::get).collect();
    insert(tree, &names, value, origin, &KeyPath::default())
}

/// Splits at the first `=` that is not inside a quoted key.
fn split(setting: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (position, character) in setting.char_indices() {
        match (quote, character) {
            (None, '=') => return Some((&setting[..position], &setting[position + 1..])),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

fn insert(table: &mut Value, names: &[&str], value: Value, origin: Origin, path: &KeyPath) -> Result<(), Box<Mistake>> {
    let Some((name, rest)) = names.split_first() else {
        return Ok(());
    };
    let kind = table.kind.name();
    let Kind::Table(entries) = &mut table.kind else {
        let message = format!("`{path}` is {kind} and has no key `{name}`");
        return Err(Box::new(Mistake::new(path.clone(), message)));
    };
    let position = entries.iter().position(|entry| entry.key == *name).unwrap_or_else(|| {
        entries.push(Entry { key: (*name).to_owned(), origin, value: Value::table(origin) });
        entries.len() - 1
    });
    let entry = &mut entries[position];
    if rest.is_empty() {
        entry.value = value;
        entry.origin = origin;
        return Ok(());
    }
    insert(&mut entry.value, rest, value, origin, &path.key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &[&str]) -> (Value, Vec<Mistake>) {
        let mut tree = crate::toml::parse("[source.clicks]\npath = \"old\"\nfollow = false\n").unwrap();
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mistakes = apply_overrides(&mut tree, &settings);
        (tree, mistakes)
    }

    fn at<'a>(tree: &'a Value, keys: &[&str]) -> &'a Kind {
        let located = tree.locate(&KeyPath::of(keys.iter().copied()));
        assert!(located.whole, "{keys:?} is missing");
        &located.value.kind
    }

    #[test]
    fn values_are_toml_where_they_parse_and_text_elsewhere() {
        let (tree, mistakes) = set(&[
            "source.clicks.path=/data/with=sign",
            "source.clicks.follow=true",
            "dedup.unique.key=[\"event_id\"]",
            "job.parallelism = 4",
            "job.name = \"7\"",
            "filters.\"a=b\"=country = 'USA'",
            "source.clicks.watermark.delay=15s",
            "source.clicks.x=",
        ]);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert!(matches!(at(&tree, &["source", "clicks", "path"]), Kind::Text(text) if text == "/data/with=sign"));
        assert!(matches!(at(&tree, &["source", "clicks", "follow"]), Kind::Boolean(true)));
        assert!(matches!(at(&tree, &["dedup", "unique", "key"]), Kind::Array(values) if values.len() == 1));
        assert!(matches!(at(&tree, &["job", "parallelism"]), Kind::Integer(4)));
        assert!(matches!(at(&tree, &["job", "name"]), Kind::Text(text) if text == "7"));
        assert!(matches!(at(&tree, &["filters", "a=b"]), Kind::Text(text) if text == "country = 'USA'"));
        assert!(matches!(at(&tree, &["source", "clicks", "watermark", "delay"]), Kind::Text(text) if text == "15s"));
        assert!(matches!(at(&tree, &["source", "clicks", "x"]), Kind::Text(text) if text.is_empty()));
        assert_eq!(tree.locate(&KeyPath::of(["job", "name"])).key, Origin::Setting(4));
    }

    #[test]
    fn wrong_settings_are_refused_by_number() {
        let (_, mistakes) = set(&["job.name=x", "nonsense", "a..b=1", "source.clicks.path.deeper=1"]);
        let numbers: Vec<_> = mistakes.iter().map(|mistake| mistake.setting).collect();
        assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
        assert_eq!(mistakes[2].message, "`source.clicks.path` is a text and has no key `deeper`");
    }
}
