//! The Kafka sink against the contract of all sinks, and what only it promises.

mod faults;
mod formats;
mod protocol;
mod read_back;
mod topics;

use super::{Delivery, KafkaCommitter, KafkaSink, KafkaSinkConfig};
use crate::sink::conformance::{self, JOB, SINK, SinkUnderTest, context};
use futures::{FutureExt, future::BoxFuture};
use serde_json::json;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    element::Barrier,
    env::Env,
    ids::{CheckpointId, Lineage},
    operator::{Committable, Committer, CommitterContext, OperatorContext, Sink, Waits},
};
use weir_kafka::provided::provide;
use weir_kafka_model::{Model, Written};

/// The topic of the tests.
const TOPIC: &str = "numbers";
/// The topic of the progress of [`JOB`].
const PROGRESS: &str = "weir-progress-ad-click";

/// A topic of a cluster that nobody has provided.
pub(super) fn config() -> KafkaSinkConfig {
    KafkaSinkConfig::from_json(&json!({ "connection": { "brokers": "model:tests" }, "topic": TOPIC })).unwrap()
}

/// A topic at brokers that only one test has, and the checkpoint storage beside it.
struct Target {
    config: KafkaSinkConfig,
    model: Model,
    store: CheckpointStore,
    env: Env,
    waits: Waits,
}

fn store() -> CheckpointStore {
    let store = CheckpointStore::in_memory(JOB);
    store.claim_attempt(&Env::from_entropy()).now_or_never().unwrap().unwrap();
    store
}

impl Target {
    fn new() -> Self {
        Target::seeded(1)
    }

    fn seeded(seed: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let brokers = format!("model:{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let model = Model::new(seed);
        model.create(TOPIC, 3, &[]);
        // For as long as the thread lives, which is that of its test.
        std::mem::forget(provide(&brokers, model.cluster()));
        let mut config = config();
        config.connection.brokers = brokers;
        Target { config, model, store: store(), env: Env::simulated(seed, Arc::new(|| 0)), waits: Waits::default() }
    }

    fn staging(&self, sink: &str) -> Staging {
        Staging::new(self.store.clone(), sink)
    }

    /// A committer of another process, which has not spoken to the brokers yet.
    fn committer_of(&self, sink: &str) -> KafkaCommitter {
        self.committer_in(sink, self.store.layout().lineage())
    }

    fn committer_in(&self, sink: &str, lineage: Lineage) -> KafkaCommitter {
        let staging = Staging::new(self.store.clone().in_lineage(lineage), sink);
        let context = CommitterContext {
            staging,
            env: self.env.clone(),
            waits: self.waits.clone(),
            ..CommitterContext::single(JOB, sink)
        };
        KafkaCommitter::new(self.config.clone(), context).unwrap()
    }

    fn new_committer(&self) -> KafkaCommitter {
        self.committer_of(SINK)
    }

    async fn prepared(&self) -> KafkaCommitter {
        let committer = self.new_committer();
        committer.prepare().await.unwrap();
        committer
    }

    async fn staged(&self, attempt: u64, numbers: Range<i64>, checkpoint: u64) -> Vec<Committable> {
        let mut sink = self.sink(&context(attempt, 0));
        sink.write(conformance::rows(numbers)).await.unwrap();
        sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap()
    }

    /// What a reader of committed records sees of a topic, soon after: what a commit means comes to each partition in its own time.
    async fn committed(&self, topic: &str) -> Vec<Written> {
        self.env.sleep(Duration::from_millis(100)).await;
        self.model.committed(topic).unwrap_or_default()
    }
}

fn number(written: &Written) -> i64 {
    let value: serde_json::Value = serde_json::from_slice(written.record.value.as_ref().unwrap()).unwrap();
    value["n"].as_i64().unwrap()
}

impl SinkUnderTest for Target {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        let context =
            OperatorContext { staging: self.staging(&context.operator), env: self.env.clone(), ..context.clone() };
        Box::new(KafkaSink::new(self.config.clone(), &context))
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        assert_eq!(job, JOB);
        Arc::new(self.committer_of(sink))
    }

    fn visible(&self) -> BoxFuture<'_, Vec<i64>> {
        // Those of other sinks as well.
        async { self.committed(TOPIC).await.iter().map(number).collect() }.boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, usize> {
        async {
            let mut all = 0;
            for sink in [SINK, "sink.counts-late"] {
                all += self.staging(sink).list().await.unwrap().len();
            }
            all
        }
        .boxed()
    }

    fn can_take_back(&self) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract() {
    conformance::check_all(Target::new).await;
}
