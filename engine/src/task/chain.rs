//! A chain: the operators of one subtask, fused, with the tree of who feeds whom.
//!
//! Everything synchronous happens here. What has to wait (sending on a channel, writing to a sink) is handed back as
//! [`Delivery`]s, in order, and waited for by the subtask's loop.

use crate::{
    checkpoint::{segment_ledger::SegmentLedger, split_files::SplitLedger},
    element::{Barrier, Batch, Port},
    error::{EngineError, Result},
    graph::ChainTarget,
    key_group::KeyGroupRange,
    operator::{Collector, Committable, Counter, Counters, Lookup, Operator, Sink, as_lookup},
    state::Snapshot,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;

/// The operators of one subtask.
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
}

/// One operator in its chain.
pub(crate) struct Link {
    pub(crate) node: String,
    pub(crate) body: LinkBody,
    pub(crate) targets: Vec<(Port, ChainTarget)>,
    pub(crate) subtask: usize,
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) counters: Counters,
    rows_in: Counter,
    rows_out: Counter,
    pub(crate) ledger: Arc<Mutex<SegmentLedger>>,
    pub(crate) splits: Arc<Mutex<SplitLedger>>,
}

/// What a link runs.
pub(crate) enum LinkBody {
    /// The head of a source's chain; the source itself is driven by the subtask's loop.
    Source,
    Operator(Box<dyn Operator>),
    Sink(Box<dyn Sink>),
}

/// Rows on their way to something that may have to be waited for.
pub(crate) enum Delivery {
    /// To an output of the task.
    Output(usize, Batch),
    /// To the sink at this link.
    Sink(usize, Batch),
}

/// The event time within a chain: less behind an operator that holds it back.
struct Times {
    /// What each link is told.
    links: Vec<i64>,
    /// That of each output of the task.
    outputs: Vec<i64>,
}

/// What a link holds at a barrier.
pub(crate) struct CapturedLink {
    pub(crate) node: String,
    pub(crate) subtask: usize,
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) counters: std::collections::BTreeMap<String, u64>,
    pub(crate) snapshot: Snapshot,
    pub(crate) ledger: Arc<Mutex<SegmentLedger>>,
    pub(crate) splits: Arc<Mutex<SplitLedger>>,
    pub(crate) staging: Option<BoxFuture<'static, Result<Vec<Committable>>>>,
}

impl Link {
    pub(crate) fn new(
        node: String,
        body: LinkBody,
        targets: Vec<(Port, ChainTarget)>,
        subtask: usize,
        key_groups: KeyGroupRange,
        counters: Counters,
    ) -> Self {
        let (rows_in, rows_out) = (counters.counter("rows_in"), counters.counter("rows_out"));
        let ledger = Arc::new(Mutex::new(SegmentLedger::new(key_groups)));
        let splits = Arc::default();
        Link { node, body, targets, subtask, key_groups, counters, rows_in, rows_out, ledger, splits }
    }
}

impl Chain {
    /// Rows for an input of the head of a chain behind a gate.
    pub(crate) fn process(&mut self, input: usize, batch: Batch, out: &mut Vec<Delivery>) -> Result<()> {
        self.feed(0, input, batch, out)
    }

    /// Rows that the source at the head made.
    pub(crate) fn emit_from_source(&mut self, port: Port, batch: Batch, out: &mut Vec<Delivery>) -> Result<()> {
        self.route(0, port, batch, out)
    }

    /// The lookup at the head.
    pub(crate) fn lookup(&mut self) -> Result<&mut dyn Lookup> {
        match self.links.first_mut().map(|link| &mut link.body) {
            Some(LinkBody::Operator(operator)) => as_lookup(operator.as_mut()),
            _ => Err(EngineError::internal("the head of this chain is no lookup")),
        }
    }

    /// The settled rows at the front of the lookup at the head, at most so many. How many there were.
    pub(crate) fn release(&mut self, at_most: u64, out: &mut Vec<Delivery>) -> Result<u64> {
        let mut collector = Collector::default();
        let released = self.lookup()?.release(at_most, &mut collector);
        let released = released.map_err(|error| error.context(&self.links[0].node))?;
        for (port, batch) in collector.drain() {
            self.route(0, port, batch, out)?;
        }
        Ok(released)
    }

    /// Event time has advanced. Each operator learns of it after the rows that those before it emitted because of it.
    pub(crate) fn watermark(&mut self, watermark: i64, out: &mut Vec<Delivery>) -> Result<()> {
        let times = self.times(watermark).links;
        self.each_operator(out, |link, operator, collector| operator.watermark(times[link], collector))
    }

    /// The event time of each output of the task where that of its head is `watermark`.
    pub(crate) fn times_of_outputs(&self, watermark: i64) -> Vec<i64> {
        self.times(watermark).outputs
    }

    fn times(&self, watermark: i64) -> Times {
        let mut times = Times { links: vec![watermark; self.links.len()], outputs: Vec::new() };
        // Each link comes after the one that feeds it.
        for (index, link) in self.links.iter().enumerate() {
            let behind = match &link.body {
                LinkBody::Operator(operator) => operator.watermark_behind(times.links[index]),
                LinkBody::Source | LinkBody::Sink(_) => times.links[index],
            };
            for (_, target) in &link.targets {
                match target {
                    ChainTarget::Link(link) => times.links[*link] = behind,
                    ChainTarget::Output(output) => {
                        times.outputs.resize(times.outputs.len().max(output + 1), watermark);
                        times.outputs[*output] = behind;
                    }
                }
            }
        }
        times
    }

    /// A barrier is about to pass.
    pub(crate) fn prepare_snapshot(&mut self, barrier: Barrier, out: &mut Vec<Delivery>) -> Result<()> {
        self.each_operator(out, |_, operator, collector| operator.prepare_snapshot(barrier, collector))
    }

    /// What every link holds now. All deliveries must have been made before.
    pub(crate) fn capture(&mut self, barrier: Barrier) -> Result<Vec<CapturedLink>> {
        self.links
            .iter_mut()
            .map(|link| {
                let (snapshot, staging) = match &mut link.body {
                    LinkBody::Source => (Snapshot::default(), None),
                    LinkBody::Operator(operator) => (operator.snapshot(barrier.checkpoint)?, None),
                    LinkBody::Sink(sink) => (Snapshot::default(), Some(sink.stage(barrier))),
                };
                Ok(CapturedLink {
                    node: link.node.clone(),
                    subtask: link.subtask,
                    key_groups: link.key_groups,
                    counters: link.counters.values(),
                    snapshot,
                    ledger: link.ledger.clone(),
                    splits: link.splits.clone(),
                    staging,
                })
            })
            .collect()
    }

    /// The sink at a link.
    pub(crate) fn sink(&mut self, link: usize) -> Result<&mut Box<dyn Sink>> {
        match self.links.get_mut(link).map(|link| &mut link.body) {
            Some(LinkBody::Sink(sink)) => Ok(sink),
            _ => Err(EngineError::internal(format!("chain link {link} is not a sink"))),
        }
    }

    fn each_operator(
        &mut self,
        out: &mut Vec<Delivery>,
        mut call: impl FnMut(usize, &mut dyn Operator, &mut Collector) -> Result<()>,
    ) -> Result<()> {
        let mut collector = Collector::default();
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            if let LinkBody::Operator(operator) = &mut link.body {
                call(index, operator.as_mut(), &mut collector).map_err(|error| error.context(&link.node))?;
                for (port, batch) in collector.drain() {
                    self.route(index, port, batch, out)?;
                }
            }
        }
        Ok(())
    }

    fn feed(&mut self, index: usize, input: usize, batch: Batch, out: &mut Vec<Delivery>) -> Result<()> {
        let link = &mut self.links[index];
        link.rows_in.add(batch.len() as u64);
        match &mut link.body {
            LinkBody::Sink(_) => out.push(Delivery::Sink(index, batch)),
            LinkBody::Source => return Err(EngineError::internal(format!("rows reached the source '{}'", link.node))),
            LinkBody::Operator(operator) => {
                let mut collector = Collector::default();
                operator.process(input, batch, &mut collector).map_err(|error| error.context(&link.node))?;
                for (port, batch) in collector.drain() {
                    self.route(index, port, batch, out)?;
                }
            }
        }
        Ok(())
    }

    fn route(&mut self, from: usize, port: Port, batch: Batch, out: &mut Vec<Delivery>) -> Result<()> {
        if port == Port::MAIN {
            self.links[from].rows_out.add(batch.len() as u64);
        }
        for position in 0..self.links[from].targets.len() {
            let (of_port, target) = self.links[from].targets[position];
            if of_port == port {
                match target {
                    ChainTarget::Output(output) => out.push(Delivery::Output(output, batch.clone())),
                    // Behind the head nobody has a second input.
                    ChainTarget::Link(link) => self.feed(link, 0, batch.clone(), out)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
