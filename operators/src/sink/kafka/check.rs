//! What is wrong with a Kafka sink's settings: what brokers would refuse after hours is told before the job starts.

use super::{KafkaSinkSettings, config::is_topic_name};
use crate::{
    definition::{KeyPath, Mistake},
    expression::type_name,
    sink::{SinkGiven, json_rows::can_be_written},
};

const NAMES: &str = "letters, digits, `.`, `_` and `-`, 249 at most";

/// Notes what is wrong.
pub(super) fn check(sink: &KafkaSinkSettings, given: &SinkGiven<'_>, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
    topics(sink, at, mistakes);
    sink.format.check(given.columns, &given.columns_at(at), at, mistakes);
    let of_json = given.columns.columns.iter().filter(|_| sink.format.is_json());
    for column in of_json.filter(|column| !can_be_written(&column.data_type)) {
        let message = format!("`{}` is {}, which JSON has no words for", column.name, type_name(&column.data_type));
        let expected = "a `select` without it, or a `map` that converts it";
        mistakes.push(Mistake::new(given.columns_at(at), message).expected(expected));
    }
    let key = sink.key.as_deref().unwrap_or_default();
    for (number, name) in key.iter().enumerate() {
        let place = at.key("key").index(number);
        if given.columns.column(name).is_none() {
            mistakes.push(Mistake::unknown_column(place, name, given.columns));
        } else if key[..number].contains(name) {
            mistakes.push(Mistake::new(place, format!("`{name}` is in the key twice")).expected("each column once"));
        }
    }
}

fn topics(sink: &KafkaSinkSettings, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
    let named = [
        ("topic", Some(&sink.topic)),
        ("progress_topic", sink.progress_topic.as_ref()),
        ("rejected_topic", sink.rejected_topic.as_ref()),
    ];
    for (number, (key, topic)) in named.iter().enumerate() {
        // A name that is missing was told of before.
        let Some(topic) = topic.filter(|topic| *key != "topic" || !topic.is_empty()) else { continue };
        if !is_topic_name(topic) {
            let mistake = Mistake::new(at.key(key), "this can't be the name of a topic");
            mistakes.push(mistake.found(format!("{topic:?}")).expected(NAMES));
        }
        if let Some((other, _)) = named[..number].iter().find(|(_, other)| *other == Some(topic)) {
            let mistake = Mistake::new(at.key(key), format!("this is `{other}` already"));
            mistakes.push(mistake.found(format!("{topic:?}")).expected("a topic of its own"));
        }
    }
}
