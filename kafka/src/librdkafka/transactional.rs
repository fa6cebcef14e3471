//! Transactions under one transactional id.
//!
//! Invariant: a transaction counts as committed only where the broker has said so, and as not committed only where librdkafka
//! knows that it never asked for it, or where the broker has refused. Everything else is unknown.

use super::{
    ask::blocking,
    failure::{take_error, within_transaction},
    native::Native,
    sending::{Sender, failed, is_definite},
};
use crate::{
    error::{KafkaError, KafkaErrorKind, Result},
    producer::TransactionalProducer,
    record::NewRecord,
};
use futures::future::BoxFuture;
use rdkafka::bindings::{self as native, rd_kafka_error_t, rd_kafka_t};
use std::{sync::Arc, time::Duration};
use weir_engine::env::Env;

/// How long `init` may take: an open transaction of a predecessor is aborted first.
const INIT: Duration = Duration::from_secs(15);

/// How long the end of a transaction is waited for at least.
const END: Duration = Duration::from_secs(10);

/// An end that was confirmed within this time was asked for once: librdkafka repeats nothing sooner than 80 ms (`retry.backoff.ms`,
/// less a fifth at random).
const ASKED_ONCE: Duration = Duration::from_millis(75);

/// What begins or ends something in librdkafka, within so many milliseconds.
type Call = unsafe extern "C" fn(*mut rd_kafka_t, i32) -> *mut rd_kafka_error_t;

/// A producer of transactions.
#[derive(Debug)]
pub(super) struct Transactions {
    id: String,
    timeout: Duration,
    sender: Sender,
    env: Env,
    may_have_repeated: bool,
}

impl Transactions {
    pub(super) fn new(native: Arc<Native>, id: &str, timeout: Duration) -> Self {
        let (sender, env) = (Sender::new(native), Env::default());
        Transactions { id: id.into(), timeout, sender, env, may_have_repeated: false }
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} under the transactional id '{}'", self.id)
    }

    /// Waits until no record is on its way any more, so that what follows takes as long as the end takes. What has become of the records
    /// is known then.
    async fn deliver(&self) -> Result<()> {
        let (native, within) = (self.sender.native.clone(), self.timeout.max(END).as_millis() as i32);
        blocking(move || {
            // SAFETY: the handle is there, and as long as it is borrowed. Of what does not arrive in time the end tells.
            unsafe { native::rd_kafka_flush(native.pointer(), within) };
            Ok(())
        })
        .await
    }

    /// Ends the transaction by a call that waits for all records first.
    async fn end(&self, what: &str, call: Call) -> Result<()> {
        let (native, doing) = (self.sender.native.clone(), self.doing(what));
        let within = self.timeout.max(END);
        blocking(move || finish(&native, &doing, within, call)).await.map_err(within_transaction)
    }
}

impl TransactionalProducer for Transactions {
    fn init(&mut self) -> BoxFuture<'_, Result<()>> {
        let (native, doing) = (self.sender.native.clone(), self.doing("fencing other producers"));
        Box::pin(blocking(move || {
            let done = finish(&native, &doing, INIT, native::rd_kafka_init_transactions);
            // Nothing of ours has been asked for yet: it can be done again.
            done.map_err(|error| match error.kind {
                KafkaErrorKind::Unavailable | KafkaErrorKind::Unknown => {
                    let told = error.message.strip_prefix(&format!("{doing}: ")).unwrap_or(&error.message);
                    native.no_answer(&doing, told)
                }
                _ => error,
            })
        }))
    }

    fn begin(&mut self) -> Result<()> {
        // SAFETY: the handle is there.
        let error = take_error(unsafe { native::rd_kafka_begin_transaction(self.sender.native.pointer()) });
        let Some((code, told)) = error else { return Ok(()) };
        let doing = self.doing("beginning a transaction");
        Err(within_transaction(failed(&self.sender.native, &doing, code, &told)))
    }

    fn send<'a>(&'a mut self, record: NewRecord<'a>) -> BoxFuture<'a, Result<()>> {
        let patience = self.timeout.max(END).as_millis() as i64;
        Box::pin(async move { self.sender.send(record, patience).await.map_err(within_transaction) })
    }

    fn try_send(&mut self, record: &NewRecord<'_>) -> Result<bool> {
        self.sender.try_send(record).map_err(within_transaction)
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.deliver().await?;
            let began = self.env.now();
            self.may_have_repeated = true;
            self.end("committing a transaction", native::rd_kafka_commit_transaction).await?;
            self.may_have_repeated = self.env.now().saturating_duration_since(began) >= ASKED_ONCE;
            Ok(())
        })
    }

    fn may_have_repeated(&self) -> bool {
        self.may_have_repeated
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.end("aborting a transaction", native::rd_kafka_abort_transaction).await?;
            // What did not arrive was not to.
            self.sender.native.told().take_lost();
            Ok(())
        })
    }
}

/// Calls, and waits. Of an error, what became of the records says more than that the transaction cannot be committed.
fn finish(client: &Native, doing: &str, within: Duration, call: Call) -> Result<()> {
    // SAFETY: the handle is there, and as long as it is borrowed.
    let error = take_error(unsafe { call(client.pointer(), within.as_millis() as i32) });
    let Some((code, told)) = error else { return Ok(()) };
    let error = failed(client, doing, code, &told);
    match client.told().take_lost() {
        Some(lost) if error.kind != KafkaErrorKind::Fenced && is_definite(lost.kind) => Err(lost.context(doing)),
        Some(lost) => Err(KafkaError::of(error.kind, format!("{}; {}", error.message, lost.message))),
        None => Err(error),
    }
}
