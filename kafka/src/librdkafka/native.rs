//! A handle of librdkafka, and what it tells on its own: log lines, troubles with brokers, records that did not arrive.
//!
//! Invariant: a handle is destroyed after everything that was made with it, and what its callbacks write to after the handle.

use super::{
    configuration::{Role, configuration},
    failure::{failure, text},
};
use crate::{
    connection::Connection,
    error::{KafkaError, KafkaErrorKind, Result},
};
use parking_lot::Mutex;
use rdkafka::bindings::{
    self as native, rd_kafka_message_t, rd_kafka_resp_err_t, rd_kafka_t, rd_kafka_topic_t, rd_kafka_type_t,
};
use std::{
    cell::RefCell,
    ffi::{CString, c_char, c_int, c_void},
    ptr::NonNull,
    sync::Arc,
};

/// Something of librdkafka's that is ours, and how it is given back.
#[derive(Debug)]
pub(super) struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes what a function of librdkafka has made; none: it made nothing.
    ///
    /// # Safety
    /// A pointer that is not null is nobody else's, and what `destroy` takes.
    pub(super) unsafe fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        Some(Owned { pointer: NonNull::new(pointer)?, destroy })
    }

    pub(super) fn pointer(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it any more.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

// SAFETY: librdkafka's objects belong to no thread.
unsafe impl<T> Send for Owned<T> {}
// SAFETY: what is shared of them (handles, topics, queues) is thread-safe by librdkafka's documentation.
unsafe impl<T> Sync for Owned<T> {}

/// What a handle has told on its own.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Why no broker is reached, since the last time that one was.
    away: Mutex<Option<KafkaError>>,
    /// What became last of a connection, in words: whoever says that brokers are away says it, too.
    last: Mutex<String>,
    /// The first record that did not arrive, since it was last asked for.
    lost: Mutex<Option<KafkaError>>,
}

impl Told {
    /// Why no broker is reached; none: at least one is, as far as is known.
    pub(super) fn away(&self) -> Option<KafkaError> {
        self.away.lock().clone()
    }

    /// Notes that a broker has answered.
    pub(super) fn answered(&self) {
        *self.away.lock() = None;
    }

    /// The first record that did not arrive since the last call.
    pub(super) fn take_lost(&self) -> Option<KafkaError> {
        self.lost.lock().take()
    }

    fn error(&self, code: rd_kafka_resp_err_t, reason: String) {
        tracing::debug!(target: "weir_kafka::librdkafka", "{reason}");
        let refused = matches!(
            code,
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__AUTHENTICATION | rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__SSL
        );
        if refused {
            *self.away.lock() =
                Some(KafkaError::of(KafkaErrorKind::Refused, format!("the brokers refuse us: {reason}")));
        } else if code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN {
            let last = self.last.lock().clone();
            let message = if last.is_empty() { reason } else { format!("{reason}: {last}") };
            self.away.lock().get_or_insert(KafkaError::of(KafkaErrorKind::Unavailable, message));
        } else {
            *self.last.lock() = reason;
        }
    }

    fn lost(&self, error: KafkaError) {
        self.lost.lock().get_or_insert(error);
    }
}

/// A handle of librdkafka: a client of one role, with threads and connections of its own.
#[derive(Debug)]
pub(super) struct Native {
    client: Option<Owned<rd_kafka_t>>,
    told: Arc<Told>,
    pub(super) brokers: String,
}

impl Native {
    /// A new handle. Nothing is asked for yet.
    pub(super) fn open(connection: &Connection, role: &Role) -> Result<Arc<Self>> {
        let config = configuration(connection, role)?;
        let refused = |reason: String| {
            KafkaError::of(KafkaErrorKind::Refused, format!("a client for Kafka at '{}': {reason}", connection.brokers))
        };
        let native_config = config.create_native_config().map_err(|error| refused(told_by(&error)))?;
        let told = Arc::new(Told::default());
        let kind = match role {
            Role::Reading(_) | Role::Group(_) => rd_kafka_type_t::RD_KAFKA_CONSUMER,
            _ => rd_kafka_type_t::RD_KAFKA_PRODUCER,
        };
        let mut reason = [0 as c_char; 512];
        // The new handle takes the configuration, if there is one: then it is not ours to destroy.
        let native_config = std::mem::ManuallyDrop::new(native_config);
        // SAFETY: the configuration is a whole one; the callbacks have librdkafka's signatures; `told` outlives the handle.
        let client = unsafe {
            native::rd_kafka_conf_set_opaque(native_config.ptr(), Arc::as_ptr(&told).cast_mut().cast());
            native::rd_kafka_conf_set_log_cb(native_config.ptr(), Some(on_log));
            native::rd_kafka_conf_set_error_cb(native_config.ptr(), Some(on_error));
            if kind == rd_kafka_type_t::RD_KAFKA_PRODUCER {
                native::rd_kafka_conf_set_dr_msg_cb(native_config.ptr(), Some(on_delivery));
            }
            let client = native::rd_kafka_new(kind, native_config.ptr(), reason.as_mut_ptr(), reason.len());
            Owned::new(client, native::rd_kafka_destroy)
        };
        if client.is_none() {
            drop(std::mem::ManuallyDrop::into_inner(native_config));
            return Err(refused(text(reason.as_ptr())));
        }
        Ok(Arc::new(Native { client, told, brokers: connection.brokers.clone() }))
    }

    pub(super) fn pointer(&self) -> *mut rd_kafka_t {
        self.client.as_ref().map_or(std::ptr::null_mut(), Owned::pointer)
    }

    /// What the handle has told so far: its callbacks are called now.
    pub(super) fn told(&self) -> &Told {
        // SAFETY: the handle is there; a wait of no time returns at once.
        unsafe { native::rd_kafka_poll(self.pointer(), 0) };
        &self.told
    }

    /// The same, after waiting for something to be told for at most so long.
    pub(super) fn wait_told(&self, milliseconds: i32) -> &Told {
        // SAFETY: the handle is there.
        unsafe { native::rd_kafka_poll(self.pointer(), milliseconds) };
        &self.told
    }

    /// A topic of the handle's.
    pub(super) fn topic(self: &Arc<Self>, name: &str) -> Result<Topic> {
        let doing = format!("topic '{name}'");
        let c_name = c_text(name)?;
        // SAFETY: the handle is there, the name ends with a zero; no configuration of the topic's own is given.
        let topic = unsafe {
            let topic = native::rd_kafka_topic_new(self.pointer(), c_name.as_ptr(), std::ptr::null_mut());
            Owned::new(topic, native::rd_kafka_topic_destroy)
        };
        match topic {
            Some(topic) => Ok(Topic { topic, _native: self.clone() }),
            // SAFETY: the last error of this thread is a number.
            None => Err(failure(&doing, unsafe { native::rd_kafka_last_error() }, "")),
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // It waits for the handle's threads to end, which nobody else has to.
        let (Some(client), told) = (self.client.take(), self.told.clone()) else { return };
        let ended = std::thread::Builder::new().name("kafka-end".into()).spawn(move || {
            drop(client);
            drop(told);
        });
        if let Err(error) = ended {
            tracing::debug!("a Kafka client was ended in place: {error}");
        }
    }
}

/// A topic of a handle's, which it keeps.
#[derive(Debug)]
pub(super) struct Topic {
    topic: Owned<rd_kafka_topic_t>,
    _native: Arc<Native>,
}

impl Topic {
    pub(super) fn pointer(&self) -> *mut rd_kafka_topic_t {
        self.topic.pointer()
    }
}

/// A text for librdkafka.
pub(super) fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| KafkaError::of(KafkaErrorKind::Refused, format!("'{text}' contains a zero byte")))
}

/// What is wrong with a property, without its value: it may be a secret.
fn told_by(error: &rdkafka::error::KafkaError) -> String {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, reason, name, _) => {
            let shown =
                if reason.contains("password") || reason.contains("secret") { "it is not valid" } else { reason };
            format!("the property {name}: {shown}")
        }
        other => other.to_string(),
    }
}

thread_local! {
    /// What is told while this thread takes from a partition's queue.
    static WHILE_TAKING: RefCell<Option<Vec<(rd_kafka_resp_err_t, String)>>> = const { RefCell::new(None) };
}

/// Takes from a partition's queue, and gives what was told there: of a topic that is gone, librdkafka tells nobody else.
pub(super) fn told_while(take: impl FnOnce()) -> Vec<(rd_kafka_resp_err_t, String)> {
    WHILE_TAKING.set(Some(Vec::new()));
    take();
    WHILE_TAKING.take().unwrap_or_default()
}

unsafe extern "C" fn on_log(_: *const rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    let (facility, line) = (text(facility), text(line));
    // Properties that are for another role are said to be ignored, with each handle.
    match level {
        _ if facility == "CONFWARN" => tracing::debug!(target: "weir_kafka::librdkafka", "{facility}: {line}"),
        ..=3 => tracing::warn!(target: "weir_kafka::librdkafka", "{facility}: {line}"),
        4..=5 => tracing::info!(target: "weir_kafka::librdkafka", "{facility}: {line}"),
        _ => tracing::debug!(target: "weir_kafka::librdkafka", "{facility}: {line}"),
    }
}

unsafe extern "C" fn on_error(_: *mut rd_kafka_t, code: c_int, reason: *const c_char, told: *mut c_void) {
    // SAFETY: it is the `Told` that outlives the handle which calls.
    let told = unsafe { &*told.cast::<Told>() };
    let code = rd_kafka_resp_err_t::try_from(code).unwrap_or(rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN);
    let reason = text(reason);
    WHILE_TAKING.with_borrow_mut(|of_partition| match of_partition {
        Some(errors) => errors.push((code, reason)),
        None => told.error(code, reason),
    });
}

unsafe extern "C" fn on_delivery(_: *mut rd_kafka_t, message: *const rd_kafka_message_t, told: *mut c_void) {
    // SAFETY: it is the `Told` that outlives the handle which calls; the message is whole until this returns.
    let (told, message) = unsafe { (&*told.cast::<Told>(), &*message) };
    // What goes with an abort was not to arrive.
    if matches!(
        message.err,
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            | rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PURGE_QUEUE
            | rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
    ) {
        return;
    }
    // SAFETY: the message has a topic.
    let topic = text(unsafe { native::rd_kafka_topic_name(message.rkt) });
    let doing = format!("writing to {topic}-{}", message.partition);
    told.lost(failure(&doing, message.err, ""));
}
