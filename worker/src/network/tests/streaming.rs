//! What is sent arrives, in order, and waits for nobody but its own consumer.

use super::*;
use arrow::array::{DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use futures::FutureExt;
use weir_engine::{
    element::{Barrier, KeyHashes, Origin},
    ids::CheckpointId,
};

const ROWS: i64 = 1000;
const BATCHES: i64 = 100;

/// Batch `index` of a channel: with all combinations of what may travel beside rows, and dictionaries that change now and then.
fn mixed(channel: usize, index: i64) -> Batch {
    let first = index * ROWS;
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + ROWS));
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..50).map(|value| format!("channel {channel}, {}, {value}", index / 10)),
    ));
    let keys = (0..ROWS as i32).map(|row| (row % 11 != 0).then_some(row % 50)).collect();
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
    let columns = RecordBatch::try_from_iter([("n", numbers), ("text", dictionary)]).unwrap();
    let hashes = || (0..ROWS).map(|row| u128::from((first + row) as u64) << 70).collect();
    Batch {
        split_watermarks: (index % 2 == 1).then(|| (first..first + ROWS).collect()),
        key_hashes: (index % 4 >= 2)
            .then(|| KeyHashes { columns: vec!["n".to_string()].into(), hashes: Arc::new(hashes()) }),
        origin: (index % 3 == 0).then(|| {
            let (source, split) = ("source.clicks".into(), format!("{channel}.log"));
            Arc::new(Origin { source, split, from: first as u64, to: first as u64 + 9, ..Origin::default() })
        }),
        columns,
    }
}

fn check(found: &Batch, expected: &Batch) {
    assert_eq!(found.columns, expected.columns);
    assert_eq!(found.origin, expected.origin);
    assert_eq!(found.split_watermarks.as_deref(), expected.split_watermarks.as_deref());
    let hashes = |batch: &Batch| batch.key_hashes.clone().map(|key| (key.columns.to_vec(), key.hashes.to_vec()));
    assert_eq!(hashes(found), hashes(expected));
}

async fn produce(channel: usize, sender: Box<dyn RemoteSender>) {
    for index in 0..BATCHES {
        sender.send(StreamElement::Batch(mixed(channel, index))).await.unwrap();
        sender.send(StreamElement::Watermark(index)).await.unwrap();
        if index % 10 == 9 {
            sender
                .send(StreamElement::Barrier(Barrier { checkpoint: CheckpointId(index as u64), last: false }))
                .await
                .unwrap();
            sender.send(StreamElement::Idle).await.unwrap();
        }
    }
    sender.send(StreamElement::EndOfInput).await.unwrap();
}

/// Checks everything that [`produce`] sends on one channel.
#[derive(Default)]
struct Expectation {
    batches: i64,
    watermarks: i64,
    barriers: i64,
    idles: i64,
    ended: bool,
}

impl Expectation {
    fn check(&mut self, channel: usize, element: StreamElement) {
        assert!(!self.ended);
        match element {
            StreamElement::Batch(batch) => {
                check(&batch, &mixed(channel, self.batches));
                self.batches += 1;
            }
            StreamElement::Watermark(watermark) => {
                assert_eq!((watermark, self.batches), (self.watermarks, self.watermarks + 1));
                self.watermarks += 1;
            }
            StreamElement::Barrier(barrier) => {
                self.barriers += 1;
                assert_eq!((barrier.checkpoint.0, self.batches), (self.batches as u64 - 1, self.barriers * 10));
            }
            StreamElement::Idle => {
                self.idles += 1;
                assert_eq!(self.idles, self.barriers);
            }
            StreamElement::EndOfInput => {
                assert_eq!((self.batches, self.watermarks, self.barriers), (BATCHES, BATCHES, BATCHES / 10));
                self.ended = true;
            }
        }
    }
}

async fn a_hundred_thousand_rows_each(compression: Compression) {
    let consumer = Consumer::new(3, NetworkSettings { compression, ..settings("b") }).await;
    let settings = NetworkSettings { compression, ..settings("a") };
    let mut producer = Producer::new(3, settings, consumer.plane.address()).await;
    let mut consumer = consumer;
    for (index, sender) in std::mem::take(&mut producer.channels).into_iter().enumerate() {
        tokio::spawn(produce(index, sender));
    }
    soon(producer.network.connect()).await.unwrap();
    let mut expected: Vec<Expectation> = (0..3).map(|_| Expectation::default()).collect();
    while expected.iter().any(|channel| !channel.ended) {
        let (channel, element) = consumer.next().await;
        expected[channel].check(channel, element);
    }
    soon(producer.network.finish()).await;
    let (sent, received) = (producer.network.traffic(), consumer.network.traffic());
    assert_eq!((sent.sent_batches, received.received_batches), (300, 300));
    assert_eq!((producer.plane.traffic(), sent.sent_bytes > 300_000), (sent, true));
    drop((producer.network, consumer.network));
    assert!(producer.failures.recv().await.is_none(), "a regular end is no failure");
    assert!(consumer.failures.recv().await.is_none(), "a regular end is no failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rows_arrive_in_order_with_what_travels_beside_them() {
    a_hundred_thousand_rows_each(Compression::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_compressed() {
    a_hundred_thousand_rows_each(Compression::Lz4).await;
}

#[tokio::test]
async fn a_consumer_that_does_not_read_stops_its_own_producer_alone() {
    let (producer, mut consumer) = connected(2).await;
    consumer.gate.block(0);
    let filled = producer.fill(0).await;
    assert!((5..20).contains(&filled), "10 kB of credit took {filled} batches of 1 kB");
    for number in 0..1000 {
        soon(producer.channels[1].send(numbers(number))).await.unwrap();
        assert_eq!(consumer.next_number().await, (1, number));
    }
    assert!(producer.channels[0].send(numbers(0)).now_or_never().is_none(), "still no credit");
    consumer.gate.unblock_all();
    for number in 0..filled {
        assert_eq!(consumer.next_number().await, (0, number));
    }
    soon(producer.channels[0].send(numbers(filled))).await.unwrap();
    assert_eq!(consumer.next_number().await, (0, filled));
}

#[tokio::test]
async fn a_barrier_waits_for_the_rows_before_it_but_not_for_credit() {
    let (producer, mut consumer) = connected(1).await;
    let filled = producer.fill(0).await;
    let barrier = Barrier { checkpoint: CheckpointId(7), last: false };
    let last = Barrier { checkpoint: CheckpointId(8), last: true };
    let barriers = [StreamElement::Barrier(barrier), StreamElement::Barrier(last)];
    for signal in [StreamElement::Watermark(5), StreamElement::Idle].into_iter().chain(barriers) {
        producer.channels[0].send(signal).now_or_never().expect("signals do not wait").unwrap();
    }
    for number in 0..filled {
        assert_eq!(consumer.next_number().await, (0, number));
    }
    assert!(matches!(consumer.next().await.1, StreamElement::Watermark(5)));
    assert!(matches!(consumer.next().await.1, StreamElement::Idle));
    assert!(matches!(consumer.next().await.1, StreamElement::Barrier(found) if found == barrier));
    assert!(matches!(consumer.next().await.1, StreamElement::Barrier(found) if found == last));
}

#[tokio::test]
async fn a_batch_larger_than_the_credit_passes() {
    let settings = |worker| NetworkSettings { channel_bytes: 1, max_frame_bytes: 4096, ..settings(worker) };
    let mut consumer = Consumer::new(1, settings("b")).await;
    let producer = Producer::new(1, settings("a"), consumer.plane.address()).await;
    producer.network.connect().await.unwrap();
    for index in 0..5 {
        soon(producer.channels[0].send(StreamElement::Batch(mixed(0, index)))).await.unwrap();
        let mut rows = 0;
        while rows < ROWS {
            let (_, element) = consumer.next().await;
            let StreamElement::Batch(part) = element else { panic!("expected a batch, got {element:?}") };
            check(&part, &mixed(0, index).slice(rows as usize, part.len()));
            rows += part.len() as i64;
        }
    }
}

#[tokio::test]
async fn two_workers_send_to_each_other_and_to_a_third() {
    let planes = futures::future::join_all(["a", "b", "c"].map(|worker| plane(settings(worker)))).await;
    let names = ["a", "b", "c"];
    let (mut networks, mut gates) = (Vec::new(), Vec::new());
    for (me, plane) in planes.iter().enumerate() {
        let (senders, gate) = local_channels(2, 10_000);
        let others = (0..3).filter(|other| *other != me);
        let inbound = others.zip(senders).map(|(other, sender)| ((names[other].to_string(), channel(me)), sender));
        let (callback, _) = recording();
        networks.push(plane.open(key(), Token::new(TOKEN), inbound.collect(), callback).unwrap());
        gates.push(gate);
    }
    for (me, network) in networks.iter().enumerate() {
        let others: Vec<usize> = (0..3).filter(|other| *other != me).collect();
        let senders: Vec<_> = others
            .iter()
            .map(|other| network.sender(names[*other], planes[*other].address(), channel(*other)).unwrap())
            .collect();
        soon(network.connect()).await.unwrap();
        for sender in senders {
            sender.send(numbers(me as i64)).await.unwrap();
            sender.send(StreamElement::EndOfInput).await.unwrap();
        }
    }
    for (me, gate) in gates.iter_mut().enumerate() {
        let (mut found, mut ends) = (Vec::new(), 0);
        while ends < 2 {
            match soon(gate.receive()).await.unwrap().1 {
                StreamElement::Batch(batch) => found.push(first_number(&batch) as usize),
                _ => ends += 1,
            }
        }
        found.sort_unstable();
        assert_eq!(found, (0..3).filter(|other| *other != me).collect::<Vec<_>>());
    }
    for network in &networks {
        soon(network.finish()).await;
    }
}
