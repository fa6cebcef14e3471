//! What a consumer group has noted as its offsets, without being a member of it.
//!
//! By a handle that has the group as its own: librdkafka's requests for administrators end the process where a broker answers that
//! it does not coordinate the group (any more), as one does that has only just begun to.

use super::{
    ask::WITHIN_MS,
    failure::{failure, text, words},
    native::{Native, Owned},
    offsets::{Partitions, partitions},
};
use crate::{
    cluster::TopicPartition,
    error::{KafkaError, KafkaErrorKind, Result},
};
use rdkafka::bindings::{
    self as native, RD_KAFKA_OFFSET_INVALID, rd_kafka_resp_err_t as code, rd_kafka_topic_partition_list_t,
    rd_kafka_topic_partition_t,
};

/// What the group has noted of each of these partitions.
pub(super) fn offsets(client: &Native, group: &str, wanted: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let doing = format!("reading the offsets of consumer group '{group}'");
    let list = partitions(wanted.iter().map(|partition| (partition, i64::from(RD_KAFKA_OFFSET_INVALID))))?;
    // SAFETY: the handle and the list are there.
    let found = unsafe { native::rd_kafka_committed(client.pointer(), list.pointer(), WITHIN_MS) };
    refused(client, &doing, found)?;
    let noted = noted(&list);
    let offset_of = |partition: &TopicPartition| {
        let of = noted.iter().find(|(noted, ..)| noted == partition);
        of.map(|(_, offset, _)| *offset).filter(|offset| *offset >= 0)
    };
    Ok(wanted.iter().map(offset_of).collect())
}

/// Notes the next offsets of a group that has no members.
pub(super) fn set_offsets(client: &Native, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let doing = format!("noting the offsets of consumer group '{group}'");
    let list = partitions(offsets.iter().map(|(partition, offset)| (partition, *offset)))?;
    let queue = client.queue(&doing)?;
    // SAFETY: the handle, the list and the queue are there; the list is copied.
    let sent = unsafe {
        native::rd_kafka_commit_queue(client.pointer(), list.pointer(), queue.pointer(), None, std::ptr::null_mut())
    };
    refused(client, &doing, sent)?;
    // SAFETY: the queue is ours.
    let answer =
        unsafe { Owned::new(native::rd_kafka_queue_poll(queue.pointer(), WITHIN_MS), native::rd_kafka_event_destroy) };
    let Some(answer) = answer else { return Err(client.no_answer(&doing, "there was no answer")) };
    // SAFETY: the event is ours, and so is its list for as long.
    let (result, of_each) = unsafe {
        let list = native::rd_kafka_event_topic_partition_list(answer.pointer());
        (native::rd_kafka_event_error(answer.pointer()), if list.is_null() { Vec::new() } else { all(list) })
    };
    match of_each.into_iter().find(|(_, _, error)| *error != code::RD_KAFKA_RESP_ERR_NO_ERROR) {
        Some((partition, _, error)) => refused(client, &format!("{doing}, of {partition}"), error),
        None => refused(client, &doing, result),
    }
}

/// An error by its code, if it is one.
fn refused(client: &Native, doing: &str, result: code) -> Result<()> {
    if result == code::RD_KAFKA_RESP_ERR_NO_ERROR {
        client.told().answered();
        return Ok(());
    }
    let mut error = failure(doing, result, "");
    // What a broker says of a group that has members does not say that it has some.
    if result == code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || result == code::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP {
        error = KafkaError::of(
            KafkaErrorKind::Refused,
            format!("{doing}: the group has members of its own ({}): name another group", words(result)),
        );
    }
    match error.kind {
        KafkaErrorKind::Unavailable => Err(client.no_answer(doing, &words(result))),
        _ => Err(error),
    }
}

type Noted = (TopicPartition, i64, code);

fn noted(list: &Partitions) -> Vec<Noted> {
    // SAFETY: the list is there as long as it is borrowed.
    unsafe { all(list.pointer()) }
}

/// What is in a list.
///
/// # Safety
/// The list is there.
unsafe fn all(list: *const rd_kafka_topic_partition_list_t) -> Vec<Noted> {
    // SAFETY: as above; librdkafka says how many there are.
    let elements: &[rd_kafka_topic_partition_t] = unsafe {
        match usize::try_from((*list).cnt) {
            Ok(count) if count > 0 => std::slice::from_raw_parts((*list).elems, count),
            _ => &[],
        }
    };
    let noted = |element: &rd_kafka_topic_partition_t| {
        (TopicPartition { topic: text(element.topic), partition: element.partition }, element.offset, element.err)
    };
    elements.iter().map(noted).collect()
}
