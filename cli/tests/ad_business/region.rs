//! A region: its topics, its job, and what its servers have sent.

use crate::support::{Workplace, signal};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Child,
};
use weir_engine::env::Env;
use weir_kafka::{Cluster, Connection, NewRecord, NewTopic};

const PARTITIONS: i32 = 2;

/// What a server sends.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub kind: &'static str,
    pub ad: String,
    pub at_ms: i64,
}

/// All that was sent.
#[derive(Default)]
pub struct Sent(Vec<Event>);

impl Sent {
    /// Of each event one that is valid.
    fn valid(&self) -> impl Iterator<Item = &Event> {
        let mut seen = BTreeSet::new();
        let known = self.0.iter().filter(|event| ["click", "impression"].contains(&event.kind));
        known.filter(move |event| seen.insert(event.id.as_str()))
    }

    /// Clicks by ad.
    pub fn clicks(&self) -> BTreeMap<String, i64> {
        let mut clicks = BTreeMap::new();
        for event in self.valid() {
            *clicks.entry(event.ad.clone()).or_default() += i64::from(event.kind == "click");
        }
        clicks
    }

    /// Clicks and impressions, by minute and ad.
    pub fn counts(&self) -> BTreeMap<(i64, String), (i64, i64)> {
        let mut counts: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
        for event in self.valid() {
            let count = counts.entry((event.at_ms.div_euclid(60_000) * 60_000, event.ad.clone())).or_default();
            match event.kind {
                "click" => count.0 += 1,
                _ => count.1 += 1,
            }
        }
        counts
    }
}

pub fn now_ms() -> i64 {
    Env::default().wall_clock_ms()
}

/// Brokers with the topics of ad_events_kafka.toml, and that job.
pub struct Region {
    pub place: Workplace,
    pub brokers: String,
    /// The topic with running counts.
    pub running_counts: String,
    events: String,
    child: Option<Child>,
}

impl Region {
    /// Makes the topics. Their names and the job's begin with `prefix`, where others have the same brokers.
    pub fn new(brokers: &str, prefix: &str) -> Self {
        let place = Workplace::new();
        let named = |name: &str| format!("{prefix}{name}");
        let mut text = fs::read_to_string(place.path("jobs/ad_events_kafka.toml")).unwrap();
        for (key, name) in [("name = ", "ad-events"), ("topic = ", "ad-counts"), ("topic = ", "ad-counts-running")] {
            let written = format!("{key}\"{name}\"");
            assert!(text.contains(&written), "{written}");
            text = text.replace(&written, &format!("{key}\"{}\"", named(name)));
        }
        text = text.replace("topics = [\"ad-events\"]", &format!("topics = [\"{}\"]", named("ad-events")));
        fs::write(place.path("ad_events.toml"), text.replace("localhost:9092", brokers)).unwrap();
        let region = Region {
            place,
            brokers: brokers.into(),
            events: named("ad-events"),
            running_counts: named("ad-counts-running"),
            child: None,
        };
        region.on_brokers(async |cluster| {
            for name in ["ad-events", "ad-counts", "ad-counts-running"] {
                let settings = Vec::new();
                let topic = NewTopic { name: named(name), partitions: PARTITIONS, replication: None, settings };
                cluster.create(&topic).await.unwrap();
            }
        });
        region
    }

    fn on_brokers(&self, act: impl AsyncFnOnce(&dyn Cluster)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = Connection { brokers: self.brokers.clone(), properties: BTreeMap::new() };
        let cluster = weir_kafka::connect(&connection).unwrap();
        runtime.block_on(act(cluster.as_ref()));
    }

    /// Sends events, and waits until the brokers have them.
    pub fn send(&self, sent: &mut Sent, events: Vec<Event>) {
        self.on_brokers(async |cluster| {
            let mut producer = cluster.producer().unwrap();
            for (partition, event) in (0..PARTITIONS).cycle().zip(&events) {
                let value = serde_json::json!({ "event_id": event.id, "event_type": event.kind, "ad_id": event.ad,
                    "user_id": "user 1", "country": "USA", "event_at": event.at_ms })
                .to_string();
                let record = NewRecord {
                    topic: &self.events,
                    partition,
                    key: None,
                    value: Some(value.as_bytes()),
                    headers: &[],
                    timestamp_ms: None,
                };
                producer.send(record).await.unwrap();
            }
            producer.flush().await.unwrap();
        });
        sent.0.extend(events);
    }

    pub fn start(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.place.path("job.log")).unwrap();
        let mut command = self.place.weir(&["run", "ad_events.toml", "--quiet"]);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        signal(&child, "INT");
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {}", fs::read_to_string(self.place.path("job.log")).unwrap());
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.kill();
    }
}
