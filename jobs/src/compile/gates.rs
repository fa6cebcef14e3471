//! Where it is decided that a row is late: one gate above the first dedup on each way to an aggregate, or, where there is
//! none, above the aggregate itself.
//!
//! So a late row never touches dedup state, and everything behind a gate agrees on which rows there are. A dedup with no
//! aggregate behind it is guarded by what it remembers.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_operators::late_gate::LateRule;
use weir_operators::window::{MOST_OPEN_WINDOWS, WindowRule};

use super::resolve::Resolved;
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{KeyPath, Mistake};

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
    /// For every node that has an output `late`, its gates.
    of: Vec<Vec<usize>>,
}

impl Gates {
    /// Finds the places of all gates, and what contradicts them.
    pub(super) fn new(resolved: &Resolved<'_>, mistakes: &mut Vec<Mistake>) -> Self {
        let mut gates = Gates { points: Vec::new(), of: vec![Vec::new(); resolved.spec.nodes.len()] };
        let ways = Ways::new(resolved);
        for &index in &resolved.order {
            if resolved.takes_results(index) {
                continue; // Results are never late.
            }
            if let Some(LateRule::Window(rule)) = resolved.node(index).body.late_rule() {
                if rule.takes_all() {
                    continue;
                }
                check_ttl(resolved, index, rule, mistakes);
                check_open_windows(resolved, index, rule, mistakes);
                for before in ways.places(resolved, index) {
                    gates.add_aggregate(resolved, index, before, rule, mistakes);
                }
            }
        }
        for &index in &resolved.order {
            if let Some(LateRule::Window(rule)) = resolved.node(index).body.late_rule()
                && rule.takes_all()
            {
                for before in ways.places(resolved, index) {
                    gates.add_unlimited(resolved, index, before, rule, mistakes);
                }
            }
        }
        for &index in &resolved.order {
            let body = &resolved.node(index).body;
            if let (Some(LateRule::Ttl { ttl_ms }), Some(_)) = (body.late_rule(), body.holds_back()) {
                for before in ways.places(resolved, index) {
                    gates.add_waiting(resolved, index, before, ttl_ms, mistakes);
                }
            }
        }
        for &index in &resolved.order {
            let body = &resolved.node(index).body;
            if let (Some(LateRule::Ttl { ttl_ms }), None) = (body.late_rule(), body.holds_back()) {
                for before in ways.places(resolved, index) {
                    gates.add_dedup(index, before, ttl_ms);
                }
            }
        }
        gates
    }

    /// The gates whose late rows are the node's output `late`.
    pub(super) fn of(&self, node: usize) -> impl Iterator<Item = &GatePoint> {
        self.of.get(node).into_iter().flatten().filter_map(|point| self.points.get(*point))
    }

    /// The gate that guards the input of a node.
    pub(super) fn before(&self, node: usize) -> Option<&GatePoint> {
        self.points.iter().find(|point| point.before == node)
    }

    /// The nodes whose output `late` is fed by the gate before `node`.
    pub(super) fn fed_by(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.of.len()).filter(move |other| self.of(*other).any(|point| point.before == node))
    }

    fn position(&self, before: usize) -> Option<usize> {
        self.points.iter().position(|point| point.before == before)
    }

    fn add(&mut self, point: GatePoint) -> usize {
        self.points.push(point);
        self.points.len() - 1
    }

    fn add_aggregate(
        &mut self,
        resolved: &Resolved<'_>,
        owner: usize,
        before: usize,
        rule: WindowRule,
        mistakes: &mut Vec<Mistake>,
    ) {
        let rule = LateRule::Window(rule);
        let point = match self.position(before) {
            Some(point) => {
                if self.points[point].rule != rule {
                    mistakes.push(of_windows(resolved, owner, &self.points[point]));
                }
                point
            }
            None => self.add(GatePoint { before, rule, owner }),
        };
        self.of[owner].push(point);
    }

    /// An aggregate that nothing is late for counts what passes the dedup before it, which nothing may be later for than it
    /// remembers.
    fn add_unlimited(
        &mut self,
        resolved: &Resolved<'_>,
        owner: usize,
        before: usize,
        rule: WindowRule,
        mistakes: &mut Vec<Mistake>,
    ) {
        let limit = self.position(before).map(|point| &self.points[point]);
        match resolved.node(before).body.late_rule() {
            Some(LateRule::Ttl { .. }) if limit.is_some_and(|point| matches!(point.rule, LateRule::Window(_))) => {
                mistakes.extend(limit.map(|point| of_windows(resolved, owner, point)));
            }
            Some(LateRule::Ttl { ttl_ms }) => self.add_dedup(owner, before, ttl_ms),
            _ => {
                let point = self.add(GatePoint { before, rule: LateRule::Window(rule), owner });
                self.of[owner].push(point);
            }
        }
    }

    /// A node that waits for late rows takes none that are later.
    fn add_waiting(
        &mut self,
        resolved: &Resolved<'_>,
        owner: usize,
        before: usize,
        ttl_ms: i64,
        mistakes: &mut Vec<Mistake>,
    ) {
        let rule = LateRule::Ttl { ttl_ms };
        let point = match self.position(before) {
            Some(point) if self.points[point].rule != rule => {
                let place = resolved.node(owner).path().key("allowed_lateness");
                let mistake = disagreement(resolved, owner, &self.points[point], place);
                mistakes.push(mistake.expected("a dedup of its own, or what is late for both at the same time"));
                point
            }
            Some(point) => point,
            None => self.add(GatePoint { before, rule, owner }),
        };
        self.of[owner].push(point);
    }

    fn add_dedup(&mut self, owner: usize, before: usize, ttl_ms: i64) {
        let rule = LateRule::Ttl { ttl_ms };
        let point = match self.position(before) {
            Some(point) => point,
            None => self.add(GatePoint { before, rule, owner }),
        };
        // Of several dedups in a row, the one that forgets first decides.
        if let LateRule::Ttl { ttl_ms: held } = self.points[point].rule
            && ttl_ms < held
        {
            self.points[point].rule = rule;
        }
        self.of[owner].push(point);
    }
}

/// For every node, the ways that rows have come from their sources: the dedups that are the first on one, and whether there is
/// one without any. A dedup itself is on the ways to it. Behind a node that holds rows back there is no way on which one is late.
struct Ways(Vec<(BTreeSet<usize>, bool)>);

impl Ways {
    fn new(resolved: &Resolved<'_>) -> Self {
        let mut ways = Ways(vec![(BTreeSet::new(), true); resolved.spec.nodes.len()]);
        for &index in resolved.order.iter().filter(|index| resolved.feeds(**index).next().is_some()) {
            let (mut dedups, mut is_free) = ways.to(resolved, index);
            if resolved.node(index).body.holds_back().is_some() {
                // What comes out is never late.
                (dedups, is_free) = (BTreeSet::new(), false);
            } else if is_free && matches!(resolved.node(index).body.late_rule(), Some(LateRule::Ttl { .. })) {
                dedups.insert(index);
                is_free = false;
            }
            ways.0[index] = (dedups, is_free);
        }
        ways
    }

    /// The ways to the input of a node.
    fn to(&self, resolved: &Resolved<'_>, node: usize) -> (BTreeSet<usize>, bool) {
        let ways = resolved.feeds(node).map(|feed| &self.0[feed.node]);
        ways.fold((BTreeSet::new(), false), |(mut dedups, is_free), (more, also_free)| {
            dedups.extend(more);
            (dedups, is_free || *also_free)
        })
    }

    /// The nodes before which rows on their way to a node pass a gate: on each way the first dedup, or the node itself.
    fn places(&self, resolved: &Resolved<'_>, node: usize) -> BTreeSet<usize> {
        let (mut dedups, is_free) = self.to(resolved, node);
        if is_free {
            dedups.insert(node);
        }
        dedups
    }
}

fn of_windows(resolved: &Resolved<'_>, index: usize, point: &GatePoint) -> Mistake {
    let mistake = disagreement(resolved, index, point, resolved.node(index).path().key("window"));
    let other = &resolved.node(point.owner).name;
    mistake.expected(format!("the same window and allowed_lateness as `{other}`, or a dedup of its own"))
}

fn disagreement(resolved: &Resolved<'_>, index: usize, point: &GatePoint, place: KeyPath) -> Mistake {
    let (this, other) = (resolved.node(index), resolved.node(point.owner));
    let message = format!(
        "`{}` and `{}` are downstream of the same dedup `{}`, but would not agree on which rows are late",
        this.name,
        other.name,
        resolved.node(point.before).name
    );
    Mistake::new(place, message)
}

/// Windows that are open at once are bounded by what the definition says, whatever the events are.
fn check_open_windows(resolved: &Resolved<'_>, index: usize, rule: WindowRule, mistakes: &mut Vec<Mistake>) {
    let upstream = || resolved.upstream(index).into_iter().map(|node| &resolved.node(node).body);
    let held: Duration = upstream().filter_map(|body| body.holds_back()).sum();
    let delay = upstream().map(|body| body.watermark_delay()).max().unwrap_or_default() + held;
    let open = rule.open_windows(millis(delay));
    if rule.window.validate().is_err() || open <= i64::from(MOST_OPEN_WINDOWS) {
        return;
    }
    let (node, of) = (resolved.node(index), |ms: i64| show(Duration::from_millis(ms.unsigned_abs())));
    let mistake = Mistake::new(node.path().key("window"), format!("{open} windows would be open at once"));
    let slide = rule.window.period_ms().unwrap_or_default();
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
    let needed_ms = rule.minimum_dedup_ttl_ms();
    let span = |ms: i64| show(Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    // What a node that holds rows back has let through is late for nobody.
    let is_way = |node: &usize| resolved.node(*node).body.holds_back().is_none();
    for index in resolved.upstream_while(aggregate, is_way) {
        let node = resolved.node(index);
        let Some(LateRule::Ttl { ttl_ms }) = node.body.late_rule() else { continue };
        if ttl_ms >= needed_ms || ttl_ms == 0 {
            continue;
        }
        let message = format!(
            "it forgets ids before `{}` has stopped counting: a duplicate could be counted twice",
            resolved.node(aggregate).name
        );
        let expected = format!("at least window + allowed_lateness, {}", span(needed_ms));
        let mistake = Mistake::new(node.path().key("ttl"), message);
        mistakes.push(mistake.found(span(ttl_ms)).expected(expected));
    }
}
