//! The same job over its raw archive: where the archive is fed in, and which nodes are left.
//!
//! The archive holds the rows that a late gate let through, as they came to it. So it stands for the output of the node before
//! the gate. Maps before it that only keep rows by a condition are asked once more, which changes nothing for the rows that
//! they have kept, and repairs the counts where a condition has been made stricter since. Maps that compute columns are not:
//! the archive has their results, and it is fed in behind the last one.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_operators::columns::{WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::expression::AggregateCall;
use weir_operators::filters::FILTER_ID;
use weir_operators::map::SelectItem;
use weir_operators::source::files::EventTimeRange;

use super::aggregate_step::AggregateStep;
use super::gates::{Gates, window_rule, window_spec};
use super::resolve::{Output, Resolved, path_of};
use super::roll::longest_before_archives;
use super::types::{self, AllTypes, Types, adds_filters};
use crate::recalculation::{CountedTable, LeftOut, RecountStep, StoreTable, TableWindows, WhyLeftOut};
use crate::spec::{Aggregate, Format, JobSpec, NodeBody, NodeSpec, Reduce, Sink, SinkConnector, Source, Window};
use crate::sql_sink::SqlSink;
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;

/// Nobody waits for the results of a single checkpoint of a replay.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(2);

/// What replays and recounts go by.
#[derive(Debug, Clone)]
pub(crate) struct Survey {
    /// The node that reads what the archive holds.
    reader: usize,
    /// The nodes that count for the store, from there on; its sinks included.
    kept: BTreeSet<usize>,
    /// The event-time column of the archive.
    event_time: String,
    /// Where the definition's own sink writes the archive.
    pub(crate) archive: Option<String>,
    /// The tables of the store.
    pub(crate) tables: Vec<StoreTable>,
    /// Tables of results that are none of them.
    pub(crate) left_out: Vec<LeftOut>,
}

/// What a replay's job is beside its definition.
#[derive(Clone, Copy)]
pub(crate) struct Graft<'a> {
    /// Its own name.
    pub(crate) name: &'a str,
    /// Where the archive is.
    pub(crate) archive: &'a str,
    /// What of it is read.
    pub(crate) range: EventTimeRange,
    /// Where the store is, whatever the definition says.
    pub(crate) store: Option<&'a str>,
    /// What stands for a table's name.
    pub(crate) table: &'a dyn Fn(&str) -> String,
}

/// Looks at a spec without mistakes.
pub(crate) fn survey(spec: &JobSpec) -> Result<Survey, Box<Mistake>> {
    let mut mistakes = Vec::new();
    let resolved = Resolved::new(spec, &mut mistakes);
    let gates = Gates::new(&resolved, &mut mistakes);
    let types = types::infer(&resolved, &gates, &mut mistakes);
    let survey = Surveyor { resolved: &resolved, gates: &gates, types: &types };
    survey.survey()
}

/// The job over the archive.
pub(crate) fn graft(spec: &JobSpec, survey: &Survey, graft: &Graft<'_>) -> JobSpec {
    let mut replay = spec.clone();
    replay.identity = Some(spec.name.clone());
    replay.name = graft.name.to_owned();
    replay.checkpoint.interval = replay.checkpoint.interval.max(CHECKPOINT_INTERVAL);
    let mut source_name = "archive".to_owned();
    while spec.nodes.iter().any(|node| node.name == source_name) {
        source_name.push('_');
    }
    let source = Source::files(graft.archive)
        .format(Format::Parquet { schema: None })
        .event_time(&survey.event_time)
        .by_partition()
        .all_or_nothing()
        .range(graft.range);
    let source = NodeSpec { name: source_name.clone(), body: NodeBody::Source(source) };
    let mut nodes = vec![source];
    for index in &survey.kept {
        let mut node = spec.nodes[*index].clone();
        match &mut node.body {
            // A replay is looked at when it is through.
            NodeBody::Aggregate(aggregate) => aggregate.emit = None,
            NodeBody::Sink(sink) => shadow(sink, graft),
            _ => {}
        }
        if *index == survey.reader {
            read_from(&mut node.body, &source_name);
        }
        nodes.push(node);
    }
    replay.nodes = nodes;
    replay
}

fn shadow(sink: &mut Sink, graft: &Graft<'_>) {
    sink.enabled = true;
    sink.running = Some(false);
    if let SinkConnector::Sql(sql) = &mut sink.connector {
        sql.table = (graft.table)(&sql.table);
        sql.retention = None;
        // Nobody asks it anything but in the order of its key.
        sql.indexes.clear();
        if let Some(store) = graft.store {
            sql.url = store.into();
        }
    }
}

fn read_from(body: &mut NodeBody, source: &str) {
    let input = match body {
        NodeBody::Source(_) | NodeBody::Sink(_) | NodeBody::Reduce(_) => return,
        NodeBody::Map(node) => &mut node.input,
        NodeBody::Dedup(node) => &mut node.input,
        NodeBody::Aggregate(node) => &mut node.input,
    };
    *input = source.to_owned();
}

struct Surveyor<'s, 'a> {
    resolved: &'s Resolved<'a>,
    gates: &'s Gates,
    types: &'s AllTypes,
}

/// A sink of the store, and what counts for it.
struct StoreSink<'a> {
    index: usize,
    sql: &'a SqlSink,
    aggregate: (usize, &'a Aggregate),
    reduce: Option<&'a Reduce>,
}

impl<'a> Surveyor<'_, 'a> {
    fn survey(&self) -> Result<Survey, Box<Mistake>> {
        let (sinks, left_out) = self.store_sinks()?;
        let Some(first) = sinks.first() else {
            let mut message = "no sink keeps counts in a store, so that there are none to replace".to_owned();
            for table in &left_out {
                message.push_str(&format!("; {table}"));
            }
            let mistake = Mistake::on_key(KeyPath::of(["sink"]), message);
            return Err(Box::new(mistake.expected("a sink with connector = \"sql\" behind an aggregate")));
        };
        let before = self.gate_before(first)?;
        for sink in &sinks {
            if self.gate_before(sink)? != before {
                let message = "it counts what another gate lets through than the other sinks of the store, and one archive holds the \
                               rows of one gate";
                return Err(Box::new(Mistake::on_key(path_of(self.resolved.node(sink.index)).key("input"), message)));
            }
        }
        let (reader, from) = self.feed(before);
        let mut kept = BTreeSet::new();
        for sink in &sinks {
            kept.insert(sink.index);
            for node in self.resolved.upstream(sink.index) {
                kept.insert(node);
                if node == reader {
                    break;
                }
            }
        }
        let given = self.types.0[from].as_ref().and_then(|types| types.event_time.clone());
        let event_time = given.ok_or_else(|| {
            let message = "it has no event time, so that nothing behind it can be replayed";
            Box::new(Mistake::on_key(path_of(self.resolved.node(from)), message))
        })?;
        let tables = sinks.iter().map(|sink| self.table(sink, reader)).collect();
        Ok(Survey { reader, kept, event_time, archive: self.archive(before), tables, left_out })
    }

    /// The sinks that keep results in a store, enabled or not; and the tables of others whose rows are results, too.
    fn store_sinks(&self) -> Result<(Vec<StoreSink<'a>>, Vec<LeftOut>), Box<Mistake>> {
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for index in 0..self.resolved.spec.nodes.len() {
            let NodeBody::Sink(sink) = &self.resolved.node(index).body else { continue };
            let SinkConnector::Sql(sql) = &sink.connector else { continue };
            let main = self.resolved.inputs[index].is_some_and(|input| input.output == Output::Main);
            let body = |node: usize| &self.resolved.node(node).body;
            let mut upstream = self.resolved.upstream(index);
            let (reduce, aggregate) = match upstream.next().map(|node| (node, body(node))) {
                Some((_, NodeBody::Reduce(reduce))) => (Some(reduce), upstream.next().map(|node| (node, body(node)))),
                first => (None, first),
            };
            let mut leave_out = |why| {
                let sink = self.resolved.node(index).name.clone();
                left_out.push(LeftOut { sink, table: sql.table.clone(), why });
            };
            // Events, such as late ones, are in no window.
            let (true, Some((node, NodeBody::Aggregate(aggregate)))) = (main, aggregate) else {
                if self.types.0[index].as_ref().is_some_and(|types| types.results.is_some()) {
                    leave_out(WhyLeftOut::BehindMap);
                }
                continue;
            };
            if sql.keep_newest {
                leave_out(WhyLeftOut::KeepsNewest);
                continue;
            }
            if matches!(aggregate.window, Window::Session { .. }) {
                let message = "sessions have no fixed windows, so that a replay could not replace them one by one";
                return Err(Box::new(Mistake::on_key(path_of(self.resolved.node(node)).key("window"), message)));
            }
            found.push(StoreSink { index, sql, aggregate: (node, aggregate), reduce });
        }
        Ok((found, left_out))
    }

    /// The node whose input the gate guards that decides what a sink's counts are made of.
    fn gate_before(&self, sink: &StoreSink<'_>) -> Result<usize, Box<Mistake>> {
        let (aggregate, _) = sink.aggregate;
        self.gates.of(aggregate).map(|gate| gate.before).ok_or_else(|| {
            let message = "it has no gate for late events, so that there is no archive of what came on time";
            Box::new(Mistake::on_key(path_of(self.resolved.node(aggregate)), message))
        })
    }

    /// The node that reads what the archive holds, and the one that gave it.
    fn feed(&self, before: usize) -> (usize, usize) {
        let mut reader = before;
        for node in self.resolved.upstream(before) {
            match &self.resolved.node(node).body {
                NodeBody::Map(map) if map.select.is_none() => reader = node,
                _ => return (reader, node),
            }
        }
        (reader, reader)
    }

    /// Where the definition writes what the gate lets through, all columns, by hour.
    fn archive(&self, before: usize) -> Option<String> {
        (0..self.resolved.spec.nodes.len()).find_map(|index| {
            let NodeBody::Sink(sink) = &self.resolved.node(index).body else { return None };
            let SinkConnector::Files(files) = &sink.connector else { return None };
            let input = self.resolved.inputs[index]?;
            let is_of_gate = self.gates.of(input.node).is_some_and(|gate| gate.before == before);
            let is_archive = input.output == Output::OnTime && is_of_gate && files.hourly && sink.select.is_none();
            is_archive.then(|| files.path.clone())
        })
    }

    fn table(&self, sink: &StoreSink<'_>, reader: usize) -> StoreTable {
        let written = self.types.0[sink.index].as_ref();
        let mut items = written.map(written_items).unwrap_or_default();
        // What is withdrawn is not in a table.
        items.retain(|(name, _)| name != WITHDRAWN);
        let (_, aggregate) = sink.aggregate;
        let window = sink.reduce.and_then(|reduce| reduce.window).unwrap_or(aggregate.window);
        let (size_ms, slide_ms) = match window_spec(window) {
            weir_operators::window::WindowSpec::Tumbling { size_ms } => (size_ms, size_ms),
            weir_operators::window::WindowSpec::Hopping { size_ms, slide_ms } => (size_ms, slide_ms),
            weir_operators::window::WindowSpec::Session { gap_ms } => (gap_ms, gap_ms),
        };
        let column = |of: &str| items.iter().find(|(_, from)| from == of).map(|(name, _)| name.clone());
        let sums = sink.sql.retention.as_ref().map(|retention| retention.sum.clone()).unwrap_or_default();
        StoreTable {
            sink: self.resolved.node(sink.index).name.clone(),
            url: sink.sql.url.clone(),
            table: sink.sql.table.clone(),
            columns: items.iter().map(|(name, _)| name.clone()).collect(),
            key: sink.sql.key.clone().unwrap_or_default(),
            sums,
            windows: TableWindows { start: column(WINDOW_START), end: column(WINDOW_END), size_ms, slide_ms },
            allowed_lateness_ms: window_rule(aggregate).allowed_lateness_ms,
            archive_held_ms: longest_before_archives(self.resolved.spec),
            counted: match sink.reduce {
                None => self.counted(sink, reader, &items),
                Some(_) => None,
            },
        }
    }

    /// How the counts of a table follow from the archive, if it holds plain counts with their whole key.
    fn counted(&self, sink: &StoreSink<'_>, reader: usize, items: &[(String, String)]) -> Option<CountedTable> {
        let (node, aggregate) = sink.aggregate;
        let column = |of: &str| items.iter().find(|(_, from)| from == of).map(|(name, _)| name.clone());
        let is_count = |call: &str| {
            AggregateCall::parse(call).is_ok_and(|call| {
                call.function == weir_operators::expression::AggregateFunction::Count && call.argument.is_none()
            })
        };
        let (count, _) = aggregate.select.iter().find(|(_, call)| is_count(call))?;
        let filters = adds_filters(self.resolved.spec, aggregate);
        let keys = aggregate.key.iter().filter(|name| !(filters && *name == FILTER_ID));
        let input = self.resolved.inputs[node]?;
        let given = self.types.of_output(self.resolved, self.gates, input.node, input.output)?;
        let time = given.event_time.clone()?;
        let mut steps = self.steps(node, reader)?;
        if let Some(arguments) = AggregateStep::new(aggregate, &time, &given.main).arguments {
            // What an argument fails on is not counted, in whatever column.
            steps.push(RecountStep::Compute(arguments));
        }
        Some(CountedTable {
            steps,
            time,
            filters: if filters { self.resolved.spec.filters.clone() } else { Vec::new() },
            filter_column: if filters { Some(column(FILTER_ID)?) } else { None },
            keys: keys.map(|name| Some((name.clone(), column(name)?))).collect::<Option<_>>()?,
            count: column(count)?,
        })
    }

    /// What is done between the archive and an aggregate.
    fn steps(&self, aggregate: usize, reader: usize) -> Option<Vec<RecountStep>> {
        let mut nodes = Vec::new();
        for node in self.resolved.upstream(aggregate).take_while(|_| aggregate != reader) {
            nodes.push(node);
            if node == reader {
                break;
            }
        }
        let mut steps = Vec::new();
        for node in nodes.into_iter().rev() {
            match &self.resolved.node(node).body {
                NodeBody::Map(map) => {
                    steps.extend(map.condition.clone().map(RecountStep::Keep));
                    let select = self.types.0[node].as_ref().and_then(|types| types.select.clone());
                    steps.extend(select.map(RecountStep::Compute));
                }
                NodeBody::Dedup(dedup) => {
                    let given = self.resolved.inputs[node].and_then(|input| self.types.0[input.node].as_ref())?;
                    let by_time = given.event_time.as_ref().is_some_and(|time| dedup.key.contains(time));
                    let same_event_time = dedup.same_event_time || by_time;
                    steps.push(RecountStep::Unique {
                        key: dedup.key.clone(),
                        same_event_time,
                        null_key: dedup.null_key,
                    });
                }
                _ => return None,
            }
        }
        Some(steps)
    }
}

/// The columns that a sink writes, and the columns that they are; what is computed has no such name.
fn written_items(types: &Types) -> Vec<(String, String)> {
    match &types.select {
        Some(items) => items.iter().map(|item| (item.name.clone(), plain(item))).collect(),
        None => types.main.names().map(|name| (name.to_owned(), name.to_owned())).collect(),
    }
}

fn plain(item: &SelectItem) -> String {
    let text = item.expression.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned()
}
