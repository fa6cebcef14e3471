//! What happens to topics while the job runs: new ones, new partitions, topics that are gone. It is looked for beside the reading,
//! which never waits for that.

use super::{away::Away, config::KafkaConfig, group::GroupOffsets, position::Position, progress::Progress};
use crate::source::files::glob;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet};
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, ErrorKind, Result},
};
use weir_kafka::{Cluster, KafkaErrorKind, Topic, TopicPartition};

/// While brokers are away it is looked so often whether they are back, if not more often.
const WHILE_AWAY: Duration = Duration::from_secs(1);
/// For so long it is remembered how far a topic was read that is gone. Brokers may be wrong about it while they start; and whoever
/// makes and deletes topics every day must not make a job grow.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Topics in which Weir's own sinks note how far they have come fit a pattern only if it says so.
const PROGRESS_TOPICS: &str = "weir-progress-";

/// Which partitions are one subtask's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) subtask: usize,
    pub(super) parallelism: usize,
}

impl Share {
    /// Whether a partition is. Those of one topic are dealt out in turn, and which subtask gets the first one depends on the
    /// topic's name.
    pub(super) fn owns(&self, place: &TopicPartition) -> bool {
        let first = xxhash_rust::xxh3::xxh3_64(place.topic.as_bytes());
        let number = first.wrapping_add(place.partition.unsigned_abs().into());
        number % self.parallelism.max(1) as u64 == self.subtask as u64
    }
}

/// Whether a topic is one that the settings want.
pub(super) fn wants(config: &KafkaConfig, topic: &str) -> bool {
    match &config.pattern {
        None => config.topics.iter().any(|wanted| wanted == topic),
        Some(pattern) => {
            let is_for_people = !topic.starts_with(PROGRESS_TOPICS) || pattern.starts_with(PROGRESS_TOPICS);
            is_for_people && glob::matches(pattern, topic)
        }
    }
}

/// The topics that are wanted, as they are now.
pub(super) async fn wanted_topics(
    cluster: &dyn Cluster,
    config: &KafkaConfig,
) -> weir_kafka::Result<BTreeMap<String, Option<Topic>>> {
    let names = match &config.pattern {
        None => config.topics.clone(),
        Some(_) => cluster.topics().await?.into_iter().filter(|topic| wants(config, topic)).collect(),
    };
    let mut topics = BTreeMap::new();
    for name in names {
        let topic = cluster.describe(&name).await?;
        topics.insert(name, topic);
    }
    Ok(topics)
}

/// What was found since it was asked last.
#[derive(Default)]
pub(super) struct News {
    /// Where new partitions begin.
    pub(super) new: Vec<Arc<Progress>>,
    /// A topic that is read is gone, or another one.
    pub(super) failure: Option<EngineError>,
}

/// Looks now and then, until it is dropped.
pub(super) struct Look {
    news: Arc<Mutex<News>>,
    _task: JoinSet<()>,
}

/// The side that looks.
pub(super) struct Looker {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) config: KafkaConfig,
    pub(super) share: Share,
    /// The partitions of all subtasks that are known.
    pub(super) known: BTreeSet<TopicPartition>,
    /// Those that are read here.
    pub(super) read: Vec<Arc<Progress>>,
    /// Topics that are not there, and since when it is known.
    pub(super) missing: BTreeMap<String, Moment>,
    /// How far partitions had been read that are gone, and since when they are; for a [while](REMEMBERED).
    pub(super) retired: BTreeMap<TopicPartition, (Moment, Position)>,
    pub(super) away: Arc<Away>,
    pub(super) env: Env,
    pub(super) woken: Arc<Notify>,
    /// What is noted for a consumer group, if the definition names one.
    pub(super) group: Option<GroupOffsets>,
}

impl Look {
    /// Begins to look.
    pub(super) fn begin(looker: Looker) -> Self {
        let news = Arc::<Mutex<News>>::default();
        let mut task = JoinSet::new();
        task.spawn(looker.look_for_ever(Arc::clone(&news)));
        Look { news, _task: task }
    }

    /// Whether there is something new.
    pub(super) fn has_news(&self) -> bool {
        let news = self.news.lock();
        !news.new.is_empty() || news.failure.is_some()
    }

    /// What is new.
    pub(super) fn news(&self) -> News {
        std::mem::take(&mut self.news.lock())
    }
}

impl Looker {
    async fn look_for_ever(mut self, news: Arc<Mutex<News>>) {
        loop {
            let interval = self.config.discover_interval();
            let pause = if self.away.is_waited_for() { interval.min(WHILE_AWAY) } else { interval };
            self.env.sleep(pause).await;
            if let Some(group) = &self.group {
                group.note(self.cluster.as_ref()).await;
            }
            match self.look().await {
                Ok(new) => {
                    self.away.answered();
                    if !new.is_empty() {
                        news.lock().new.extend(new);
                        self.woken.notify_one();
                    }
                }
                Err(failure) => {
                    news.lock().failure = Some(failure);
                    self.woken.notify_one();
                    return;
                }
            }
        }
    }

    /// Partitions that are new, and this subtask's.
    ///
    /// # Errors
    /// When a topic that is read cannot be read any further.
    async fn look(&mut self) -> Result<Vec<Arc<Progress>>> {
        let asked = match self.ask().await {
            Ok(found) => found,
            Err(error) if error.kind == KafkaErrorKind::Unavailable => {
                self.away.met(&error.message);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        self.retire(&asked);
        for position in self.read.iter().map(|progress| progress.position()) {
            if self.missing.contains_key(&position.topic) {
                continue;
            }
            if let Some(now) = asked.topics.get(&position.topic) {
                position.check_topic(now.as_ref())?;
            }
        }
        if let Err(error) = self.check_those_left(&asked).await {
            match error.kind {
                ErrorKind::Unavailable => self.away.met(&error.message),
                _ => return Err(error),
            }
        }
        for position in &asked.new {
            tracing::info!(partition = %position.place(), offset = position.offset, "a new partition is read");
            self.retired.remove(&position.place());
        }
        let new: Vec<Arc<Progress>> = asked.new.into_iter().map(|position| Arc::new(Progress::of(position))).collect();
        self.read.extend(new.iter().cloned());
        self.known.extend(asked.places);
        Ok(new)
    }

    /// With a pattern, topics come and go. One that is not there whenever it is looked for the usual interval is gone; a single answer
    /// may be that of a broker that has just started. Its partitions end, and if another one of that name comes it is a new one.
    fn retire(&mut self, asked: &Asked) {
        if self.config.pattern.is_none() {
            return;
        }
        let (now, interval) = (self.env.now(), self.config.discover_interval());
        let absent = asked.topics.iter().filter(|(_, topic)| topic.is_none()).map(|(name, _)| name.clone());
        let since = |name: String| (self.missing.get(&name).copied().unwrap_or(now), name);
        let (gone, absent): (Vec<_>, Vec<_>) = absent.map(since).partition(|(since, _)| now - *since >= interval);
        let gone: BTreeSet<String> = gone.into_iter().map(|(_, name)| name).collect();
        for progress in self.read.iter().filter(|progress| gone.contains(&progress.place().topic)) {
            tracing::info!(partition = %progress.place(), offset = progress.offset(), "the topic is gone: it is not read any more");
            self.retired.insert(progress.place().clone(), (now, progress.position()));
            progress.is_gone_now();
            self.woken.notify_one();
        }
        self.retired.retain(|_, (since, _)| now - *since < REMEMBERED);
        self.read.retain(|progress| !gone.contains(&progress.place().topic));
        self.known.retain(|place| !gone.contains(&place.topic));
        self.missing = absent.into_iter().map(|(since, name)| (name, since)).collect();
    }

    /// Asks about positions of a checkpoint that nobody could be asked about before. Their topics are known to be the same.
    async fn check_those_left(&self, asked: &Asked) -> Result<()> {
        for progress in self.read.iter().filter(|progress| progress.is_unchecked()) {
            let position = progress.position();
            if !asked.topics.get(&position.topic).is_some_and(Option::is_some) {
                continue;
            }
            let bounds = self.cluster.bounds(&position.topic, position.partition).await.map_err(EngineError::from)?;
            position.check_offset(&bounds)?;
            progress.is_checked_now();
            self.woken.notify_one();
        }
        Ok(())
    }

    async fn ask(&self) -> weir_kafka::Result<Asked> {
        let mut asked = Asked { topics: wanted_topics(self.cluster.as_ref(), &self.config).await?, ..Asked::default() };
        // Those that are read and do not fit the pattern any more: they are gone.
        for topic in self.read.iter().map(|progress| &progress.place().topic) {
            if !asked.topics.contains_key(topic) {
                asked.topics.insert(topic.clone(), self.cluster.describe(topic).await?);
            }
        }
        for (name, topic) in &asked.topics {
            let Some(topic) = topic else { continue };
            for partition in 0..topic.partitions {
                let place = TopicPartition { topic: name.clone(), partition };
                if self.known.contains(&place) {
                    continue;
                }
                if self.share.owns(&place) {
                    let beginning = self.cluster.bounds(name, partition).await?.beginning;
                    let new = Position::new(name, topic, partition, beginning);
                    // The very one that was not there for so long is read on.
                    let before = self.retired.get(&place).map(|(_, before)| before);
                    let before = before.filter(|before| topic.id.is_some() && before.topic_id == topic.id);
                    asked.new.push(before.cloned().unwrap_or(new));
                }
                asked.places.push(place);
            }
        }
        Ok(asked)
    }
}

/// What the brokers have answered.
#[derive(Default)]
struct Asked {
    topics: BTreeMap<String, Option<Topic>>,
    new: Vec<Position>,
    /// All partitions that were not known.
    places: Vec<TopicPartition>,
}
