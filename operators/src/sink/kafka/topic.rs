//! The topic as a subtask knows it: how many partitions it has, and how large a record may be. Asked for with the first rows, and
//! again from time to time, beside the rows: nobody waits for an answer that can be done without.

use super::config::KafkaSinkConfig;
use backon::Retryable;
use futures::{FutureExt, future::BoxFuture};
use std::{fmt, sync::Arc, time::Duration};
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
    retry,
};
use weir_kafka::{Cluster, KafkaErrorKind, Result as KafkaResult, Topic};

/// How old what is known may be. Partitions that are added get records after this long.
pub(super) const REFRESH: Duration = Duration::from_secs(30);

/// How long brokers are waited for when nothing is known yet. Then the attempt ends, and the job waits without one.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// What is known of the topic.
pub(super) struct TopicWatch {
    config: KafkaSinkConfig,
    env: Env,
    cluster: Option<Arc<dyn Cluster>>,
    known: Option<Topic>,
    asked: Option<Moment>,
    asking: Option<BoxFuture<'static, KafkaResult<Option<Topic>>>>,
}

impl TopicWatch {
    pub fn new(config: KafkaSinkConfig, env: Env) -> Self {
        TopicWatch { config, env, cluster: None, known: None, asked: None, asking: None }
    }

    /// The topic.
    ///
    /// # Errors
    /// When there is none, or nothing is known of it and the brokers are away.
    pub async fn current(&mut self) -> Result<Topic> {
        if let Some(known) = self.refreshed() {
            return Ok(known);
        }
        let cluster = self.cluster()?;
        let (env, name) = (&self.env, &self.config.topic);
        let enough = env.now() + FIRST_ANSWER;
        let described = (|| cluster.describe(name))
            .retry(retry::jittered(env, Duration::from_millis(50), Duration::from_secs(5)))
            .sleep(retry::sleeper(env))
            .when(|error| error.kind == KafkaErrorKind::Unavailable && env.now() < enough)
            .await?;
        let topic = described.ok_or_else(|| missing(name, self.config.connection.shown()))?;
        (self.known, self.asked) = (Some(topic.clone()), Some(self.env.now()));
        Ok(topic)
    }

    /// What is known already, after a look whether there is something new.
    fn refreshed(&mut self) -> Option<Topic> {
        self.known.as_ref()?;
        if let Some(answer) = self.asking.as_mut().and_then(|asking| asking.now_or_never()) {
            self.asking = None;
            // A topic that is gone is the committer's affair: it knows what to say.
            if let Ok(Some(topic)) = answer {
                self.known = Some(topic);
            }
        }
        let now = self.env.now();
        if self.asking.is_none()
            && self.asked.is_none_or(|asked| now >= asked + REFRESH)
            && let Ok(cluster) = self.cluster()
        {
            let name = self.config.topic.clone();
            self.asked = Some(now);
            let mut asking = async move { cluster.describe(&name).await }.boxed();
            // It is under way from here on.
            match (&mut asking).now_or_never() {
                Some(Ok(Some(topic))) => self.known = Some(topic),
                Some(_) => {}
                None => self.asking = Some(asking),
            }
        }
        self.known.clone()
    }

    fn cluster(&mut self) -> Result<Arc<dyn Cluster>> {
        if self.cluster.is_none() {
            self.cluster = Some(self.config.connection.connect()?);
        }
        self.cluster.clone().ok_or_else(|| EngineError::internal("no cluster"))
    }
}

/// There is no such topic: what to do.
pub(super) fn missing(topic: &str, brokers: &str) -> EngineError {
    EngineError::definition(format!(
        "there is no topic '{topic}' at '{brokers}', and none is made by itself, since how many partitions and copies it has is \
         yours to say: kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic} --partitions 6"
    ))
}

/// The topic takes nothing of what the sink writes.
pub(super) fn without_key(topic: &str) -> EngineError {
    EngineError::definition(format!(
        "the topic '{topic}' is compacted, which takes no records without a key, and the sink has no `key`: name its columns, such as \
         key = [\"record_id\"], or give the topic cleanup.policy=delete"
    ))
}

impl fmt::Debug for TopicWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicWatch")
            .field("topic", &self.config.topic)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}
