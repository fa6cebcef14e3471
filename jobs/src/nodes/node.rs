//! What a node of a definition is to the compiler. Each kind is a file that answers all of this; the steps of `compile` ask, and
//! know no kind.

use std::{fmt::Debug, time::Duration};

use weir_engine::graph::NodeRole;
use weir_operators::late_gate::LateRule;

use super::check::Check;
use super::found::Found;
use super::inputs::Inputs;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::types::Types;
use crate::settings::JobSettings;
use crate::store_table::{Archive, RecountStep};
use weir_operators::definition::KeyPath;
use weir_operators::sink::{KeptTable, Owned, Shadow};

/// A node, as written.
pub(crate) trait Node: BoxedCopy + Debug + Send + Sync {
    /// The section that such nodes stand in.
    fn kind(&self) -> &'static str;

    /// Whether records come in, pass or go out here.
    fn role(&self) -> NodeRole {
        NodeRole::Operator
    }

    /// Its inputs, each with the key that names it; sources have none.
    fn inputs(&self) -> Vec<(&'static str, &Inputs)>;

    /// Lets all its inputs read from one output.
    fn read_from(&mut self, output: &str);

    /// The outputs that it has beside the main one.
    fn outputs(&self) -> &'static [Output];

    /// Looks at what is outside of the definition, such as files, before the node is checked.
    fn look(&self, _path: &KeyPath, _runs_here: bool) -> Found {
        Found::default()
    }

    /// Checks it against what comes in, and says what goes out; nothing, where a mistake makes that unknown.
    fn check(&self, check: &mut Check<'_>) -> Option<Types>;

    /// What one of its outputs beside the main one holds, if that is made of the same results.
    fn beside(&self, _output: Output, own: &Types) -> Types {
        own.clone()
    }

    /// Adds the operators that it becomes; `from` are the outputs that feed each of its inputs.
    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>);

    /// Whether it is a part of the job; if not, it is checked and then left out.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Makes it a part of the job if it is a table that queries read.
    fn enable_table(&mut self) {}

    /// Whether somebody sees what comes here, so that it is worth reading.
    fn is_seen(&self) -> bool {
        false
    }

    /// Whether rows go to each of the global filters here.
    fn is_filtered(&self, _job: &JobSettings) -> bool {
        false
    }

    /// Whether its main output are results, which later revisions correct, whatever comes in.
    fn makes_results(&self) -> bool {
        false
    }

    /// Which rows come too late at one of its inputs, if it minds and they are events.
    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        None
    }

    /// Whether it keeps rows until none of an earlier event time can come, and how long it waits for late ones. What comes out is
    /// never late then. None: it passes rows on as they come.
    fn holds_back(&self) -> Option<Duration> {
        None
    }

    /// How far the watermark of what it reads stays behind the largest event time.
    fn watermark_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// The columns that the rows of an input are spread by before they reach it, if there are any.
    fn spread_by(&self, _input: usize) -> Option<&[String]> {
        None
    }

    /// Whether it takes the running counts of what it reads, where there are any.
    fn takes_running(&self) -> bool {
        false
    }

    /// Whether it passes on the running counts of what it reads.
    fn passes_running(&self) -> bool {
        false
    }

    /// What it writes to, and nobody else may.
    fn claim(&self) -> Option<Owned> {
        None
    }

    /// A file such as it writes.
    fn example_file(&self) -> Option<String> {
        None
    }

    /// Whether it reads a file at this place.
    fn reads_file(&self, _file: &str) -> bool {
        false
    }

    /// For recounts: whether it passes rows by a condition and changes nothing about them.
    fn only_keeps(&self) -> bool {
        false
    }

    /// For recounts: what it does to rows, given what comes in and goes out; nothing, where a recount cannot do that.
    fn recount_steps(&self, _given: &Types, _own: &Types) -> Option<Vec<RecountStep>> {
        None
    }

    /// For recounts: the table that it keeps.
    fn kept_table(&self) -> Option<KeptTable<'_>> {
        None
    }

    /// For recounts: the files by hour that it writes.
    fn archive(&self, _job: &JobSettings) -> Option<Archive<'_>> {
        None
    }

    /// Makes it a part of a replay.
    fn shadow(&mut self, _shadow: &Shadow<'_>) {}
}

/// A copy of a node whose kind is not known: each can be cloned.
pub(crate) trait BoxedCopy {
    fn boxed(&self) -> Box<dyn Node>;
}

impl<N: Node + Clone + 'static> BoxedCopy for N {
    fn boxed(&self) -> Box<dyn Node> {
        Box::new(self.clone())
    }
}
