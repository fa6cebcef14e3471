//! Where it is decided that a row is late: one gate above the first dedup on each way to an aggregate, or, where there is
//! none, above the aggregate itself.
//!
//! Each input of a node has gates of its own.
//!
//! So a late row never touches dedup state, and everything behind a gate agrees on which rows there are. A dedup with no
//! aggregate behind it is guarded by what it remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_operators::late_gate::LateRule;
use weir_operators::window::MOST_OPEN_WINDOWS;

use super::resolve::{Place, Resolved};
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::{millis, show};

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GatePoint {
    /// The input that it guards.
    pub(super) before: Place,
    /// What it lets through.
    pub(super) rule: LateRule,
    /// The node whose windows, or memory, the rule follows from.
    owner: usize,
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    points: Vec<GatePoint>,
    /// For every input whose late rows are an output, its gates.
    of: BTreeMap<Place, Vec<usize>>,
}

impl Gates {
    /// Finds the places of all gates, and what contradicts them.
    pub(super) fn new(resolved: &Resolved<'_>, mistakes: &mut Vec<Mistake>) -> Self {
        let mut gates = Gates::default();
        let ways = Ways::new(resolved);
        let rules: Vec<(Place, LateRule)> = resolved
            .order
            .iter()
            .flat_map(|node| resolved.inputs_of(*node))
            .filter_map(|at| rule_at(resolved, at))
            .collect();
        let takes_all = |rule: LateRule| matches!(rule, LateRule::Window(rule) if rule.takes_all());
        for &(at, rule) in rules.iter().filter(|(_, rule)| !takes_all(*rule) && !is_of_memory(*rule)) {
            if resolved.takes_results(at.node) {
                continue; // Results are never late.
            }
            check_ttl(resolved, at, rule, mistakes);
            check_open_windows(resolved, at, rule, mistakes);
            for before in ways.places(resolved, at) {
                gates.add_exact(resolved, (at, before), rule, mistakes);
            }
        }
        for &(at, rule) in rules.iter().filter(|(_, rule)| takes_all(*rule)) {
            if resolved.takes_results(at.node) {
                continue;
            }
            for before in ways.places(resolved, at) {
                gates.add_unlimited(resolved, (at, before), rule, mistakes);
            }
        }
        let of_memory = || rules.iter().filter(|(_, rule)| is_of_memory(*rule));
        for &(at, rule) in of_memory().filter(|(at, _)| holds_back(resolved, at.node)) {
            for before in ways.places(resolved, at) {
                gates.add_exact(resolved, (at, before), rule, mistakes);
            }
        }
        for &(at, rule) in of_memory().filter(|(at, _)| !holds_back(resolved, at.node)) {
            for before in ways.places(resolved, at) {
                gates.add_dedup(at, before, rule);
            }
        }
        gates
    }

    /// The gates whose late rows are an output of the node with this input.
    pub(super) fn of(&self, at: Place) -> impl Iterator<Item = &GatePoint> {
        self.of.get(&at).into_iter().flatten().filter_map(|point| self.points.get(*point))
    }

    /// The gate that guards an input.
    pub(super) fn before(&self, at: Place) -> Option<&GatePoint> {
        self.points.iter().find(|point| point.before == at)
    }

    /// The inputs whose late rows the gate before `at` refuses.
    pub(super) fn fed_by(&self, at: Place) -> impl Iterator<Item = Place> + '_ {
        self.of.keys().copied().filter(move |other| self.of(*other).any(|point| point.before == at))
    }

    fn position(&self, before: Place) -> Option<usize> {
        self.points.iter().position(|point| point.before == before)
    }

    fn add(&mut self, point: GatePoint) -> usize {
        self.points.push(point);
        self.points.len() - 1
    }

    fn note(&mut self, owner: Place, point: usize) {
        self.of.entry(owner).or_default().push(point);
    }

    /// A node whose results depend on exactly which rows are late.
    fn add_exact(
        &mut self,
        resolved: &Resolved<'_>,
        (owner, before): (Place, Place),
        rule: LateRule,
        mistakes: &mut Vec<Mistake>,
    ) {
        let point = match self.position(before) {
            Some(point) => {
                if self.points[point].rule != rule {
                    mistakes.push(disagreement(resolved, owner, &self.points[point]));
                }
                point
            }
            None => self.add(GatePoint { before, rule, owner: owner.node }),
        };
        self.note(owner, point);
    }

    /// An aggregate that nothing is late for counts what passes the dedup before it, which nothing may be later for than it
    /// remembers.
    fn add_unlimited(
        &mut self,
        resolved: &Resolved<'_>,
        (owner, before): (Place, Place),
        rule: LateRule,
        mistakes: &mut Vec<Mistake>,
    ) {
        let limit = self.position(before).map(|point| &self.points[point]);
        match rule_at(resolved, before).map(|(_, rule)| rule) {
            Some(LateRule::Ttl { .. }) if limit.is_some_and(|point| !is_of_memory(point.rule)) => {
                mistakes.extend(limit.map(|point| disagreement(resolved, owner, point)));
            }
            Some(rule @ LateRule::Ttl { .. }) => self.add_dedup(owner, before, rule),
            _ => {
                let point = self.add(GatePoint { before, rule, owner: owner.node });
                self.note(owner, point);
            }
        }
    }

    fn add_dedup(&mut self, owner: Place, before: Place, rule: LateRule) {
        let point = match self.position(before) {
            Some(point) => point,
            None => self.add(GatePoint { before, rule, owner: owner.node }),
        };
        // Of several dedups in a row, the one that forgets first decides.
        if let (LateRule::Ttl { ttl_ms: held }, LateRule::Ttl { ttl_ms }) = (self.points[point].rule, rule)
            && ttl_ms < held
        {
            self.points[point].rule = rule;
        }
        self.note(owner, point);
    }
}

/// The rule of an input, if it minds late rows.
fn rule_at(resolved: &Resolved<'_>, at: Place) -> Option<(Place, LateRule)> {
    resolved.node(at.node).body.late_rule(at.input).map(|rule| (at, rule))
}

/// Whether a rule is that of a node that remembers or keeps rows for so long: of a dedup, which may as well refuse more, or of one that
/// [holds rows back](holds_back).
fn is_of_memory(rule: LateRule) -> bool {
    matches!(rule, LateRule::Ttl { .. })
}

/// Whether a node waits for late rows, so that what comes out of it is late for nobody.
fn holds_back(resolved: &Resolved<'_>, node: usize) -> bool {
    resolved.node(node).body.holds_back().is_some()
}

/// For every node, the ways that rows have come from their sources: the dedups that are the first on one, by the inputs that
/// gates guard, and whether there is one without any. A dedup itself is on the ways to it. Behind a node that holds rows back there is
/// no way on which one is late.
struct Ways(Vec<(BTreeSet<Place>, bool)>);

impl Ways {
    fn new(resolved: &Resolved<'_>) -> Self {
        let mut ways = Ways(vec![(BTreeSet::new(), true); resolved.spec.nodes.len()]);
        for &node in resolved.order.iter().filter(|node| resolved.feeds(**node).next().is_some()) {
            let mut out = (BTreeSet::new(), false);
            for at in resolved.inputs_of(node) {
                let (mut dedups, mut is_free) = ways.to(resolved, at);
                if holds_back(resolved, node) {
                    (dedups, is_free) = (BTreeSet::new(), false);
                } else if is_free && rule_at(resolved, at).is_some_and(|(_, rule)| is_of_memory(rule)) {
                    dedups.insert(at);
                    is_free = false;
                }
                out.0.extend(dedups);
                out.1 |= is_free;
            }
            ways.0[node] = out;
        }
        ways
    }

    /// The ways to an input of a node.
    fn to(&self, resolved: &Resolved<'_>, at: Place) -> (BTreeSet<Place>, bool) {
        let ways = resolved.feeds_into(at).map(|feed| &self.0[feed.node]);
        ways.fold((BTreeSet::new(), false), |(mut dedups, is_free), (more, also_free)| {
            dedups.extend(more);
            (dedups, is_free || *also_free)
        })
    }

    /// The inputs before which rows on their way to another pass a gate: on each way that of the first dedup, or the input itself.
    fn places(&self, resolved: &Resolved<'_>, at: Place) -> BTreeSet<Place> {
        let (mut dedups, is_free) = self.to(resolved, at);
        if is_free {
            dedups.insert(at);
        }
        dedups
    }
}

fn disagreement(resolved: &Resolved<'_>, at: Place, point: &GatePoint) -> Mistake {
    let (this, other) = (resolved.node(at.node), resolved.node(point.owner));
    let message = format!(
        "`{}` and `{}` are downstream of the same dedup `{}`, but would not agree on which rows are late",
        this.name,
        other.name,
        resolved.node(point.before.node).name
    );
    let of_windows = || format!("the same window and allowed_lateness as `{}`, or a dedup of its own", other.name);
    let (key, expected) = match this.body.late_rule(at.input) {
        Some(LateRule::Row { .. }) => ("within", of_windows()),
        Some(LateRule::Ttl { .. }) => {
            ("allowed_lateness", "a dedup of its own, or what is late for both at the same time".into())
        }
        _ => ("window", of_windows()),
    };
    Mistake::new(this.path().key(key), message).expected(expected)
}

/// Windows that are open at once are bounded by what the definition says, whatever the events are.
fn check_open_windows(resolved: &Resolved<'_>, at: Place, rule: LateRule, mistakes: &mut Vec<Mistake>) {
    let LateRule::Window(rule) = rule else { return };
    let upstream = || resolved.upstream_of(at).into_iter().map(|node| &resolved.node(node).body);
    let held: Duration = upstream().filter_map(|body| body.holds_back()).sum();
    let delay = upstream().map(|body| body.watermark_delay()).max().unwrap_or_default() + held;
    let open = rule.open_windows(millis(delay));
    if rule.window.validate().is_err() || open <= i64::from(MOST_OPEN_WINDOWS) {
        return;
    }
    let (node, of) = (resolved.node(at.node), |ms: i64| show(Duration::from_millis(ms.unsigned_abs())));
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
fn check_ttl(resolved: &Resolved<'_>, at: Place, rule: LateRule, mistakes: &mut Vec<Mistake>) {
    let needed_ms = rule.minimum_dedup_ttl_ms();
    let span = |ms: i64| show(Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    let name = &resolved.node(at.node).name;
    // What a node that holds rows back has let through is late for nobody.
    let upstream = resolved.upstream_of_while(at, |node| !holds_back(resolved, node));
    for place in upstream.into_iter().flat_map(|node| resolved.inputs_of(node)) {
        let Some((_, LateRule::Ttl { ttl_ms })) = rule_at(resolved, place) else { continue };
        if ttl_ms >= needed_ms || ttl_ms == 0 {
            continue;
        }
        let (message, expected) = match rule {
            LateRule::Row { allowed_lateness_ms } => (
                format!(
                    "it forgets ids while `{name}` still takes rows that are as late: a duplicate could come twice"
                ),
                format!("longer than its allowed_lateness, {}", span(allowed_lateness_ms)),
            ),
            _ => (
                format!("it forgets ids before `{name}` has stopped counting: a duplicate could be counted twice"),
                format!("at least window + allowed_lateness, {}", span(needed_ms)),
            ),
        };
        let mistake = Mistake::new(resolved.node(place.node).path().key("ttl"), message);
        mistakes.push(mistake.found(span(ttl_ms)).expected(expected));
    }
}
