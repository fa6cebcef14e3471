//! A connection that is lost fails its channels at both ends, and says so once.

use super::*;
use tokio::runtime::Runtime;
use weir_engine::error::ErrorKind;

#[tokio::test]
async fn a_dead_consumer_fails_its_producers_even_those_that_wait() {
    let own = Runtime::new().unwrap();
    let network: SharedNetwork = Arc::new(TcpNetwork);
    let b = DataPlane::start(network, Env::default(), settings("b"), own.handle().clone()).await.unwrap();
    let consumer = Consumer::on(b, 2, 10_000);
    let mut producer = Producer::new(2, settings("a"), consumer.plane.address()).await;
    soon(producer.network.connect()).await.unwrap();
    producer.fill(0).await;
    let waiting = producer.channels[0].send(numbers(0));
    // As `kill -9` does: nothing is said any more, the system closes what was open.
    let (result, ()) = soon(futures::future::join(waiting, async { own.shutdown_background() })).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Disconnected);
    assert!(error.message.contains("worker b"), "{error}");
    assert!(producer.channels[1].send(StreamElement::Watermark(1)).await.is_err());
    let failure = soon(producer.failures.recv()).await.unwrap();
    assert_eq!((failure.key, failure.peer.as_str()), (key(), "b"));
    soon(producer.network.finish()).await;
    drop(producer.network);
    drop(producer.channels);
    assert!(producer.failures.recv().await.is_none(), "one connection, one report");
}

#[tokio::test]
async fn a_dead_producer_fails_its_consumers_behind_what_it_had_sent() {
    let own = Runtime::new().unwrap();
    let mut consumer = Consumer::new(1, settings("b")).await;
    let network: SharedNetwork = Arc::new(TcpNetwork);
    let a = DataPlane::start(network, Env::default(), settings("a"), own.handle().clone()).await.unwrap();
    let producer = Producer::on(a, 1, consumer.plane.address());
    soon(producer.network.connect()).await.unwrap();
    producer.channels[0].send(numbers(4)).await.unwrap();
    assert_eq!(consumer.next_number().await, (0, 4));
    own.shutdown_background();
    let error = soon(consumer.gate.receive()).await.unwrap_err();
    assert!(error.kind == ErrorKind::Disconnected && error.message.contains("worker a"), "{error}");
    assert_eq!(soon(consumer.failures.recv()).await.unwrap().peer, "a");
}

#[tokio::test]
async fn a_close_fails_what_is_open_here_and_there_and_is_reported_only_there() {
    let (mut producer, mut consumer) = connected(1).await;
    consumer.network.close();
    assert!(soon(consumer.gate.receive()).await.unwrap_err().message.contains("closed"));
    assert_eq!(soon(producer.failures.recv()).await.unwrap().peer, "b");
    assert!(producer.channels[0].send(numbers(0)).await.is_err());
    drop(consumer.network);
    assert!(consumer.failures.recv().await.is_none());

    let (producer, mut consumer) = connected(1).await;
    producer.network.close();
    assert!(producer.channels[0].send(numbers(0)).await.unwrap_err().message.contains("closed"));
    assert!(soon(consumer.gate.receive()).await.unwrap_err().message.contains("worker a"));
}

#[tokio::test]
async fn a_producer_that_goes_before_its_end_fails_its_channel_alone() {
    let (mut producer, mut consumer) = connected(2).await;
    consumer.gate.block(1);
    producer.channels.remove(1);
    producer.channels[0].send(numbers(1)).await.unwrap();
    assert_eq!(consumer.next_number().await, (0, 1));
    consumer.gate.unblock_all();
    assert!(soon(consumer.gate.receive()).await.unwrap_err().message.contains("producer of channel"));
    assert!(producer.channels[0].send(numbers(1)).await.is_ok());
}

#[tokio::test]
async fn a_consumer_that_goes_before_the_end_fails_its_producer_and_no_other() {
    let (senders, other_gate) = local_channels(1, 10_000);
    let (more, mut gate) = local_channels(1, 10_000);
    let senders = senders.into_iter().chain(more).enumerate();
    let inbound = senders.map(|(index, sender)| (("a".to_string(), channel(index)), sender)).collect();
    let b = plane(settings("b")).await;
    let (callback, _failures) = recording();
    let _network = b.open(key(), Token::new(TOKEN), inbound, callback).unwrap();
    let producer = Producer::new(2, settings("a"), b.address()).await;
    soon(producer.network.connect()).await.unwrap();
    drop(other_gate);
    let refused = async {
        loop {
            if let Err(error) = producer.channels[0].send(numbers(0)).await {
                return error;
            }
        }
    };
    assert!(soon(refused).await.message.contains("is gone"));
    producer.channels[1].send(numbers(2)).await.unwrap();
    assert!(matches!(soon(gate.receive()).await.unwrap(), (0, StreamElement::Batch(_))));
}

#[tokio::test]
async fn who_cannot_be_reached_is_named() {
    let settings = NetworkSettings { connect_timeout: Duration::from_millis(200), ..settings("a") };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let producer = Producer::new(1, settings, &address).await;
    let error = soon(producer.network.connect()).await.unwrap_err();
    assert!(error.message.contains("worker b at 127.0.0.1"), "{error}");
    assert!(producer.channels[0].send(numbers(0)).await.is_err());
}

#[tokio::test]
async fn a_worker_that_listens_late_is_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let producer = Producer::new(1, settings("a"), &address).await;
    let late = async {
        Env::default().sleep(Duration::from_millis(150)).await;
        Consumer::new(1, NetworkSettings { listen: address.clone(), ..settings("b") }).await
    };
    let (connected, mut consumer) = soon(futures::future::join(producer.network.connect(), late)).await;
    connected.unwrap();
    producer.channels[0].send(numbers(8)).await.unwrap();
    assert_eq!(consumer.next_number().await, (0, 8));
}

#[tokio::test]
async fn a_job_may_be_run_again_after_a_failure() {
    let (producer, consumer) = connected(1).await;
    drop(producer.network);
    drop(consumer.network);
    let mut consumer = Consumer::on(consumer.plane, 1, 10_000);
    let producer = Producer::on(producer.plane, 1, consumer.plane.address());
    soon(producer.network.connect()).await.unwrap();
    producer.channels[0].send(numbers(5)).await.unwrap();
    assert_eq!(consumer.next_number().await, (0, 5));
}

#[tokio::test]
async fn patience_changes_for_connections_that_are_open() {
    let long = Duration::from_secs(60);
    let silent = NetworkSettings { keepalive_period: long, keepalive_timeout: long * 2, ..settings("a") };
    let mut consumer = Consumer::new(1, NetworkSettings { keepalive_timeout: long, ..settings("b") }).await;
    let producer = Producer::new(1, silent, consumer.plane.address()).await;
    soon(producer.network.connect()).await.unwrap();
    consumer.plane.set_keepalive(Duration::from_millis(20), Duration::from_millis(200));
    let error = soon(consumer.gate.receive()).await.unwrap_err();
    assert!(error.message.contains("no sign of life for 2"), "{error}");
}
