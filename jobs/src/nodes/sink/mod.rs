//! `[sink.NAME]`: where results go. What is written to, and how, is the connector's own affair.

mod builder;
mod connector;
mod definition;
mod files;
mod files_check;
mod operators;
mod read_files;
mod roll;
mod select;
mod sql;
mod sql_check;
mod sql_table;
mod table_key;

use weir_engine::element::Port;
use weir_engine::graph::NodeRole;
use weir_operators::columns::WITHDRAWN;

use super::check::Check;
use super::claims::Claim;
use super::found::Found;
use super::inputs::Inputs;
use super::map::MapOperator;
use super::node::Node;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::select::is_computed;
use super::types::Types;
use crate::settings::JobSettings;
use crate::store_table::{Archive, KeptTable, Shadow};
use operators::{Hold, SinkOperator};
use weir_operators::definition::{KeyPath, Mistake};

pub use definition::Sink;
pub use files::{Compression, Roll};
pub use sql::{TableIndex, TableRetention};

impl Sink {
    /// Notes that it asks for running counts that nobody emits.
    fn check_running(&self, given: &Types, check: &mut Check<'_>) {
        if self.running != Some(true) || given.running.is_some() {
            return;
        }
        let path = check.path.key("running");
        let mistake = match given.results.as_ref().filter(|results| results.are_direct()) {
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
}

impl Node for Sink {
    fn kind(&self) -> &'static str {
        "sink"
    }

    fn role(&self) -> NodeRole {
        NodeRole::Sink
    }

    fn boxed(&self) -> Box<dyn Node> {
        Box::new(self.clone())
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
        Found { mistakes: self.connector.look(path, runs_here && self.enabled), ..Found::default() }
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let given = check.take_given()?;
        self.check_running(&given, check);
        let written = match &self.select {
            None => given.passed_on(),
            Some(items) => self.check_select(items, &given, check)?,
        };
        let place = check.path.key(if self.select.is_some() { "select" } else { "input" });
        self.connector.check(&place, &given, &written, check);
        Some(written)
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let Some(given) = planning.given.pop() else { return };
        let (id, written) = (planning.id.clone(), planning.own);
        let takes_running = self.takes_running() && given.running.is_some();
        let mut from = from.concat();
        let mut dead_letters = Vec::new();
        if takes_running {
            let running: Vec<StepOutput> = from.iter().map(|(step, _)| (*step, Port::Running)).collect();
            from.extend(running);
        }
        if let Some(select) = &written.select {
            let results = given.results.as_ref().filter(|_| select.iter().any(is_computed));
            let results = results.map(|results| results.rows(takes_running));
            let operator = MapOperator::selecting(select.clone(), results);
            let select = planning.forward(format!("{id}.select"), from, operator);
            dead_letters.push((select, Port::DeadLetters));
            from = vec![(select, Port::Main)];
        }
        if let Some(rule) = self.connector.table_rule(written)
            && (dead_letters.is_empty() || rule.may_refuse(&written.main))
        {
            // Rows that say whether they hold: what is refused of them may have been there before.
            let results = written.results.as_ref().filter(|_| written.main.column(WITHDRAWN).is_some());
            let results = results.map(|results| results.rows(takes_running));
            let operator = MapOperator { condition: None, select: None, results, table: Some(rule) };
            let table = planning.forward(format!("{id}.table"), from, operator);
            dead_letters.push((table, Port::DeadLetters));
            from = vec![(table, Port::Main)];
        }
        if !dead_letters.is_empty() {
            planning.output(Output::DeadLetters, dead_letters);
        }
        if let Some(held) = self.held_before(planning.job, &written.main) {
            let hold = planning.forward(format!("{id}.hold"), from, Hold(held));
            from = vec![(hold, Port::Main)];
        }
        let operator = SinkOperator::new(&self.connector, planning, takes_running);
        let step = planning.forward(id, from, operator);
        planning.output(Output::Main, vec![(step, Port::Main)]);
    }

    fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn enable_table(&mut self) {
        self.enabled |= self.connector.is_table();
    }

    fn is_seen(&self) -> bool {
        self.enabled
    }

    fn takes_running(&self) -> bool {
        self.enabled && self.running.unwrap_or(self.connector.is_table())
    }

    fn claim(&self) -> Option<Claim> {
        self.connector.claim().filter(|_| self.enabled)
    }

    fn kept_table(&self) -> Option<KeptTable<'_>> {
        self.connector.kept_table()
    }

    fn archive(&self, job: &JobSettings) -> Option<Archive<'_>> {
        self.hourly_files().map(|files| Archive {
            path: &files.path,
            is_whole: self.select.is_none(),
            expires: files.retention.is_some(),
            held_ms: self.held(job, files).map_or(0, |held| held.time_ms),
        })
    }

    fn shadow(&mut self, shadow: &Shadow<'_>) {
        self.enabled = true;
        self.running = Some(false);
        self.connector.shadow(shadow);
    }
}
