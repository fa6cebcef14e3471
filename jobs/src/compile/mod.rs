//! Spec → graph: names, gates, types, plan, pruning, in that order. Every step but the last two can find mistakes, and
//! all of them are collected before the job is refused.
//!
//! What is about one node is in [`crate::nodes`]; here is what is about the whole job. No step does I/O: what nodes have found
//! outside of the definition is handed in.

mod definition;
mod gates;
mod graph;
mod plan;
mod prune;
pub(crate) mod replay;
mod resolve;
mod types;

use crate::job::{CompileOptions, Job};
use crate::nodes::{Found, claims};
use crate::spec::JobSpec;
use weir_operators::definition::KeyPath;
use weir_operators::definition::{Mistake, Severity};

use gates::Gates;
use resolve::Resolved;

/// What each node has found outside of the definition.
pub(crate) type Findings = Vec<Found>;

/// Checks and compiles a job; it is there only if there is no mistake but warnings.
pub(crate) fn compile(spec: &JobSpec, findings: &Findings, options: &CompileOptions) -> (Option<Job>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let resolved = Resolved::new(spec, &mut mistakes);
    let gates = Gates::new(&resolved, &mut mistakes);
    let types = types::infer(&resolved, &gates, findings, &mut mistakes);
    check_claims(spec, &mut mistakes);
    mistakes.extend(findings.iter().flat_map(|found| found.mistakes.iter().cloned()));
    let parallelism = parallelism(spec, options, &mut mistakes);
    if mistakes.iter().any(|mistake| mistake.severity == Severity::Error) {
        return (None, mistakes);
    }
    let steps = plan::plan(&resolved, &gates, &types);
    let columns = prune::prune(&steps);
    let (graph, notes) = graph::graph(&spec.settings, &steps, &columns, parallelism);
    if let Err(error) = graph.validate() {
        mistakes.push(Mistake::on_key(KeyPath::of(["job"]), error.message));
        return (None, mistakes);
    }
    let definition = definition::record(&graph, &steps, &columns).to_text();
    let checkpoint_storage = spec.settings.checkpoint.storage.clone();
    (Some(Job { graph, definition, checkpoint_storage, notes, warnings: Vec::new() }), mistakes)
}

/// Nobody may write to what another sink writes to, or a source reads.
fn check_claims(spec: &JobSpec, mistakes: &mut Vec<Mistake>) {
    let claims = spec.nodes.iter().filter_map(|node| Some((node.path(), node.name.as_str(), node.body.claim()?)));
    claims::check(&claims.collect::<Vec<_>>(), mistakes);
    for sink in &spec.nodes {
        let Some(file) = sink.body.example_file() else { continue };
        if let Some(source) = spec.nodes.iter().find(|node| node.body.reads_file(&file)) {
            claims::refuse_circle(&sink.path(), &source.name, mistakes);
        }
    }
}

fn parallelism(spec: &JobSpec, options: &CompileOptions, mistakes: &mut Vec<Mistake>) -> usize {
    let written = options.parallelism.or(spec.settings.parallelism);
    let parallelism = written.or(options.default_parallelism).unwrap_or(1);
    let most = usize::from(spec.settings.max_parallelism);
    if written.is_some() && !(1..=most).contains(&parallelism) {
        let message = match (parallelism, options.parallelism) {
            (0, _) => "a job has one subtask of each operator or more",
            (_, Some(_)) => "--parallelism asks for more subtasks than there are key groups",
            (_, None) => "there are more subtasks than key groups",
        };
        let mistake = Mistake::new(KeyPath::of(["job", "parallelism"]), message);
        mistakes.push(mistake.found(parallelism.to_string()).expected(format!("1 to max_parallelism, {most}")));
    }
    parallelism.clamp(1, most.max(1))
}
