//! What is asked about topics: which there are, what one is, and that one be made.

use super::{
    ask::{Asking, WITHIN_MS, items, one},
    failure::{failure, text},
    native::{Native, Owned, c_text},
};
use crate::{
    cluster::{NewTopic, Topic},
    error::{KafkaError, KafkaErrorKind, Result},
};
use rdkafka::bindings::{
    self as native, rd_kafka_ConfigResource_t, rd_kafka_NewTopic_t, rd_kafka_ResourceType_t,
    rd_kafka_admin_op_t as question, rd_kafka_metadata, rd_kafka_resp_err_t as code,
};
use std::{ffi::c_char, ptr};

/// Kafka's own default of `max.message.bytes`: what is taken to hold where we may not ask.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// How often a topic that was made is looked for, and how long each time until the brokers know it.
const LOOKS: usize = 100;
const LOOK_MS: i32 = 100;

/// The names of all topics, without Kafka's own.
pub(super) fn names(client: &Native) -> Result<Vec<String>> {
    let doing = "listing the topics";
    let mut metadata: *const rd_kafka_metadata = ptr::null();
    // SAFETY: the handle is there; all topics are asked for, so that none is given.
    let result =
        unsafe { rd_kafka_metadata(client.pointer(), 1, ptr::null_mut(), ptr::addr_of_mut!(metadata), WITHIN_MS) };
    if result != code::RD_KAFKA_RESP_ERR_NO_ERROR {
        let error = failure(doing, result, "");
        return Err(match error.kind {
            KafkaErrorKind::Unavailable => client.no_answer(doing, &super::failure::words(result)),
            _ => error,
        });
    }
    // SAFETY: there was no error, so the metadata is whole until it is destroyed, which happens last.
    let mut names: Vec<String> = unsafe {
        let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
        let topics = if count == 0 { &[] } else { std::slice::from_raw_parts((*metadata).topics, count) };
        let names = topics.iter().map(|topic| text(topic.topic)).collect();
        native::rd_kafka_metadata_destroy(metadata);
        names
    };
    names.retain(|name| !name.starts_with("__"));
    names.sort();
    Ok(names)
}

/// What a topic is; none: there is none of that name.
pub(super) fn describe(client: &Native, name: &str) -> Result<Option<Topic>> {
    let Some((id, partitions)) = id_and_partitions(client, name)? else { return Ok(None) };
    match settings(client, name) {
        Ok((max_message_bytes, is_compacted)) => Ok(Some(Topic { id, partitions, max_message_bytes, is_compacted })),
        // It went in between.
        Err(error) if error.kind == KafkaErrorKind::NotFound => Ok(None),
        Err(error) if error.kind == KafkaErrorKind::Refused => {
            tracing::debug!("{}; taken to be Kafka's defaults", error.message);
            let max_message_bytes = DEFAULT_MAX_MESSAGE_BYTES;
            Ok(Some(Topic { id, partitions, max_message_bytes, is_compacted: false }))
        }
        Err(error) => Err(error),
    }
}

/// Which topic it is, and how many partitions it has; none: there is none of that name.
pub(super) fn id_and_partitions(client: &Native, name: &str) -> Result<Option<(Option<String>, i32)>> {
    let doing = format!("describing topic '{name}'");
    let c_name = c_text(name)?;
    let answer = client.ask(&doing, question::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, None, |to: &Asking| {
        let mut names = [c_name.as_ptr()];
        // SAFETY: the names live until the call has copied them, and the collection until the question has.
        unsafe {
            let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            native::rd_kafka_DescribeTopics(to.client, topics, to.options, to.queue);
            native::rd_kafka_TopicCollection_destroy(topics);
        }
    })?;
    // SAFETY: the answer is one to this question, and what is read of it lives as long as it does.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(answer.pointer());
        let topic = one(&doing, items(|count| native::rd_kafka_DescribeTopics_result_topics(result, count)))?;
        let error = native::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && native::rd_kafka_error_code(error) != code::RD_KAFKA_RESP_ERR_NO_ERROR {
            let told = text(native::rd_kafka_error_string(error));
            let error = failure(&doing, native::rd_kafka_error_code(error), &told);
            return if error.kind == KafkaErrorKind::NotFound { Ok(None) } else { Err(error) };
        }
        let id = native::rd_kafka_TopicDescription_topic_id(topic);
        let has_id = !id.is_null()
            && (native::rd_kafka_Uuid_most_significant_bits(id), native::rd_kafka_Uuid_least_significant_bits(id))
                != (0, 0);
        let id = has_id.then(|| text(native::rd_kafka_Uuid_base64str(id)));
        let partitions = items(|count| native::rd_kafka_TopicDescription_partitions(topic, count)).len();
        Ok(Some((id, i32::try_from(partitions).unwrap_or(i32::MAX))))
    }
}

/// How large its batches may be, and whether it is compacted.
fn settings(client: &Native, name: &str) -> Result<(usize, bool)> {
    let doing = format!("reading the settings of topic '{name}'");
    let c_name = c_text(name)?;
    let answer = client.ask(&doing, question::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, None, |to: &Asking| {
        // SAFETY: the name lives until the call has copied it, and the resource until the question has.
        unsafe {
            let topic = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resources = [native::rd_kafka_ConfigResource_new(topic, c_name.as_ptr())];
            native::rd_kafka_DescribeConfigs(to.client, resources.as_mut_ptr(), resources.len(), to.options, to.queue);
            native::rd_kafka_ConfigResource_destroy(resources[0]);
        }
    })?;
    // SAFETY: the answer is one to this question, and what is read of it lives as long as it does.
    unsafe {
        let result = native::rd_kafka_event_DescribeConfigs_result(answer.pointer());
        let topic = one(&doing, items(|count| native::rd_kafka_DescribeConfigs_result_resources(result, count)))?;
        let error = native::rd_kafka_ConfigResource_error(topic);
        if error != code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failure(&doing, error, &text(native::rd_kafka_ConfigResource_error_string(topic))));
        }
        let max_message_bytes = setting(topic, "max.message.bytes").and_then(|value| value.parse().ok());
        let is_compacted = setting(topic, "cleanup.policy").is_some_and(|policy| policy.contains("compact"));
        Ok((max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES), is_compacted))
    }
}

/// A setting of a topic.
///
/// # Safety
/// The topic is part of an answer that is there.
unsafe fn setting(topic: *const rd_kafka_ConfigResource_t, name: &str) -> Option<String> {
    // SAFETY: as above.
    unsafe {
        let entries = items(|count| native::rd_kafka_ConfigResource_configs(topic, count));
        let entry = entries.into_iter().find(|entry| text(native::rd_kafka_ConfigEntry_name(*entry)) == name)?;
        Some(text(native::rd_kafka_ConfigEntry_value(entry)))
    }
}

/// Makes a topic, and waits until the brokers know it. One of that name that there is already is no error.
pub(super) fn create(client: &Native, topic: &NewTopic) -> Result<()> {
    let doing = format!("creating topic '{}'", topic.name);
    let new = new_topic(&doing, topic)?;
    let answer = client.ask(&doing, question::RD_KAFKA_ADMIN_OP_CREATETOPICS, None, |to: &Asking| {
        let mut topics = [new.pointer()];
        // SAFETY: the topic lives until the call has copied it.
        unsafe { native::rd_kafka_CreateTopics(to.client, topics.as_mut_ptr(), topics.len(), to.options, to.queue) }
    })?;
    // SAFETY: the answer is one to this question, and what is read of it lives as long as it does.
    unsafe {
        let result = native::rd_kafka_event_CreateTopics_result(answer.pointer());
        let made = one(&doing, items(|count| native::rd_kafka_CreateTopics_result_topics(result, count)))?;
        match native::rd_kafka_topic_result_error(made) {
            code::RD_KAFKA_RESP_ERR_NO_ERROR | code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS => {}
            error => return Err(failure(&doing, error, &text(native::rd_kafka_topic_result_error_string(made)))),
        }
    }
    for _ in 0..LOOKS {
        if id_and_partitions(client, &topic.name)?.is_some() {
            return Ok(());
        }
        client.wait_told(LOOK_MS);
    }
    Err(KafkaError::of(KafkaErrorKind::Unavailable, format!("{doing}: it is made, but the brokers do not show it yet")))
}

fn new_topic(doing: &str, topic: &NewTopic) -> Result<Owned<rd_kafka_NewTopic_t>> {
    let name = c_text(&topic.name)?;
    let mut reason = [0 as c_char; 256];
    // SAFETY: the name is copied; the buffer is as long as it says.
    let new = unsafe {
        let new = native::rd_kafka_NewTopic_new(
            name.as_ptr(),
            topic.partitions,
            topic.replication.map_or(-1, i32::from),
            reason.as_mut_ptr(),
            reason.len(),
        );
        Owned::new(new, native::rd_kafka_NewTopic_destroy)
    };
    let new =
        new.ok_or_else(|| KafkaError::of(KafkaErrorKind::Refused, format!("{doing}: {}", text(reason.as_ptr()))))?;
    for (name, value) in &topic.settings {
        let (c_name, c_value) = (c_text(name)?, c_text(value)?);
        // SAFETY: the texts are copied.
        let set = unsafe { native::rd_kafka_NewTopic_set_config(new.pointer(), c_name.as_ptr(), c_value.as_ptr()) };
        if set != code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failure(&format!("{doing}: setting {name}"), set, ""));
        }
    }
    Ok(new)
}
