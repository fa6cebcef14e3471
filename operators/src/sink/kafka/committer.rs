//! The second phase: does what the protocol says. Decided by the progress that brokers have, never by what a process remembers.

use super::{
    committable::{Place, StagedCheckpoint, StagedRecords},
    config::{Delivery, KafkaSinkConfig},
    patience::{Fault, Pauses, Tried, at_a_start},
    progress::{Progress, Writer},
    progress_log::ProgressLog,
    protocol::{Action, Event, Protocol},
    topic::{REFRESH, missing, without_key},
    transaction::{LOADED_BYTES, Loaded, Outlet, Sending, Sent, Topics, load},
};
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{Mutex, OnceCell};
use weir_engine::{
    env::Moment,
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, CommitterContext, ShownResults, SweepScope, ToCommit},
};
use weir_kafka::{Cluster, KafkaError, KafkaErrorKind, NewRecord, Topic, TransactionalProducer};

/// Commits the records of one sink of one job.
#[derive(Debug)]
pub struct KafkaCommitter {
    pub(super) config: KafkaSinkConfig,
    pub(super) context: CommitterContext,
    pub(super) cluster: Arc<dyn Cluster>,
    log: ProgressLog,
    /// The checkpoint storage that decides what is committed.
    owner: OnceCell<String>,
    /// The producer of the last commit, if that went well.
    live: Mutex<Option<Live>>,
    /// Whether transactions have to be small, as far as is known.
    pub(super) is_small: AtomicBool,
    /// How many transactions it has committed.
    transactions: AtomicU64,
    /// Without a progress: how many rows the topic has refused here.
    refused: AtomicU64,
}

/// A producer that has fenced all before it, and what is known by it.
struct Live {
    producer: Box<dyn TransactionalProducer>,
    topics: Topics,
    described: Moment,
    /// Nothing else can have been written since, or this producer is fenced.
    progress: Option<Progress>,
}

/// How far a commit came.
enum Stop {
    Pause(KafkaError),
    Done(CommitOutcome),
}

impl KafkaCommitter {
    /// For a sink of a job.
    ///
    /// # Errors
    /// When a secret is not there, or the client does not know a property.
    pub fn new(config: KafkaSinkConfig, context: CommitterContext) -> Result<Self> {
        let cluster = config.connection.connect().map_err(|error| error.context(&context.sink))?;
        Ok(KafkaCommitter {
            log: ProgressLog::of(config.progress_topic.as_deref(), &context.job, &context.sink),
            owner: OnceCell::new(),
            live: Mutex::default(),
            is_small: AtomicBool::new(false),
            transactions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            config,
            context,
            cluster,
        })
    }

    /// The same for ever: whoever commits for this sink fences whoever did before, on whatever machine. The number is that of the
    /// shard, of which there is one.
    fn transactional_id(&self) -> String {
        format!("weir-{}-{}-0", self.context.job, self.context.sink)
    }

    async fn writer(&self, lineage: Lineage) -> Result<Writer> {
        let owner = self.owner.get_or_try_init(|| self.context.staging.identity()).await?;
        Ok(Writer {
            owner: owner.clone(),
            lineage,
            job: self.context.job.clone(),
            topic: self.config.topic.clone(),
            shown: self.config.connection.shown().to_owned(),
        })
    }

    fn lineage(&self) -> Lineage {
        self.context.staging.lineage()
    }

    async fn describe(&self, topic: &str) -> Result<Topic, KafkaError> {
        let gone = || format!("there is no topic '{topic}' at '{}' any more", self.config.connection.shown());
        let described = self.cluster.describe(topic).await?;
        described.ok_or_else(|| KafkaError::of(KafkaErrorKind::NotFound, gone()))
    }

    pub(super) async fn topics(&self) -> Result<Topics, KafkaError> {
        let main = self.describe(&self.config.topic).await?;
        let rejected = match &self.config.rejected_topic {
            None => None,
            Some(topic) => Some(self.describe(topic).await?),
        };
        Ok(Topics { main, rejected })
    }

    /// A new producer, which has fenced all before it.
    async fn fence(&self) -> Tried<Live> {
        let topics = self.topics().await?;
        self.log.ensure(self.cluster.as_ref()).await?;
        let timeout = self.config.transaction_timeout();
        let mut producer = self.cluster.transactional(&self.transactional_id(), timeout)?;
        producer.init().await?;
        self.context.env.crash_point("kafka.fenced")?;
        Ok(Live { producer, topics, described: self.context.env.now(), progress: None })
    }

    async fn read_progress(&self) -> Tried<Option<Progress>> {
        let progress = self.log.read(self.cluster.as_ref(), &self.context).await?;
        self.context.env.crash_point("kafka.progress_read")?;
        Ok(progress)
    }

    /// A new producer that knows the progress, behind its fence.
    async fn fence_and_read(&self) -> Tried<Live> {
        let mut live = self.fence().await?;
        live.progress = self.read_progress().await?;
        Ok(live)
    }

    /// What the commit before has left, if it cannot come again and the topic was looked at not long ago.
    async fn remembered(&self, live: &mut Option<Live>) -> Event {
        let mut known = live.take().filter(|live| !live.producer.may_have_repeated());
        if let Some(known) = known.as_mut().filter(|known| self.context.env.now() >= known.described + REFRESH) {
            match self.topics().await {
                Ok(topics) => (known.topics, known.described) = (topics, self.context.env.now()),
                Err(_) => return Event::Begun(None),
            }
        }
        *live = known;
        Event::Begun(live.as_ref().map(|live| (live.topics.main.clone(), live.progress.clone())))
    }

    /// Goes on until there is a reason to stop. What is left in `live` may be used again.
    async fn run(
        &self,
        protocol: &mut Protocol<'_>,
        staged: &[StagedCheckpoint],
        live: &mut Option<Live>,
        pauses: &mut Pauses<'_>,
        mut event: Event,
    ) -> Result<Stop> {
        loop {
            let is_progress = matches!(event, Event::Committed { .. });
            let action = protocol.apply(event);
            if is_progress {
                pauses.are_over();
            }
            let done = match action {
                Action::Pause(error) => return Ok(Stop::Pause(error)),
                Action::Finish(outcome) => return Ok(Stop::Done(outcome)),
                Action::Fail(error) => return Err(error),
                Action::Fence => {
                    *live = None;
                    self.fence().await.map(|new| {
                        let topic = new.topics.main.clone();
                        *live = Some(new);
                        Event::Fenced(topic)
                    })
                }
                Action::ReadProgress => self.read_progress().await.map(|progress| {
                    live.iter_mut().for_each(|live| live.progress = progress.clone());
                    Event::ProgressRead(progress)
                }),
                Action::Send { from, most_bytes } => self.send(live, staged, from, most_bytes).await,
                Action::Commit(progress) => self.close(live, &progress).await,
            };
            event = match done {
                Ok(event) => event,
                Err(Fault::Kafka(error)) => Event::Failed(error),
                Err(Fault::Lasting(error)) => return Err(error),
            };
        }
    }

    /// Opens a transaction, and sends rows.
    async fn send(
        &self,
        live: &mut Option<Live>,
        staged: &[StagedCheckpoint],
        from: Place,
        most_bytes: usize,
    ) -> Tried<Event> {
        let live = producer_of(live)?;
        // Before the transaction: it is open for as long as sending takes, and not for as long as storage does.
        let Some(loaded) = self.load(staged, from).await? else { return Ok(Event::StagedGone) };
        live.producer.begin()?;
        let mut outlet = Outlet::Transaction(live.producer.as_mut());
        let (mut until, mut refused, mut bytes) = (from, 0, 0);
        for (of, staged, loaded) in &loaded {
            let sending =
                Sending { config: &self.config, topics: &live.topics, checkpoint: staged.checkpoint.to_string() };
            let row = if *of == from.of { from.row } else { 0 };
            let sent = sending.send(&mut outlet, loaded, row, (bytes, most_bytes)).await?;
            self.tell_refused(staged, &sent);
            if sent.until > row || staged.rows == 0 {
                until = Place { of: *of, row: sent.until };
            }
            (refused, bytes) = (refused + sent.refused, sent.bytes);
            if sent.is_full {
                break;
            }
        }
        Ok(Event::Sent { until, refused })
    }

    /// Reads rows of several checkpoints from a place on, without a gap. None: a file of the first of them is gone.
    async fn load<'a>(
        &self,
        several: &'a [StagedCheckpoint],
        from: Place,
    ) -> Result<Option<Vec<(usize, &'a StagedCheckpoint, Loaded)>>> {
        let (mut all, mut left) = (Vec::new(), LOADED_BYTES);
        for (of, staged) in several.iter().enumerate().skip(from.of) {
            let row = if of == from.of { from.row } else { 0 };
            match load(&self.context, staged, row, left).await? {
                None if all.is_empty() => return Ok(None),
                // What is before it is written first: then it is found out whether another committer was faster.
                None => break,
                Some(loaded) => {
                    left = left.saturating_sub(loaded.bytes);
                    let is_enough = !loaded.is_end || left == 0;
                    all.push((of, staged, loaded));
                    if is_enough {
                        break;
                    }
                }
            }
        }
        Ok(Some(all))
    }

    /// Ends a transaction with the progress.
    async fn close(&self, live: &mut Option<Live>, progress: &Progress) -> Tried<Event> {
        let live = producer_of(live)?;
        let value = serde_json::to_vec(progress)
            .map_err(|error| EngineError::internal(format!("progress cannot be written as JSON: {error}")))?;
        let record = NewRecord {
            topic: &self.log.topic,
            partition: 0,
            key: Some(self.log.key.as_bytes()),
            value: Some(&value),
            headers: &[],
            timestamp_ms: None,
        };
        live.producer.send(record).await?;
        self.context.env.crash_point("kafka.sent")?;
        live.producer.commit().await?;
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.context.waits.step();
        self.context.env.crash_point("kafka.committed")?;
        live.progress = Some(progress.clone());
        Ok(Event::Committed { may_come_again: live.producer.may_have_repeated() })
    }

    /// A transaction with a progress and nothing else.
    async fn write_progress(&self, live: &mut Option<Live>, progress: &Progress) -> Tried<()> {
        producer_of(live)?.producer.begin()?;
        self.close(live, progress).await.map(drop)
    }

    async fn commit_once_more(&self, staged: &[StagedCheckpoint]) -> Result<CommitOutcome> {
        let writer = self.writer(self.lineage()).await?;
        let mut protocol = Protocol::new(&writer, staged, self.is_small.load(Ordering::Relaxed));
        let mut pauses = Pauses::new(&self.context);
        let mut is_first = true;
        loop {
            // Held for as long as it works, not for as long as it waits. Taken out: what fails is not put back.
            let mut held = self.live.lock().await;
            let mut live = held.take();
            let event = if is_first { self.remembered(&mut live).await } else { Event::Paused };
            is_first = false;
            match self.run(&mut protocol, staged, &mut live, &mut pauses, event).await? {
                Stop::Done(outcome) => {
                    self.is_small.store(protocol.is_small(), Ordering::Relaxed);
                    self.say_refused(live.as_ref().and_then(|live| live.progress.as_ref()));
                    *held = live;
                    pauses.are_over();
                    return Ok(outcome);
                }
                Stop::Pause(error) => {
                    drop((live, held));
                    pauses.pause(&error).await;
                }
            }
        }
    }

    pub(super) fn tell_refused(&self, staged: &StagedCheckpoint, sent: &Sent) {
        let Some(reason) = &sent.reason else { return };
        let (sink, checkpoint, rows) = (&self.context.sink, staged.checkpoint, sent.refused);
        match &self.config.rejected_topic {
            Some(topic) => {
                tracing::warn!(sink, %checkpoint, rows, reason, "the topic refused rows; they go to the topic '{topic}'");
            }
            None => tracing::warn!(
                sink,
                %checkpoint,
                rows,
                reason,
                "the topic refused rows; they are in no other one, since no `rejected_topic` is set"
            ),
        }
    }

    /// Says how many rows the topic has refused, in all, so that it is right whoever has committed before.
    fn say_refused(&self, progress: Option<&Progress>) {
        let rows = progress.map_or(0, |progress| progress.refused);
        self.context.waits.set_rejected(&self.context.sink, rows);
    }

    /// Removes what was committed from the staging area. Repeated it removes nothing.
    async fn clear(&self, staged: &StagedCheckpoint) -> Result<()> {
        for part in &staged.parts {
            self.context.staging.remove(&part.file).await?;
        }
        self.context.env.crash_point("kafka.cleared")
    }

    /// The first of several checkpoints, with as many of the others as may be written together with it. Returns how many are in.
    async fn commit_several(&self, several: &[ToCommit]) -> Result<(usize, CommitOutcome)> {
        let mut staged: Vec<StagedCheckpoint> = Vec::with_capacity(several.len());
        for one in several {
            staged.push(StagedCheckpoint::new(one.checkpoint, &one.committables)?);
        }
        staged.truncate(match self.config.delivery {
            Delivery::ExactlyOnce => StagedCheckpoint::together(&staged),
            Delivery::AtLeastOnce => 1,
        });
        let Some(first) = staged.first() else { return Ok((0, CommitOutcome::AlreadyDone)) };
        let outcome = match self.config.delivery {
            Delivery::ExactlyOnce => self.commit_once_more(&staged).await?,
            Delivery::AtLeastOnce => self.commit_unrepeated(first).await?,
        };
        for StagedCheckpoint { checkpoint, rows, .. } in &staged {
            tracing::debug!(sink = self.context.sink, %checkpoint, rows, ?outcome, "committed");
        }
        for staged in &staged {
            self.clear(staged).await?;
        }
        Ok((staged.len(), outcome))
    }

    /// The topics must be there.
    async fn topics_at_a_start(&self) -> Tried<Topics> {
        let missing = |topic: &str| missing(topic, self.config.connection.shown());
        let main = self.cluster.describe(&self.config.topic).await?;
        let main = main.ok_or_else(|| missing(&self.config.topic))?;
        if main.is_compacted && self.config.key.is_empty() {
            return Err(without_key(&self.config.topic).into());
        }
        let rejected = match &self.config.rejected_topic {
            None => None,
            Some(topic) => Some(self.cluster.describe(topic).await?.ok_or_else(|| missing(topic))?),
        };
        Ok(Topics { main, rejected })
    }

    /// The topics must be there; and the sink's progress is begun, or found.
    async fn prepare_once(&self) -> Tried<()> {
        let topics = self.topics_at_a_start().await?;
        if self.config.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        let (writer, topic_id) = (self.writer(self.lineage()).await?, topics.main.id.clone());
        let mut held = self.live.lock().await;
        let is_begun =
            |live: &Live| writer.own(live.progress.as_ref(), topic_id.as_deref()).is_ok_and(|own| own.is_some());
        if let Some(live) = held.as_mut().filter(|live| is_begun(live)) {
            (live.topics, live.described) = (topics, self.context.env.now());
            return Ok(());
        }
        *held = None;
        let mut live = Some(self.fence_and_read().await?);
        let known = producer_of(&mut live)?;
        let topic_id = known.topics.main.id.clone();
        writer.own(known.progress.as_ref(), topic_id.as_deref())?;
        if known.progress.is_none() {
            self.write_progress(&mut live, &Progress::begun(&writer, topic_id.as_deref())).await?;
        }
        self.say_refused(producer_of(&mut live)?.progress.as_ref());
        *held = live;
        Ok(())
    }

    async fn compare_once(&self, newest: CheckpointId, is_committed: bool) -> Tried<()> {
        let writer = self.writer(self.lineage()).await?;
        let compare =
            |live: &Live| writer.compare(live.progress.as_ref(), live.topics.main.id.as_deref(), newest, is_committed);
        let mut held = self.live.lock().await;
        if held.as_ref().is_some_and(|live| compare(live).is_ok()) {
            return Ok(());
        }
        // What is remembered may be old: another committer may have continued since, which a new fence shows.
        *held = None;
        let live = self.fence_and_read().await?;
        compare(&live)?;
        *held = Some(live);
        Ok(())
    }

    /// The newest checkpoint that something of is in the topic.
    async fn shown_once(&self) -> Tried<ShownResults> {
        let writer = self.writer(self.lineage()).await?;
        let mut held = self.live.lock().await;
        *held = None;
        let live = self.fence_and_read().await?;
        let own = writer.own(live.progress.as_ref(), live.topics.main.id.as_deref())?;
        let newest = own.map_or(CheckpointId(0), |progress| progress.checkpoint);
        *held = Some(live);
        Ok(ShownResults { newest: Some(newest), unrepeatable: None })
    }

    /// Begins the progress anew, which shuts out processes that don't know. What this lineage has begun already stays as it is.
    async fn reset_once(&self, lineage: Lineage) -> Tried<()> {
        let writer = self.writer(lineage).await?;
        let mut held = self.live.lock().await;
        *held = None;
        let mut live = Some(self.fence_and_read().await?);
        let known = producer_of(&mut live)?;
        let (topic_id, progress) = (known.topics.main.id.clone(), known.progress.clone());
        let is_ours = |progress: &&Progress| progress.owner == writer.owner;
        if let Some(progress) = progress.as_ref().filter(is_ours) {
            if progress.lineage > lineage {
                return Err(EngineError::fenced(format!(
                    "attempt {} has written to {writer} since: attempt {lineage} is too late to start it over",
                    progress.lineage
                ))
                .into());
            }
            let is_begun = progress.lineage == lineage && progress.topic == writer.topic;
            if is_begun && (progress.topic_id.is_none() || progress.topic_id == topic_id) {
                *held = live;
                return Ok(());
            }
        }
        self.write_progress(&mut live, &Progress::begun(&writer, topic_id.as_deref())).await?;
        if progress.is_some_and(|progress| progress.topic == writer.topic && progress.checkpoint > CheckpointId(0)) {
            self.say_that_records_stay();
        }
        *held = live;
        Ok(())
    }

    fn say_that_records_stay(&self) {
        let (sink, topic) = (&self.context.sink, &self.config.topic);
        tracing::warn!(
            sink,
            topic,
            "the job starts over, but nothing takes records out of a topic: what it has written so far stays, and comes once more"
        );
    }

    async fn reset_all(&self, lineage: Lineage) -> Result<u64> {
        match self.config.delivery {
            Delivery::ExactlyOnce => at_a_start(&self.context, || self.reset_once(lineage)).await?,
            Delivery::AtLeastOnce => self.say_that_records_stay(),
        }
        self.context.staging.sweep(Attempt(lineage.0), &HashSet::new()).await
    }

    async fn sweep_older(&self, scope: &SweepScope) -> Result<u64> {
        let staged = scope.keep.iter().map(StagedRecords::from_committable).collect::<Result<Vec<_>>>()?;
        let keep = staged.into_iter().flat_map(|one| one.parts).map(|part| part.file.path).collect();
        self.context.staging.sweep(scope.attempt, &keep).await
    }

    async fn verify_staged(&self, committables: &[Committable]) -> Result<()> {
        for committable in committables {
            for part in StagedRecords::from_committable(committable)?.parts {
                // One that is gone may be in the topic: the commit finds out.
                self.context.staging.get(&part.file).await?;
            }
        }
        Ok(())
    }

    /// Notes rows that the topic has refused where no progress does.
    pub(super) fn count_refused(&self, rows: u64) {
        let all = self.refused.fetch_add(rows, Ordering::Relaxed) + rows;
        self.context.waits.set_rejected(&self.context.sink, all);
    }
}

fn producer_of(live: &mut Option<Live>) -> Result<&mut Live> {
    live.as_mut().ok_or_else(|| EngineError::internal("a transaction without a producer"))
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("topics", &self.topics).field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl Committer for KafkaCommitter {
    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        at_a_start(&self.context, || self.prepare_once()).boxed()
    }

    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        async move {
            let one = ToCommit { checkpoint, committables: committables.to_vec() };
            self.commit_several(&[one]).await.map(|(_, outcome)| outcome)
        }
        .boxed()
    }

    fn commit_together<'a>(&'a self, several: &'a [ToCommit]) -> BoxFuture<'a, Result<(usize, CommitOutcome)>> {
        self.commit_several(several).boxed()
    }

    fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    fn verify<'a>(&'a self, committables: &'a [Committable]) -> BoxFuture<'a, Result<()>> {
        self.verify_staged(committables).boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        self.sweep_older(scope).boxed()
    }

    fn compare(&self, newest: CheckpointId, is_committed: bool) -> BoxFuture<'_, Result<()>> {
        match self.config.delivery {
            Delivery::ExactlyOnce => at_a_start(&self.context, move || self.compare_once(newest, is_committed)).boxed(),
            Delivery::AtLeastOnce => std::future::ready(Ok(())).boxed(),
        }
    }

    fn shown(&self) -> BoxFuture<'_, Result<ShownResults>> {
        match self.config.delivery {
            Delivery::ExactlyOnce => at_a_start(&self.context, || self.shown_once()).boxed(),
            Delivery::AtLeastOnce => std::future::ready(Ok(ShownResults::default())).boxed(),
        }
    }

    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        self.reset_all(lineage).boxed()
    }
}
