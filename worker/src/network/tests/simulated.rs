//! The same code over a simulated network and clock: a cut is noticed at both ends, and one seed gives one run.

use super::*;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::io;
use weir_proto::net::{BoxConnection, Listener, Network};

const PORT: u16 = 7000;

#[derive(Debug)]
struct Simulated;

struct SimulatedListener(turmoil::net::TcpListener);

#[async_trait]
impl Network for Simulated {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        Ok(Box::new(turmoil::net::TcpStream::connect(address).await?))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SimulatedListener(turmoil::net::TcpListener::bind(address).await?)))
    }
}

#[async_trait]
impl Listener for SimulatedListener {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        Ok(Box::new(self.0.accept().await?.0))
    }

    fn address(&self) -> String {
        self.0.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    }
}

async fn simulated_plane(worker: &str) -> DataPlane {
    let settings = NetworkSettings {
        listen: format!("0.0.0.0:{PORT}"),
        keepalive_timeout: Duration::from_millis(500),
        ..settings(worker)
    };
    DataPlane::start(Arc::new(Simulated), Env::seeded(1), settings, Handle::current()).await.unwrap()
}

type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    let micros = turmoil::sim_elapsed().unwrap_or_default().as_micros();
    log.lock().push(format!("{micros} {}", what.into()));
}

/// What happens when the network between two workers is cut while batches flow.
fn run(seed: u64) -> Vec<String> {
    let log: Log = Log::default();
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(seed).simulation_duration(Duration::from_secs(30));
    builder.min_message_latency(Duration::from_millis(1)).max_message_latency(Duration::from_millis(20));
    let mut simulation = builder.build();
    let (consumer_log, producer_log) = (log.clone(), log.clone());
    simulation.client("b", async move {
        let mut consumer = Consumer::on(simulated_plane("b").await, 1, 10_000);
        let mut next = 0;
        let error = loop {
            match consumer.gate.receive().await {
                Ok((_, StreamElement::Batch(batch))) => {
                    assert_eq!(first_number(&batch), next);
                    next += 1;
                    note(&consumer_log, format!("b got {next}"));
                }
                Ok(other) => panic!("unexpected {other:?}"),
                Err(error) => break error,
            }
        };
        note(&consumer_log, format!("b fails: {error}"));
        assert!(next > 100 && error.message.contains("no sign of life"));
        assert_eq!(consumer.failures.recv().await.unwrap().peer, "a");
        Ok(())
    });
    simulation.client("a", async move {
        let mut producer = Producer::on(simulated_plane("a").await, 1, &format!("b:{PORT}"));
        producer.network.connect().await?;
        let mut sent = 0;
        let error = loop {
            if sent == 150 {
                turmoil::partition("a", "b");
                note(&producer_log, "cut");
            }
            match producer.channels[0].send(numbers(sent)).await {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        note(&producer_log, format!("a fails after {sent}: {error}"));
        assert!(sent < 200 && error.message.contains("no sign of life"));
        assert_eq!(producer.failures.recv().await.unwrap().peer, "b");
        Ok(())
    });
    simulation.run().unwrap();
    let log = log.lock();
    log.clone()
}

#[test]
fn a_cut_is_noticed_at_both_ends_within_the_timeout() {
    for seed in 0..5 {
        let log = run(seed);
        let at = |what: &str| {
            let line = log.iter().find(|line| line.contains(what)).unwrap();
            line.split(' ').next().unwrap().parse::<u64>().unwrap() / 1000
        };
        let cut = at("cut");
        for side in ["a fails", "b fails"] {
            assert!((cut + 400..cut + 700).contains(&at(side)), "seed {seed}: cut at {cut}, {side} at {}", at(side));
        }
    }
}

#[test]
fn one_seed_gives_one_run() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
