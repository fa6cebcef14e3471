//! Writing without transactions.
//!
//! Invariant: after a flush without an error, all that was handed over before it is there.

use super::{
    ask::blocking,
    configuration::Role,
    failure::failure,
    native::Native,
    sending::{Sender, is_dead},
};
use crate::{connection::Connection, error::Result, producer::Producer, record::NewRecord};
use futures::future::BoxFuture;
use rdkafka::bindings::{self as native, rd_kafka_resp_err_t as code};

/// How long is waited for all records, in milliseconds: each is given up before.
const WITHIN_MS: i32 = 40_000;

/// A producer without transactions.
#[derive(Debug)]
pub(super) struct Writing {
    connection: Connection,
    sender: Sender,
}

impl Writing {
    pub(super) fn open(connection: &Connection) -> Result<Self> {
        let sender = Sender::new(Native::open(connection, &Role::Writing)?);
        Ok(Writing { connection: connection.clone(), sender })
    }
}

impl Producer for Writing {
    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.sender.send(record, i64::from(WITHIN_MS)).await })
    }

    fn try_send(&mut self, record: &NewRecord<'_>) -> Result<bool> {
        self.sender.try_send(record)
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let native = self.sender.native.clone();
            let flushed = blocking(move || flush(&native)).await;
            // One that has lost the count of its records writes nothing more; what was not written is sent again anyway.
            if is_dead(&self.sender.native) {
                self.sender = Sender::new(Native::open(&self.connection, &Role::Writing)?);
            }
            flushed
        })
    }
}

fn flush(client: &Native) -> Result<()> {
    // SAFETY: the handle is there, and as long as it is borrowed.
    let flushed = unsafe { native::rd_kafka_flush(client.pointer(), WITHIN_MS) };
    match client.told().take_lost() {
        Some(lost) => Err(lost),
        None if flushed == code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        None => Err(failure("writing to Kafka", flushed, "")),
    }
}
