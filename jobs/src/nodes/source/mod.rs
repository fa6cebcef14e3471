//! `[source.NAME]`: where records come from, and how event time goes there. What is read, and in which format, is the connector's
//! own affair.

mod definition;
mod event_time;
mod operator;

use std::time::Duration;
use weir_engine::element::Port;
use weir_engine::graph::NodeRole;
use weir_operators::source::{Nature, SourceGiven, look};

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
use weir_operators::ports;

pub use definition::Source;

impl Source {
    /// What its connector is told of it.
    fn given<'a>(&'a self, found: &'a Found) -> SourceGiven<'a> {
        SourceGiven {
            has_event_time: self.event_time.is_some(),
            watermark: &self.watermark,
            looked: found.columns.as_ref(),
        }
    }

    /// If no row is refused for being ahead, there is nothing to advance after.
    fn check_jump(&self, check: &mut Check<'_>) {
        if self.watermark.jump_after.is_some() && self.watermark.max_jump_ms.is_none() {
            let message =
                "it says when event time advances to rows that are ahead, but without `max_jump` none is refused";
            let mistake = Mistake::on_key(check.path.key("watermark").key("jump_after"), message);
            check.mistakes.push(mistake.expected("`max_jump = \"1h\"` beside it"));
        }
    }
}

impl Node for Source {
    fn kind(&self) -> &'static str {
        "source"
    }

    fn watermark_delay(&self) -> Duration {
        Duration::from_millis(self.watermark.delay_ms.unsigned_abs())
    }

    fn role(&self) -> NodeRole {
        NodeRole::Source
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        Vec::new()
    }

    fn reads_file(&self, file: &str) -> bool {
        self.connector.as_ref().is_some_and(|connector| connector.reads_file(file))
    }

    fn read_from(&mut self, _output: &str) {}

    fn outputs(&self) -> &'static [Output] {
        &[Output::DeadLetters]
    }

    fn look(&self, path: &KeyPath, runs_here: bool) -> Found {
        let mut found = Found::default();
        if let Some(connector) = &self.connector {
            found.columns = look(connector.as_ref());
            connector.check_secrets(runs_here, path, &mut found.mistakes);
        }
        found
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let connector = self.connector.as_ref()?;
        self.check_jump(check);
        let mut main = connector.columns(&self.given(check.found), &check.path, check.mistakes)?;
        let time = self.time(connector.as_ref(), &mut main, check);
        // A split that is silent holds time up where nobody says otherwise, unless others may come for ever.
        let Nature { follows, live, .. } = connector.nature();
        let may_be_silent = follows || (live && self.watermark.idle_after_ms.is_some());
        let (event_time, computed_time) = match time {
            Some(SourceTime { name, computed }) => (Some(name), computed),
            None => (None, None),
        };
        Some(Types { event_time, computed_time, may_be_silent, ..Types::of(main, self.kind()) })
    }

    fn plan(&self, planning: &mut Planning<'_>, _from: Vec<Vec<StepOutput>>) {
        let Some(connector) = self.connector.clone() else { return };
        let Types { main, event_time, computed_time, .. } = planning.own.clone();
        let time = event_time.map(|name| SourceTime { name, computed: computed_time });
        let written_time = self.event_time.as_ref().map(ToString::to_string);
        let operator =
            SourceOperator { connector, watermark: self.watermark.clone(), written_time, columns: main, time };
        let step = planning.forward(planning.id.clone(), Vec::new(), operator);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
        planning.output(Output::DeadLetters, vec![(step, ports::DEAD_LETTERS)]);
    }
}
