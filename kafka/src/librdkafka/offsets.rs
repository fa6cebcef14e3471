//! What is asked about offsets: of partitions, by time, and of consumer groups.

use super::{
    ask::{Asking, items, one},
    failure::{failure, text},
    native::{Native, Owned, c_text},
    topics::id_and_partitions,
};
use crate::{
    cluster::{Bounds, Isolation, TopicPartition},
    error::{KafkaError, KafkaErrorKind, Result},
};
use rdkafka::bindings::{
    self as native, RD_KAFKA_OFFSET_INVALID, rd_kafka_OffsetSpec_t as spec, rd_kafka_admin_op_t as question,
    rd_kafka_group_result_t, rd_kafka_resp_err_t as code, rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_t,
};

/// How often offsets are asked for where a partition has no leader, and the pause in between.
const TRIES: u32 = 50;
const PAUSE_MS: i32 = 100;

type Partitions = Owned<rd_kafka_topic_partition_list_t>;

/// Where a partition begins and ends. What is asked for later is never less.
pub(super) fn bounds(client: &Native, partition: &TopicPartition) -> Result<Bounds> {
    let ask = |spec: spec, isolation| list(client, partition, spec as i64, isolation);
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
        code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(found.offset),
        error => Err(failure(&doing, error, "")),
    }
}

/// What a group has noted of each of these partitions.
pub(super) fn of_group(client: &Native, group: &str, wanted: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let doing = format!("reading the offsets of consumer group '{group}'");
    let c_group = c_text(group)?;
    let list = partitions(wanted.iter().map(|partition| (partition, i64::from(RD_KAFKA_OFFSET_INVALID))))?;
    let answer = client.ask(&doing, question::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, None, |to: &Asking| {
        // SAFETY: the name and the list live until the calls have copied them, and the request until the question has.
        unsafe {
            let mut requests = [native::rd_kafka_ListConsumerGroupOffsets_new(c_group.as_ptr(), list.pointer())];
            native::rd_kafka_ListConsumerGroupOffsets(to.client, requests.as_mut_ptr(), 1, to.options, to.queue);
            native::rd_kafka_ListConsumerGroupOffsets_destroy(requests[0]);
        }
    })?;
    // SAFETY: the answer is one to this question, and what is read of it lives as long as it does.
    let noted = unsafe {
        let result = native::rd_kafka_event_ListConsumerGroupOffsets_result(answer.pointer());
        let groups = items(|count| native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, count));
        of_result(&doing, one(&doing, groups)?)?
    };
    let offset_of = |partition: &TopicPartition| {
        let of = noted.iter().find(|(noted, ..)| noted == partition);
        of.filter(|(_, offset, error)| *error == code::RD_KAFKA_RESP_ERR_NO_ERROR && *offset >= 0)
            .map(|(_, offset, _)| *offset)
    };
    Ok(wanted.iter().map(offset_of).collect())
}

/// Notes the next offsets of a group that has no members.
pub(super) fn set_of_group(client: &Native, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let doing = format!("noting the offsets of consumer group '{group}'");
    let c_group = c_text(group)?;
    let list = partitions(offsets.iter().map(|(partition, offset)| (partition, *offset)))?;
    let answer = client.ask(&doing, question::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, None, |to: &Asking| {
        // SAFETY: the name and the list live until the calls have copied them, and the request until the question has.
        unsafe {
            let mut requests = [native::rd_kafka_AlterConsumerGroupOffsets_new(c_group.as_ptr(), list.pointer())];
            native::rd_kafka_AlterConsumerGroupOffsets(to.client, requests.as_mut_ptr(), 1, to.options, to.queue);
            native::rd_kafka_AlterConsumerGroupOffsets_destroy(requests[0]);
        }
    })?;
    // SAFETY: the answer is one to this question, and what is read of it lives as long as it does.
    let noted = unsafe {
        let result = native::rd_kafka_event_AlterConsumerGroupOffsets_result(answer.pointer());
        let groups = items(|count| native::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, count));
        of_result(&doing, one(&doing, groups)?)?
    };
    match noted.into_iter().find(|(_, _, error)| *error != code::RD_KAFKA_RESP_ERR_NO_ERROR) {
        Some((partition, _, error)) => {
            Err(with_members(failure(&format!("{doing}, of {partition}"), error, ""), error))
        }
        None => Ok(()),
    }
}

/// What a broker says of a group that has members does not say that it has some.
fn with_members(mut error: KafkaError, code: code) -> KafkaError {
    if code == code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || code == code::RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP {
        error.kind = KafkaErrorKind::Refused;
        error.message.push_str(": the group has members of its own; name another group");
    }
    error
}

type Noted = (TopicPartition, i64, code);

/// What the answer says of a group's partitions.
///
/// # Safety
/// The group is part of an answer that is there.
unsafe fn of_result(doing: &str, group: *const rd_kafka_group_result_t) -> Result<Vec<Noted>> {
    // SAFETY: as above.
    unsafe {
        let error = native::rd_kafka_group_result_error(group);
        if !error.is_null() && native::rd_kafka_error_code(error) != code::RD_KAFKA_RESP_ERR_NO_ERROR {
            let told = text(native::rd_kafka_error_string(error));
            let code = native::rd_kafka_error_code(error);
            return Err(with_members(failure(doing, code, &told), code));
        }
        let list = native::rd_kafka_group_result_partitions(group);
        if list.is_null() {
            return Ok(Vec::new());
        }
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        let elements = if count == 0 { &[] } else { std::slice::from_raw_parts((*list).elems, count) };
        Ok(elements.iter().map(noted).collect())
    }
}

fn noted(element: &rd_kafka_topic_partition_t) -> Noted {
    (TopicPartition { topic: text(element.topic), partition: element.partition }, element.offset, element.err)
}

/// A list for librdkafka: partitions, with an offset each.
fn partitions<'a>(wanted: impl Iterator<Item = (&'a TopicPartition, i64)>) -> Result<Partitions> {
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
