//! What is written, and where.

use super::Drawing;
use crate::grammar::job::{Body, Format, Kind, Node, Sink, Target, Windows};

impl Drawing {
    /// A sink for each node that nobody reads, for each that may fail on rows, and for some of the others; and for what is late
    /// and what fails.
    pub(super) fn sinks(&mut self) {
        for node in self.job.nodes.clone() {
            let is_read = self.job.readers(&node.name).next().is_some();
            // What nobody reads is not computed, and cannot fail.
            if !is_read || may_fail(&node) || self.one_in(3) {
                self.sink(&node, None);
            }
            let is_map = matches!(node.body, Body::Map { .. });
            if is_map && self.one_in(2) && node.results.is_none() {
                self.sink(&node, Some("dead_letters"));
            }
            let (aggregates, is_dedup) = match &node.body {
                Body::Aggregate { window, .. } => (window.windows != Windows::Global(None), false),
                Body::Dedup { .. } => (false, true),
                _ => (false, false),
            };
            let of_results = node.inputs.iter().any(|input| self.job.is_of_results(input));
            if (aggregates && !of_results) || is_dedup {
                for output in ["late", "on_time"] {
                    if self.one_in(3) {
                        self.sink(&node, Some(output));
                    }
                }
            }
        }
    }

    fn sink(&mut self, node: &Node, output: Option<&'static str>) {
        let format = Format::ALL[self.below(3)];
        let has_list = node.columns.iter().any(|column| matches!(column.kind, Kind::List(_)));
        let is_plain = output.is_none() && node.results.is_some() && !has_list;
        let target = match is_plain && self.one_in(4) {
            true => Target::Table,
            false => {
                let format = if has_list && format == Format::Csv { Format::Json } else { format };
                Target::Files { format, each_checkpoint: self.one_in(2) }
            }
        };
        let name = match output {
            None => format!("{}_out", node.name),
            Some(output) => format!("{}_{output}", node.name),
        };
        self.job.sinks.push(Sink { name, node: node.name.clone(), output, target });
    }
}

fn may_fail(node: &Node) -> bool {
    let Body::Map { condition, select } = &node.body else { return false };
    let selected = select.iter().flatten().map(|(_, of)| of);
    condition.iter().chain(selected).any(|of| of.fails.is_some())
}
