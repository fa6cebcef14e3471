//! An aggregate whose input are results of another: hours from minutes, a total over all keys.
//!
//! A result counts at the end of its window, its newest revision alone. It is corrected as long as the aggregate before accepts
//! late events, so windows of results are kept as long after their end, and no result is late. A result of a join of events is of no
//! window: it counts at the time of its left row, and is corrected as long as the join accepts late rows.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_operators::columns::WINDOW_END;
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::{millis, show};
use weir_operators::ports;
use weir_operators::result_rows::RESULT_COLUMNS;
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowRule;

use super::super::check::Check;
use super::super::map::MapOperator;
use super::super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns};
use super::super::output::Output;
use super::super::planning::{Planning, StepOutput};
use super::super::results::{Counted, Results};
use super::super::select::selected;
use super::super::types::Types;
use super::super::window::Window;
use super::Aggregate;
use super::operators::{calls, grouped, memory_of};
use super::step::AggregateStep;

/// The column that says when a result counts, if these rows have it.
fn time_of<'a>(given: &'a ColumnSchema, results: &Results) -> Option<&'a str> {
    let is_it = |name: &&str| match results.is_of_events() {
        true => results.origin(name) == Some(&results.counted.time),
        false => *name == WINDOW_END && results.is_unchanged(name),
    };
    given.names().find(is_it)
}

impl Aggregate {
    /// The same aggregate, kept as long as these results are corrected.
    pub(super) fn kept_for(&self, results: &Results) -> Aggregate {
        let rule = WindowRule {
            window: results.window.spec(),
            alignment: results.window.alignment,
            allowed_lateness_ms: millis(results.counted.allowed_lateness),
        };
        let corrected = match results.window.kind {
            Window::Tumbling { .. } | Window::Global { .. } => rule.allowed_lateness_ms,
            // An event that is in several windows corrects them all as long as the last of them accepts it.
            _ => rule.minimum_dedup_ttl_ms(),
        };
        let allowed_lateness = Duration::from_millis(corrected.unsigned_abs());
        Aggregate { allowed_lateness, emit: None, ..self.clone() }
    }

    /// Checks what is different from an aggregate of events, and says what goes out.
    pub(super) fn check_over_results(&self, check: &mut Check<'_>, given: &Types, results: &Results) -> Option<Types> {
        let before = check.mistakes.len();
        self.check_keys_of_results(check, given, results);
        self.check_time_of_results(check, &given.main, results);
        self.refuse_what_events_have(check, results);
        for (name, text) in &self.select {
            check.call(name, text, &given.main, false);
        }
        self.unique(check);
        if check.mistakes.len() > before {
            return None;
        }
        let kept = self.kept_for(results);
        let time = time_of(&given.main, results)?;
        let step = AggregateStep::new(&kept, time, &given.main);
        let input = step.arguments.as_ref().map_or(given.main.clone(), |items| selected(items, &given.main));
        let main = check.accepted(step.output(&input))?;
        let counted = Counted { of_results: true, is_filtered: false, ..kept.counted(check, time, given) };
        let own = Results::of_aggregate(counted, step.may_be_unsayable(&main), &main);
        let own = Results { withdrawable: own.withdrawable || results.may_be_withdrawn(), ..own };
        let main = if own.may_be_withdrawn() { own.nullable(main) } else { main };
        Some(Types { results: Some(own), ..Types::of(main, "aggregate") })
    }

    /// A result must stay in its group, whatever corrects it.
    fn check_keys_of_results(&self, check: &mut Check<'_>, given: &Types, results: &Results) {
        check.key_columns(&self.key, &given.main);
        let place = check.path.key("key");
        for (position, name) in self.key.iter().enumerate() {
            if given.main.column(name).is_some() && !results.is_fixed(name) {
                let message = format!("a correction of a result may change its `{name}`, and so its group");
                let expected = "columns of the key of the aggregate before, its window, or what is computed of these";
                check.mistakes.push(Mistake::new(place.index(position), message).expected(expected));
            }
        }
    }

    fn check_time_of_results(&self, check: &mut Check<'_>, given: &ColumnSchema, results: &Results) {
        let time = time_of(given, results);
        let place = check.path.key("input");
        if results.is_of_events() {
            let name = &results.counted.name;
            let (message, expected) = match time {
                Some(WINDOW_END) => (
                    format!("the event time of its rows is called `{WINDOW_END}`, and they are of no window"),
                    "another name for it".to_owned(),
                ),
                Some(_) => return self.check_window_of_results(check, results),
                None => (
                    format!("its rows have no event time: those of the join `{name}` count at that of their left rows"),
                    "the event time of the left, as it is, in the `select` of the join and of the maps between".into(),
                ),
            };
            check.mistakes.push(Mistake::new(place, message).expected(expected));
        } else if results.window.is_global() {
            let message = "its rows are of all of event time, so none belongs to a window";
            check.mistakes.push(Mistake::new(place, message).expected("an aggregate with windows, or of sessions"));
        } else if time.is_none() {
            let message = format!("its rows have no `{WINDOW_END}`, which says when a result counts");
            let expected = format!("`{WINDOW_END} = \"{WINDOW_END}\"` in the `select` of the maps between");
            check.mistakes.push(Mistake::new(place, message).expected(expected));
        }
        self.check_window_of_results(check, results);
    }

    fn check_window_of_results(&self, check: &mut Check<'_>, results: &Results) {
        if !self.window.spec().has_slices() {
            let message = "sessions and the global window are made of events, and these are results";
            let mistake = Mistake::new(check.path.key("window"), message);
            check.mistakes.push(mistake.expected("a tumbling, a hopping or a cumulating window"));
            return;
        }
        check.window(self.window);
        let (own, of_results) = (self.window.length(), results.window.length());
        if !results.sessions && own < of_results {
            let message = format!("its windows are shorter than those of its results, {}", show(of_results));
            let mistake = Mistake::new(check.path.key("window"), message).found(show(own));
            check.mistakes.push(mistake.expected(format!("{} or longer", show(of_results))));
        }
    }

    fn refuse_what_events_have(&self, check: &mut Check<'_>, results: &Results) {
        if !self.allowed_lateness.is_zero() {
            let message = "results are never late: they count, and are corrected, as long as they are revised";
            let place = check.path.key("window").key("allowed_lateness");
            let expected = format!("no `allowed_lateness` here; that of `{}` decides", results.counted.name);
            check.mistakes.push(Mistake::new(place, message).expected(expected));
        }
        if self.emit.is_some() {
            let message = "an aggregate of results has no running counts: it emits a window when that closes";
            let mistake = Mistake::on_key(check.path.key("emit"), message);
            check.mistakes.push(mistake.expected("no `emit`, or one in the aggregate before"));
        }
    }

    /// One operator, behind an exchange by its key.
    pub(super) fn plan_over_results(
        &self,
        planning: &mut Planning<'_>,
        mut from: Vec<StepOutput>,
        given: &ColumnSchema,
        results: &Results,
    ) {
        let (id, name) = (planning.id.clone(), planning.name);
        let kept = self.kept_for(results);
        let step = AggregateStep::new(&kept, time_of(given, results).unwrap_or(WINDOW_END), given);
        let mut dead_letters = Vec::new();
        if let Some(select) = step.arguments.clone() {
            let arguments = MapOperator::selecting(select, Some(results.rows(false)));
            let map = planning.forward(format!("map.{name}.arguments"), from, arguments);
            dead_letters.push((map, ports::DEAD_LETTERS));
            from = vec![(map, Port::MAIN)];
        }
        let global = planning.hashed(id, from, self.key.clone(), ResultAggregate(step));
        dead_letters.push((global, ports::DEAD_LETTERS));
        planning.output(Output::DeadLetters, dead_letters);
        planning.output(Output::Main, vec![(global, Port::MAIN)]);
        kept.plan_window_count(planning, global);
    }
}

/// The values of each key and window of results.
#[derive(Debug)]
struct ResultAggregate(AggregateStep);

impl Operator for ResultAggregate {
    fn needs(&self, _output: &Names, _given: &ColumnSchema) -> Names {
        self.0.reads().chain(RESULT_COLUMNS.map(str::to_owned)).collect()
    }

    /// Checked when the types were inferred.
    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        self.0.output(given).unwrap_or_default()
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("result_aggregate", json!(self.0.config()))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let Aggregate { window, allowed_lateness, .. } = &self.0.aggregate;
        let does = format!("{} of results {}, {}", calls(&self.0), grouped(&self.0.aggregate), window.note());
        let kept = format!("the newest revision of each result, until {} after its window", show(*allowed_lateness));
        Note::of(does).with_state(kept)
    }

    fn memory(&self, config: &Value, input: &ColumnSchema) -> Option<Memory> {
        let memory = memory_of(config, input);
        Some(match self.0.time.as_str() {
            WINDOW_END => memory,
            time => memory.with("time", time.to_owned()),
        })
    }
}
