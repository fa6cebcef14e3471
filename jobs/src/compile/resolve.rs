//! Names → nodes: which node reads from which outputs, and in which order data flows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir_engine::graph::NodeRole;

use crate::nodes::{Inputs, Output, filters};
use crate::settings::{JobSettings, LONGEST_NAME};
use crate::spec::{JobSpec, NodeSpec};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feed {
    /// The producing node, as a position in the spec.
    pub(super) node: usize,
    /// Which of its outputs.
    pub(super) output: Output,
}

/// An input of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The node, as a position in the spec.
    pub(super) node: usize,
    /// Which of its inputs, from 0.
    pub(super) input: usize,
}

/// The spec with its names followed.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    pub(super) spec: &'a JobSpec,
    /// For each node and each of its inputs, where its rows come from; sources have no inputs. Where a name leads nowhere, it is
    /// left out.
    pub(super) inputs: Vec<Vec<Vec<Feed>>>,
    /// Nodes that can be checked: every producer before its consumers.
    pub(super) order: Vec<usize>,
}

impl<'a> Resolved<'a> {
    /// Follows all names; what can't be followed becomes a mistake.
    pub(super) fn new(spec: &'a JobSpec, mistakes: &mut Vec<Mistake>) -> Self {
        check_job(spec, mistakes);
        let names = Names { spec, producers: producers(spec, mistakes) };
        let found: Vec<Vec<Vec<Option<Feed>>>> = spec.nodes.iter().map(|node| names.feeds(node, mistakes)).collect();
        let is_whole = |inputs: &Vec<Vec<Option<Feed>>>| inputs.iter().all(|feeds| feeds.iter().all(Option::is_some));
        let whole: Vec<bool> = found.iter().map(is_whole).collect();
        let known =
            |inputs: Vec<Vec<Option<Feed>>>| inputs.into_iter().map(|feeds| feeds.into_iter().flatten().collect());
        let inputs = found.into_iter().map(|inputs| known(inputs).collect()).collect();
        let mut resolved = Resolved { spec, inputs, order: Vec::new() };
        resolved.note_cycles(mistakes);
        resolved.order = resolved.sorted(&whole);
        resolved.warn_of_unread(mistakes);
        resolved.warn_of_unseen_sources(mistakes);
        resolved
    }

    /// The node of a position.
    pub(super) fn node(&self, index: usize) -> &'a NodeSpec {
        &self.spec.nodes[index]
    }

    /// All that a node reads, whichever of its inputs takes it.
    pub(super) fn feeds(&self, node: usize) -> impl Iterator<Item = Feed> + '_ {
        self.inputs[node].iter().flatten().copied()
    }

    /// What feeds one input of a node.
    pub(super) fn feeds_into(&self, place: Place) -> impl Iterator<Item = Feed> + '_ {
        self.inputs[place.node].get(place.input).into_iter().flatten().copied()
    }

    /// The inputs of a node.
    pub(super) fn inputs_of(&self, node: usize) -> impl Iterator<Item = Place> + use<> {
        (0..self.inputs[node].len()).map(move |input| Place { node, input })
    }

    /// The nodes that read an output.
    pub(super) fn readers(&self, of: Feed) -> impl Iterator<Item = usize> + '_ {
        (0..self.spec.nodes.len()).filter(move |node| self.feeds(*node).any(|feed| feed == of))
    }

    /// Whether somebody sees what comes out of a node, itself or behind it. A source that nobody sees anything of is not read.
    /// Where that would be all of them, it is as if they were.
    pub(super) fn is_seen(&self, node: usize) -> bool {
        let seen = |node: usize| {
            self.order.iter().any(|other| self.node(*other).body.is_seen() && self.is_before(node, *other))
        };
        seen(node) || !self.order.iter().any(|other| seen(*other))
    }

    /// Sources whose readers lead nowhere; those without any were warned of.
    fn warn_of_unseen_sources(&self, mistakes: &mut Vec<Mistake>) {
        for &index in self.order.iter().filter(|index| !self.is_seen(**index)) {
            let node = self.node(index);
            if self.is_read(index) && node.body.role() == NodeRole::Source {
                let message = format!("`{}` leads to no sink and no aggregate, so it is not read", node.name);
                mistakes.push(Mistake::warning(node.path(), message));
            }
        }
    }

    fn is_read(&self, node: usize) -> bool {
        self.inputs.iter().flatten().flatten().any(|feed| feed.node == node)
    }

    /// Whether rows of `node` come to `other`, or the two are one.
    pub(super) fn is_before(&self, node: usize, other: usize) -> bool {
        node == other || self.upstream(other).contains(&node)
    }

    /// The nodes that the rows of `node` have come through, each once, the nearest first.
    pub(super) fn upstream(&self, node: usize) -> Vec<usize> {
        self.behind(self.feeds(node).collect(), |_| true)
    }

    /// The same of the rows of one input.
    pub(super) fn upstream_of(&self, place: Place) -> Vec<usize> {
        self.upstream_of_while(place, |_| true)
    }

    /// The same, up to those on each way for which that is not true.
    pub(super) fn upstream_of_while(&self, place: Place, is_way: impl Fn(usize) -> bool) -> Vec<usize> {
        self.behind(self.feeds_into(place).collect(), is_way)
    }

    /// The nodes of these feeds, and those that their rows have come through.
    fn behind(&self, mut feeds: VecDeque<Feed>, is_way: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut found = Vec::new();
        while let Some(feed) = feeds.pop_front() {
            if is_way(feed.node) && !found.contains(&feed.node) {
                found.push(feed.node);
                feeds.extend(self.feeds(feed.node));
            }
        }
        found
    }

    /// Whether what a node reads are results, directly or through nodes that make none themselves.
    pub(super) fn takes_results(&self, node: usize) -> bool {
        let made = |feed: &Feed| self.node(feed.node).body.makes_results();
        let passed = |feed: &Feed| self.takes_results(feed.node);
        self.feeds(node).filter(|feed| feed.output.is_of_results()).any(|feed| made(&feed) || passed(&feed))
    }

    /// Notes each cycle once, at the first of its nodes.
    fn note_cycles(&self, mistakes: &mut Vec<Mistake>) {
        for node in 0..self.spec.nodes.len() {
            let Some(path) = self.way_back(node).filter(|path| path.iter().min() == Some(&node)) else { continue };
            let name = |node: &usize| self.node(*node).name.as_str();
            let names: Vec<&str> = [node].iter().chain(path.iter().rev()).map(name).collect();
            let message = format!("this is a cycle: {}", names.join(" → "));
            let mistake = Mistake::new(self.node(node).path().key("input"), message);
            mistakes.push(mistake.expected("inputs that lead to a source"));
        }
    }

    /// The shortest way from a node over what it reads back to itself, if there is one.
    fn way_back(&self, node: usize) -> Option<Vec<usize>> {
        let mut seen = BTreeSet::new();
        let mut next = VecDeque::from([vec![node]]);
        while let Some(path) = next.pop_front() {
            for feed in path.last().into_iter().flat_map(|at| self.feeds(*at)) {
                if feed.node == node {
                    return Some(path);
                }
                if seen.insert(feed.node) {
                    next.push_back(path.iter().copied().chain([feed.node]).collect());
                }
            }
        }
        None
    }

    /// Sorts the nodes so that producers come first. A node counts only if all that it reads comes from sources; elsewhere a
    /// mistake has been noted already.
    fn sorted(&self, whole: &[bool]) -> Vec<usize> {
        let count = self.spec.nodes.len();
        let mut depths: Vec<Option<usize>> = vec![None; count];
        // Nobody is further from its sources than there are nodes.
        for _ in 0..count {
            for node in (0..count).filter(|node| whole[*node]) {
                let behind = self.feeds(node).map(|feed| depths[feed.node]).collect::<Option<Vec<usize>>>();
                depths[node] = behind.map(|depths| depths.into_iter().max().map_or(0, |depth| depth + 1));
            }
        }
        let mut order: Vec<usize> = (0..count).filter(|node| depths[*node].is_some()).collect();
        order.sort_by_key(|node| depths[*node]);
        order
    }

    fn warn_of_unread(&self, mistakes: &mut Vec<Mistake>) {
        for (index, node) in self.spec.nodes.iter().enumerate() {
            let (read, role) = (self.is_read(index), node.body.role());
            if !read && role != NodeRole::Sink {
                let unread = if role == NodeRole::Source { ", so it is not read" } else { "" };
                mistakes.push(Mistake::warning(node.path(), format!("nothing reads from `{}`{unread}", node.name)));
            }
            if read && !node.body.is_enabled() {
                let message = format!(
                    "nothing comes out of `{}`, which is not enabled: the nodes that read it are left out",
                    node.name
                );
                mistakes.push(Mistake::warning(node.path().key("enabled"), message));
            }
        }
    }
}

fn check_job(spec: &JobSpec, mistakes: &mut Vec<Mistake>) {
    check_settings(&spec.settings, mistakes);
    if !spec.nodes.iter().any(|node| node.body.role() == NodeRole::Source) {
        let mistake = Mistake::on_key(KeyPath::default(), "there is no source, so no record would ever come");
        mistakes.push(mistake.expected("a section such as [source.clicks]"));
    }
    filters::check_names(&spec.settings, mistakes);
}

fn check_settings(job: &JobSettings, mistakes: &mut Vec<Mistake>) {
    let right = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let name = KeyPath::of(["job", "name"]);
    if job.name.is_empty() || !job.name.chars().all(right) || job.name.starts_with('.') {
        let mistake = Mistake::new(name.clone(), "this can't be the name of a job: it is part of paths");
        mistakes.push(mistake.found(format!("{:?}", job.name)).expected("letters, digits, `-`, `_` and `.`"));
    }
    if job.name.len() > LONGEST_NAME {
        let mistake = Mistake::new(name, "the name is too long: it is part of file names");
        let found = format!("{} characters", job.name.len());
        mistakes.push(mistake.found(found).expected(format!("{LONGEST_NAME} characters at most")));
    }
    if job.max_parallelism == 0 {
        let mistake = Mistake::new(KeyPath::of(["job", "max_parallelism"]), "there must be a key group");
        mistakes.push(mistake.found("0").expected("a whole number from 1 to 65535"));
    }
}

/// Nodes that others can read from, by name.
fn producers<'a>(spec: &'a JobSpec, mistakes: &mut Vec<Mistake>) -> BTreeMap<&'a str, usize> {
    let is_sink = |node: &NodeSpec| node.body.role() == NodeRole::Sink;
    let mut producers = BTreeMap::new();
    for (index, node) in spec.nodes.iter().enumerate() {
        let is_twin = |other: &&NodeSpec| other.name == node.name && is_sink(other) == is_sink(node);
        if let Some(twin) = spec.nodes[..index].iter().find(is_twin) {
            let message = format!("the name `{}` is taken by `{}`", node.name, twin.path());
            mistakes.push(Mistake::on_key(node.path(), message).expected("another name: inputs refer to nodes by it"));
        } else if !is_sink(node) {
            producers.insert(node.name.as_str(), index);
        }
    }
    producers
}

/// The names of outputs.
struct Names<'a> {
    spec: &'a JobSpec,
    /// Nodes that others can read from.
    producers: BTreeMap<&'a str, usize>,
}

impl Names<'_> {
    /// What feeds each input of a node; nothing where a name leads nowhere.
    fn feeds(&self, node: &NodeSpec, mistakes: &mut Vec<Mistake>) -> Vec<Vec<Option<Feed>>> {
        let inputs = node.body.inputs();
        inputs.into_iter().map(|(key, inputs)| self.input(node, &node.path().key(key), inputs, mistakes)).collect()
    }

    fn input(
        &self,
        node: &NodeSpec,
        path: &KeyPath,
        inputs: &Inputs,
        mistakes: &mut Vec<Mistake>,
    ) -> Vec<Option<Feed>> {
        let place = |position| if inputs.iter().count() > 1 { path.index(position) } else { path.clone() };
        let feeds = inputs.iter().enumerate();
        let feeds: Vec<_> = feeds.map(|(at, written)| self.feed(node, place(at), written, mistakes)).collect();
        if feeds.is_empty() {
            mistakes.push(Mistake::new(path.clone(), "it names no node").expected("the name of a node, in quotes"));
            return vec![None];
        }
        feeds
    }

    fn feed(&self, node: &NodeSpec, path: KeyPath, written: &str, mistakes: &mut Vec<Mistake>) -> Option<Feed> {
        let (spec, producers) = (self.spec, &self.producers);
        if written.is_empty() {
            return None; // Missing, and said so where it was read.
        }
        if let Some(feed) = self.output_of_sink(written) {
            return Some(feed);
        }
        let (name, written_output) =
            written.split_once('.').map_or((written, None), |(name, output)| (name, Some(output)));
        let Some(producer) = producers.get(name).copied() else {
            let names: Vec<&str> = producers.keys().copied().filter(|other| *other != node.name).collect();
            let message = match spec.nodes.iter().any(|other| other.name == name) {
                true => format!("`{name}` is a sink, and nothing can be read from it"),
                false => format!("there is no node `{name}`"),
            };
            mistakes.push(Mistake::new(path, message).one_of("nodes", &names).meant(name, &names));
            return None;
        };
        let outputs = spec.nodes[producer].body.outputs();
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
        Some(Feed { node: producer, output })
    }

    /// `sink.NAME.dead_letters`: a sink may have the name of another node, so that its output is called by its section, too.
    fn output_of_sink(&self, written: &str) -> Option<Feed> {
        let (name, output) = written.strip_prefix("sink.")?.split_once('.')?;
        let is_it = |node: &NodeSpec| node.body.role() == NodeRole::Sink && node.name == name;
        let node = self.spec.nodes.iter().position(is_it)?;
        let outputs = self.spec.nodes[node].body.outputs();
        let output = outputs.iter().copied().find(|known| known.name() == output)?;
        Some(Feed { node, output })
    }
}
