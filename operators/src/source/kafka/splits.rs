//! Which partitions a subtask has: those that there are at the first start, those of a checkpoint, and those that come later.

use super::{
    away::Away,
    config::{KafkaConfig, Start},
    group::GroupOffsets,
    look::{Look, Looker, News, Share, wanted_topics, wants},
    metadata::Columns,
    partition::{KafkaPartition, Shared},
    position::Position,
    progress::Progress,
    start::first_positions,
};
use crate::{
    dead_letters::DeadLetter,
    format::MessageFormat,
    source::{
        settings::SourceSettings,
        split_reader::{Connector, Discovery, Heard, Nature, OpenedSplit, RestoredSplit, SplitEvent, SplitReader},
    },
};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;
use weir_engine::{
    error::{EngineError, ErrorKind, Result},
    operator::{Lags, OperatorContext},
};
use weir_kafka::{Cluster, Consumer, Isolation, KafkaError, Topic, TopicPartition};

/// The partitions of one subtask.
pub(super) struct KafkaSplits {
    config: KafkaConfig,
    cluster: Arc<dyn Cluster>,
    consumer: Box<dyn Consumer>,
    format: MessageFormat,
    shared: Arc<Shared>,
    share: Share,
    /// The partitions of all subtasks that are known.
    known: BTreeSet<TopicPartition>,
    /// Those that are read here.
    progress: Vec<Arc<Progress>>,
    /// New ones of the same name as some that are gone, and have not ended here yet.
    later: Vec<Arc<Progress>>,
    look: Option<Look>,
    group: Option<GroupOffsets>,
    /// Where it is said how far they are behind.
    lags: Lags,
}

impl KafkaSplits {
    /// Of one subtask. Nothing is asked of the cluster yet.
    pub(super) fn new(config: &KafkaConfig, settings: &SourceSettings, context: &OperatorContext) -> Result<Self> {
        let refused = |error: KafkaError| EngineError::from(error).context(at(config));
        let cluster = config.connection.connect()?;
        let consumer = cluster.consumer(Isolation::Committed).map_err(refused)?;
        let columns = Columns::new(&settings.columns, &config.metadata);
        let format = config.format.messages(&columns.in_values(), &context.env)?;
        let shared = Shared {
            columns,
            longest: config.format.longest_line(),
            away: Arc::new(Away::new(context)),
            woken: consumer.woken(),
            resting: Mutex::default(),
            tombstones: context.counters.counter("tombstones"),
            by_pattern: config.pattern.is_some(),
            env: context.env.clone(),
        };
        Ok(KafkaSplits {
            config: config.clone(),
            cluster,
            consumer,
            format,
            shared: Arc::new(shared),
            share: Share { subtask: context.subtask, parallelism: context.parallelism },
            known: BTreeSet::new(),
            progress: Vec::new(),
            later: Vec::new(),
            look: None,
            group: config.group.as_deref().map(GroupOffsets::of),
            lags: context.lags.clone(),
        })
    }

    /// The partitions that there are at the job's first start.
    async fn begin(&mut self) -> Result<Vec<OpenedSplit>> {
        let refused = |error: KafkaError| EngineError::from(error).context(at(&self.config));
        let topics = wanted_topics(self.cluster.as_ref(), &self.config).await.map_err(refused)?;
        let mut own = Vec::new();
        for (name, topic) in &topics {
            let topic = match topic {
                Some(topic) => topic,
                // It went while it was asked for.
                None if self.config.pattern.is_some() => continue,
                None => return Err(self.no_topic(name)),
            };
            for partition in 0..topic.partitions {
                let place = TopicPartition { topic: name.clone(), partition };
                self.known.insert(place.clone());
                if self.share.owns(&place) {
                    own.push((place, topic.clone()));
                }
            }
        }
        if let (true, Some(pattern)) = (topics.is_empty(), &self.config.pattern) {
            tracing::warn!(pattern, "no topic fits the pattern yet");
        }
        let positions = first_positions(self.cluster.as_ref(), &self.config, &own).await.map_err(refused)?;
        // Only what a group has noted can be wrong.
        for position in positions.iter().filter(|_| self.config.start == Start::Group) {
            let bounds = self.cluster.bounds(&position.topic, position.partition).await.map_err(refused)?;
            position.check_offset(&bounds)?;
        }
        positions.into_iter().map(|position| self.open_at(Arc::new(Progress::of(position)), None)).collect()
    }

    /// The partitions of a checkpoint. Where the brokers are away, and others may be read meanwhile, they are opened all the same: they
    /// are silent until the brokers are back and have been asked whether they can be continued.
    async fn resume(&mut self, restored: Vec<RestoredSplit>) -> Result<Vec<OpenedSplit>> {
        let mut topics = BTreeMap::<String, Option<Topic>>::new();
        let mut left_out = BTreeSet::new();
        let (mut opened, mut are_away) = (Vec::new(), false);
        for split in &restored {
            let position = Position::of(split)?;
            let place = position.place();
            if !wants(&self.config, &position.topic) {
                left_out.insert(position.topic);
                continue;
            }
            // Without an end it has come to one because its topic was gone, and is forgotten when all of it is out.
            let is_gone = split.finished && position.end.is_none();
            if !is_gone {
                self.known.insert(place.clone());
            }
            if !self.share.owns(&place) {
                continue;
            }
            let (mut beginning, mut may_be_gone) = (None, false);
            if !split.finished && !are_away {
                match self.check(&position, &mut topics).await {
                    // Whoever looks for topics finds out.
                    _ if self.shared.by_pattern && self.config.end.is_none() && is_absent(&topics, &position) => {
                        may_be_gone = true;
                    }
                    Err(error) if error.kind == ErrorKind::Unavailable && self.config.end.is_none() => {
                        self.shared.away.met(&error.message);
                        are_away = true;
                    }
                    checked => beginning = Some(checked?),
                }
            }
            let is_unchecked = (are_away || may_be_gone) && !split.finished;
            let progress = if is_unchecked { Progress::unchecked(position) } else { Progress::of(position) };
            if is_gone {
                progress.is_gone_now();
                progress.is_over_now();
            }
            opened.push(self.open_at(Arc::new(progress), beginning)?);
        }
        opened.extend(self.begin_added(&restored).await?);
        for topic in left_out {
            tracing::warn!(topic, "the definition does not name the topic any more: its positions are forgotten");
        }
        Ok(opened)
    }

    /// The partitions of topics that a definition with an end names now and did not name before: they are read from their beginning.
    /// (Without an end it is looked for new ones all the time. And a pattern means the topics that fitted it at the first start.)
    async fn begin_added(&mut self, restored: &[RestoredSplit]) -> Result<Vec<OpenedSplit>> {
        if self.config.end.is_none() || self.config.pattern.is_some() {
            return Ok(Vec::new());
        }
        let refused = |error: KafkaError| EngineError::from(error).context(at(&self.config));
        let positions = restored.iter().map(Position::of).collect::<Result<Vec<_>>>()?;
        let before: BTreeSet<String> = positions.into_iter().map(|position| position.topic).collect();
        let mut added = Vec::new();
        for name in self.config.topics.iter().filter(|topic| !before.contains(*topic)) {
            let topic = self.cluster.describe(name).await.map_err(refused)?.ok_or_else(|| self.no_topic(name))?;
            for partition in 0..topic.partitions {
                if self.share.owns(&TopicPartition { topic: name.clone(), partition }) {
                    let bounds = self.cluster.bounds(name, partition).await.map_err(refused)?;
                    let position = Position::new(name, &topic, partition, bounds.beginning);
                    added.push(Position { end: Some(bounds.stable_end), ..position });
                }
            }
        }
        added.into_iter().map(|position| self.open_at(Arc::new(Progress::of(position)), None)).collect()
    }

    /// Whether a position of a checkpoint can be continued; where its partition begins.
    async fn check(&mut self, position: &Position, topics: &mut BTreeMap<String, Option<Topic>>) -> Result<i64> {
        let refused = |error: KafkaError| EngineError::from(error).context(at(&self.config));
        let name = &position.topic;
        if !topics.contains_key(name) {
            topics.insert(name.clone(), self.cluster.describe(name).await.map_err(refused)?);
        }
        position.check_topic(topics.get(name).and_then(Option::as_ref))?;
        let bounds = self.cluster.bounds(name, position.partition).await.map_err(refused)?;
        position.check_offset(&bounds)?;
        Ok(bounds.beginning)
    }

    /// Opens a partition that begins at an offset, if that is known.
    fn open_at(&mut self, progress: Arc<Progress>, beginning: Option<i64>) -> Result<OpenedSplit> {
        let (position, place) = (progress.position(), progress.place());
        let reader = match position.has_ended() || progress.is_over() {
            true => None,
            false => {
                let (offset, leader_epoch) = position.begin(beginning);
                let reader = self.consumer.read_on(place, offset, leader_epoch);
                Some(reader.map_err(|error| EngineError::from(error).context(place))?)
            }
        };
        self.progress.push(Arc::clone(&progress));
        let id = position.split_id();
        let partition = KafkaPartition::new(progress, reader, self.format.decoder()?, Arc::clone(&self.shared));
        Ok(OpenedSplit { name: id.clone(), id, reader: Box::new(partition), newest_before_ms: None, oldest_ms: None })
    }

    /// Looks for new partitions from now on.
    fn begin_to_look(&mut self) {
        let looker = Looker {
            cluster: Arc::clone(&self.cluster),
            config: self.config.clone(),
            share: self.share,
            known: self.known.clone(),
            read: self.progress.iter().filter(|progress| !progress.is_over()).cloned().collect(),
            missing: BTreeMap::new(),
            retired: BTreeMap::new(),
            away: Arc::clone(&self.shared.away),
            env: self.shared.env.clone(),
            woken: Arc::clone(&self.shared.woken),
            group: self.group.clone(),
        };
        self.look = Some(Look::begin(looker));
    }

    fn tell_lags(&self) {
        let now_ms = self.shared.env.wall_clock_ms();
        let of = |progress: &Arc<Progress>| Some((progress.place().to_string(), progress.lag(now_ms)?));
        self.lags.set(self.progress.iter().filter_map(of).collect());
    }

    fn no_topic(&self, name: &str) -> EngineError {
        let brokers = self.config.connection.shown();
        EngineError::io(format!(
            "there is no topic '{name}' in Kafka at {brokers}: create it first, or correct `topics`"
        ))
    }
}

impl Connector for KafkaSplits {
    fn open(&mut self, restored: Vec<RestoredSplit>) -> BoxFuture<'_, Result<Vec<OpenedSplit>>> {
        async move {
            let has_begun = !restored.is_empty();
            let restored = restored.into_iter().filter(|split| !Begun::is(split)).collect();
            let mut opened = if has_begun { self.resume(restored).await? } else { self.begin().await? };
            if self.config.pattern.is_some() && self.share.subtask == 0 {
                opened.push(Begun::split());
            }
            if self.config.end.is_none() {
                self.begin_to_look();
            }
            Ok(opened)
        }
        .boxed()
    }

    /// Takes what was found beside the reading; it waits for nothing.
    fn discover(&mut self) -> BoxFuture<'_, Result<Discovery>> {
        self.tell_lags();
        let (over, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.progress).into_iter().partition(|one| one.is_over());
        self.progress = left;
        if !over.is_empty() {
            // What is new may have their names, and comes when these are forgotten.
            let gone = over.iter().map(|progress| progress.position().split_id()).collect();
            let found = Discovery { gone, next_in: Some(Duration::ZERO), ..Discovery::default() };
            return std::future::ready(Ok(found)).boxed();
        }
        let News { new, failure } = self.look.as_ref().map(Look::news).unwrap_or_default();
        self.later.extend(new);
        let is_read = |new: &Arc<Progress>| self.progress.iter().any(|old| old.place() == new.place());
        let (later, new): (Vec<_>, Vec<_>) = std::mem::take(&mut self.later).into_iter().partition(is_read);
        self.later = later;
        let opened = match failure {
            Some(failure) => Err(failure),
            None => new.into_iter().map(|progress| self.open_at(progress, None)).collect::<Result<Vec<_>>>(),
        };
        let found = opened.map(|opened| Discovery { opened, ..Discovery::default() });
        std::future::ready(found).boxed()
    }

    fn listen(&mut self) -> Heard {
        let awake = std::mem::take(&mut *self.shared.resting.lock());
        Heard { awake, look: self.look.as_ref().is_some_and(Look::has_news) }
    }

    fn woken(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.shared.woken))
    }

    fn positions_taken(&mut self) {
        self.tell_lags();
        if let Some(group) = &self.group {
            group.taken(&self.progress);
        }
    }

    fn nature(&self) -> Nature {
        self.config.nature_of_splits()
    }
}

/// Whether a position's topic was asked for and is not there.
fn is_absent(topics: &BTreeMap<String, Option<Topic>>, position: &Position) -> bool {
    topics.get(&position.topic).is_some_and(Option::is_none)
}

/// A split without records. It says in a checkpoint that the job has begun, though it may not have found a topic yet, or has none any
/// more: else whoever restores it would begin where `start` says, and pass over what a job that was not restarted reads.
struct Begun;

impl Begun {
    const ID: &str = "begun";

    fn split() -> OpenedSplit {
        let (id, name) = (Begun::ID.to_owned(), Begun::ID.to_owned());
        OpenedSplit { id, name, reader: Box::new(Begun), newest_before_ms: None, oldest_ms: None }
    }

    fn is(split: &RestoredSplit) -> bool {
        // That of a partition ends in its number.
        split.id == Begun::ID
    }
}

impl SplitReader for Begun {
    fn next_chunk(&mut self, _: usize) -> BoxFuture<'_, Result<SplitEvent>> {
        std::future::ready(Ok(SplitEvent::Finished)).boxed()
    }

    fn position(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn locate_rows(&self, _: &[usize]) -> Vec<DeadLetter> {
        Vec::new()
    }
}

fn at(config: &KafkaConfig) -> String {
    format!("Kafka at {}", config.connection.shown())
}
