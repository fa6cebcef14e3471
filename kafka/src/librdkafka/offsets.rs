//! What is asked about the offsets of a partition.

use super::{
    ask::{Asking, items, one},
    failure::failure,
    native::{Native, Owned, c_text},
    topics::id_and_partitions,
};
use crate::{
    cluster::{Bounds, Isolation, TopicPartition},
    error::{KafkaError, KafkaErrorKind, Result},
};
use rdkafka::bindings::{
    self as native, rd_kafka_OffsetSpec_t as spec, rd_kafka_admin_op_t as question, rd_kafka_resp_err_t as code,
    rd_kafka_topic_partition_list_t,
};

/// How often offsets are asked for where a partition has no leader, and the pause in between.
const TRIES: u32 = 50;
const PAUSE_MS: i32 = 100;

/// What brokers say where there is no record at or after a time.
const NOT_FOUND: i64 = -1;

pub(super) type Partitions = Owned<rd_kafka_topic_partition_list_t>;

/// Where a partition begins and ends. What is asked for later is never less.
pub(super) fn bounds(client: &Native, partition: &TopicPartition) -> Result<Bounds> {
    let ask = |spec: spec, isolation| match list(client, partition, spec as i64, isolation)? {
        NOT_FOUND => {
            let told = format!("asking for offsets of {partition}: none was told");
            Err(KafkaError::of(KafkaErrorKind::Unavailable, told))
        }
        offset => Ok(offset),
    };
    let beginning = ask(spec::RD_KAFKA_OFFSET_SPEC_EARLIEST, Isolation::Uncommitted)?;
    let stable_end = ask(spec::RD_KAFKA_OFFSET_SPEC_LATEST, Isolation::Committed)?;
    let end = ask(spec::RD_KAFKA_OFFSET_SPEC_LATEST, Isolation::Uncommitted)?;
    Ok(Bounds { beginning, stable_end, end })
}

/// The first offset at or after a time.
pub(super) fn at(client: &Native, partition: &TopicPartition, time_ms: i64) -> Result<Option<i64>> {
    // Negative numbers have meanings of their own.
    let offset = list(client, partition, time_ms.max(0), Isolation::Uncommitted)?;
    Ok((offset >= 0).then_some(offset))
}

/// The offset that is wanted, also where a leader is only just being elected: of a topic that was made a moment ago, or where a
/// broker has just gone.
fn list(client: &Native, partition: &TopicPartition, wanted: i64, isolation: Isolation) -> Result<i64> {
    let mut tries = 0;
    loop {
        let error = match list_once(client, partition, wanted, isolation) {
            Err(error) if error.kind == KafkaErrorKind::Unavailable => error,
            done => return done,
        };
        let Ok(known) = id_and_partitions(client, &partition.topic) else { return Err(error) };
        if known.is_none_or(|(_, partitions)| partition.partition >= partitions) {
            let message = format!("asking for offsets of {partition}: there is no such partition");
            return Err(KafkaError::of(KafkaErrorKind::NotFound, message));
        }
        tries += 1;
        if tries > TRIES {
            return Err(error);
        }
        client.wait_told(PAUSE_MS);
    }
}

fn list_once(client: &Native, partition: &TopicPartition, wanted: i64, isolation: Isolation) -> Result<i64> {
    let doing = format!("asking for offsets of {partition}");
    let wanted = partitions(std::iter::once((partition, wanted)))?;
    let answer = client.ask(&doing, question::RD_KAFKA_ADMIN_OP_LISTOFFSETS, Some(isolation), |to: &Asking| {
        // SAFETY: the list lives until the call has copied it.
        unsafe { native::rd_kafka_ListOffsets(to.client, wanted.pointer(), to.options, to.queue) }
    })?;
    // SAFETY: the answer is one to this question, and what is read of it lives as long as it does.
    let found = unsafe {
        let result = native::rd_kafka_event_ListOffsets_result(answer.pointer());
        let info = one(&doing, items(|count| native::rd_kafka_ListOffsets_result_infos(result, count)))?;
        *native::rd_kafka_ListOffsetsResultInfo_topic_partition(info)
    };
    match found.err {
        code::RD_KAFKA_RESP_ERR_NO_ERROR => told(&doing, found.offset),
        error => Err(failure(&doing, error, "")),
    }
}

/// An offset that was told, or that there is none at or after a time. While the leader of a partition is not known, as that of a broker
/// that has just begun, the client tells of no error and of no offset either: that is no answer.
fn told(doing: &str, offset: i64) -> Result<i64> {
    match offset {
        NOT_FOUND.. => Ok(offset),
        _ => Err(KafkaError::of(KafkaErrorKind::Unavailable, format!("{doing}: no offset was told"))),
    }
}

/// A list for librdkafka: partitions, with an offset each.
pub(super) fn partitions<'a>(wanted: impl Iterator<Item = (&'a TopicPartition, i64)>) -> Result<Partitions> {
    // SAFETY: a new list is ours.
    let list = unsafe {
        Owned::new(native::rd_kafka_topic_partition_list_new(1), native::rd_kafka_topic_partition_list_destroy)
    };
    let list = list.ok_or_else(|| KafkaError::of(KafkaErrorKind::Refused, "the Kafka client makes no list"))?;
    for (partition, offset) in wanted {
        let topic = c_text(&partition.topic)?;
        // SAFETY: the list is ours; the topic's name is copied; the new element is there until the next is added.
        unsafe {
            (*native::rd_kafka_topic_partition_list_add(list.pointer(), topic.as_ptr(), partition.partition)).offset =
                offset;
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_offset_is_no_answer() {
        assert_eq!(told("asking", 7).ok(), Some(7));
        assert_eq!(told("asking", NOT_FOUND).ok(), Some(NOT_FOUND));
        // RD_KAFKA_OFFSET_INVALID
        assert_eq!(told("asking", -1001).map_err(|error| error.kind), Err(KafkaErrorKind::Unavailable));
    }
}
