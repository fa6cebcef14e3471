//! The nodes of a definition: one node, one file. Each reads its keys, checks them against the columns that come in, says what
//! goes out, and becomes operators.
//!
//! A new node is a file here that implements [`Node`], and a line in [`KINDS`] (and `pub use`, for jobs that are made in Rust).

mod aggregate;
mod check;
pub(crate) mod claims;
mod custom;
mod dedup;
pub(crate) mod filters;
mod found;
mod inputs;
mod join;
pub(crate) mod late_gate;
mod lookup;
mod map;
mod node;
pub(crate) mod operator;
mod output;
mod over;
pub(crate) mod planning;
mod read_results;
mod reduce;
mod results;
mod select;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod types;
pub(crate) mod union;
mod window;

use weir_operators::Extensions;
use weir_operators::definition::Reader;

pub use aggregate::Aggregate;
pub use custom::Custom;
pub use dedup::Dedup;
pub use inputs::Inputs;
pub use join::{Join, WindowJoin};
pub use lookup::Lookup;
pub use map::Map;
pub use over::Over;
pub use read_results::ReadResults;
pub use reduce::Reduce;
pub use weir_operators::join::Match;
pub use weir_operators::window::Zone;
pub use weir_operators::window_join::JoinType;
pub use window::{Window, Windows};

pub(crate) use check::Check;
pub(crate) use found::Found;
pub(crate) use node::Node;
pub(crate) use output::{Gated, Output};
pub(crate) use results::{Counted, Results};

/// A kind of node.
pub(crate) struct Kind {
    /// The section that such nodes stand in.
    pub(crate) section: &'static str,
    /// Reads one; its operator or connector may be of another crate.
    pub(crate) read: fn(Reader<'_>, &Extensions) -> Box<dyn Node>,
}

/// All kinds, in the order in which their sections are read.
pub(crate) const KINDS: [Kind; 11] = [
    Kind { section: "source", read: |node, with| Box::new(source::Source::read(node, with)) },
    Kind { section: "results", read: |node, _| Box::new(ReadResults::read(node)) },
    Kind { section: "map", read: |node, _| Box::new(Map::read(node)) },
    Kind { section: "dedup", read: |node, _| Box::new(Dedup::read(node)) },
    Kind { section: "lookup", read: |node, _| Box::new(Lookup::read(node)) },
    Kind { section: "aggregate", read: |node, _| Box::new(Aggregate::read(node)) },
    Kind { section: "over", read: |node, _| Box::new(Over::read(node)) },
    Kind { section: "reduce", read: |node, _| Box::new(Reduce::read(node)) },
    Kind { section: "join", read: |node, _| join::read(node) },
    Kind { section: "operator", read: |node, with| Box::new(Custom::read(node, with)) },
    Kind { section: "sink", read: |node, with| Box::new(sink::Sink::read(node, with)) },
];
