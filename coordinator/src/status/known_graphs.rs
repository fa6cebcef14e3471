//! The graphs of jobs as they are shown, each read once: a job has the same one from one submission to the next.

use super::GraphView;
use crate::metadata::{Catalog, Job};
use serde::Deserialize;
use std::collections::BTreeMap;
use weir_engine::graph::{ExecutionGraph, JobGraph};

/// By job.
#[derive(Debug, Default)]
pub(crate) struct KnownGraphs(BTreeMap<String, Known>);

#[derive(Debug)]
struct Known {
    submission: Submission,
    /// None: it cannot be read.
    graph: Option<(ExecutionGraph, GraphView)>,
}

/// How many there were of a job, and when the last was.
type Submission = (u64, i64);

impl KnownGraphs {
    /// Forgets those of jobs that are gone.
    pub(crate) fn keep(&mut self, catalog: &Catalog) {
        self.0.retain(|job, _| catalog.job(job).is_some());
    }

    /// The graph of a job, and its view in which nothing has happened yet.
    pub(crate) fn of(&mut self, job: &Job) -> Option<&(ExecutionGraph, GraphView)> {
        let submission = (job.submissions, job.submitted_at_ms);
        if self.0.get(&job.name).is_none_or(|known| known.submission != submission) {
            let graph = JobGraph::deserialize(&*job.graph).ok().and_then(|graph| ExecutionGraph::new(graph).ok());
            let graph = graph.map(|graph| {
                let view = GraphView::new(&graph);
                (graph, view)
            });
            self.0.insert(job.name.clone(), Known { submission, graph });
        }
        self.0.get(&job.name)?.graph.as_ref()
    }
}
