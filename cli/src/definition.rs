//! A definition file → a checked job, and the fingerprint by which a checkpoint knows it again.

use crate::{failure::Failure, processors};
use clap::Args;
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use weir_engine::{graph::JobGraph, hidden::redacted_json};
use weir_jobs::{CompileOptions, Job, recalculation::Recalculation};
use weir_operators::Extensions;

/// Which job, with what changed.
#[derive(Debug, Args)]
pub struct DefinitionArguments {
    /// The job definition, a TOML file
    #[arg(value_name = "JOB")]
    file: PathBuf,
    /// Override or add a key of the definition, as in `source.clicks.path=/data/clicks`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Subtasks of every operator [default: as in the definition, or the number of processors]
    #[arg(long, value_name = "N")]
    parallelism: Option<NonZeroUsize>,
}

impl DefinitionArguments {
    /// The definition file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The definition as written, with what was set from outside.
    pub fn text(&self) -> Result<String, Failure> {
        let written = std::fs::read_to_string(&self.file)
            .map_err(|error| Failure::refused(format!("cannot read '{}': {error}", self.file.display())))?;
        let settings: String = self.settings.iter().map(|setting| format!("# --set {setting}\n")).collect();
        Ok(settings + &written)
    }

    /// Reads and checks the definition, for what can be counted again of its archive.
    pub fn recalculation(&self, extensions: &Extensions) -> Result<Recalculation, Failure> {
        Ok(Recalculation::load(&self.file, &self.settings, &self.options(extensions))?)
    }

    fn options(&self, extensions: &Extensions) -> CompileOptions {
        CompileOptions {
            parallelism: self.parallelism.map(NonZeroUsize::get),
            default_parallelism: Some(processors()),
            extensions: extensions.clone(),
            ..CompileOptions::default()
        }
    }

    /// Reads, checks and compiles the definition. Warnings are shown.
    pub fn load(&self, extensions: &Extensions) -> Result<Job, Failure> {
        self.compile(&self.options(extensions))
    }

    /// The same, for a job that runs in this process.
    pub fn load_to_run(&self, extensions: &Extensions) -> Result<Job, Failure> {
        self.compile(&CompileOptions { runs_here: true, ..self.options(extensions) })
    }

    /// The same, with the sinks that write into tables, whether the definition has them enabled or not.
    pub fn load_with_tables(&self, extensions: &Extensions) -> Result<Job, Failure> {
        self.compile(&CompileOptions { enable_tables: true, runs_here: true, ..self.options(extensions) })
    }

    /// The same, for a look at what the job has written, perhaps from another machine than it runs on.
    pub fn load_to_look(&self, extensions: &Extensions) -> Result<Job, Failure> {
        self.compile(&CompileOptions { enable_tables: true, ..self.options(extensions) })
    }

    fn compile(&self, options: &CompileOptions) -> Result<Job, Failure> {
        let job = weir_jobs::load(&self.file, &self.settings, options)?;
        for warning in &job.warnings {
            eprintln!("{warning}\n");
        }
        Ok(job)
    }
}

/// What must be the same for a checkpoint to be continued: everything but how wide the job runs, when it is
/// checkpointed, and passwords.
pub fn fingerprint(graph: &JobGraph) -> String {
    let mut graph = graph.clone();
    graph.checkpoint = Default::default();
    for node in &mut graph.nodes {
        node.parallelism = 1;
        // A new password is no other database.
        node.config = redacted_json(&node.config);
    }
    // A graph is plain data, made of maps in the order of their keys: equal graphs have equal texts.
    let text = serde_json::to_string(&graph).unwrap_or_default();
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::graph::{Node, NodeRole};

    fn graph(parallelism: usize, path: &str) -> JobGraph {
        let mut graph = JobGraph::new("job");
        let config = serde_json::json!({ "path": path });
        graph.add_node(Node {
            id: "source.a".into(),
            kind: "files".into(),
            role: NodeRole::Source,
            parallelism,
            config,
        });
        graph
    }

    #[test]
    fn a_checkpoint_may_go_on_wider_but_not_on_other_input() {
        let one = fingerprint(&graph(1, "a"));
        assert_eq!(one, fingerprint(&graph(8, "a")));
        assert_ne!(one, fingerprint(&graph(1, "b")));
        let with = |password: &str| fingerprint(&graph(1, &format!("postgres://me:{password}@host/db")));
        assert_eq!(with("old"), with("new"));
        let mut often = graph(1, "a");
        often.checkpoint.interval_ms = 20;
        assert_eq!(one, fingerprint(&often));
    }
}
