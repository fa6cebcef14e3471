//! What a job is made of, as written: nodes by name, expressions as text, nothing checked yet.
//!
//! The types are what [`crate::JobBuilder`] takes; the TOML front end fills the same ones.

use std::time::Duration;

use weir_operators::dedup::NullKey;
use weir_operators::source::JumpAfter;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::files::{Copies, EventTimeRange};
use weir_operators::source::generator::ClickStreamConfig;

/// A whole job as written.
#[derive(Debug, Clone)]
pub(crate) struct JobSpec {
    pub(crate) name: String,
    /// What record ids are made from, where that is not the name.
    pub(crate) identity: Option<String>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) parallelism: Option<usize>,
    pub(crate) max_parallelism: u16,
    pub(crate) nodes: Vec<NodeSpec>,
    /// Global filters: id and condition.
    pub(crate) filters: Vec<(String, String)>,
}

impl JobSpec {
    /// The same with the sinks that write into tables as a part of the job.
    pub(crate) fn with_tables(mut self) -> Self {
        for node in &mut self.nodes {
            if let NodeBody::Sink(sink @ Sink { connector: SinkConnector::Sql(_), .. }) = &mut node.body {
                sink.enabled = true;
            }
        }
        self
    }
}

/// A node and its name.
#[derive(Debug, Clone)]
pub(crate) struct NodeSpec {
    pub(crate) name: String,
    pub(crate) body: NodeBody,
}

/// A node of any kind.
#[derive(Debug, Clone)]
pub(crate) enum NodeBody {
    Source(Source),
    Map(Map),
    Dedup(Dedup),
    Aggregate(Aggregate),
    Reduce(Reduce),
    Sink(Sink),
}

impl NodeBody {
    /// The section that such nodes stand in.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            NodeBody::Source(_) => "source",
            NodeBody::Map(_) => "map",
            NodeBody::Dedup(_) => "dedup",
            NodeBody::Aggregate(_) => "aggregate",
            NodeBody::Reduce(_) => "reduce",
            NodeBody::Sink(_) => "sink",
        }
    }

    /// What it reads from; sources read from no node.
    pub(crate) fn input(&self) -> Option<&str> {
        match self {
            NodeBody::Source(_) => None,
            NodeBody::Map(node) => Some(&node.input),
            NodeBody::Dedup(node) => Some(&node.input),
            NodeBody::Aggregate(node) => Some(&node.input),
            NodeBody::Reduce(node) => Some(&node.input),
            NodeBody::Sink(node) => Some(&node.input),
        }
    }
}

/// When checkpoints are taken, where they go, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// From the start of one to the start of the next.
    pub interval: Duration,
    /// URL or folder; none: inside the data directory of the run.
    pub storage: Option<String>,
    /// How many completed ones are kept.
    pub retain: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { interval: Duration::from_secs(1), storage: None, retain: 3 }
    }
}

/// Where records come from.
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) connector: SourceConnector,
    pub(crate) event_time: Option<EventTime>,
    pub(crate) delay: Duration,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) max_jump: Option<Duration>,
    pub(crate) jump_after: Option<JumpAfter>,
    pub(crate) max_ahead: Option<Duration>,
}

/// What says when a record happened: a column, or an expression over columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventTime {
    /// The name of the computed column; none: a column is named, or `event_time` is computed.
    pub(crate) name: Option<String>,
    pub(crate) expression: String,
}

impl std::fmt::Display for EventTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.expression)
    }
}

/// What a source reads.
#[derive(Debug, Clone)]
pub(crate) enum SourceConnector {
    Files(FilesSource),
    Generator { stream: Box<ClickStreamConfig>, clicks_per_second: Option<u64> },
}

/// Files in a folder.
#[derive(Debug, Clone)]
pub(crate) struct FilesSource {
    pub(crate) path: String,
    pub(crate) format: Format,
    /// The columns whose values are in the names of folders.
    pub(crate) partitions: DeclaredSchema,
    pub(crate) follow: bool,
    pub(crate) max_line_bytes: Option<u64>,
    pub(crate) batch_rows: Option<u64>,
    pub(crate) poll: Option<Duration>,
    pub(crate) discover: Option<Duration>,
    pub(crate) rotation_grace: Option<Duration>,
    pub(crate) copies: Option<Copies>,
    /// The folders say how old their rows can be, and time follows from that.
    pub(crate) by_partition: bool,
    /// A file that cannot be read ends the job.
    pub(crate) all_or_nothing: bool,
    pub(crate) range: Option<EventTimeRange>,
}

/// How the files of a source are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// `[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA`
    ClickLog,
    /// Values with a delimiter between them, the first line naming the columns.
    Csv {
        /// The columns to read.
        schema: DeclaredSchema,
        /// What stands between two values.
        delimiter: char,
    },
    /// One JSON object a line.
    Json {
        /// The columns to read.
        schema: DeclaredSchema,
    },
    /// Parquet.
    Parquet {
        /// The columns to read; none: those of all files, looked up when the job is checked.
        schema: Option<DeclaredSchema>,
    },
}

impl Source {
    /// Files below a folder, or at a URL; click logs, unless [`Source::format`] says otherwise.
    pub fn files(path: impl Into<String>) -> Self {
        Source::new(SourceConnector::Files(FilesSource {
            path: path.into(),
            format: Format::ClickLog,
            partitions: DeclaredSchema::default(),
            follow: false,
            max_line_bytes: None,
            batch_rows: None,
            poll: None,
            discover: None,
            rotation_grace: None,
            copies: None,
            by_partition: false,
            all_or_nothing: false,
            range: None,
        }))
    }

    /// A reproducible stream of clicks: so many a second of real time, or as fast as they are taken.
    pub fn generator(stream: ClickStreamConfig, clicks_per_second: Option<u64>) -> Self {
        Source::new(SourceConnector::Generator { stream: Box::new(stream), clicks_per_second })
    }

    pub(crate) fn new(connector: SourceConnector) -> Self {
        Source {
            connector,
            event_time: None,
            delay: Duration::ZERO,
            idle_after: None,
            max_jump: None,
            jump_after: None,
            max_ahead: None,
        }
    }

    /// How the files are written. Without effect on a generator.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.format = format;
        }
        self
    }

    /// Columns whose values are in the names of folders, as in `country=US/clicks.log`. Without effect on a generator.
    #[must_use]
    pub fn partitions(mut self, columns: DeclaredSchema) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.partitions = columns;
        }
        self
    }

    /// Whether growing and new files are followed until the job is stopped. Without effect on a generator.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.follow = follow;
        }
        self
    }

    /// The files are an archive: Parquet in a folder for each hour, as [`Sink::partition_by_hour`] writes it. They are read in the
    /// order of the hours, time follows the hours, and nothing is ever behind. Without effect on a generator.
    #[must_use]
    pub fn by_partition(mut self) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.by_partition = true;
        }
        self
    }

    /// A file of an archive that cannot be read ends the job, since what is counted from the others would be wrong. Otherwise it
    /// is a dead letter. Without effect on a generator.
    #[must_use]
    pub fn all_or_nothing(mut self) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.all_or_nothing = true;
        }
        self
    }

    /// Of an archive, only the events of this range. Without effect on a generator.
    #[must_use]
    pub fn range(mut self, range: EventTimeRange) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.range = Some(range);
        }
        self
    }

    /// The column that says when a record happened; or an SQL expression that does, as a column `event_time`.
    #[must_use]
    pub fn event_time(mut self, column: impl Into<String>) -> Self {
        self.event_time = Some(EventTime { name: None, expression: column.into() });
        self
    }

    /// An SQL expression that says when a record happened, and the name of the column that it becomes.
    #[must_use]
    pub fn computed_event_time(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.event_time = Some(EventTime { name: Some(name.into()), expression: expression.into() });
        self
    }

    /// How far the watermark stays behind the largest event time seen: how much disorder is waited for.
    #[must_use]
    pub fn watermark_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The silence after which a split no longer holds time up.
    #[must_use]
    pub fn idle_after(mut self, silence: Duration) -> Self {
        self.idle_after = Some(silence);
        self
    }

    /// How far a record may be ahead of its split's time; one that is further ahead is a dead letter.
    #[must_use]
    pub fn max_jump(mut self, jump: Duration) -> Self {
        self.max_jump = Some(jump);
        self
    }

    /// With [`Source::max_jump`]: how many records ahead must agree, and what they must cover, for time to go on there.
    #[must_use]
    pub fn jump_after(mut self, after: JumpAfter) -> Self {
        self.jump_after = Some(after);
        self
    }

    /// How far a record may be ahead of the wall clock when it is read; one that is further ahead is a dead letter. Without
    /// effect where records are not read as they happen.
    #[must_use]
    pub fn max_ahead(mut self, ahead: Duration) -> Self {
        self.max_ahead = Some(ahead);
        self
    }
}

/// Keeps rows by a condition, and computes columns.
#[derive(Debug, Clone)]
pub struct Map {
    pub(crate) input: String,
    pub(crate) condition: Option<String>,
    pub(crate) select: Option<Vec<(String, String)>>,
}

impl Map {
    /// A map over the output of a node.
    pub fn over(input: impl Into<String>) -> Self {
        Map { input: input.into(), condition: None, select: None }
    }

    /// Keeps the rows for which this SQL expression is true.
    #[must_use]
    pub fn keep_where(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Adds a column of the result. Without any, all columns of the input go on.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.select.get_or_insert_default().push((name.into(), expression.into()));
        self
    }
}

/// Drops rows whose key was seen before.
#[derive(Debug, Clone)]
pub struct Dedup {
    pub(crate) input: String,
    pub(crate) key: Vec<String>,
    pub(crate) ttl: Duration,
    pub(crate) same_event_time: bool,
    pub(crate) null_key: NullKey,
}

impl Dedup {
    /// Of rows that are equal in the key columns, the first goes on; a key is remembered for `ttl` of event time.
    pub fn over<S: Into<String>>(input: impl Into<String>, key: impl IntoIterator<Item = S>, ttl: Duration) -> Self {
        let key = key.into_iter().map(Into::into).collect();
        Dedup { input: input.into(), key, ttl, same_event_time: false, null_key: NullKey::Pass }
    }

    /// Says that duplicates bear the event time of their original although it is not in the key: state is then kept by
    /// time, which is faster and dropped whole.
    #[must_use]
    pub fn same_event_time(mut self, same: bool) -> Self {
        self.same_event_time = same;
        self
    }

    /// What becomes of rows with a null in their key, which are nobody's duplicates.
    #[must_use]
    pub fn null_key(mut self, null_key: NullKey) -> Self {
        self.null_key = null_key;
        self
    }
}

/// How event time is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Side by side.
    Tumbling {
        /// Length of each.
        size: Duration,
    },
    /// Overlapping.
    Hopping {
        /// Length of each.
        size: Duration,
        /// From the start of one to the start of the next.
        slide: Duration,
    },
    /// Per key: events less than the gap apart.
    Session {
        /// The silence that ends a session.
        gap: Duration,
    },
}

/// Groups rows by key and window.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub(crate) input: String,
    pub(crate) key: Vec<String>,
    pub(crate) window: Window,
    pub(crate) allowed_lateness: Duration,
    pub(crate) select: Vec<(String, String)>,
    /// How often running counts of open windows are emitted.
    pub(crate) emit: Option<Duration>,
}

impl Aggregate {
    /// Groups the output of a node by these columns, in windows.
    pub fn over<S: Into<String>>(input: impl Into<String>, key: impl IntoIterator<Item = S>, window: Window) -> Self {
        Aggregate {
            input: input.into(),
            key: key.into_iter().map(Into::into).collect(),
            window,
            allowed_lateness: Duration::ZERO,
            select: Vec::new(),
            emit: None,
        }
    }

    /// How long after its end a window is still corrected.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// Emits running counts of open windows as often as that, with a checkpoint, for sinks that take them
    /// ([`Sink::running`]). Not for sessions.
    #[must_use]
    pub fn emit_every(mut self, every: Duration) -> Self {
        self.emit = Some(every);
        self
    }

    /// Adds an aggregate, such as `count(*)`, under a name.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, call: impl Into<String>) -> Self {
        self.select.push((name.into(), call.into()));
        self
    }
}

/// The largest groups of every window of an aggregate.
#[derive(Debug, Clone)]
pub struct Reduce {
    pub(crate) input: String,
    pub(crate) n: usize,
    pub(crate) by: String,
    pub(crate) per: Vec<String>,
    pub(crate) window: Option<Window>,
}

impl Reduce {
    /// The `n` groups of an aggregate with the largest value in the column `by`; ties by key, ascending.
    pub fn top(input: impl Into<String>, n: usize, by: impl Into<String>) -> Self {
        Reduce { input: input.into(), n, by: by.into(), per: Vec::new(), window: None }
    }

    /// Ranks separately for each value of these key columns.
    #[must_use]
    pub fn per<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.per = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Adds up the aggregate's windows to longer ones first.
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }
}

/// Where results go.
#[derive(Debug, Clone)]
pub struct Sink {
    pub(crate) input: String,
    pub(crate) connector: SinkConnector,
    /// Items such as `ad_id` or `window_start as click_minute`.
    pub(crate) select: Option<Vec<String>>,
    /// Whether it takes running counts, where that was said.
    pub(crate) running: Option<bool>,
    pub(crate) enabled: bool,
}

/// What a sink writes to.
#[derive(Debug, Clone)]
pub(crate) enum SinkConnector {
    Console,
    Files(FilesSink),
    Sql(crate::sql_sink::SqlSink),
}

/// Bytes in the name of a job or a node: a file's name holds one of each, and may have 255.
pub(crate) const LONGEST_NAME: usize = 100;

/// Files in a folder.
#[derive(Debug, Clone)]
pub(crate) struct FilesSink {
    pub(crate) path: String,
    pub(crate) compression: &'static str,
    pub(crate) hourly: bool,
    pub(crate) partition_column: Option<String>,
    /// When files are begun; none: as it suits what the rows are.
    pub(crate) roll: Option<Roll>,
    /// How long after they were written files are kept; none: for ever.
    pub(crate) retention: Option<Duration>,
}

/// When a sink begins files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roll {
    /// With every checkpoint that has rows.
    Checkpoint,
    /// So often at most, but for rows of so many bytes in memory: until then rows are held as state of the job.
    Every {
        /// How long rows are held.
        every: Duration,
        /// How many bytes of them in a subtask; none: as many as make a file of some megabytes.
        bytes: Option<u64>,
    },
}

/// How the pages of Parquet files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: the fastest.
    None,
    /// Snappy: between the two others.
    Snappy,
    /// Zstandard: the smallest.
    Zstd,
}

impl Compression {
    /// The name in a definition.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }
}

impl Sink {
    /// Parquet files in a folder, or below a URL.
    pub fn files(input: impl Into<String>, path: impl Into<String>) -> Self {
        let files = FilesSink {
            path: path.into(),
            compression: Compression::None.name(),
            hourly: false,
            partition_column: None,
            roll: None,
            retention: None,
        };
        Sink::new(input.into(), SinkConnector::Files(files))
    }

    /// Lines on standard output.
    pub fn console(input: impl Into<String>) -> Self {
        Sink::new(input.into(), SinkConnector::Console)
    }

    pub(crate) fn new(input: String, connector: SinkConnector) -> Self {
        Sink { input, connector, select: None, running: None, enabled: true }
    }

    /// Whether it also takes the running counts of its aggregate's open windows ([`Aggregate::emit_every`]): rows with a
    /// revision below zero, of which each replaces the one before. Files and consoles don't unless it is said here.
    #[must_use]
    pub fn running(mut self, running: bool) -> Self {
        self.running = Some(running);
        self
    }

    /// Whether it is a part of the job; if not, it is checked and then left out.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Whether it takes running counts where there are any.
    pub(crate) fn takes_running(&self) -> bool {
        let standard = match self.connector {
            SinkConnector::Files(_) | SinkConnector::Console => false,
            SinkConnector::Sql(_) => true,
        };
        self.enabled && self.running.unwrap_or(standard)
    }

    /// How the files are compressed. Without effect on a console.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.compression = compression.name();
        }
        self
    }

    /// A folder for every hour of a timestamp column; of the event time, or the window's start, when none is named.
    /// Without effect on a console.
    #[must_use]
    pub fn partition_by_hour(mut self, column: Option<String>) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.hourly = true;
            files.partition_column = column;
        }
        self
    }

    /// When files are begun. Not said: once a minute, every ten minutes for late rows, dead letters and what came on time, and with
    /// every checkpoint for running counts. Without effect on a console.
    #[must_use]
    pub fn roll(mut self, roll: Roll) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.roll = Some(roll);
        }
        self
    }

    /// Removes files so long after they were written. Without effect on a console.
    #[must_use]
    pub fn keep_files_for(mut self, retention: Duration) -> Self {
        if let SinkConnector::Files(files) = &mut self.connector {
            files.retention = Some(retention);
        }
        self
    }

    /// The columns to write: `ad_id`, or an expression with a name, `window_start as click_minute`.
    #[must_use]
    pub fn select<S: Into<String>>(mut self, items: impl IntoIterator<Item = S>) -> Self {
        self.select = Some(items.into_iter().map(Into::into).collect());
        self
    }
}
