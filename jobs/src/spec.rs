//! A job as written: its settings and its nodes, by name; nothing checked yet.

use crate::nodes::Node;
use crate::settings::JobSettings;
use weir_operators::definition::KeyPath;

/// A whole job as written.
#[derive(Debug, Clone)]
pub(crate) struct JobSpec {
    pub(crate) settings: JobSettings,
    pub(crate) nodes: Vec<NodeSpec>,
}

impl JobSpec {
    /// The same with the sinks that write into tables as a part of the job.
    pub(crate) fn with_tables(mut self) -> Self {
        for node in &mut self.nodes {
            node.body.enable_table();
        }
        self
    }

    /// How long rows may be held back from an archive, in milliseconds of event time: what was counted that late may not be in
    /// it.
    pub(crate) fn archive_held_ms(&self) -> i64 {
        self.nodes
            .iter()
            .filter_map(|node| node.body.archive(&self.settings))
            .map(|archive| archive.held_ms)
            .max()
            .unwrap_or(0)
    }
}

/// A node and its name.
#[derive(Debug)]
pub(crate) struct NodeSpec {
    pub(crate) name: String,
    pub(crate) body: Box<dyn Node>,
}

impl Clone for NodeSpec {
    fn clone(&self) -> Self {
        NodeSpec { name: self.name.clone(), body: self.body.boxed() }
    }
}

impl NodeSpec {
    /// The key of the node in the definition.
    pub(crate) fn path(&self) -> KeyPath {
        KeyPath::of([self.body.kind(), self.name.as_str()])
    }
}
