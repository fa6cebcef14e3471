//! Two workers' data planes over loopback, or over a simulated network.

mod failures;
mod inputs;
mod simulated;
mod strangers;
mod streaming;

use super::*;
use arrow::{
    array::{ArrayRef, AsArray, Int64Array},
    datatypes::Int64Type,
    record_batch::RecordBatch,
};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use weir_engine::{
    channel::{ChannelReceiver, RemoteSender, local_channels},
    element::{Batch, StreamElement},
    env::Env,
    ids::{Attempt, ChannelId, SubtaskId},
};
use weir_proto::net::{SharedNetwork, TcpNetwork};

const TOKEN: &[u8] = b"a secret of 32 bytes, or what not";

/// Long enough that it passes only where something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    link::within(&Env::default(), PATIENCE, what).await.expect("this should not have taken so long")
}

fn settings(worker: &str) -> NetworkSettings {
    NetworkSettings {
        channel_bytes: 10_000,
        handshake_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(5),
        keepalive_period: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(1500),
        max_strangers: 4,
        ..NetworkSettings::new(worker, "127.0.0.1:0")
    }
}

async fn plane(settings: NetworkSettings) -> DataPlane {
    let network: SharedNetwork = Arc::new(TcpNetwork);
    DataPlane::start(network, Env::default(), settings, Handle::current()).await.unwrap()
}

fn key() -> AttemptKey {
    AttemptKey { job: "ad-click".into(), attempt: Attempt(3) }
}

fn channel(index: usize) -> ChannelId {
    let subtask = |task| SubtaskId { task, index };
    ChannelId { edge: 4, producer: subtask(0), consumer: subtask(1) }
}

fn recording() -> (FailureCallback, UnboundedReceiver<ConnectionFailure>) {
    let (sender, receiver) = unbounded_channel();
    let callback = move |failure| {
        let _ = sender.send(failure);
    };
    (Arc::new(callback), receiver)
}

/// The consuming side, on worker `b`, of channels from worker `a`.
struct Consumer {
    plane: DataPlane,
    network: AttemptNetwork,
    gate: ChannelReceiver,
    failures: UnboundedReceiver<ConnectionFailure>,
}

/// The producing side, on worker `a`.
struct Producer {
    plane: DataPlane,
    network: AttemptNetwork,
    channels: Vec<Box<dyn RemoteSender>>,
    failures: UnboundedReceiver<ConnectionFailure>,
}

impl Consumer {
    async fn new(channels: usize, settings: NetworkSettings) -> Self {
        let credit = settings.channel_bytes;
        Self::on(plane(settings).await, channels, credit)
    }

    fn on(plane: DataPlane, channels: usize, credit: usize) -> Self {
        let (senders, gate) = local_channels(channels, credit);
        let inbound: BTreeMap<_, _> = senders
            .into_iter()
            .enumerate()
            .map(|(index, sender)| (("a".to_string(), channel(index)), sender))
            .collect();
        let (callback, failures) = recording();
        let network = plane.open(key(), Token::new(TOKEN), inbound, callback).unwrap();
        Consumer { plane, network, gate, failures }
    }

    async fn next(&mut self) -> (usize, StreamElement) {
        soon(self.gate.receive()).await.unwrap()
    }

    /// The next number of a batch of [`numbers`].
    async fn next_number(&mut self) -> (usize, i64) {
        let (channel, element) = self.next().await;
        let StreamElement::Batch(batch) = element else { panic!("expected a batch, got {element:?}") };
        (channel, first_number(&batch))
    }
}

impl Producer {
    async fn new(channels: usize, settings: NetworkSettings, address: &str) -> Self {
        Self::on(plane(settings).await, channels, address)
    }

    fn on(plane: DataPlane, channels: usize, address: &str) -> Self {
        let (callback, failures) = recording();
        let network = plane.open(key(), Token::new(TOKEN), BTreeMap::new(), callback).unwrap();
        let channels = (0..channels).map(|index| network.sender("b", address, channel(index)).unwrap()).collect();
        Producer { plane, network, channels, failures }
    }

    /// Sends batches on a channel until its credit is used up. How many.
    async fn fill(&self, channel: usize) -> i64 {
        let mut sent = 0;
        while link::within(&Env::default(), Duration::from_millis(500), self.channels[channel].send(numbers(sent)))
            .await
            .map(Result::unwrap)
            .is_some()
        {
            sent += 1;
        }
        sent
    }
}

async fn connected(channels: usize) -> (Producer, Consumer) {
    let consumer = Consumer::new(channels, settings("b")).await;
    let producer = Producer::new(channels, settings("a"), consumer.plane.address()).await;
    soon(producer.network.connect()).await.unwrap();
    (producer, consumer)
}

/// 100 rows, the first of which is `first`.
fn numbers(first: i64) -> StreamElement {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 100));
    StreamElement::Batch(Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap()))
}

fn first_number(batch: &Batch) -> i64 {
    batch.columns.column(0).as_primitive::<Int64Type>().value(0)
}
