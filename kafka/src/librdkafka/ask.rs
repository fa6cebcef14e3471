//! One request to the brokers and its answer, by librdkafka's interface for administrators.
//!
//! Invariant: a question ends after a bounded time, with an answer or an error that says why there is none.

use super::{
    failure::{failure, take_error, text},
    native::{Native, Owned},
};
use crate::{
    cluster::Isolation,
    error::{KafkaError, KafkaErrorKind, Result},
};
use rdkafka::bindings::{
    self as native, rd_kafka_AdminOptions_t, rd_kafka_IsolationLevel_t, rd_kafka_admin_op_t, rd_kafka_event_t,
    rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t,
};
use std::{ffi::c_char, ptr};

/// How long an answer is waited for, in milliseconds.
pub(super) const WITHIN_MS: i32 = 10_000;

/// What was answered.
pub(super) type Answer = Owned<rd_kafka_event_t>;

/// What a question needs to be sent: the handle, its options, and the queue that the answer comes to.
pub(super) struct Asking {
    pub(super) client: *mut rd_kafka_t,
    pub(super) options: *const rd_kafka_AdminOptions_t,
    pub(super) queue: *mut rd_kafka_queue_t,
}

/// Runs what waits on a thread for such calls.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(KafkaError::of(KafkaErrorKind::Unknown, format!("a call of the Kafka client ended: {error}")))
        }
    }
}

impl Native {
    /// Asks and waits for the answer. `send` sends the question.
    pub(super) fn ask(
        &self,
        doing: &str,
        question: rd_kafka_admin_op_t,
        isolation: Option<Isolation>,
        send: impl FnOnce(&Asking),
    ) -> Result<Answer> {
        let options = self.options(doing, question, isolation)?;
        let queue = self.queue(doing)?;
        send(&Asking { client: self.pointer(), options: options.pointer(), queue: queue.pointer() });
        // Its own time-out comes first.
        // SAFETY: the queue is ours.
        let answer = unsafe {
            Owned::new(native::rd_kafka_queue_poll(queue.pointer(), WITHIN_MS + 5_000), native::rd_kafka_event_destroy)
        };
        let Some(answer) = answer else { return Err(self.no_answer(doing, "there was no answer")) };
        // SAFETY: the event is ours, and there as long as its texts are read.
        let (code, told) = unsafe {
            (
                native::rd_kafka_event_error(answer.pointer()),
                text(native::rd_kafka_event_error_string(answer.pointer())),
            )
        };
        if code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            self.told().answered();
            return Ok(answer);
        }
        let error = failure(doing, code, &told);
        match error.kind {
            KafkaErrorKind::Unavailable => Err(self.no_answer(doing, &told)),
            _ => Err(error),
        }
    }

    /// A queue of its own.
    pub(super) fn queue(&self, doing: &str) -> Result<Owned<rd_kafka_queue_t>> {
        // SAFETY: the handle is there, and outlives the queue: whoever has the queue holds the handle.
        let queue = unsafe { Owned::new(native::rd_kafka_queue_new(self.pointer()), native::rd_kafka_queue_destroy) };
        queue.ok_or_else(|| KafkaError::of(KafkaErrorKind::Refused, format!("{doing}: the client makes no queue")))
    }

    /// Why there is no answer: what the handle knows of the brokers says more than that time has run out.
    pub(super) fn no_answer(&self, doing: &str, told: &str) -> KafkaError {
        match self.told().away() {
            Some(away) => away.context(format!("{doing}, at '{}'", self.brokers)),
            None => KafkaError::of(KafkaErrorKind::Unavailable, format!("{doing}, at '{}': {told}", self.brokers)),
        }
    }

    pub(super) fn options(
        &self,
        doing: &str,
        question: rd_kafka_admin_op_t,
        isolation: Option<Isolation>,
    ) -> Result<Owned<rd_kafka_AdminOptions_t>> {
        // SAFETY: the handle is there.
        let options = unsafe {
            Owned::new(
                native::rd_kafka_AdminOptions_new(self.pointer(), question),
                native::rd_kafka_AdminOptions_destroy,
            )
        };
        let options = options.ok_or_else(|| {
            KafkaError::of(KafkaErrorKind::Refused, format!("{doing}: the client knows no such question"))
        })?;
        let mut reason = [0 as c_char; 256];
        // SAFETY: the options are ours; the buffer is as long as it says.
        let code = unsafe {
            native::rd_kafka_AdminOptions_set_request_timeout(
                options.pointer(),
                WITHIN_MS,
                reason.as_mut_ptr(),
                reason.len(),
            )
        };
        if code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failure(doing, code, &text(reason.as_ptr())));
        }
        let level = match isolation {
            None => return Ok(options),
            Some(Isolation::Committed) => rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            Some(Isolation::Uncommitted) => rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        // SAFETY: the options are ours.
        match take_error(unsafe { native::rd_kafka_AdminOptions_set_isolation_level(options.pointer(), level) }) {
            Some((code, told)) => Err(failure(doing, code, &told)),
            None => Ok(options),
        }
    }
}

/// The items of an answer, by a function of librdkafka's that gives an array and its length.
pub(super) fn items<T>(list: impl FnOnce(*mut usize) -> *mut *const T) -> Vec<*const T> {
    let mut count = 0;
    let array = list(ptr::addr_of_mut!(count));
    if array.is_null() {
        return Vec::new();
    }
    // SAFETY: librdkafka says how many there are.
    unsafe { std::slice::from_raw_parts(array, count) }.to_vec()
}

/// The one item of an answer to a question about one thing.
pub(super) fn one<T>(doing: &str, items: Vec<*const T>) -> Result<*const T> {
    match items.first() {
        Some(item) if !item.is_null() => Ok(*item),
        _ => Err(KafkaError::of(KafkaErrorKind::Unavailable, format!("{doing}: the answer is empty"))),
    }
}
