//! Where it is decided that a row is late: one gate above the first dedup on the way to an aggregate, or, where there is
//! none, above the aggregate itself.
//!
//! So a late row never touches dedup state, and everything behind a gate agrees on which rows there are. A dedup with no
//! aggregate behind it is guarded by what it remembers.

use weir_operators::late_gate::LateRule;
use weir_operators::window::{MOST_OPEN_WINDOWS, WindowRule, WindowSpec};

use super::resolve::{Resolved, path_of};
use crate::spec::{Aggregate, NodeBody, Window};
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::{millis, show};

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GatePoint {
    /// The node whose input it guards.
    pub(super) before: usize,
    /// What it lets through.
    pub(super) rule: LateRule,
    /// The node whose windows, or memory, the rule follows from.
    owner: usize,
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    points: Vec<GatePoint>,
    /// For every node that has an output `late`, its gate.
    of: Vec<Option<usize>>,
}

/// The windows and lateness of an aggregate, as operators take them.
pub(super) fn window_rule(aggregate: &Aggregate) -> WindowRule {
    WindowRule { window: window_spec(aggregate.window), allowed_lateness_ms: millis(aggregate.allowed_lateness) }
}

/// A window as operators take it.
pub(super) fn window_spec(window: Window) -> WindowSpec {
    match window {
        Window::Tumbling { size } => WindowSpec::Tumbling { size_ms: millis(size) },
        Window::Hopping { size, slide } => WindowSpec::Hopping { size_ms: millis(size), slide_ms: millis(slide) },
        Window::Session { gap } => WindowSpec::Session { gap_ms: millis(gap) },
    }
}

impl Gates {
    /// Finds the places of all gates, and what contradicts them.
    pub(super) fn new(resolved: &Resolved<'_>, mistakes: &mut Vec<Mistake>) -> Self {
        let mut gates = Gates { points: Vec::new(), of: vec![None; resolved.spec.nodes.len()] };
        for &index in &resolved.order {
            if let NodeBody::Aggregate(aggregate) = &resolved.node(index).body {
                gates.add_aggregate(resolved, index, aggregate, mistakes);
            }
        }
        for &index in &resolved.order {
            if let NodeBody::Dedup(dedup) = &resolved.node(index).body {
                let rule = LateRule::Ttl { ttl_ms: millis(dedup.ttl) };
                gates.add_dedup(resolved, index, rule);
            }
        }
        gates
    }

    /// The gate whose late rows are the node's output `late`.
    pub(super) fn of(&self, node: usize) -> Option<&GatePoint> {
        self.points.get((*self.of.get(node)?)?)
    }

    /// The gate that guards the input of a node.
    pub(super) fn before(&self, node: usize) -> Option<&GatePoint> {
        self.points.iter().find(|point| point.before == node)
    }

    /// The nodes whose output `late` is fed by the gate before `node`.
    pub(super) fn fed_by(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let is_fed = move |other: &usize| self.of(*other).is_some_and(|point| point.before == node);
        (0..self.of.len()).filter(is_fed)
    }

    fn add_aggregate(
        &mut self,
        resolved: &Resolved<'_>,
        index: usize,
        aggregate: &Aggregate,
        mistakes: &mut Vec<Mistake>,
    ) {
        let rule = window_rule(aggregate);
        let before = first_dedup(resolved, index).unwrap_or(index);
        check_ttl(resolved, index, rule, mistakes);
        check_open_windows(resolved, index, rule, mistakes);
        let existing = self.points.iter().position(|point| point.before == before);
        let point = match existing {
            Some(point) => {
                if self.points[point].rule != LateRule::Window(rule) {
                    mistakes.push(disagreement(resolved, index, &self.points[point]));
                }
                point
            }
            None => {
                self.points.push(GatePoint { before, rule: LateRule::Window(rule), owner: index });
                self.points.len() - 1
            }
        };
        self.of[index] = Some(point);
    }

    fn add_dedup(&mut self, resolved: &Resolved<'_>, index: usize, rule: LateRule) {
        let before = first_dedup(resolved, index).unwrap_or(index);
        let existing = self.points.iter().position(|point| point.before == before);
        let point = existing.unwrap_or_else(|| {
            self.points.push(GatePoint { before, rule, owner: index });
            self.points.len() - 1
        });
        // Of several dedups in a row, the one that forgets first decides.
        if let (LateRule::Ttl { ttl_ms: held }, LateRule::Ttl { ttl_ms }) = (self.points[point].rule, rule)
            && ttl_ms < held
        {
            self.points[point].rule = rule;
        }
        self.of[index] = Some(point);
    }
}

/// The dedup nearest to the source on the way to a node.
fn first_dedup(resolved: &Resolved<'_>, node: usize) -> Option<usize> {
    resolved.upstream(node).filter(|node| matches!(resolved.node(*node).body, NodeBody::Dedup(_))).last()
}

fn disagreement(resolved: &Resolved<'_>, index: usize, point: &GatePoint) -> Mistake {
    let (this, other) = (resolved.node(index), resolved.node(point.owner));
    let message = format!(
        "`{}` and `{}` stand behind the same dedup `{}`, but would not agree on which rows are late",
        this.name,
        other.name,
        resolved.node(point.before).name
    );
    let expected = format!("the same window and allowed_lateness as `{}`, or a dedup of its own", other.name);
    Mistake::new(path_of(this).key("window"), message).expected(expected)
}

/// Windows that are open at once are bounded by what the definition says, whatever the events are.
fn check_open_windows(resolved: &Resolved<'_>, index: usize, rule: WindowRule, mistakes: &mut Vec<Mistake>) {
    let delays = resolved.upstream(index).filter_map(|node| match &resolved.node(node).body {
        NodeBody::Source(source) => Some(source.delay),
        _ => None,
    });
    let delay = delays.max().unwrap_or_default();
    let open = rule.open_windows(millis(delay));
    if rule.window.validate().is_err() || open <= i64::from(MOST_OPEN_WINDOWS) {
        return;
    }
    let (node, of) = (resolved.node(index), |ms: i64| show(std::time::Duration::from_millis(ms.unsigned_abs())));
    let mistake = Mistake::new(path_of(node).key("window"), format!("{open} windows would be open at once"));
    let slide = rule.window.slice_ms().unwrap_or_default();
    let found = format!(
        "one each {}, for {} of lateness and {} of delay",
        of(slide),
        of(rule.allowed_lateness_ms),
        show(delay)
    );
    let expected = format!(
        "at most {MOST_OPEN_WINDOWS} open windows: longer ones, or a shorter `allowed_lateness` or `watermark.delay`"
    );
    mistakes.push(mistake.found(found).expected(expected));
}

/// A dedup must remember an id for as long as an event with it can still be counted.
fn check_ttl(resolved: &Resolved<'_>, aggregate: usize, rule: WindowRule, mistakes: &mut Vec<Mistake>) {
    let needed = rule.minimum_dedup_ttl_ms();
    for index in resolved.upstream(aggregate) {
        let node = resolved.node(index);
        let NodeBody::Dedup(dedup) = &node.body else { continue };
        if millis(dedup.ttl) >= needed || dedup.ttl.is_zero() {
            continue;
        }
        let needed = std::time::Duration::from_millis(u64::try_from(needed).unwrap_or(0));
        let message = format!(
            "it forgets ids before `{}` has stopped counting: a duplicate could be counted twice",
            resolved.node(aggregate).name
        );
        let expected = format!("at least window + allowed_lateness, {}", show(needed));
        let mistake = Mistake::new(path_of(node).key("ttl"), message);
        mistakes.push(mistake.found(show(dedup.ttl)).expected(expected));
    }
}
