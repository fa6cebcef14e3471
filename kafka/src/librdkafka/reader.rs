//! One partition that is read.
//!
//! Invariant: what has been given out lies before the position, and the position never falls. Behind the last record it follows
//! what librdkafka tells of the end: markers of transactions and aborted records occupy offsets, too.

use super::{
    consumer::{Shared, WokenQueue},
    failure::{failure, take_error, text, words},
    native::{Topic, c_text, told_while},
    offsets::partitions,
};
use crate::{
    cluster::TopicPartition,
    consumer::PartitionReader,
    error::{KafkaError, KafkaErrorKind, Result},
    record::{Headers, RecordRef},
};
use rdkafka::bindings::{
    self as native, rd_kafka_message_t, rd_kafka_resp_err_t as code, rd_kafka_timestamp_type_t as timestamp_type,
};
use std::{
    ffi::{CString, c_char, c_void},
    ptr,
    sync::Arc,
};

/// How many records are taken out of a queue at once.
const BATCH: usize = 4_096;

/// Reads one partition. The queue is given back before the topic, and both before the handle.
#[derive(Debug)]
pub(super) struct Reader {
    queue: WokenQueue,
    topic: Topic,
    shared: Arc<Shared>,
    partition: TopicPartition,
    topic_name: CString,
    position: i64,
    /// What came behind the records that were given out last.
    failed: Option<KafkaError>,
    messages: Messages,
}

impl Reader {
    pub(super) fn start(
        shared: Arc<Shared>,
        partition: &TopicPartition,
        offset: i64,
        leader_epoch: Option<i32>,
    ) -> Result<Self> {
        let doing = format!("reading {partition} from offset {offset}");
        if offset < 0 {
            return Err(KafkaError::of(KafkaErrorKind::Refused, format!("{doing}: an offset is not negative")));
        }
        let topic_name = c_text(&partition.topic)?;
        let topic = shared.native.topic(&partition.topic)?;
        let queue = WokenQueue::new(shared.native.queue(&doing)?, shared.woken.clone());
        if !shared.read.lock().insert(partition.clone()) {
            return Err(KafkaError::of(KafkaErrorKind::Refused, format!("{doing}: it is being read already")));
        }
        // SAFETY: the topic and the queue are of the handle, and there until the partition is stopped.
        let started = unsafe {
            native::rd_kafka_consume_start_queue(topic.pointer(), partition.partition, offset, queue.pointer())
        };
        if started != 0 {
            shared.read.lock().remove(partition);
            // SAFETY: the last error of this thread is a number.
            return Err(failure(&doing, unsafe { native::rd_kafka_last_error() }, ""));
        }
        let messages = Messages::default();
        let reader = Reader {
            queue,
            topic,
            shared,
            partition: partition.clone(),
            topic_name,
            position: offset,
            failed: None,
            messages,
        };
        if let Some(epoch) = leader_epoch {
            reader.begin_behind(offset, epoch, &doing)?;
        }
        Ok(reader)
    }

    /// Begins once more, behind a record of an epoch: what is read without a group is started without one. The client asks the
    /// leader where that epoch ended before anything is fetched.
    fn begin_behind(&self, offset: i64, epoch: i32, doing: &str) -> Result<()> {
        let list = partitions(std::iter::once((&self.partition, offset)))?;
        // SAFETY: the list is ours and has one element; no answer is waited for, so nothing of ours is kept.
        let error = unsafe {
            native::rd_kafka_topic_partition_set_leader_epoch((*list.pointer()).elems, epoch);
            native::rd_kafka_seek_partitions(self.shared.native.pointer(), list.pointer(), 0)
        };
        match take_error(error) {
            Some((code, told)) => Err(failure(doing, code, &told)),
            None => Ok(()),
        }
    }

    /// Something that is no record: that the end is reached for now, or what has failed.
    fn note(&mut self, message: &rd_kafka_message_t) {
        if message.err == code::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            self.position = self.position.max(message.offset);
            return;
        }
        // SAFETY: the message is whole, and the text lives as long as it does.
        let told = text(unsafe { native::rd_kafka_message_errstr(message) });
        // That a log was cut off comes as one of the offsets that it may not set back by itself, and says so in words.
        let is_reset = message.err == code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET;
        let truncated = code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION;
        let is_truncated = is_reset && told.contains(&words(truncated));
        self.fail(if is_truncated { truncated } else { message.err }, &told);
    }

    fn fail(&mut self, error: code, told: &str) {
        let doing = format!("reading {} at offset {}", self.partition, self.position);
        self.failed.get_or_insert(failure(&doing, error, told));
    }
}

impl PartitionReader for Reader {
    fn take(&mut self, most: usize, each: &mut dyn FnMut(RecordRef<'_>)) -> Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut messages = std::mem::take(&mut self.messages);
        for (code, told) in told_while(|| messages.fetch(&self.queue, most)) {
            self.fail(code, &told);
        }
        let mut count = 0;
        for message in messages.all() {
            if message.err == code::RD_KAFKA_RESP_ERR_NO_ERROR {
                count += 1;
                self.position = self.position.max(message.offset + 1);
                give(message, each);
            } else {
                self.note(message);
            }
        }
        messages.give_back();
        self.messages = messages;
        match self.failed.take() {
            Some(error) if count == 0 => Err(error),
            failed => {
                self.failed = failed;
                if count == 0 { self.shared.trouble().map_or(Ok(0), Err) } else { Ok(count) }
            }
        }
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn end(&self) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the handle is there, the name ends with a zero, and the numbers are ours.
        let found = unsafe {
            native::rd_kafka_get_watermark_offsets(
                self.shared.native.pointer(),
                self.topic_name.as_ptr(),
                self.partition.partition,
                ptr::addr_of_mut!(low),
                ptr::addr_of_mut!(high),
            )
        };
        (found == code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: the topic is there. It waits for the handle's own thread only, which waits for nobody.
        unsafe { native::rd_kafka_consume_stop(self.topic.pointer(), self.partition.partition) };
        self.shared.read.lock().remove(&self.partition);
    }
}

/// Gives out a record as long as its message is there.
fn give(message: &rd_kafka_message_t, each: &mut dyn FnMut(RecordRef<'_>)) {
    let mut kind = timestamp_type::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is whole.
    let timestamp = unsafe { native::rd_kafka_message_timestamp(message, ptr::addr_of_mut!(kind)) };
    let known = kind != timestamp_type::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0;
    // SAFETY: the message is whole.
    let epoch = unsafe { native::rd_kafka_message_leader_epoch(message) };
    each(RecordRef {
        offset: message.offset,
        leader_epoch: (epoch >= 0).then_some(epoch),
        timestamp_ms: known.then_some(timestamp),
        // SAFETY: both are of the message, which outlives the call.
        key: unsafe { bytes(message.key, message.key_len) },
        // SAFETY: as above.
        value: unsafe { bytes(message.payload, message.len) },
        headers: Headers(&|| headers(message)),
    });
}

/// Bytes of librdkafka's; none where it says so.
///
/// # Safety
/// They are there, unchanged, for as long as is chosen.
unsafe fn bytes<'a>(from: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as above.
    (!from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) })
}

fn headers(message: &rd_kafka_message_t) -> Vec<(String, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is whole, and keeps its headers.
    let found = unsafe { native::rd_kafka_message_headers(message, ptr::addr_of_mut!(headers)) };
    if found != code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return all;
    }
    loop {
        let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers are the message's, and what is read of them is copied here.
        unsafe {
            let (name_at, value_at) = (ptr::addr_of_mut!(name), ptr::addr_of_mut!(value));
            let got = native::rd_kafka_header_get_all(headers, all.len(), name_at, value_at, ptr::addr_of_mut!(size));
            if got != code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return all;
            }
            let name = std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned();
            all.push((name, bytes(value, size).map(<[u8]>::to_vec)));
        }
    }
}

/// Messages that are out of their queue. They are given back together: librdkafka's thread counts up, for each message that comes,
/// what is counted down here, and the two would wait for each other's processor cache with each. (Topic to topic, one by one: 2 % more
/// processor time.)
#[derive(Debug, Default)]
struct Messages(Vec<*mut rd_kafka_message_t>);

// SAFETY: librdkafka's messages belong to no thread.
unsafe impl Send for Messages {}

impl Messages {
    /// Takes what is in the queue, without waiting.
    fn fetch(&mut self, queue: &WokenQueue, most: usize) {
        let most = most.min(BATCH);
        self.give_back();
        self.0.reserve(most);
        // SAFETY: there is room for as many pointers as it says; so many are written as are told.
        unsafe {
            let got = native::rd_kafka_consume_batch_queue(queue.pointer(), 0, self.0.as_mut_ptr(), most);
            self.0.set_len(usize::try_from(got).unwrap_or(0));
        }
    }

    fn all(&self) -> impl Iterator<Item = &rd_kafka_message_t> {
        // SAFETY: each is whole until it is given back, for which nobody may look at it.
        self.0.iter().map(|message| unsafe { &**message })
    }

    fn give_back(&mut self) {
        for message in self.0.drain(..) {
            // SAFETY: it is ours, and nobody looks at it any more.
            unsafe { native::rd_kafka_message_destroy(message) }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // Some are left when whoever took them has panicked.
        self.give_back();
    }
}
