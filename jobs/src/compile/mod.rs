//! Spec → graph: names, gates, types, plan, pruning, in that order. Every step but the last two can find mistakes, and
//! all of them are collected before the job is refused.

mod aggregate_step;
mod check;
mod definition;
mod event_time;
mod gates;
mod graph;
mod plan;
mod prune;
mod reduce_step;
pub(crate) mod replay;
mod resolve;
mod results;
mod roll;
mod running;
mod sources;
mod sql_sink;
mod table_key;
mod types;

use crate::job::{CompileOptions, Job};
use crate::spec::{JobSpec, NodeBody, SinkConnector};
use weir_operators::definition::KeyPath;
use weir_operators::definition::{Mistake, Severity};

use gates::Gates;
use resolve::{Resolved, path_of};

/// Checks and compiles a job; it is there only if there is no mistake but warnings.
pub(crate) fn compile(spec: &JobSpec, options: &CompileOptions) -> (Option<Job>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let with_tables = options.enable_tables.then(|| spec.clone().with_tables());
    let spec = with_tables.as_ref().unwrap_or(spec);
    let resolved = Resolved::new(spec, &mut mistakes);
    let gates = Gates::new(&resolved, &mut mistakes);
    let types = types::infer(&resolved, &gates, &mut mistakes);
    running::check(&resolved, &mut mistakes);
    check_paths(spec, &mut mistakes);
    sql_sink::check_tables(spec, &mut mistakes);
    sql_sink::check_secrets(spec, options.runs_here, &mut mistakes);
    let parallelism = parallelism(spec, options, &mut mistakes);
    if mistakes.iter().any(|mistake| mistake.severity == Severity::Error) {
        return (None, mistakes);
    }
    let steps = plan::plan(&resolved, &gates, &types);
    let columns = prune::prune(&steps);
    let (graph, notes) = graph::graph(spec, &steps, &columns, parallelism);
    if let Err(error) = graph.validate() {
        mistakes.push(Mistake::on_key(KeyPath::of(["job"]), error.message));
        return (None, mistakes);
    }
    let definition = definition::record(&graph, &columns).to_text();
    let job =
        Job { graph, definition, checkpoint_storage: spec.checkpoint.storage.clone(), notes, warnings: Vec::new() };
    (Some(job), mistakes)
}

/// Two sinks in one folder would sweep each other's files away.
fn check_paths(spec: &JobSpec, mistakes: &mut Vec<Mistake>) {
    let path = |body: &NodeBody| match body {
        NodeBody::Sink(sink) if sink.enabled => match &sink.connector {
            SinkConnector::Files(files) => Some(folder(&files.path)),
            SinkConnector::Sql(_) | SinkConnector::Console => None,
        },
        _ => None,
    };
    for (index, node) in spec.nodes.iter().enumerate() {
        let Some(own) = path(&node.body).filter(|path| !path.is_empty()) else { continue };
        let shares = |other: &&crate::spec::NodeSpec| {
            path(&other.body).is_some_and(|other| other == own || inside(&own, &other) || inside(&other, &own))
        };
        if let Some(twin) = spec.nodes[..index].iter().find(shares) {
            let message = format!("the sink `{}` writes there too", twin.name);
            let mistake = Mistake::new(path_of(node).key("path"), message);
            mistakes.push(mistake.found(own).expected("a folder of its own"));
        }
    }
}

fn folder(path: &str) -> String {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn inside(inner: &str, outer: &str) -> bool {
    !outer.is_empty() && inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

fn parallelism(spec: &JobSpec, options: &CompileOptions, mistakes: &mut Vec<Mistake>) -> usize {
    let parallelism = options.parallelism.or(spec.parallelism).or(options.default_parallelism).unwrap_or(1);
    let most = usize::from(spec.max_parallelism);
    if options.parallelism.or(spec.parallelism).is_some() && !(1..=most).contains(&parallelism) {
        let mistake = Mistake::new(KeyPath::of(["job", "parallelism"]), "there are not that many key groups to spread");
        mistakes.push(mistake.found(parallelism.to_string()).expected(format!("1 to max_parallelism, {most}")));
    }
    parallelism.clamp(1, most.max(1))
}
