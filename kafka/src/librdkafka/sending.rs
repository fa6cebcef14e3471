//! Handing records over to a handle, with transactions or without.

use super::{
    ask::blocking,
    failure::{failure, take_error},
    native::{Native, Topic},
};
use crate::{
    error::{KafkaError, KafkaErrorKind, Result},
    record::NewRecord,
};
use rdkafka::bindings::{
    self as native, RD_KAFKA_MSG_F_COPY, rd_kafka_headers_t, rd_kafka_resp_err_t, rd_kafka_resp_err_t as code,
    rd_kafka_vtype_t as vtype, rd_kafka_vu_s__bindgen_ty_1 as value,
    rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as memory, rd_kafka_vu_t,
};
use std::{collections::HashMap, ffi::c_char, ptr, sync::Arc};

/// How long is waited for room at once, in milliseconds.
const WAIT_MS: i32 = 5;

/// Hands records over.
#[derive(Debug)]
pub(super) struct Sender {
    topics: HashMap<String, Topic>,
    pub(super) native: Arc<Native>,
}

impl Sender {
    pub(super) fn new(native: Arc<Native>) -> Self {
        Sender { topics: HashMap::new(), native }
    }

    /// Hands a record over, and waits for room: at most `patience` times a few milliseconds, after which what is in the way would
    /// have been given up.
    pub(super) async fn send(&mut self, record: NewRecord<'_>, patience: i64) -> Result<()> {
        let mut waited = 0;
        loop {
            let Some(error) = self.hand_over(&record)? else { return Ok(()) };
            if waited > patience {
                return Err(error);
            }
            waited += i64::from(WAIT_MS);
            let native = self.native.clone();
            blocking(move || {
                native.wait_told(WAIT_MS);
                Ok(())
            })
            .await?;
        }
    }

    /// Hands a record over if there is room. `false`: there is none.
    pub(super) fn try_send(&mut self, record: &NewRecord<'_>) -> Result<bool> {
        self.hand_over(record).map(|error| error.is_none())
    }

    /// Hands a record over if there is room; else says that there is none.
    fn hand_over(&mut self, record: &NewRecord<'_>) -> Result<Option<KafkaError>> {
        let topic = self.topic(record.topic)?;
        let headers = headers(record.headers);
        // The last two are told of only where there are such.
        let mut given = 5;
        let mut vus = [
            vu(vtype::RD_KAFKA_VTYPE_RKT, value { rkt: topic }),
            vu(vtype::RD_KAFKA_VTYPE_PARTITION, value { i32_: record.partition }),
            vu(vtype::RD_KAFKA_VTYPE_MSGFLAGS, value { i: RD_KAFKA_MSG_F_COPY }),
            vu(vtype::RD_KAFKA_VTYPE_VALUE, bytes(record.value)),
            vu(vtype::RD_KAFKA_VTYPE_KEY, bytes(record.key)),
            vu(vtype::RD_KAFKA_VTYPE_END, value { i: 0 }),
            vu(vtype::RD_KAFKA_VTYPE_END, value { i: 0 }),
        ];
        if let Some(timestamp) = record.timestamp_ms {
            vus[given] = vu(vtype::RD_KAFKA_VTYPE_TIMESTAMP, value { i64_: timestamp });
            given += 1;
        }
        if !headers.is_null() {
            vus[given] = vu(vtype::RD_KAFKA_VTYPE_HEADERS, value { headers });
            given += 1;
        }
        // SAFETY: all that is pointed to lives until the call returns, which copies it, or takes it as it does the headers.
        let error = unsafe { native::rd_kafka_produceva(self.native.pointer(), vus.as_ptr(), given) };
        let Some((code, told)) = take_error(error) else { return Ok(None) };
        if !headers.is_null() {
            // SAFETY: where the record was not taken, the headers are still ours.
            unsafe { native::rd_kafka_headers_destroy(headers) };
        }
        let error = failed(&self.native, &format!("writing to {}-{}", record.topic, record.partition), code, &told);
        if code == code::RD_KAFKA_RESP_ERR__QUEUE_FULL { Ok(Some(error)) } else { Err(error) }
    }

    fn topic(&mut self, name: &str) -> Result<*mut native::rd_kafka_topic_t> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.pointer());
        }
        let topic = self.native.topic(name)?;
        let pointer = topic.pointer();
        self.topics.insert(name.into(), topic);
        Ok(pointer)
    }
}

/// An error of a producer: of one that is of no use any more, what has made it so.
pub(super) fn failed(client: &Native, doing: &str, code: rd_kafka_resp_err_t, told: &str) -> KafkaError {
    if code != code::RD_KAFKA_RESP_ERR__FATAL {
        return failure(doing, code, told);
    }
    let mut reason = [0 as c_char; 512];
    // SAFETY: the handle is there; the buffer is as long as it says.
    let code = unsafe { native::rd_kafka_fatal_error(client.pointer(), reason.as_mut_ptr(), reason.len()) };
    failure(doing, code, &super::failure::text(reason.as_ptr()))
}

/// Whether the handle is of no use any more.
pub(super) fn is_dead(client: &Native) -> bool {
    // SAFETY: the handle is there; no text is asked for.
    unsafe { native::rd_kafka_fatal_error(client.pointer(), ptr::null_mut(), 0) != code::RD_KAFKA_RESP_ERR_NO_ERROR }
}

/// Whether an error says that nothing was done, and why no repetition helps.
pub(super) fn is_definite(kind: KafkaErrorKind) -> bool {
    matches!(
        kind,
        KafkaErrorKind::NotFound | KafkaErrorKind::TooLarge | KafkaErrorKind::Refused | KafkaErrorKind::Fenced
    )
}

fn vu(vtype: vtype, u: value) -> rd_kafka_vu_t {
    rd_kafka_vu_t { vtype, u }
}

fn bytes(from: Option<&[u8]>) -> value {
    let (from, size) = from.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
    value { mem: memory { ptr: from.cast_mut().cast(), size } }
}

/// Headers for a record; null for none.
fn headers(from: &[(&str, &[u8])]) -> *mut rd_kafka_headers_t {
    if from.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: new headers are ours; names and values are copied, by their lengths.
    unsafe {
        let headers = native::rd_kafka_headers_new(from.len());
        for (name, value) in from {
            let (name_size, value_size) = (name.len() as isize, value.len() as isize);
            native::rd_kafka_header_add(headers, name.as_ptr().cast(), name_size, value.as_ptr().cast(), value_size);
        }
        headers
    }
}
