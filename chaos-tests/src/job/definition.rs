//! The definition of a job, and the graph that it is compiled to.

use super::{JOB, JobConfig, nodes::nodes, sinks::sinks, sources::sources};
use anyhow::{Result, anyhow};
use std::path::Path;
use weir_engine::graph::{JobGraph, NodeRole};

impl JobConfig {
    /// The definition.
    pub fn definition(&self, input: &Path, output: &Path) -> String {
        format!(
            "\n[job]\nname = \"{JOB}\"\ncheckpoint = {{ interval = \"{}ms\" }}\n\n{}\n{}\n{}\n",
            self.checkpoint_interval_ms,
            sources(self, input),
            nodes(self),
            sinks(self, output)
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

pub(super) fn toml_text(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
