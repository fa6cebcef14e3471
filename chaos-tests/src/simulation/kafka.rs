//! The simulation's Kafka: a model of its brokers, which outlives all processes, behind the doors of those that ask.

use super::{
    power::{Power, Process},
    trace::Trace,
    wrong_kafka::{WrongCluster, WrongKafka},
};
use crate::{job::kafka::BROKERS, topics};
use anyhow::{Context, Result};
use futures::{FutureExt, future::BoxFuture};
use std::{io, path::Path, sync::Arc, time::Duration};
use weir_engine::env::Door;
use weir_kafka::{
    Cluster,
    provided::{Provided, provide},
};
use weir_kafka_model::{Caller, Conditions, Model, Patience, Written};

/// The brokers, reached by all that runs on this thread.
pub struct Kafka {
    model: Model,
    _provided: Provided,
}

impl Kafka {
    /// Brokers without topics; the clusters that processes are handed may be wrong.
    pub fn new(seed: u64, power: &Power, trace: &Trace, wrong: Option<WrongKafka>) -> Self {
        let (now, told, power) = (trace.wall_clock(0), trace.clone(), power.clone());
        let began_ms = now();
        let elapsed = trace.clone();
        let clock = Arc::new(move || Duration::from_millis(began_ms.unsigned_abs()) + elapsed.elapsed());
        let tell = Arc::new(move |is_detail, line: String| match is_detail {
            true => told.detail(line),
            false => told.note(line),
        });
        // Small pieces, so that much can happen between them.
        let patience = Patience { batch: 1, fetch: 4, ahead: 4, ..Patience::default() };
        let model = Model::on(seed, clock, patience, Some(tell));
        let here = power.clone();
        let right = model.cluster_for(Arc::new(move || caller(&power)));
        let cluster: Arc<dyn Cluster> = match wrong {
            Some(wrong) => Arc::new(WrongCluster::new(right, wrong, here)),
            None => right,
        };
        Kafka { model, _provided: provide(BROKERS, cluster) }
    }

    /// Makes the topic of the clicks, from the files of a folder in the order of their names.
    ///
    /// # Errors
    /// When these cannot be read.
    pub fn fill_clicks(&self, folder: &Path) -> Result<()> {
        let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        files.sort_by_key(|entry| entry.file_name());
        let contents: Vec<Vec<u8>> =
            files.iter().map(|entry| std::fs::read(entry.path())).collect::<io::Result<_>>()?;
        topics::fill_clicks(&self.model, &contents);
        Ok(())
    }

    /// The brokers.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What is committed in a topic.
    ///
    /// # Errors
    /// When there is no such topic.
    pub fn committed(&self, topic: &str) -> Result<Vec<Written>> {
        self.model.committed(topic).with_context(|| format!("there is no topic {topic}"))
    }

    /// Whatever was under way comes.
    pub fn come_to_rest(&self) {
        self.model.set(Conditions::default());
        self.model.come_to_rest();
    }
}

fn caller(power: &Power) -> Caller {
    match power.here() {
        Some(process) => Caller::behind(process.host(), Arc::new(ProcessDoor(process.clone()))),
        None => Caller::named("nobody"),
    }
}

/// A process that stands still asks for nothing and hears nothing; one that has ended never does.
struct ProcessDoor(Process);

impl Door for ProcessDoor {
    fn pass(&self) -> BoxFuture<'static, ()> {
        self.0.runs()
    }

    fn request<'a>(&'a self, _what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.0.runs().map(Ok).boxed()
    }

    fn answer<'a>(&'a self, _what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.0.runs().map(Ok).boxed()
    }
}
