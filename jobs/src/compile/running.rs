//! Running counts: which sinks take them, and from which aggregates.
//!
//! They go from an aggregate straight to a sink. A map or a reduce between the two would take them for results.

use weir_operators::aggregate::RunningCounts;

use super::resolve::{Output, Resolved, path_of};
use crate::spec::{Aggregate, NodeBody, Sink, Window};
use weir_operators::definition::Mistake;

/// Whether a node is a sink that running counts come to.
pub(super) fn is_taker(resolved: &Resolved<'_>, node: usize) -> bool {
    let NodeBody::Sink(sink) = &resolved.node(node).body else { return false };
    sink.takes_running() && aggregate_before(resolved, node).is_some_and(|(_, aggregate)| aggregate.emit.is_some())
}

/// When an aggregate emits running counts; none where no sink takes any.
pub(super) fn running_counts(resolved: &Resolved<'_>, index: usize, aggregate: &Aggregate) -> Option<RunningCounts> {
    let reads_it = |node| aggregate_before(resolved, node).is_some_and(|(before, _)| before == index);
    (0..resolved.spec.nodes.len()).find(|node| reads_it(*node) && is_taker(resolved, *node))?;
    let interval = resolved.spec.checkpoint.interval.as_millis().max(1);
    let every_checkpoints = u64::try_from(aggregate.emit?.as_millis().div_ceil(interval)).unwrap_or(u64::MAX);
    Some(RunningCounts { every_checkpoints })
}

/// Notes aggregates that can't emit any, and sinks that would wait for them in vain.
pub(super) fn check(resolved: &Resolved<'_>, mistakes: &mut Vec<Mistake>) {
    for &index in &resolved.order {
        let path = path_of(resolved.node(index));
        match &resolved.node(index).body {
            NodeBody::Aggregate(aggregate)
                if aggregate.emit.is_some() && matches!(aggregate.window, Window::Session { .. }) =>
            {
                let message = "sessions have no running counts: where one begins and ends is known when it is over";
                let mistake = Mistake::on_key(path.key("emit"), message);
                mistakes.push(mistake.expected("no `emit`, or a tumbling or a hopping window"));
            }
            NodeBody::Sink(sink) if sink.running == Some(true) => {
                mistakes.extend(in_vain(resolved, index, sink).map(|mistake| mistake.found("true")));
            }
            _ => {}
        }
    }
}

/// What is wrong with a sink that asks for running counts, if anything is.
fn in_vain(resolved: &Resolved<'_>, index: usize, sink: &Sink) -> Option<Mistake> {
    let path = path_of(resolved.node(index)).key("running");
    match aggregate_before(resolved, index) {
        None => {
            let message = format!("only an aggregate has running counts, and `{}` is none", sink.input);
            Some(Mistake::new(path, message).expected("an aggregate as its `input`, or no `running`"))
        }
        Some((before, aggregate)) if aggregate.emit.is_none() => {
            let name = &resolved.node(before).name;
            let message = format!("`{name}` emits no running counts");
            let expected = format!("`emit = {{ every = \"500ms\" }}` in [aggregate.{name}], or no `running`");
            Some(Mistake::new(path, message).expected(expected))
        }
        Some(_) => None,
    }
}

/// The aggregate that a sink reads the results of.
fn aggregate_before<'a>(resolved: &Resolved<'a>, sink: usize) -> Option<(usize, &'a Aggregate)> {
    let input = resolved.inputs[sink].filter(|input| input.output == Output::Main)?;
    match &resolved.node(input.node).body {
        NodeBody::Aggregate(aggregate) => Some((input.node, aggregate)),
        _ => None,
    }
}
