//! A compiled job shown: as text for people, as a Mermaid diagram, as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::{Edge, ExecutionGraph, NodeRole, Partitioner};
use weir_engine::hidden::redacted_json;
use weir_engine::{EngineError, Result};

use crate::job::Job;
use weir_operators::definition::duration::show;

/// How a job is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    /// For people.
    Text,
    /// A flowchart in Mermaid's language, which many forges and editors draw.
    Mermaid,
    /// For programs.
    Json,
}

impl Job {
    /// Shows the job: operators, chains, edges with their partitioners, parallelism and state.
    ///
    /// # Errors
    /// When the graph breaks a rule of the engine, which a compiled job does not.
    pub fn explain(&self, format: ExplainFormat) -> Result<String> {
        let execution = ExecutionGraph::new(self.graph.clone())?;
        Ok(match format {
            ExplainFormat::Text => self.as_text(&execution),
            ExplainFormat::Mermaid => self.as_mermaid(&execution),
            ExplainFormat::Json => serde_json::to_string_pretty(&self.as_json(&execution))
                .map_err(|error| EngineError::internal(error.to_string()))?,
        })
    }

    fn as_text(&self, execution: &ExecutionGraph) -> String {
        let graph = &self.graph;
        let storage = self.checkpoint_storage.as_deref().unwrap_or("the data directory");
        let mut out = format!(
            "job {}: {} operators in {} chains, {} subtasks, {} key groups\n",
            graph.name,
            graph.nodes.len(),
            execution.tasks.len(),
            execution.subtasks(),
            graph.max_parallelism
        );
        let interval = show(graph.checkpoint.interval());
        let _ = writeln!(out, "checkpoints every {interval} to {storage}, {} kept", graph.checkpoint.retain);
        for (number, task) in execution.tasks.iter().enumerate() {
            let _ = writeln!(out, "\nchain {} × {}", number + 1, task.parallelism);
            for edge in task.inputs.iter().map(|edge| &graph.edges[*edge]) {
                let _ = writeln!(out, "  ← {}, {}", self.producer(edge), partitioning(edge));
            }
            for (place, link) in task.chain.iter().enumerate() {
                self.link_as_text(&mut out, link.node, place == 0);
            }
        }
        out
    }

    fn link_as_text(&self, out: &mut String, node: usize, is_head: bool) {
        let note = &self.notes[node];
        let id = &self.graph.nodes[node].id;
        let edges = self.graph.edges.iter().filter(|edge| edge.to == node && !is_head);
        let from: Vec<String> = edges.map(|edge| self.producer(edge)).collect();
        let from = if from.is_empty() { String::new() } else { format!("   ← {}", from.join(", ")) };
        let _ = writeln!(out, "  {id}{from}");
        if !note.does.is_empty() {
            let _ = writeln!(out, "      {}", note.does);
        }
        if let Some(state) = &note.state {
            let _ = writeln!(out, "      state: {state}");
        }
        if !note.columns.is_empty() {
            let _ = writeln!(out, "      columns: {}", note.columns.join(", "));
        }
    }

    /// A producer with its port, as a definition would write it.
    fn producer(&self, edge: &Edge) -> String {
        let id = &self.graph.nodes[edge.from].id;
        match edge.port {
            Port::MAIN => id.clone(),
            port => format!("{id}.{}", port.name()),
        }
    }

    fn as_mermaid(&self, execution: &ExecutionGraph) -> String {
        let mut out = String::from("flowchart LR\n");
        for (number, task) in execution.tasks.iter().enumerate() {
            let _ = writeln!(out, "  subgraph chain{} [\"chain {} × {}\"]", number + 1, number + 1, task.parallelism);
            for link in &task.chain {
                let node = &self.graph.nodes[link.node];
                let (open, close) = match node.role {
                    NodeRole::Source => ("([", "])"),
                    NodeRole::Operator => ("[", "]"),
                    NodeRole::Lookup => ("[[", "]]"),
                    NodeRole::Sink => ("[(", ")]"),
                };
                let does = &self.notes[link.node].does;
                let label = if does.is_empty() { node.id.clone() } else { format!("{}<br/>{does}", node.id) };
                let _ = writeln!(out, "    n{}{open}\"{}\"{close}", link.node, escaped(&label));
            }
            out.push_str("  end\n");
        }
        for edge in &self.graph.edges {
            let mut labels = Vec::new();
            if edge.port != Port::MAIN {
                labels.push(edge.port.name().to_owned());
            }
            if edge.partitioner != Partitioner::Forward {
                labels.push(partitioning(edge));
            }
            let arrow =
                if labels.is_empty() { "-->".to_owned() } else { format!("-->|\"{}\"|", escaped(&labels.join(", "))) };
            let _ = writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to);
        }
        out
    }

    fn as_json(&self, execution: &ExecutionGraph) -> Value {
        let graph = &self.graph;
        let id = |node: usize| graph.nodes[node].id.clone();
        let operators: Vec<Value> = graph
            .nodes
            .iter()
            .zip(&self.notes)
            .map(|(node, note)| {
                json!({
                    "id": node.id,
                    "kind": node.kind,
                    "role": node.role,
                    "parallelism": node.parallelism,
                    "does": note.does,
                    "state": note.state,
                    "columns": note.columns,
                    "config": redacted_json(&node.config),
                })
            })
            .collect();
        let edges: Vec<Value> = graph
            .edges
            .iter()
            .map(|edge| {
                json!({
                    "from": id(edge.from),
                    "port": edge.port,
                    "to": id(edge.to),
                    "partitioner": edge.partitioner,
                    "columns": edge.columns,
                })
            })
            .collect();
        let chains: Vec<Value> = execution
            .tasks
            .iter()
            .map(|task| {
                let operators: Vec<String> = task.chain.iter().map(|link| id(link.node)).collect();
                json!({ "operators": operators, "parallelism": task.parallelism })
            })
            .collect();
        json!({
            "job": graph.name,
            "max_parallelism": graph.max_parallelism,
            "checkpoint": {
                "interval_ms": graph.checkpoint.interval_ms,
                "retain": graph.checkpoint.retain,
                "storage": self.checkpoint_storage,
            },
            "operators": operators,
            "edges": edges,
            "chains": chains,
        })
    }
}

/// How an edge spreads rows, and which columns it carries if not all.
fn partitioning(edge: &Edge) -> String {
    let how = match &edge.partitioner {
        Partitioner::Forward => "forward".to_owned(),
        Partitioner::Hash { key } if key.is_empty() => "all to one".to_owned(),
        Partitioner::Hash { key } => format!("hash({})", key.join(", ")),
    };
    match &edge.columns {
        None => how,
        Some(columns) => format!("{how}, carries {}", columns.join(", ")),
    }
}

/// Mermaid takes HTML entities in labels.
fn escaped(label: &str) -> String {
    let label = label.replace('&', "&amp;").replace('"', "&quot;");
    label.replace("<br/>", "\u{0}").replace('<', "&lt;").replace('>', "&gt;").replace('\u{0}', "<br/>")
}
