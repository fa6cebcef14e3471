//! What reads partitions: one handle, and a queue for each partition.
//!
//! librdkafka's simple consumer is what fits: it needs no group, and starts and stops each partition by itself.

use super::{
    ask::Asking,
    native::{Native, Owned, Told},
    reader::Reader,
};
use crate::{
    cluster::TopicPartition,
    consumer::{Consumer, PartitionReader},
    error::{KafkaError, KafkaErrorKind, Result},
};
use parking_lot::Mutex;
use rdkafka::bindings::{
    self as native, rd_kafka_admin_op_t as question, rd_kafka_queue_t, rd_kafka_resp_err_t as code, rd_kafka_t,
};
use std::{collections::HashSet, ffi::c_void, sync::Arc};
use tokio::sync::Notify;

/// Reads partitions over the connections of one handle.
#[derive(Debug)]
pub(super) struct Reading {
    shared: Arc<Shared>,
}

/// What the readers of a handle share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What waits for a broker to answer again; before the handle, which it needs.
    probe: Mutex<Option<WokenQueue>>,
    _main: WokenQueue,
    pub(super) native: Arc<Native>,
    pub(super) woken: Arc<Notify>,
    pub(super) read: Mutex<HashSet<TopicPartition>>,
}

impl Reading {
    pub(super) fn new(native: Arc<Native>) -> Result<Self> {
        let woken = Arc::new(Notify::new());
        // SAFETY: the handle is there, and outlives the queue, which is given back before.
        let main =
            unsafe { Owned::new(native::rd_kafka_queue_get_main(native.pointer()), native::rd_kafka_queue_destroy) };
        let main = main.ok_or_else(|| KafkaError::of(KafkaErrorKind::Refused, "the Kafka client has no queue"))?;
        let main = WokenQueue::new(main, woken.clone());
        Ok(Reading {
            shared: Arc::new(Shared { probe: Mutex::default(), _main: main, native, woken, read: Mutex::default() }),
        })
    }
}

impl Consumer for Reading {
    fn read_on(
        &mut self,
        partition: &TopicPartition,
        offset: i64,
        leader_epoch: Option<i32>,
    ) -> Result<Box<dyn PartitionReader>> {
        Ok(Box::new(Reader::start(self.shared.clone(), partition, offset, leader_epoch)?))
    }

    fn woken(&self) -> Arc<Notify> {
        self.shared.woken.clone()
    }
}

impl Shared {
    /// Why nothing comes, as far as the handle knows; none: nothing is there.
    pub(super) fn trouble(&self) -> Option<KafkaError> {
        let away = self.native.told().away()?;
        if self.probed(self.native.told()) { None } else { Some(away.context("reading from Kafka")) }
    }

    /// Whether a broker answers again. One question is always on its way while none does: that brokers are back is nothing
    /// that librdkafka tells.
    fn probed(&self, told: &Told) -> bool {
        let mut probe = self.probe.lock();
        let Some(queue) = &*probe else {
            *probe = self.send_probe().ok();
            return false;
        };
        // SAFETY: the queue is ours; a wait of no time returns at once.
        let answer =
            unsafe { Owned::new(native::rd_kafka_queue_poll(queue.pointer(), 0), native::rd_kafka_event_destroy) };
        let Some(answer) = answer else { return false };
        // SAFETY: the event is ours.
        let answered = unsafe { native::rd_kafka_event_error(answer.pointer()) } == code::RD_KAFKA_RESP_ERR_NO_ERROR;
        *probe = None;
        if answered {
            told.answered();
        }
        answered
    }

    fn send_probe(&self) -> Result<WokenQueue> {
        let doing = "asking whether Kafka is back";
        let options = self.native.options(doing, question::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER, None)?;
        let queue = WokenQueue::new(self.native.queue(doing)?, self.woken.clone());
        let to = Asking { client: self.native.pointer(), options: options.pointer(), queue: queue.pointer() };
        // SAFETY: the handle and the queue outlive the question, the options are copied.
        unsafe { native::rd_kafka_DescribeCluster(to.client, to.options, to.queue) };
        Ok(queue)
    }
}

/// A queue that wakes whoever waits when something comes into it and it was empty.
#[derive(Debug)]
pub(super) struct WokenQueue {
    queue: Owned<rd_kafka_queue_t>,
    /// Where the queue's callback points to.
    _woken: Arc<Notify>,
}

impl WokenQueue {
    pub(super) fn new(queue: Owned<rd_kafka_queue_t>, woken: Arc<Notify>) -> Self {
        let to = Arc::as_ptr(&woken).cast_mut().cast();
        // SAFETY: the queue is ours, and what the callback gets is kept until the callback is taken away.
        unsafe { native::rd_kafka_queue_cb_event_enable(queue.pointer(), Some(on_event), to) };
        WokenQueue { queue, _woken: woken }
    }

    pub(super) fn pointer(&self) -> *mut rd_kafka_queue_t {
        self.queue.pointer()
    }
}

impl Drop for WokenQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; it is locked while its callback is changed or called.
        unsafe { native::rd_kafka_queue_cb_event_enable(self.queue.pointer(), None, std::ptr::null_mut()) };
    }
}

unsafe extern "C" fn on_event(_: *mut rd_kafka_t, woken: *mut c_void) {
    // SAFETY: it is the `Notify` that the queue's owner keeps.
    unsafe { &*woken.cast::<Notify>() }.notify_one();
}
