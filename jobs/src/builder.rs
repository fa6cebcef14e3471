//! The public builder of jobs in Rust. The TOML front end uses it too. Each node's file has the method that adds one, and
//! `build` the one that compiles.

use crate::nodes::Node;
use crate::nodes::sink::Sink;
use crate::nodes::source::Source;
use crate::settings::{Checkpoint, JobSettings};
use crate::spec::{JobSpec, NodeSpec};

/// Collects the nodes of a job, then checks and compiles them.
///
/// ```
/// use std::time::Duration;
/// use weir_jobs::{Aggregate, CompileOptions, Dedup, JobBuilder, Map, Reduce, Sink, Source, Window};
/// use weir_jobs::{sink::console::ConsoleSinkConfig, source::files::FilesConfig};
///
/// let minute = Duration::from_secs(60);
/// let clicks = Source::of(FilesConfig::at("jobs/data/clicks"))
///     .event_time("click_timestamp")
///     .watermark_delay(Duration::from_secs(15));
/// let job = JobBuilder::new("ad-click")
///     .source("clicks", clicks)
///     .map("valid", Map::over("clicks").keep_where("ad_id <> '' and country is not null"))
///     .dedup("unique", Dedup::over("valid", ["ad_id", "click_timestamp", "user_id", "ip"], 60 * minute))
///     .filter("0000", "true")
///     .filter("0012", "country = 'USA'")
///     .aggregate(
///         "clicks_per_minute",
///         Aggregate::over("unique", ["ad_id", "filter_id"], Window::Tumbling { size: minute })
///             .allowed_lateness(10 * minute)
///             .select("count", "count(*)"),
///     )
///     .reduce("top_ads", Reduce::top("clicks_per_minute", 100, "count").per(["filter_id"]))
///     .sink("top", Sink::of("top_ads", ConsoleSinkConfig::default()))
///     .build(&CompileOptions { parallelism: Some(2), ..CompileOptions::default() })?;
/// assert_eq!(job.graph.name, "ad-click");
/// assert!(job.graph.nodes.iter().any(|node| node.id == "dedup.unique"));
/// # Ok::<(), weir_jobs::Refusal>(())
/// ```
#[derive(Debug, Clone)]
pub struct JobBuilder {
    pub(crate) spec: JobSpec,
}

impl JobBuilder {
    /// A job without nodes. Its name is part of paths and of the ids of results.
    pub fn new(name: impl Into<String>) -> Self {
        JobBuilder { spec: JobSpec { settings: JobSettings::new(name.into()), nodes: Vec::new() } }
    }

    /// When checkpoints are taken and where they go.
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.spec.settings.checkpoint = checkpoint;
        self
    }

    /// Number of subtasks of every node; [`CompileOptions::parallelism`] goes before it.
    #[must_use]
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.spec.settings.parallelism = Some(parallelism);
        self
    }

    /// Number of key groups: the most subtasks that the job's state can ever be spread over. Part of stored state.
    #[must_use]
    pub fn max_parallelism(mut self, max_parallelism: u16) -> Self {
        self.spec.settings.max_parallelism = max_parallelism;
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn source(self, name: impl Into<String>, source: Source) -> Self {
        self.node(name, Box::new(source))
    }

    /// Adds a filter: rows are counted once under every filter that they match, by aggregates that have `filter_id` in
    /// their key.
    #[must_use]
    pub fn filter(mut self, id: impl Into<String>, condition: impl Into<String>) -> Self {
        self.spec.settings.filters.push((id.into(), condition.into()));
        self
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink(self, name: impl Into<String>, sink: Sink) -> Self {
        self.node(name, Box::new(sink))
    }

    pub(crate) fn node(mut self, name: impl Into<String>, body: Box<dyn Node>) -> Self {
        self.spec.nodes.push(NodeSpec { name: name.into(), body });
        self
    }
}
