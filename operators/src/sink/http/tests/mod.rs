//! The HTTP sink against the contract of all sinks, as far as a server keeps to the keys; and what only it promises.

mod delivery;
mod settings;

use super::{HttpCommitter, HttpSink, HttpSinkConfig};
use crate::sink::conformance::{self, JOB, SINK, SinkUnderTest, context};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::Range, sync::Arc};
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    element::Barrier,
    env::Env,
    ids::CheckpointId,
    operator::{Committable, Committer, CommitterContext, OperatorContext, Sink, Waits},
};
use weir_test_support::web_server::{Posted, WebServer};

/// A server that only one test has, and the checkpoint storage beside it.
struct Target {
    server: WebServer,
    config: HttpSinkConfig,
    store: CheckpointStore,
    env: Env,
    waits: Waits,
}

impl Target {
    fn new() -> Self {
        Target::with(json!({}))
    }

    /// With further settings.
    fn with(more: Value) -> Self {
        let server = WebServer::start();
        let mut config = json!({ "url": format!("http://{}/hooks", server.address()), "batch": 4, "timeout_ms": 5000 });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let store = CheckpointStore::in_memory(JOB);
        store.claim_attempt(&Env::from_entropy()).now_or_never().unwrap().unwrap();
        let config = HttpSinkConfig::from_json(&config).unwrap();
        Target { server, config, store, env: Env::default(), waits: Waits::default() }
    }

    fn staging(&self, sink: &str) -> Staging {
        Staging::new(self.store.clone(), sink)
    }

    fn new_committer(&self) -> HttpCommitter {
        self.committer_of(SINK)
    }

    fn committer_of(&self, sink: &str) -> HttpCommitter {
        let context = CommitterContext {
            staging: self.staging(sink),
            env: self.env.clone(),
            waits: self.waits.clone(),
            ..CommitterContext::single(JOB, sink)
        };
        HttpCommitter::new(self.config.clone(), context).unwrap()
    }

    async fn staged(&self, attempt: u64, numbers: Range<i64>, checkpoint: u64) -> Vec<Committable> {
        let mut sink = self.sink(&context(attempt, 0));
        sink.write(conformance::rows(numbers)).await.unwrap();
        sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap()
    }

    /// The rows of a server that keeps to their keys: of those with one key the first.
    fn rows(&self) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for posted in self.server.taken() {
            for row in objects(&posted) {
                let key = row["idempotency_key"].as_str().unwrap().to_owned();
                let held = rows.entry(key).or_insert_with(|| row.clone());
                assert_eq!(*held, row, "one key, two rows");
            }
        }
        rows
    }
}

fn objects(posted: &Posted) -> Vec<Value> {
    serde_json::from_str(&posted.body).unwrap()
}

fn number(row: &Value) -> i64 {
    row["n"].as_i64().unwrap()
}

impl SinkUnderTest for Target {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        let context =
            OperatorContext { staging: self.staging(&context.operator), env: self.env.clone(), ..context.clone() };
        Box::new(HttpSink::new(&context))
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        assert_eq!(job, JOB);
        Arc::new(self.committer_of(sink))
    }

    fn visible(&self) -> BoxFuture<'_, Vec<i64>> {
        futures::future::ready(self.rows().values().map(number).collect()).boxed()
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

#[tokio::test]
async fn it_keeps_the_contract() {
    conformance::check_all(Target::new).await;
}
