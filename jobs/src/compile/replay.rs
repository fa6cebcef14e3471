//! The same job over its raw archive: where the archive is fed in, and which nodes are left.
//!
//! The archive holds the rows that a late gate let through, as they came to it. So it stands for the output of the node before
//! the gate. Maps before it that only keep rows by a condition are asked once more, which changes nothing for the rows that
//! they have kept, and repairs the counts where a condition has been made stricter since. Maps that compute columns are not:
//! the archive has their results, and it is fed in behind the last one.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_operators::columns::{WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::filters::FILTER_ID;
use weir_operators::format::Format;
use weir_operators::map::SelectItem;
use weir_operators::sink::{KeptTable, Shadow};
use weir_operators::source::files::{EventTimeRange, FilesConfig};
use weir_operators::window::WindowSpec;

use super::Findings;
use super::gates::Gates;
use super::resolve::{Feed, Place, Resolved};
use super::types::{self, AllTypes};
use crate::nodes::source::Source;
use crate::nodes::types::Types;
use crate::nodes::{Counted, Output, Results, Windows};
use crate::spec::{JobSpec, NodeSpec};
use crate::store_table::{CountedTable, LeftOut, RecountStep, StoreTable, TableWindows, WhyLeftOut};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::millis;

/// Nothing waits for the results of a single checkpoint of a replay.
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
    /// What it writes to.
    pub(crate) shadow: Shadow<'a>,
}

/// Looks at a spec without mistakes.
pub(crate) fn survey(spec: &JobSpec, findings: &Findings) -> Result<Survey, Box<Mistake>> {
    let mut mistakes = Vec::new();
    let resolved = Resolved::new(spec, &mut mistakes);
    let gates = Gates::new(&resolved, &mut mistakes);
    let types = types::infer(&resolved, &gates, findings, &mut mistakes);
    let survey = Surveyor { resolved: &resolved, gates: &gates, types: &types };
    survey.survey()
}

/// The job over the archive.
pub(crate) fn graft(spec: &JobSpec, survey: &Survey, graft: &Graft<'_>) -> JobSpec {
    let mut settings = spec.settings.clone();
    settings.identity = Some(settings.name);
    settings.name = graft.name.to_owned();
    settings.checkpoint.interval = settings.checkpoint.interval.max(CHECKPOINT_INTERVAL);
    let mut source_name = "archive".to_owned();
    while spec.nodes.iter().any(|node| node.name == source_name) {
        source_name.push('_');
    }
    let archive = FilesConfig::at(graft.archive)
        .format(Format::Parquet { schema: None })
        .by_partition()
        .all_or_nothing()
        .range(graft.range);
    let source = Source::of(archive).event_time(&survey.event_time);
    let source = NodeSpec { name: source_name.clone(), body: Box::new(source) };
    let mut nodes = vec![source];
    for index in &survey.kept {
        let mut node = spec.nodes[*index].clone();
        node.body.shadow(&graft.shadow);
        if *index == survey.reader {
            node.body.read_from(&source_name);
        }
        nodes.push(node);
    }
    JobSpec { settings, nodes }
}

struct Surveyor<'s, 'a> {
    resolved: &'s Resolved<'a>,
    gates: &'s Gates,
    types: &'s AllTypes,
}

/// A sink of the store, and what counts for it.
struct StoreSink<'a> {
    index: usize,
    table: KeptTable<'a>,
    /// The node that counts.
    aggregate: usize,
    results: &'a Results,
}

impl Surveyor<'_, '_> {
    fn survey(&self) -> Result<Survey, Box<Mistake>> {
        let (sinks, left_out) = self.store_sinks()?;
        let Some(first) = sinks.first() else {
            let mut message = "no sink keeps counts in a store, so there are none to replace".to_owned();
            for table in &left_out {
                message.push_str(&format!("; {table}"));
            }
            let mistake = Mistake::on_key(KeyPath::of(["sink"]), message);
            return Err(Box::new(mistake.expected("a sink with connector = \"sql\" after an aggregate")));
        };
        let before = self.gate_before(first)?;
        for sink in &sinks {
            if self.gate_before(sink)? != before {
                let message = "it counts what passes another late gate than the store's other sinks, and one archive has only the \
                               rows of one gate";
                return Err(Box::new(Mistake::on_key(self.path(sink.index).key("input"), message)));
            }
        }
        let (reader, event_time) = self.feed(before)?;
        let between = |node: &usize| {
            let is_read = |sink: &StoreSink<'_>| self.resolved.is_before(*node, sink.index);
            self.resolved.is_before(reader, *node) && sinks.iter().any(is_read)
        };
        let kept: BTreeSet<usize> = (0..self.resolved.spec.nodes.len()).filter(between).collect();
        let tables = sinks.iter().map(|sink| self.table(sink, reader)).collect();
        Ok(Survey { reader, kept, event_time, archive: self.archive(before), tables, left_out })
    }

    fn path(&self, node: usize) -> KeyPath {
        self.resolved.node(node).path()
    }

    /// The sinks that keep results in a store, enabled or not; and the tables of others whose rows are results, too.
    fn store_sinks(&self) -> Result<(Vec<StoreSink<'_>>, Vec<LeftOut>), Box<Mistake>> {
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for index in 0..self.resolved.spec.nodes.len() {
            let node = self.resolved.node(index);
            let Some(table) = node.body.kept_table() else { continue };
            // Events, such as late ones, are in no window.
            let given = self.types.first_given(index).and_then(|given| given.results.as_ref());
            let (Some(results), Some(_)) = (given, self.types.own(index)) else { continue };
            let why = match () {
                () if results.behind_map => Some(WhyLeftOut::BehindMap),
                () if self.only_feed(index).is_none() => Some(WhyLeftOut::OfSeveral),
                () if results.counted.of_join => Some(WhyLeftOut::OfJoin),
                () if results.counted.of_results => Some(WhyLeftOut::OfResults),
                () if self.is_behind_over(index) => Some(WhyLeftOut::BehindOver),
                () if table.keep_newest => Some(WhyLeftOut::KeepsNewest),
                () if results.window.is_global() => Some(WhyLeftOut::NoWindow),
                () if results.counted.is_of_sessions() => None,
                () if plain_windows(results.window).is_none() => Some(WhyLeftOut::OtherWindows),
                () => None,
            };
            if let Some(why) = why {
                left_out.push(LeftOut { sink: node.name.clone(), table: table.table.to_owned(), why });
                continue;
            }
            let is_counting = |node: &usize| self.resolved.node(*node).name == results.counted.name;
            let Some(aggregate) = self.resolved.upstream(index).into_iter().find(is_counting) else { continue };
            if results.counted.is_of_sessions() {
                let message = "sessions have no fixed windows, so a replay could not replace them one by one";
                return Err(Box::new(Mistake::on_key(self.path(aggregate).key("window"), message)));
            }
            found.push(StoreSink { index, table, aggregate, results });
        }
        Ok((found, left_out))
    }

    /// Whether what rows say depends on rows before them, which a replay need not have.
    fn is_behind_over(&self, node: usize) -> bool {
        self.resolved.upstream(node).into_iter().any(|node| self.resolved.node(node).body.holds_back().is_some())
    }

    /// The node whose input the gate guards that decides what a sink's counts are made of.
    fn gate_before(&self, sink: &StoreSink<'_>) -> Result<usize, Box<Mistake>> {
        let mut gates = self.gates.of(Place { node: sink.aggregate, input: 0 }).map(|gate| gate.before.node);
        let message = match (gates.next(), gates.next()) {
            (Some(gate), None) => return Ok(gate),
            (None, _) => "it has no gate for late events, so there is no archive of what came on time",
            (Some(_), Some(_)) => {
                "it counts what several gates let through, and one archive holds the rows of one gate"
            }
        };
        Err(Box::new(Mistake::on_key(self.path(sink.aggregate), message)))
    }

    /// The node that reads what the archive holds, and the column with its event time.
    fn feed(&self, before: usize) -> Result<(usize, String), Box<Mistake>> {
        let mut reader = before;
        while let Some(above) = self.only_feed(reader)
            && self.resolved.node(above).body.only_keeps()
        {
            reader = above;
        }
        let given = self.types.first_given(reader).and_then(|given| given.event_time.clone());
        let event_time = given.ok_or_else(|| {
            let message = "it has no event time, so nothing downstream of it can be replayed";
            Box::new(Mistake::on_key(self.path(self.only_feed(reader).unwrap_or(reader)), message))
        })?;
        Ok((reader, event_time))
    }

    /// The one node that a node reads.
    fn only_feed(&self, node: usize) -> Option<usize> {
        let mut feeds = self.resolved.feeds(node);
        feeds.next().filter(|_| feeds.next().is_none()).map(|feed| feed.node)
    }

    /// Where the definition writes what the gate lets through, all columns, by hour.
    fn archive(&self, before: usize) -> Option<String> {
        let holds_it = |feed: Feed| {
            feed.output == Output::OnTime
                && self.gates.of(Place { node: feed.node, input: 0 }).any(|gate| gate.before.node == before)
        };
        (0..self.resolved.spec.nodes.len()).find_map(|index| {
            let archive = self.resolved.node(index).body.archive(&self.resolved.spec.settings)?;
            let is_it = archive.is_whole && self.resolved.feeds(index).any(holds_it);
            is_it.then(|| archive.path.to_owned())
        })
    }

    fn table(&self, sink: &StoreSink<'_>, reader: usize) -> StoreTable {
        let mut items = self.types.own(sink.index).map(written_items).unwrap_or_default();
        // What is withdrawn is not in a table.
        items.retain(|(name, _)| name != WITHDRAWN);
        let (size_ms, slide_ms) = plain_windows(sink.results.window).unwrap_or_default();
        let column = |of: &str| items.iter().find(|(_, from)| from == of).map(|(name, _)| name.clone());
        StoreTable {
            sink: self.resolved.node(sink.index).name.clone(),
            url: sink.table.url.clone(),
            table: sink.table.table.to_owned(),
            columns: items.iter().map(|(name, _)| name.clone()).collect(),
            key: sink.table.key.to_vec(),
            sums: sink.table.sums.to_vec(),
            windows: TableWindows { start: column(WINDOW_START), end: column(WINDOW_END), size_ms, slide_ms },
            allowed_lateness_ms: millis(sink.results.counted.allowed_lateness),
            archive_held_ms: self.resolved.spec.archive_held_ms(),
            counted: match sink.results.are_groups {
                true => self.counted(sink.aggregate, &sink.results.counted, reader, &items),
                false => None,
            },
        }
    }

    /// How the counts of a table follow from the archive, if it holds plain counts with their whole key.
    fn counted(
        &self,
        aggregate: usize,
        counted: &Counted,
        reader: usize,
        items: &[(String, String)],
    ) -> Option<CountedTable> {
        let column = |of: &str| items.iter().find(|(_, from)| from == of).map(|(name, _)| name.clone());
        let count = counted.count.as_ref()?;
        let filters = counted.is_filtered;
        let keys = counted.key.iter().filter(|name| !(filters && *name == FILTER_ID));
        let mut steps = self.steps(aggregate, reader)?;
        // What an argument fails on is not counted, in whatever column.
        steps.extend(counted.arguments.clone().map(RecountStep::Compute));
        Some(CountedTable {
            steps,
            time: counted.time.clone(),
            filters: if filters { self.resolved.spec.settings.filters.clone() } else { Vec::new() },
            filter_column: if filters { Some(column(FILTER_ID)?) } else { None },
            keys: keys.map(|name| Some((name.clone(), column(name)?))).collect::<Option<_>>()?,
            count: column(count)?,
        })
    }

    /// What is done between the archive and an aggregate.
    fn steps(&self, aggregate: usize, reader: usize) -> Option<Vec<RecountStep>> {
        let mut nodes = Vec::new();
        let mut at = aggregate;
        while at != reader {
            at = self.only_feed(at)?;
            nodes.push(at);
        }
        let mut steps = Vec::new();
        for node in nodes.into_iter().rev() {
            let (given, own) = (self.types.first_given(node)?, self.types.own(node)?);
            steps.extend(self.resolved.node(node).body.recount_steps(given, own)?);
        }
        Some(steps)
    }
}

/// Size and slide of windows that a range of event time can be recounted by: those that begin with multiples of their slide in UTC
/// and are as long as several.
fn plain_windows(windows: Windows) -> Option<(i64, i64)> {
    match windows.spec() {
        _ if !windows.alignment.is_epoch() => None,
        WindowSpec::Tumbling { size_ms } => Some((size_ms, size_ms)),
        WindowSpec::Hopping { size_ms, slide_ms } if size_ms % slide_ms == 0 => Some((size_ms, slide_ms)),
        _ => None,
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
