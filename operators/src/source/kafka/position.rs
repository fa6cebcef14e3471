//! Where a partition is read on, as checkpoints keep it; and whether that place is still what it was.

use crate::source::split_reader::RestoredSplit;
use serde::{Deserialize, Serialize};
use weir_engine::error::{EngineError, Result};
use weir_kafka::{Bounds, Topic, TopicPartition};

/// A place in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The topic's name.
    pub(super) topic: String,
    /// What tells it from another one of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) topic_id: Option<String>,
    pub(super) partition: i32,
    /// The offset of the next record.
    pub(super) offset: i64,
    /// The last record that was read; none: no record was, or its leader is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) behind: Option<Behind>,
    /// Bytes of the values before, of what was read.
    #[serde(default)]
    pub(super) bytes: u64,
    /// The offset behind the last record that is read; none: there is no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<i64>,
}

/// A record that was read: by its leader's epoch it is known whether the log still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Behind {
    /// The offset right behind it. Markers of transactions may stand between that and the next record that is read.
    pub(super) offset: i64,
    /// The epoch of the leader that wrote it.
    pub(super) leader_epoch: i32,
}

impl Position {
    /// At an offset of a topic's partition.
    pub(super) fn new(name: &str, topic: &Topic, partition: i32, offset: i64) -> Self {
        let (topic, topic_id) = (name.to_owned(), topic.id.clone());
        Position { topic, topic_id, partition, offset, behind: None, bytes: 0, end: None }
    }

    /// That of a split in a checkpoint.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn of(split: &RestoredSplit) -> Result<Self> {
        Position::deserialize(&split.position).map_err(|error| {
            EngineError::corrupt(format!("{}: its position in the checkpoint cannot be read: {error}", split.id))
        })
    }

    /// The partition.
    pub(super) fn place(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    /// The id of its split.
    pub(super) fn split_id(&self) -> String {
        self.place().to_string()
    }

    /// Where reading begins, and which epoch is behind that, for a partition that begins at an offset, if that is known. It may
    /// be right behind the last record that was read instead of at the next one: nothing between the two is ever given out.
    pub(super) fn begin(&self, beginning: Option<i64>) -> (i64, Option<i32>) {
        match self.behind {
            Some(behind) if behind.offset == self.offset => (self.offset, Some(behind.leader_epoch)),
            Some(behind) if beginning.is_some_and(|first| (first..self.offset).contains(&behind.offset)) => {
                (behind.offset, Some(behind.leader_epoch))
            }
            _ => (self.offset, None),
        }
    }

    /// Whether everything up to its end has been read.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some_and(|end| self.offset >= end)
    }

    /// Whether its topic is still the one that it was, as it is described now.
    ///
    /// # Errors
    /// Says what became of it, and what can be done.
    pub(super) fn check_topic(&self, now: Option<&Topic>) -> Result<()> {
        let (topic, place, offset) = (&self.topic, self.place(), self.offset);
        let Some(now) = now else {
            return Err(refused(format!(
                "the topic '{topic}' is gone, of which {place} was read up to offset {offset}. If that is meant, take it out of \
                 `topics`, or start over with --fresh"
            )));
        };
        if let (Some(before), Some(now)) = (&self.topic_id, &now.id)
            && before != now
        {
            return Err(refused(format!(
                "the topic '{topic}' was deleted and made anew (its id was {before} and is {now}): offset {offset} of {place} \
                 says nothing about it. To read the new one, start over with --fresh"
            )));
        }
        if self.partition >= now.partitions {
            return Err(refused(format!(
                "{place} is gone, which was read up to offset {offset}: the topic has {} partitions, so it was made anew. To read \
                 the new one, start over with --fresh",
                now.partitions
            )));
        }
        Ok(())
    }

    /// Whether there is, or can come, a record at its offset.
    ///
    /// # Errors
    /// Says what became of it, and what can be done.
    pub(super) fn check_offset(&self, bounds: &Bounds) -> Result<()> {
        let (place, offset) = (self.place(), self.offset);
        if offset < bounds.beginning {
            return Err(expired(&place, offset, Some(bounds.beginning)));
        }
        if offset > bounds.end {
            return Err(refused(format!(
                "there is no offset {offset} in {place}: it ends at {}, so records are lost there that were read already (as by \
                 an unclean election of its leader), or it is another topic. To read what there is, start over with --fresh",
                bounds.end
            )));
        }
        Ok(())
    }
}

/// What is said of a record that was removed before it was read.
pub(super) fn expired(place: &TopicPartition, offset: i64, beginning: Option<i64>) -> EngineError {
    let oldest = match beginning {
        Some(beginning) => format!("the oldest one there is {beginning}, so {} were", beginning - offset),
        None => "records were".to_owned(),
    };
    refused(format!(
        "the record at offset {offset} of {place} is gone: {oldest} removed (the topic's retention) before the job had read them. \
         To go on with what there is, start over with --fresh; a longer retention keeps that from happening"
    ))
}

/// What is said of a log that lacks what was read of it.
pub(super) fn truncated(place: &TopicPartition, offset: i64) -> EngineError {
    refused(format!(
        "{place} was read up to offset {offset}, and its log has lost records before that since (as by an unclean election of its \
         leader): they are counted here and nowhere else, and others have their offsets. To count what there is now, start over \
         with --fresh; `unclean.leader.election.enable=false` and `min.insync.replicas` keep that from happening"
    ))
}

fn refused(message: String) -> EngineError {
    EngineError::io(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_engine::error::ErrorKind;

    fn position() -> Position {
        let topic = Topic { id: Some("A".into()), partitions: 4, max_message_bytes: 1, is_compacted: false };
        Position::new("clicks", &topic, 3, 17)
    }

    fn topic(id: Option<&str>, partitions: i32) -> Topic {
        Topic { id: id.map(Into::into), partitions, max_message_bytes: 1, is_compacted: false }
    }

    #[test]
    fn a_checkpoint_keeps_it() {
        let bounded = Position { end: Some(20), bytes: 9, ..position() };
        let stored = json!(bounded);
        let expected =
            json!({ "topic": "clicks", "topic_id": "A", "partition": 3, "offset": 17, "bytes": 9, "end": 20 });
        assert_eq!((&stored, bounded.split_id().as_str()), (&expected, "clicks-3"));
        let split = |position| RestoredSplit { id: "clicks-3".into(), position, finished: false };
        assert_eq!(Position::of(&split(stored)).unwrap(), bounded);
        let error = Position::of(&split(json!({ "offset": "x" }))).unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.starts_with("clicks-3: "), "{error}");
        assert!(!bounded.has_ended() && Position { offset: 20, ..bounded }.has_ended() && !position().has_ended());
    }

    #[test]
    fn it_is_read_on_right_behind_the_last_record() {
        let of = |behind: Option<i64>| Position {
            behind: behind.map(|offset| Behind { offset, leader_epoch: 3 }),
            ..position()
        };
        // As checkpoints were written before epochs were kept.
        let old: Position = serde_json::from_value(json!({ "topic": "clicks", "partition": 3, "offset": 17 })).unwrap();
        assert_eq!((old.behind, old.begin(Some(0))), (None, (17, None)));
        assert_eq!(of(Some(17)).begin(None), (17, Some(3)));
        // A marker lies between the record and the next one.
        assert_eq!(of(Some(16)).begin(Some(4)), (16, Some(3)));
        assert_eq!(of(Some(16)).begin(Some(16)), (16, Some(3)));
        // The record has been removed since, or it is not known whether it was.
        assert_eq!((of(Some(16)).begin(Some(17)), of(Some(16)).begin(None)), ((17, None), (17, None)));
        assert_eq!(of(Some(18)).begin(Some(0)), (17, None), "it is not what was written");
        let stored = json!(of(Some(16)));
        assert_eq!(stored["behind"], json!({ "offset": 16, "leader_epoch": 3 }));
    }

    #[test]
    fn what_has_become_of_a_topic_is_said_with_what_to_do() {
        let position = position();
        position.check_topic(Some(&topic(Some("A"), 4))).unwrap();
        // Old brokers tell no ids.
        position.check_topic(Some(&topic(None, 4))).unwrap();
        for (now, part) in [
            (None, "is gone"),
            (Some(topic(Some("B"), 4)), "made anew (its id was A and is B)"),
            (Some(topic(None, 3)), "has 3 partitions"),
        ] {
            let told = position.check_topic(now.as_ref()).unwrap_err().message;
            for part in [part, "clicks-3", "offset 17", "--fresh"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn an_offset_that_there_is_not_is_said_with_what_to_do() {
        let bounds = |beginning, end| Bounds { beginning, stable_end: end, end };
        for (beginning, end) in [(0, 17), (17, 17), (17, 40)] {
            position().check_offset(&bounds(beginning, end)).unwrap();
        }
        for (bounds, part) in
            [(bounds(20, 40), "the oldest one there is 20, so 3 were removed"), (bounds(0, 16), "it ends at 16")]
        {
            let told = position().check_offset(&bounds).unwrap_err().message;
            for part in [part, "clicks-3", "offset 17", "--fresh"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }
}
