//! The ad-click job as the tests run it: its definition, the same rules for the recount, and one run of it.

use crate::{
    check,
    oracle::{self, Doubts, Expected, Others, Pairs, Rules, WindowJoin},
    results,
    simulation::{campaigns, webhook},
    table, topics,
    workload::{Click, InputFormat},
};
use anyhow::{Result, anyhow, ensure};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::Env,
    graph::{JobGraph, NodeRole},
    operator::Factory,
    task::{RunOutcome, StopSignal},
};
use weir_local::{Settings, Submission, run, run_apart};

/// Name of the job: part of paths.
pub const JOB: &str = "ad-click";

/// What varies from run to run.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// How the input is written.
    pub format: InputFormat,
    /// Whether two sources read the files, those with an even and those with an odd number, and flow together.
    pub two_sources: bool,
    /// Subtasks of every operator.
    pub parallelism: usize,
    /// Workers that share them.
    pub workers: NonZeroUsize,
    /// From one checkpoint to the next.
    pub checkpoint_interval_ms: u64,
    /// Rows of a source's batch at most.
    pub batch_rows: usize,
    /// Credit of a channel, in bytes.
    pub channel_bytes: usize,
    /// Whether one of the filters matches every click.
    pub count_all: bool,
    /// Whether files are followed until the run is stopped.
    pub follow: bool,
    /// After so long a followed file that is silent holds nobody up.
    pub idle_after_ms: Option<u64>,
    /// How far a followed file may be ahead of the slowest one.
    pub max_drift_ms: Option<u64>,
    /// Whether duplicates are counted, so that the recount does not say what is right.
    pub without_dedup: bool,
    /// How long minutes are corrected.
    pub allowed_lateness_minutes: i64,
    /// Whether the counts are kept in a table, too; in the `store`, where there is one.
    pub with_table: bool,
    /// Whether clicks far ahead of their file are dead letters.
    pub with_max_jump: bool,
    /// What sinks write.
    pub outputs: Outputs,
    /// Whether the clicks that came on time are archived by hour, so that they can be counted again.
    pub archive_by_hour: bool,
    /// Whether somebody has misspelt the user of a filter.
    pub wrong_filter: bool,
    /// URL of a store that is filled too, with running counts.
    pub store: Option<String>,
    /// Whether the clicks come from a topic, each file a partition.
    pub from_kafka: bool,
    /// Whether counts and top ads go to topics, too.
    pub to_kafka: bool,
    /// Whether what blocks of minutes come to is posted, too.
    pub to_webhook: bool,
    /// Whether it is looked up what a table says of each click's ad; none: it is not.
    pub campaigns: Option<campaigns::Campaigns>,
    /// Whether clicks are joined with others of the same users.
    pub pairs: bool,
    /// Windows of another kind beside the minutes, over clicks that may be repeated; none: there are none.
    pub others: Option<Others>,
    /// How the counts that a map keeps are joined with the numbers of clicks from abroad; none: they are not.
    pub window_join: Option<WindowJoin>,
}

/// The format of what sinks write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Parquet.
    Parquet,
    /// Counts CSV, all others JSON lines.
    Text,
    /// Avro.
    Avro,
}

impl Outputs {
    /// All of them.
    pub const ALL: [Outputs; 3] = [Outputs::Parquet, Outputs::Text, Outputs::Avro];

    fn format(self, sink: &str) -> &'static str {
        match self {
            Outputs::Parquet => "parquet",
            Outputs::Avro => "avro",
            Outputs::Text if matches!(sink, "counts" | "live") => "csv",
            Outputs::Text => "json",
        }
    }
}

impl Default for JobConfig {
    fn default() -> Self {
        JobConfig {
            format: InputFormat::ClickLog,
            two_sources: false,
            parallelism: 2,
            workers: NonZeroUsize::MIN,
            checkpoint_interval_ms: 20,
            batch_rows: 32,
            channel_bytes: 1 << 20,
            count_all: true,
            follow: false,
            idle_after_ms: None,
            max_drift_ms: None,
            without_dedup: false,
            allowed_lateness_minutes: 2,
            with_table: false,
            with_max_jump: false,
            outputs: Outputs::Parquet,
            archive_by_hour: false,
            wrong_filter: false,
            store: None,
            from_kafka: false,
            to_kafka: false,
            to_webhook: false,
            campaigns: None,
            pairs: false,
            others: None,
            window_join: None,
        }
    }
}

/// The number that a user's name ends with; none: another kind of user.
fn user_number(click: &Click) -> Option<i64> {
    click.user_id.chars().skip(5).collect::<String>().parse().ok()
}

const DEDUP: &str = r#"
[dedup.unique]
input = "valid"
key = ["ad_id", "click_timestamp", "user_id", "ip"]
ttl = "2h"
"#;

/// The sinks of a store, as in the shipped job. Minutes stay minutes, so that every count can be compared.
const STORE: &str = r#"
[sink.store]
connector = "sql"
input = "clicks_per_minute"
url = URL
table = "ad_counts"
key = ["click_minute", "filter_id", "ad_id"]
select = ["window_start as click_minute", "filter_id", "ad_id", "count", "revision"]
indexes = [{ columns = ["click_minute", "filter_id", "count"], where = "count >= 32" }]
running = true

[sink.store_top]
connector = "sql"
input = "top_ads"
url = URL
table = "top_ads"
key = ["window_end", "window_start", "filter_id", "rank"]
select = ["window_end", "window_start", "filter_id", "rank", "ad_id", "count", "revision"]
"#;

/// The sinks of the store at this URL.
pub(crate) fn store_sinks(url: &str) -> String {
    STORE.replace("URL", &format!("{url:?}"))
}

const MAX_LINE_BYTES: usize = 4_000;
const DELAY_SECONDS: i64 = 15;
const TOP_MINUTES: i64 = 5;
const TOP_N: usize = 3;
const BLOCK_MINUTES: i64 = 3;
const PAIRED_BEFORE_SECONDS: i64 = 120;
const PAIRED_AFTER_SECONDS: i64 = 20;

/// Clicks on the first ad stand for orders, which clicks on other ads led to.
const PAIRS: &str = r#"
[map.orders]
input = "valid"
where = "ad_id = 'ad000'"

[map.before_orders]
input = "valid"
where = "ad_id <> 'ad000'"

[join.pairs]
left = "orders"
right = "before_orders"
on = ["user_id"]
match = "last"
select = { order = "left.ip", ordered = "left.click_timestamp", click = "right.ad_id", clicked = "right.click_timestamp" }
"#;

impl JobConfig {
    /// What the recount has to know of it.
    pub fn rules(&self) -> Rules {
        let mut filters: Vec<(&'static str, oracle::Filter)> = vec![
            ("usa", |click| click.country.as_deref() == Some("USA")),
            match self.wrong_filter {
                false => ("first", |click| click.ip.ends_with(".1") || click.user_id == "user 3"),
                true => ("first", |click| click.ip.ends_with(".1") || click.user_id == "user 33"),
            },
        ];
        if self.count_all {
            filters.push(("all", |_| true));
        }
        Rules {
            format: self.format,
            in_a_topic: self.from_kafka.then_some(topics::CLICKS),
            max_line_bytes: MAX_LINE_BYTES,
            delay_ms: DELAY_SECONDS * 1_000,
            doubts: Some(match self.with_max_jump {
                true => Doubts { largest_jump_ms: 3_600_000, voices: 20, span_ms: 10_000, put_aside: true },
                false => Doubts { largest_jump_ms: 86_400_000, voices: 1_000, span_ms: 600_000, put_aside: false },
            }),
            allowed_lateness_ms: self.allowed_lateness_minutes * 60_000,
            fails_in_map: |click| matches!(user_number(click), None | Some(7)),
            fails_in_filters: |click| click.country.as_deref() == Some("USA") && user_number(click) == Some(9),
            filters,
            top_minutes: TOP_MINUTES,
            top_n: TOP_N,
            block_minutes: BLOCK_MINUTES,
            pairs: self
                .pairs
                .then_some(Pairs { before_ms: PAIRED_BEFORE_SECONDS * 1_000, after_ms: PAIRED_AFTER_SECONDS * 1_000 }),
            others: self.others,
            window_join: self.window_join,
        }
    }

    /// The definition.
    pub fn definition(&self, input: &Path, output: &Path) -> String {
        let misspelt = if self.wrong_filter { "3" } else { "" };
        let archive = if self.archive_by_hour { "\npartition_by = \"hour\"" } else { "" };
        let all = if self.count_all { "all = \"true\"" } else { "" };
        let (format, follow, lateness) = (self.format.name(), self.follow, self.allowed_lateness_minutes);
        let (counted, dedup) = match self.without_dedup {
            true => ("valid", String::new()),
            false => ("unique", DEDUP.to_owned()),
        };
        let idle = self.idle_after_ms.map_or(String::new(), |after| format!(", idle_after = \"{after}ms\""));
        let drift = self.max_drift_ms.map_or(String::new(), |drift| format!(", max_drift = \"{drift}ms\""));
        let jump = match self.with_max_jump {
            true => ", max_jump = \"1h\", jump_after = { rows = 20, span = \"10s\" }",
            false => "",
        };
        let schema = match self.format {
            InputFormat::ClickLog => String::new(),
            _ => "schema = { ad_id = \"string\", click_timestamp = \"timestamp\", user_id = \"string\", ip = \"string\", \
                  country = \"string\", event_id = \"string\" }"
                .to_owned(),
        };
        let line_bytes = match self.format {
            InputFormat::Parquet => String::new(),
            _ => format!("max_line_bytes = {MAX_LINE_BYTES}"),
        };
        let source = |name: &str, path: &Path| {
            format!(
                "[source.{name}]\nconnector = \"files\"\npath = {}\nformat = \"{format}\"\nfollow = {follow}\n\
                 event_time = \"click_timestamp\"\nwatermark = {{ delay = \"{DELAY_SECONDS}s\"{idle}{drift}{jump} }}\n\
                 {schema}\n{line_bytes}\n\n",
                toml_text(path)
            )
        };
        let sources = match self.two_sources {
            _ if self.from_kafka => topics::source(&format!(
                "format = \"{format}\"\nevent_time = \"click_timestamp\"\n\
                 watermark = {{ delay = \"{DELAY_SECONDS}s\"{idle}{jump} }}\n{schema}\n{line_bytes}"
            )),
            true => [source("clicks", &input.join("*[02468].*")), source("others", &input.join("*[13579].*"))].concat(),
            false => source("clicks", input),
        };
        let sink = |name: &str, input: &str, select: &str| {
            let path = toml_text(&output.join(name));
            // What is put out with every checkpoint shows what goes wrong in one.
            let roll = if select.contains("roll = ") { "" } else { "roll = \"checkpoint\"\n" };
            let format = match name {
                // A replay reads an archive of Parquet.
                "on_time" if self.archive_by_hour => "parquet",
                name if name.starts_with("pairs") => "parquet",
                name => self.outputs.format(name),
            };
            format!(
                "[sink.{name}]\ninput = [\"{input}\"]\nconnector = \"files\"\nformat = \"{format}\"\npath = {path}\n{roll}{select}\n"
            )
        };
        let columns = "select = [\"record_id\", \"ad_id\", \"window_start as click_minute\", \"filter_id\", \"count\", \"revision\"]";
        let (read, unread) = match self.two_sources {
            true => ("clicks\", \"others", "clicks.dead_letters\", \"others.dead_letters"),
            false => ("clicks", "clicks.dead_letters"),
        };
        let store = self.store.as_deref().map_or(String::new(), store_sinks);
        let others = self.others.map_or(String::new(), |kind| {
            let window = kind.written();
            format!(
                "[aggregate.other_windows]\ninput = \"valid\"\nkey = [\"ad_id\"]\n\
                 window = {{ {window}, allowed_lateness = \"{lateness}m\" }}\nselect = {{ count = \"count(*)\" }}\n\n{}{}",
                sink("other_windows", "other_windows", ""),
                sink("other_windows_late", "other_windows.late", "")
            )
        });
        let pairs = match self.pairs {
            false => String::new(),
            true => [
                PAIRS.to_owned(),
                format!(
                    "within = {{ before = \"{PAIRED_BEFORE_SECONDS}s\", after = \"{PAIRED_AFTER_SECONDS}s\", \
                     allowed_lateness = \"{lateness}m\" }}\n\n"
                ),
                sink("pairs", "pairs", ""),
                sink("pairs_unmatched", "pairs.unmatched", ""),
                sink("pairs_late_orders", "pairs.late_left", ""),
                sink("pairs_late_clicks", "pairs.late_right", ""),
            ]
            .concat(),
        };
        let window_join = self.window_join.map_or(String::new(), |join| {
            let late = sink("window_join_late", "abroad_minutes.late", "");
            [window_join(join, lateness), sink("window_join", "window_join", ""), late].concat()
        });
        let campaigns = self.campaigns.as_ref().map_or(String::new(), |campaigns| {
            [campaigns.section(), sink(campaigns::LOOKED_UP, "campaigns", "")].concat()
        });
        let sinks = [
            sink("counts", "clicks_per_minute", columns),
            sink("live", "clicks_per_minute", &format!("{columns}\nrunning = true")),
            sink("top_ads", "top_ads", ""),
            sink("everybody", "everybody", ""),
            sink("shares", "shares", ""),
            sink("top_kept", "top_kept", ""),
            sink("blocks", "blocks", ""),
            sink("late", "clicks_per_minute.late", ""),
            // Held back over many checkpoints: a tenth of the event time that there is.
            sink("on_time", "clicks_per_minute.on_time", &format!("roll = {{ every = \"90s\" }}{archive}")),
            sink("dead_letters", unread, ""),
            sink("refused_by_map", "valid.dead_letters", ""),
            sink("refused_by_filters", "clicks_per_minute.dead_letters", ""),
            sink("raw", read, ""),
            store,
            if self.to_kafka { topics::SINKS.to_owned() } else { String::new() },
            if self.to_webhook { webhook::SINK.to_owned() } else { String::new() },
            pairs,
            others,
            window_join,
            campaigns,
        ]
        .concat();
        let has_table = self.with_table && self.store.is_none();
        let table = if has_table { table::section(output) } else { String::new() };
        format!(
            r#"
[job]
name = "{JOB}"
checkpoint = {{ interval = "{interval}ms" }}

{sources}
[map.valid]
input = ["{read}"]
# Fails on guests, who have no number, and divides by zero for user 7.
where = """case when ad_id <> '' and country is not null
    then 100 / (cast(substr(user_id, 6) as bigint) - 7) < 1000 else false end"""

{dedup}
[filters]
# Divides by zero for user 9.
usa = "country = 'USA' and 1 / (cast(substr(user_id, 6) as bigint) - 9) >= -1"
first = "ip like '%.1' or user_id = 'user 3{misspelt}'"
{all}

[aggregate.clicks_per_minute]
input = "{counted}"
key = ["ad_id", "filter_id"]
window = {{ tumbling = "1m", allowed_lateness = "{lateness}m" }}
select = {{ count = "count(*)" }}
# With every other checkpoint.
emit = {{ every = "{emit}ms" }}

# All clicks are one group.
[aggregate.everybody]
input = "{counted}"
key = []
window = {{ tumbling = "1m", allowed_lateness = "{lateness}m" }}
[aggregate.everybody.select]
clicks = "count(*)"
usa = "count(*) filter (where country = 'USA')"
users = "count(distinct user_id)"
last_ip = "last_value(ip)"
last_users_ad = "max_by(ad_id, user_id)"
ads = "array_agg(distinct ad_id, 4)"
ips = "array_agg(ip, 3)"
median = "median(cast(substr(user_id, 6) as bigint))"
spread = "var_pop(cast(substr(user_id, 6) as bigint))"

# Counts rise, so that what is kept comes and goes with every click that is late.
[map.kept]
input = "clicks_per_minute"
where = "count % 3 <> 1"

# Divides by zero for five clicks.
[map.shares]
input = "kept"
select = {{ filter_id = "filter_id", ad = "ad_id", minute = "window_start", share = "60 / (count - 5)" }}

[reduce.top_kept]
input = "kept"
window = {{ hopping = "{TOP_MINUTES}m", slide = "1m" }}
top = {{ n = {TOP_N}, by = "count", per = ["filter_id"] }}

# Loses minutes whose counts are not kept any longer, and then all of them now and then.
[aggregate.blocks]
input = "kept"
key = ["ad_id", "filter_id"]
window = {{ tumbling = "{BLOCK_MINUTES}m" }}
select = {{ minutes = "count(*)", clicks = "sum(count)", most = "max(count)" }}

[reduce.top_ads]
input = "clicks_per_minute"
window = {{ hopping = "{TOP_MINUTES}m", slide = "1m" }}
top = {{ n = {TOP_N}, by = "count", per = ["filter_id"] }}

{sinks}
{table}
"#,
            interval = self.checkpoint_interval_ms,
            emit = 2 * self.checkpoint_interval_ms,
        )
    }

    /// The graph that the engine runs.
    ///
    /// # Errors
    /// When the definition is refused.
    pub fn graph(&self, input: &Path, output: &Path) -> Result<JobGraph> {
        let text = self.definition(input, output);
        let options = weir_jobs::CompileOptions { parallelism: Some(self.parallelism), ..Default::default() };
        let job = weir_jobs::parse("ad_click.toml", &text, &[], &options)
            .map_err(|refusal| anyhow!("the definition is refused: {refusal}\n{text}"))?;
        let mut graph = job.graph;
        for source in graph.nodes.iter_mut().filter(|node| node.role == NodeRole::Source) {
            source.config["batch_rows"] = self.batch_rows.into();
            if self.follow {
                source.config["poll_ms"] = 5.into();
                source.config["discover_ms"] = 20.into();
            }
        }
        Ok(graph)
    }
}

/// The numbers of clicks from outside Japan, of which those that are even come and go as the kept counts do, and the join of the two.
fn window_join(join: WindowJoin, lateness_minutes: i64) -> String {
    let WindowJoin { kind, turned, more_lateness_minutes } = join;
    let [counts, clicks] = if turned { ["right", "left"] } else { ["left", "right"] };
    format!(
        "[map.abroad]\ninput = \"valid\"\nwhere = \"country <> 'Japan'\"\n\n\
         [aggregate.abroad_minutes]\ninput = \"abroad\"\nkey = [\"ad_id\"]\n\
         window = {{ tumbling = \"1m\", allowed_lateness = \"{}m\" }}\nselect = {{ clicks = \"count(*)\" }}\n\n\
         [map.abroad_odd]\ninput = \"abroad_minutes\"\nwhere = \"clicks % 2 = 1\"\n\n\
         [join.window_join]\n{counts} = \"kept\"\n{clicks} = \"abroad_odd\"\non = [\"ad_id\"]\ntype = \"{}\"\n\
         select = {{ ad_id = \"left.ad_id\", filter_id = \"{counts}.filter_id\", count = \"{counts}.count\", \
         clicks = \"{clicks}.clicks\" }}\n\n",
        lateness_minutes + more_lateness_minutes,
        kind.written()
    )
}

fn toml_text(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// A place for one job's input, output and checkpoints. Removed when dropped.
#[derive(Debug)]
pub struct Bench {
    folder: tempfile::TempDir,
    /// Where checkpoints lie.
    pub store: CheckpointStore,
}

impl Bench {
    /// An empty one with checkpoints in memory: on a disk they are synced one by one.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new() -> Result<Self> {
        Bench::with_store(CheckpointStore::over(Arc::new(object_store::memory::InMemory::new()), JOB))
    }

    /// An empty one with checkpoints in files, which are written another way.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn with_files() -> Result<Self> {
        let mut bench = Bench::new()?;
        let url = format!("file://{}", bench.checkpoints().display());
        bench.store = CheckpointStore::open(&url, JOB).map_err(|error| anyhow!("{error}"))?;
        Ok(bench)
    }

    /// One with that store.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn with_store(store: CheckpointStore) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let bench = Bench { folder: folder?, store };
        std::fs::create_dir_all(bench.input())?;
        Ok(bench)
    }

    /// The folder of the input files.
    pub fn input(&self) -> PathBuf {
        self.folder.path().join("input")
    }

    /// The folder of checkpoints, where they are in files.
    pub fn checkpoints(&self) -> PathBuf {
        self.folder.path().join("checkpoints")
    }

    /// The folder of the sinks' folders.
    pub fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// Runs the job once as a process of its own, until it ends, fails or is stopped.
    ///
    /// # Errors
    /// Whatever ends it.
    pub async fn run(
        &self,
        config: &JobConfig,
        factory: Arc<dyn Factory>,
        env: Env,
        stop: StopSignal,
    ) -> weir_engine::Result<RunOutcome> {
        self.run_on(self.store.clone(), config, factory, env, stop).await
    }

    /// The same on another store, a faulty one over the same objects, say.
    ///
    /// # Errors
    /// Whatever ends it.
    pub async fn run_on(
        &self,
        store: CheckpointStore,
        config: &JobConfig,
        factory: Arc<dyn Factory>,
        env: Env,
        stop: StopSignal,
    ) -> weir_engine::Result<RunOutcome> {
        let settings = self.settings(store, config, factory, env)?;
        Ok(run_apart(2, settings, Submission::new("test"), stop).await?)
    }

    /// The same on the runtime that this is called on, afresh or not: what the run has begun stands still with the runtime.
    ///
    /// # Errors
    /// Whatever ends it.
    pub async fn run_here(
        &self,
        store: CheckpointStore,
        config: &JobConfig,
        env: Env,
        start_over: bool,
    ) -> weir_engine::Result<RunOutcome> {
        let settings = self.settings(store, config, Arc::new(weir_operators::Registry), env)?;
        let submission = Submission { start_over, ..Submission::new("test") };
        Ok(run(settings, submission, StopSignal::default()).await?)
    }

    /// The job of a configuration, with everything that it runs with.
    ///
    /// # Errors
    /// When the definition is refused.
    pub fn settings(
        &self,
        store: CheckpointStore,
        config: &JobConfig,
        factory: Arc<dyn Factory>,
        env: Env,
    ) -> weir_engine::Result<Settings> {
        let graph = config
            .graph(&self.input(), &self.output())
            .map_err(|error| weir_engine::EngineError::definition(format!("{error:#}")))?;
        let settings = Settings::new(graph, store, env, factory);
        Ok(Settings { workers: config.workers, channel_bytes: config.channel_bytes, ..settings })
    }

    /// Runs until all input is counted, without any fault.
    ///
    /// # Errors
    /// When the job fails, or ends before its input does.
    pub async fn run_to_end(&self, config: &JobConfig, factory: Arc<dyn Factory>, seed: u64) -> Result<RunOutcome> {
        let outcome = self.run(config, factory, Env::seeded(seed), StopSignal::default()).await;
        let outcome = outcome.map_err(|error| anyhow!("{:?}: {error}", error.kind))?;
        ensure!(outcome.manifest.last, "the run ended before its input");
        Ok(outcome)
    }

    /// What the recount says.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub fn expected(&self, config: &JobConfig) -> Result<Expected> {
        oracle::recount(&self.input(), &config.rules())
    }

    /// Compares what is committed, and the counters, with the recount.
    ///
    /// # Errors
    /// With every difference.
    pub fn check(&self, config: &JobConfig, outcome: &RunOutcome) -> Result<()> {
        let expected = self.expected(config)?;
        let mut differences = match results::read_results(&self.output()) {
            Ok(results) => check::differences(&expected, &results),
            Err(error) => vec![format!("{error:#}")],
        };
        differences.extend(check::counter_differences(&expected, &outcome.manifest));
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    }
}
