//! Names → nodes: which node reads from which output, and in which order data flows.

use std::collections::BTreeMap;

use crate::spec::{JobSpec, LONGEST_NAME, NodeBody, NodeSpec, Sink, SinkConnector};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;

/// An output of a node, as definitions name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Output {
    /// Results; with the node's name alone.
    Main,
    /// The rows that came to a gate in time: what is counted, and duplicates.
    OnTime,
    /// The rows that came too late.
    Late,
    /// What could not be read or computed.
    DeadLetters,
}

impl Output {
    /// As written behind a node's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Output::Main => "main",
            Output::OnTime => "on_time",
            Output::Late => "late",
            Output::DeadLetters => "dead_letters",
        }
    }
}

/// Where a node's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Input {
    /// The producing node, as a position in the spec.
    pub(super) node: usize,
    /// Which of its outputs.
    pub(super) output: Output,
}

/// The spec with its names followed.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    pub(super) spec: &'a JobSpec,
    /// For each node, where its rows come from; none for sources, and where the name leads nowhere.
    pub(super) inputs: Vec<Option<Input>>,
    /// Nodes that can be checked: every producer before its consumers.
    pub(super) order: Vec<usize>,
}

/// The key of a node in the definition.
pub(super) fn path_of(node: &NodeSpec) -> KeyPath {
    KeyPath::of([node.body.kind(), node.name.as_str()])
}

impl<'a> Resolved<'a> {
    /// Follows all names; what can't be followed becomes a mistake.
    pub(super) fn new(spec: &'a JobSpec, mistakes: &mut Vec<Mistake>) -> Self {
        check_job(spec, mistakes);
        let producers = producers(spec, mistakes);
        let inputs: Vec<Option<Input>> =
            spec.nodes.iter().map(|node| resolve_input(spec, node, &producers, mistakes)).collect();
        let order = order(spec, &inputs, mistakes);
        warn_of_unread(spec, &inputs, mistakes);
        let resolved = Resolved { spec, inputs, order };
        resolved.warn_of_unseen_sources(mistakes);
        resolved
    }

    /// The node of a position.
    pub(super) fn node(&self, index: usize) -> &'a NodeSpec {
        &self.spec.nodes[index]
    }

    /// Whether somebody sees what comes out of a node: a sink or an aggregate, itself or behind it. A source that nobody sees
    /// anything of is not read. Where that would be all of them, it is as if they were.
    pub(super) fn is_seen(&self, node: usize) -> bool {
        let sees = |node: usize| match &self.node(node).body {
            NodeBody::Sink(sink) => sink.enabled,
            NodeBody::Aggregate(_) => true,
            _ => false,
        };
        let seen = |node: usize| self.order.iter().any(|other| sees(*other) && self.is_before(node, *other));
        seen(node) || !self.order.iter().any(|other| seen(*other))
    }

    /// Sources whose readers lead nowhere; those without any were warned of.
    fn warn_of_unseen_sources(&self, mistakes: &mut Vec<Mistake>) {
        for &index in self.order.iter().filter(|index| !self.is_seen(**index)) {
            let node = self.node(index);
            let is_read = self.inputs.iter().flatten().any(|input| input.node == index);
            if is_read && matches!(node.body, NodeBody::Source(_)) {
                let message = format!("no sink and no aggregate comes of `{}`, so that it is not read", node.name);
                mistakes.push(Mistake::warning(path_of(node), message));
            }
        }
    }

    fn is_before(&self, node: usize, other: usize) -> bool {
        node == other || self.upstream(other).any(|before| before == node)
    }

    /// The nodes that the rows of `node` have come through, the nearest first; they end at a source.
    pub(super) fn upstream(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let mut at = node;
        std::iter::from_fn(move || {
            at = self.inputs[at]?.node;
            Some(at)
        })
        .take(self.spec.nodes.len())
    }
}

fn check_job(spec: &JobSpec, mistakes: &mut Vec<Mistake>) {
    let right = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let name = KeyPath::of(["job", "name"]);
    if spec.name.is_empty() || !spec.name.chars().all(right) || spec.name.starts_with('.') {
        let mistake = Mistake::new(name, "this can't be the name of a job: it is part of paths");
        mistakes.push(mistake.found(format!("{:?}", spec.name)).expected("letters, digits, `-`, `_` and `.`"));
    }
    if spec.name.len() > LONGEST_NAME {
        let mistake = Mistake::new(KeyPath::of(["job", "name"]), "the name is too long: names of files are made of it");
        let found = format!("{} characters", spec.name.len());
        mistakes.push(mistake.found(found).expected(format!("{LONGEST_NAME} characters at most")));
    }
    if spec.max_parallelism == 0 {
        let mistake = Mistake::new(KeyPath::of(["job", "max_parallelism"]), "there must be a key group");
        mistakes.push(mistake.found("0").expected("a whole number from 1 to 65535"));
    }
    if !spec.nodes.iter().any(|node| matches!(node.body, NodeBody::Source(_))) {
        let mistake = Mistake::on_key(KeyPath::default(), "there is no source, so no record would ever come");
        mistakes.push(mistake.expected("a section such as [source.clicks]"));
    }
    for (position, (id, _)) in spec.filters.iter().enumerate() {
        if spec.filters[..position].iter().any(|(other, _)| other == id) {
            mistakes.push(Mistake::on_key(KeyPath::of(["filters", id]), format!("there are two filters \"{id}\"")));
        }
    }
}

/// Nodes that others can read from, by name.
fn producers<'a>(spec: &'a JobSpec, mistakes: &mut Vec<Mistake>) -> BTreeMap<&'a str, usize> {
    let mut producers = BTreeMap::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        let twin = spec.nodes[..index].iter().find(|other| {
            let both_sinks = matches!((&other.body, &node.body), (NodeBody::Sink(_), NodeBody::Sink(_)));
            let no_sink = !matches!(other.body, NodeBody::Sink(_)) && !matches!(node.body, NodeBody::Sink(_));
            other.name == node.name && (both_sinks || no_sink)
        });
        if let Some(twin) = twin {
            let message = format!("the name `{}` is taken by `{}`", node.name, path_of(twin));
            mistakes
                .push(Mistake::on_key(path_of(node), message).expected("another name: inputs refer to nodes by it"));
        } else if !matches!(node.body, NodeBody::Sink(_)) {
            producers.insert(node.name.as_str(), index);
        }
    }
    producers
}

fn resolve_input(
    spec: &JobSpec,
    node: &NodeSpec,
    producers: &BTreeMap<&str, usize>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Input> {
    let written = node.body.input()?;
    if written.is_empty() {
        return None; // Missing, and said so where it was read.
    }
    if let Some(input) = output_of_sink(spec, written) {
        return Some(input);
    }
    let path = path_of(node).key("input");
    let (name, written_output) = written.split_once('.').map_or((written, None), |(name, output)| (name, Some(output)));
    let Some(producer) = producers.get(name).copied() else {
        let names: Vec<&str> = producers.keys().copied().filter(|other| *other != node.name).collect();
        let message = match spec.nodes.iter().any(|other| other.name == name) {
            true => format!("`{name}` is a sink, and nothing can be read from it"),
            false => format!("there is no node `{name}`"),
        };
        mistakes.push(Mistake::new(path, message).one_of("nodes", &names).meant(name, &names));
        return None;
    };
    let outputs = outputs(&spec.nodes[producer].body);
    let output = match written_output {
        None => Some(Output::Main),
        Some(name) => outputs.iter().copied().find(|output| output.name() == name),
    };
    let Some(output) = output else {
        let names: Vec<String> = std::iter::once(name.to_owned())
            .chain(outputs.iter().map(|output| format!("{name}.{}", output.name())))
            .collect();
        let kind = spec.nodes[producer].body.kind();
        let message = format!("the {kind} `{name}` has no output `{}`", written_output.unwrap_or_default());
        mistakes.push(Mistake::new(path, message).one_of("outputs", &names).meant(written, &names));
        return None;
    };
    Some(Input { node: producer, output })
}

/// `sink.NAME.dead_letters`: a sink may bear the name of another node, so that its output is called by its section, too.
fn output_of_sink(spec: &JobSpec, written: &str) -> Option<Input> {
    let (name, output) = written.strip_prefix("sink.")?.split_once('.')?;
    let is_it = |node: &NodeSpec| matches!(node.body, NodeBody::Sink(_)) && node.name == name;
    let node = spec.nodes.iter().position(is_it)?;
    let output = outputs(&spec.nodes[node].body).iter().copied().find(|known| known.name() == output)?;
    Some(Input { node, output })
}

/// The outputs beside the main one.
fn outputs(body: &NodeBody) -> &'static [Output] {
    match body {
        NodeBody::Source(_) => &[Output::DeadLetters],
        NodeBody::Map(_) => &[Output::DeadLetters],
        NodeBody::Dedup(_) => &[Output::OnTime, Output::Late, Output::DeadLetters],
        NodeBody::Aggregate(_) => &[Output::OnTime, Output::Late, Output::DeadLetters],
        NodeBody::Sink(sink) if sink.select.is_some() => &[Output::DeadLetters],
        NodeBody::Sink(Sink { connector: SinkConnector::Sql(_), .. }) => &[Output::DeadLetters],
        NodeBody::Reduce(_) | NodeBody::Sink(_) => &[],
    }
}

/// Sorts the nodes so that producers come first. As a node has one input, a cycle is a path that returns to its start.
fn order(spec: &JobSpec, inputs: &[Option<Input>], mistakes: &mut Vec<Mistake>) -> Vec<usize> {
    let count = spec.nodes.len();
    let mut depths: Vec<Option<usize>> = vec![None; count];
    for (node, depth) in depths.iter_mut().enumerate() {
        let mut path = vec![node];
        let mut at = node;
        while let Some(input) = inputs[at] {
            if input.node == node {
                note_cycle(spec, &path, mistakes);
            }
            if path.contains(&input.node) {
                break;
            }
            at = input.node;
            path.push(at);
        }
        // A node counts only if its path ends at a source; elsewhere a mistake has been noted already.
        if matches!(spec.nodes[at].body, NodeBody::Source(_)) {
            *depth = Some(path.len());
        }
    }
    let mut order: Vec<usize> = (0..count).filter(|node| depths[*node].is_some()).collect();
    order.sort_by_key(|node| depths[*node]);
    order
}

/// Notes a cycle once, at the first of its nodes.
fn note_cycle(spec: &JobSpec, path: &[usize], mistakes: &mut Vec<Mistake>) {
    if path.iter().min() != path.first() {
        return;
    }
    let mut names: Vec<&str> = path.iter().rev().map(|node| spec.nodes[*node].name.as_str()).collect();
    names.insert(0, spec.nodes[path[0]].name.as_str());
    let message = format!("this goes in a circle: {}", names.join(" → "));
    let mistake = Mistake::new(path_of(&spec.nodes[path[0]]).key("input"), message);
    mistakes.push(mistake.expected("inputs that lead to a source"));
}

fn warn_of_unread(spec: &JobSpec, inputs: &[Option<Input>], mistakes: &mut Vec<Mistake>) {
    for (index, node) in spec.nodes.iter().enumerate() {
        let read = inputs.iter().flatten().any(|input| input.node == index);
        if !read && !matches!(node.body, NodeBody::Sink(_)) {
            let unread = match node.body {
                NodeBody::Source(_) => ", so that it is not read",
                _ => "",
            };
            mistakes.push(Mistake::warning(path_of(node), format!("nothing reads from `{}`{unread}", node.name)));
        }
        if let (NodeBody::Sink(sink), true) = (&node.body, read)
            && !sink.enabled
        {
            let message =
                format!("nothing comes out of `{}`, which is not enabled: its readers are left out", node.name);
            mistakes.push(Mistake::warning(path_of(node).key("enabled"), message));
        }
    }
}
