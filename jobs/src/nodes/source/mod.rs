//! `[source.NAME]`: where records come from, and how event time goes there. What is read, and in which format, is the connector's
//! own affair.

mod builder;
mod columns;
mod connector;
mod definition;
mod event_time;
mod operator;
mod read_files;
mod read_schema;

use weir_engine::element::Port;
use weir_engine::graph::NodeRole;

use super::check::Check;
use super::found::Found;
use super::inputs::Inputs;
use super::node::Node;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::types::Types;
use event_time::SourceTime;
use operator::SourceOperator;
use weir_operators::definition::{KeyPath, Mistake};

pub use connector::Format;
pub use definition::Source;

impl Source {
    /// Where no row is refused for being ahead, there is nothing to go on after.
    fn check_jump(&self, check: &mut Check<'_>) {
        if self.jump_after.is_some() && self.max_jump.is_none() {
            let message = "it says when time goes on to rows that are ahead, but without `max_jump` none is refused";
            let mistake = Mistake::on_key(check.path.key("watermark").key("jump_after"), message);
            check.mistakes.push(mistake.expected("`max_jump = \"1h\"` beside it"));
        }
    }
}

impl Node for Source {
    fn kind(&self) -> &'static str {
        "source"
    }

    fn role(&self) -> NodeRole {
        NodeRole::Source
    }

    fn boxed(&self) -> Box<dyn Node> {
        Box::new(self.clone())
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        Vec::new()
    }

    fn read_from(&mut self, _output: &str) {}

    fn outputs(&self) -> &'static [Output] {
        &[Output::DeadLetters]
    }

    fn look(&self, _path: &KeyPath, _runs_here: bool) -> Found {
        Found { columns: self.connector.look(), ..Found::default() }
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        if !self.connector.is_known() {
            return None; // Missing, and said so where it was read.
        }
        self.check_jump(check);
        let mut main = self.columns(check)?;
        let time = self.time(&mut main, check);
        let may_be_silent = self.connector.may_be_silent(self.idle_after);
        let (event_time, computed_time) = match time {
            Some(SourceTime { name, computed }) => (Some(name), computed),
            None => (None, None),
        };
        Some(Types { event_time, computed_time, may_be_silent, ..Types::of(main, self.kind()) })
    }

    fn plan(&self, planning: &mut Planning<'_>, _from: Vec<Vec<StepOutput>>) {
        let Types { main, event_time, computed_time, .. } = planning.own.clone();
        let time = event_time.map(|name| SourceTime { name, computed: computed_time });
        let operator = SourceOperator { source: self.clone(), columns: main, time };
        let step = planning.forward(planning.id.clone(), Vec::new(), operator);
        planning.output(Output::Main, vec![(step, Port::Main)]);
        planning.output(Output::DeadLetters, vec![(step, Port::DeadLetters)]);
    }
}
