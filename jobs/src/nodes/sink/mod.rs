//! `[sink.NAME]`: where results go. What is written to, and how, is the connector's own affair.

mod definition;
mod operators;
mod select;

use weir_engine::element::Port;
use weir_engine::graph::NodeRole;
use weir_operators::columns::WITHDRAWN;
use weir_operators::hold::{self, HoldRule};
use weir_operators::sink::{KeptTable, Owned, Shadow, SinkGiven, SinkJob, SinkResults, SinkRhythm, look};

use super::check::Check;
use super::found::Found;
use super::inputs::Inputs;
use super::map::MapOperator;
use super::node::Node;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::select::is_computed;
use super::types::Types;
use crate::settings::JobSettings;
use crate::store_table::Archive;
use operators::{Hold, SinkOperator};
use weir_operators::definition::{KeyPath, Mistake};
use weir_operators::ports;

pub use definition::Sink;

impl Sink {
    /// Notes that it asks for running counts that nobody emits.
    fn check_running(&self, given: &Types, check: &mut Check<'_>) {
        // Where there are no windows all results are running, and every sink takes them.
        let without_windows =
            given.results.as_ref().is_some_and(|results| results.window.is_global() && !results.is_of_events());
        if self.running != Some(true) || given.running.is_some() || without_windows {
            return;
        }
        let path = check.path.key("running");
        let mistake = match given.results.as_ref().filter(|results| results.are_groups && !results.counted.of_join) {
            None => {
                let message = format!("only an aggregate has running counts, and `{}` is none", self.input.list());
                Mistake::new(path, message).expected("an aggregate as its `input`, or no `running`")
            }
            Some(results) => {
                let name = &results.counted.name;
                let expected = format!("`emit = {{ every = \"500ms\" }}` in [aggregate.{name}], or no `running`");
                Mistake::new(path, format!("`{name}` emits no running counts")).expected(expected)
            }
        };
        check.mistakes.push(mistake.found("true"));
    }

    /// What its connector is told of its rows.
    fn given<'a>(&self, written: &'a Types, results: Option<&'a SinkResults>) -> SinkGiven<'a> {
        SinkGiven {
            columns: &written.main,
            event_time: written.event_time.as_deref(),
            results,
            has_select: self.select.is_some(),
        }
    }

    /// How long rows are held before it.
    fn held(&self, job: &JobSettings) -> Option<HoldRule> {
        // `clicks` is a node, `clicks.dead_letters` another output of it.
        let beside = self.input.iter().all(|input| input.contains('.'));
        let rhythm = SinkRhythm { checkpoint_interval: job.checkpoint.interval, running: self.takes_running(), beside };
        self.connector.hold(&rhythm)
    }
}

impl Node for Sink {
    fn kind(&self) -> &'static str {
        "sink"
    }

    fn role(&self) -> NodeRole {
        NodeRole::Sink
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        if self.select.is_some() || self.connector.may_refuse() { &[Output::DeadLetters] } else { &[] }
    }

    fn look(&self, path: &KeyPath, runs_here: bool) -> Found {
        let mut found = Found::default();
        look(self.connector.as_ref());
        self.connector.check_secrets(runs_here && self.enabled, path, &mut found.mistakes);
        found
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let given = check.take_given()?;
        self.check_running(&given, check);
        let written = match &self.select {
            None => given.passed_on(),
            Some(items) => self.check_select(items, &given, check)?,
        };
        let results = of_sink(&written, &given);
        self.connector.check(&self.given(&written, results.as_ref()), &check.path, check.mistakes);
        Some(written)
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let Some(given) = planning.given.pop() else { return };
        let (id, written) = (planning.id.clone(), planning.own);
        let takes_running = self.takes_running() && given.running.is_some();
        let mut from = from.concat();
        let mut dead_letters = Vec::new();
        if takes_running {
            let running: Vec<StepOutput> = from.iter().map(|(step, _)| (*step, ports::RUNNING)).collect();
            from.extend(running);
        }
        if let Some(select) = &written.select {
            let results = given.results.as_ref().filter(|_| select.iter().any(is_computed));
            let results = results.map(|results| results.rows(takes_running));
            let operator = MapOperator::selecting(select.clone(), results);
            let select = planning.forward(format!("{id}.select"), from, operator);
            dead_letters.push((select, ports::DEAD_LETTERS));
            from = vec![(select, Port::MAIN)];
        }
        let of_sink = of_sink(written, &given);
        let rows = self.given(written, of_sink.as_ref());
        if let Some(rule) = self.connector.table_rule(&rows)
            && (dead_letters.is_empty() || rule.may_refuse(&written.main))
        {
            // Rows that say whether they hold: what is refused of them may have been there before.
            let results = written.results.as_ref().filter(|_| written.main.column(WITHDRAWN).is_some());
            let results = results.map(|results| results.rows(takes_running));
            let table = Some(rule);
            let require = Vec::new();
            let operator =
                MapOperator { condition: None, require, select: None, results, table, splits_running: false };
            let table = planning.forward(format!("{id}.table"), from, operator);
            dead_letters.push((table, ports::DEAD_LETTERS));
            from = vec![(table, Port::MAIN)];
        }
        if !dead_letters.is_empty() {
            planning.output(Output::DeadLetters, dead_letters);
        }
        if let Some(rule) = self.held(planning.job).filter(|_| hold::check(&written.main).is_ok()) {
            let hold = planning.forward(format!("{id}.hold"), from, Hold(rule));
            from = vec![(hold, Port::MAIN)];
        }
        let job = SinkJob {
            running: takes_running,
            filters: &planning.job.filters,
            archive_held_ms: planning.archive_held_ms,
        };
        let operator = SinkOperator::new(self.connector.as_ref(), &rows, &job);
        let step = planning.forward(id, from, operator);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }

    fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn enable_table(&mut self) {
        self.enabled |= self.connector.table().is_some();
    }

    fn is_seen(&self) -> bool {
        self.enabled
    }

    fn takes_running(&self) -> bool {
        self.enabled && self.running.unwrap_or(self.connector.takes_running())
    }

    fn claim(&self) -> Option<Owned> {
        self.connector.owns().filter(|_| self.enabled)
    }

    fn example_file(&self) -> Option<String> {
        self.connector.example_file().filter(|_| self.enabled)
    }

    fn kept_table(&self) -> Option<KeptTable<'_>> {
        self.connector.table()
    }

    fn archive(&self, job: &JobSettings) -> Option<Archive<'_>> {
        let files = self.connector.archive()?;
        Some(Archive {
            path: files.path,
            is_whole: self.select.is_none(),
            expires: files.expires,
            held_ms: self.held(job).map_or(0, |held| held.time_ms),
        })
    }

    fn shadow(&mut self, shadow: &Shadow<'_>) {
        self.enabled = true;
        self.running = Some(false);
        if let Some(beside) = self.connector.beside(shadow) {
            self.connector = beside;
        }
    }
}

/// What a connector is told of results that are written, of those that are given.
fn of_sink(written: &Types, given: &Types) -> Option<SinkResults> {
    let (results, given) = written.results.as_ref().zip(given.results.as_ref())?;
    // Of what a map has computed that is not known.
    let is_no_sum = |name: &&str| given.adds_up(computed_from(written, name)) == Some(false);
    let not_sums = written.main.names().filter(is_no_sum).map(str::to_owned).collect();
    Some(results.of_sink(not_sums))
}

/// The column of the input that a selected one is.
fn computed_from<'a>(written: &'a Types, name: &'a str) -> &'a str {
    let item = written.select.iter().flatten().find(|item| item.name == name);
    item.map_or(name, |item| item.expression.trim_matches('"'))
}
