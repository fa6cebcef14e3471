//! `[aggregate.NAME]`: groups rows by key and window.

mod call;
mod definition;
mod operators;
mod over_results;
mod step;

use weir_engine::element::Port;
use weir_operators::aggregate::RunningCounts;
use weir_operators::columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::filters::FILTER_ID;
use weir_operators::late_gate::LateRule;

use super::check::Check;
use super::filters::{self, FiltersOperator};
use super::inputs::Inputs;
use super::map::MapOperator;
use super::node::Node;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::results::{Counted, Results};
use super::select::selected;
use super::types::Types;
use crate::settings::JobSettings;
use operators::{GlobalAggregate, LocalAggregate, WindowCount, WindowMarks};
use step::AggregateStep;
use weir_operators::definition::Mistake;
use weir_operators::ports;
use weir_operators::sink::Shadow;

pub use definition::Aggregate;
pub(in crate::nodes) use step::{Arguments, operators_call};

impl Aggregate {
    fn unique(&self, check: &mut Check<'_>) {
        let bounds = if self.window.is_global() { &[][..] } else { &[WINDOW_START, WINDOW_END] };
        let own: Vec<&str> = [RECORD_ID].iter().chain(bounds).chain(&[REVISION, WITHDRAWN]).copied().collect();
        for (position, (name, _)) in self.select.iter().enumerate() {
            let twice = self.select[..position].iter().any(|(other, _)| other == name);
            if twice || self.key.contains(name) || own.contains(&name.as_str()) {
                let message = format!("two columns would be called `{name}`");
                let mistake = Mistake::on_key(check.path.key("select").key(name), message);
                let expected = format!("a name that is not in the key and none of {}", own.join(", "));
                check.mistakes.push(mistake.expected(expected));
            }
        }
    }

    /// The count of the windows that an operator emits.
    fn plan_window_count(&self, planning: &mut Planning<'_>, emits: usize) {
        let (name, from) = (planning.name, vec![(emits, Port::MAIN)]);
        let marks = planning.forward(format!("windows.{name}.local"), from, WindowMarks);
        let (from, count) = (vec![(marks, Port::MAIN)], WindowCount(self.window_rule()));
        planning.hashed(format!("windows.{name}"), from, vec![WINDOW_END.into()], count);
    }

    /// What its results are of.
    fn counted(&self, check: &Check<'_>, time: &str, given: &Types) -> Counted {
        Counted {
            name: check.name.to_owned(),
            key: self.key.clone(),
            window: self.window,
            allowed_lateness: self.allowed_lateness,
            computed: self.select.iter().map(|(name, _)| name.clone()).collect(),
            sums: self.select.iter().filter(|(_, text)| call::adds_up(text)).map(|(name, _)| name.clone()).collect(),
            count: self.select.iter().find(|(_, text)| call::counts_rows(text)).map(|(name, _)| name.clone()),
            is_filtered: self.is_filtered(check.job),
            of_results: false,
            of_join: false,
            time: time.to_owned(),
            arguments: AggregateStep::new(self, time, &given.main).arguments,
        }
    }
}

impl Node for Aggregate {
    fn kind(&self) -> &'static str {
        "aggregate"
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        &[Output::OnTime, Output::Late, Output::DeadLetters]
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let before = check.mistakes.len();
        let given = check.take_given()?;
        if let Some(results) = &given.results {
            return self.check_over_results(check, &given, results);
        }
        let is_filtered = self.is_filtered(check.job);
        let mut input = given.main.clone();
        if is_filtered {
            if input.column(FILTER_ID).is_some() {
                let message = "its input has a column `filter_id` already, and [filters] would add another";
                check.mistakes.push(Mistake::on_key(check.path.clone(), message));
                return None;
            }
            input.columns.push(filters::column());
        }
        check.key_columns(&self.key, &input);
        check.needs_event_time(&given);
        check.window(self.window);
        for (name, text) in &self.select {
            check.call(name, text, &input, is_filtered);
        }
        self.unique(check);
        if self.emit.is_some() && self.is_of_sessions() {
            let message = "sessions have no running counts: the bounds of a session are only known when it is over";
            let mistake = Mistake::on_key(check.path.key("emit"), message);
            check.beside.push(mistake.expected("no `emit`, or any other window"));
        }
        if check.mistakes.len() > before {
            return None;
        }
        let time = given.event_time.clone()?;
        let step = AggregateStep::new(self, &time, &input);
        let input = step.arguments.as_ref().map_or(input.clone(), |items| selected(items, &input));
        let main = check.accepted(step.output(&input))?;
        let counted = self.counted(check, &time, &given);
        let results = Results::of_aggregate(counted, step.may_be_unsayable(&main), &main);
        // Over the global window all results are running counts, and there are no others beside them.
        let running = self.emit.filter(|_| !self.window.is_global());
        Some(Types { results: Some(results), running, ..Types::of(main, self.kind()) })
    }

    /// Arguments are computed before the filters copy rows, so that a row that one fails on is a dead letter once, and counted
    /// under no filter.
    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let Some(given) = planning.given.pop() else { return };
        let mut from = from.concat();
        if let Some(results) = &given.results {
            return self.plan_over_results(planning, from, &given.main, results);
        }
        let (id, name) = (planning.id.clone(), planning.name);
        let mut dead_letters = Vec::new();
        let time = given.event_time.as_deref().unwrap_or_default();
        let mut step = AggregateStep::new(self, time, &given.main);
        if let Some(select) = step.arguments.clone() {
            let map = planning.forward(format!("map.{name}.arguments"), from, MapOperator::selecting(select, None));
            dead_letters.push((map, ports::DEAD_LETTERS));
            from = vec![(map, Port::MAIN)];
        }
        if self.is_filtered(planning.job) {
            let operator = FiltersOperator(planning.job.filters.clone());
            let filters = planning.forward(format!("filters.{name}"), from, operator);
            dead_letters.push((filters, ports::DEAD_LETTERS));
            from = vec![(filters, Port::MAIN)];
        }
        let local = planning.forward(format!("{id}.local"), from, LocalAggregate(step.clone()));
        step.running = self
            .emit
            .filter(|_| planning.running_wanted || self.window.is_global())
            .map(|every| RunningCounts { every_checkpoints: planning.job.checkpoints_in(every) });
        let global = planning.hashed(id, vec![(local, Port::MAIN)], self.key.clone(), GlobalAggregate(step));
        // Windows whose sum cannot be said.
        dead_letters.push((global, ports::DEAD_LETTERS));
        planning.output(Output::DeadLetters, dead_letters);
        planning.output(Output::Main, vec![(global, Port::MAIN)]);
        if self.window.spec().has_slices() {
            self.plan_window_count(planning, global);
        }
    }

    fn is_seen(&self) -> bool {
        true
    }

    fn is_filtered(&self, job: &JobSettings) -> bool {
        !job.filters.is_empty() && self.key.iter().any(|column| column == FILTER_ID)
    }

    fn makes_results(&self) -> bool {
        true
    }

    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        Some(LateRule::Window(self.window_rule()))
    }

    /// A replay is looked at when it is through.
    fn shadow(&mut self, _shadow: &Shadow<'_>) {
        self.emit = None;
    }
}
