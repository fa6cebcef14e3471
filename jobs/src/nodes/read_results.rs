//! `[results.NAME]`: rows that are results of another job, read back from what it has written: a topic, or files.
//!
//! They are results here, too: aggregates add them up, tables keep the newest revision of each, and late corrections correct.

use arrow::datatypes::DataType;
use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::Remembers;
use weir_operators::columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{Mistake, Reader};
use weir_operators::expression::type_name;
use weir_operators::late_gate::LateRule;
use weir_operators::newest_revision::{NewestRevisionConfig, identity, output_schema};
use weir_operators::ports;
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowRule;

use super::check::Check;
use super::inputs::Inputs;
use super::node::Node;
use super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns};
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::results::{Counted, Results};
use super::types::Types;
use super::window::{Window, Windows, read_window};
use crate::builder::JobBuilder;
use std::time::Duration;

/// Results of another job, read back.
#[derive(Debug, Clone)]
pub struct ReadResults {
    input: Inputs,
    key: Vec<String>,
    window: Windows,
    allowed_lateness: Duration,
    record_id: String,
    revision: String,
    withdrawn: String,
    /// The key and the id: what rows are spread by.
    identity: Vec<String>,
}

impl ReadResults {
    /// Rows that are revisions of results: of records that the key tells apart, in windows side by side. The event time of a row
    /// is a moment of its window.
    pub fn of<S: Into<String>>(
        input: impl Into<Inputs>,
        key: impl IntoIterator<Item = S>,
        window: impl Into<Windows>,
    ) -> Self {
        let results = ReadResults {
            input: input.into(),
            key: key.into_iter().map(Into::into).collect(),
            window: window.into(),
            allowed_lateness: Duration::ZERO,
            record_id: RECORD_ID.to_owned(),
            revision: REVISION.to_owned(),
            withdrawn: WITHDRAWN.to_owned(),
            identity: Vec::new(),
        };
        results.identified()
    }

    /// How long after its end a window still accepts results, and corrections of them.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = lateness;
        self
    }

    /// The column with the record's id, if it is not `record_id`.
    #[must_use]
    pub fn record_id(mut self, column: impl Into<String>) -> Self {
        self.record_id = column.into();
        self.identified()
    }

    /// The column with the revision, if it is not `revision`.
    #[must_use]
    pub fn revision(mut self, column: impl Into<String>) -> Self {
        self.revision = column.into();
        self
    }

    /// The column that says whether the record no longer applies, if it is not `withdrawn`.
    #[must_use]
    pub fn withdrawn(mut self, column: impl Into<String>) -> Self {
        self.withdrawn = column.into();
        self
    }

    fn identified(self) -> Self {
        ReadResults { identity: identity(&self.key, &self.record_id), ..self }
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        node.require("key", "[\"ad_id\"]");
        let key = node.texts("key").unwrap_or_default();
        let (window, lateness) = match node.table("window") {
            Some(window) => {
                let lateness = window.duration("allowed_lateness").unwrap_or_default();
                (read_window(window, false), lateness)
            }
            None => {
                node.require("window", "{ tumbling = \"1m\", allowed_lateness = \"1d\" }");
                (None, Duration::ZERO)
            }
        };
        // A mistake has been noted where there is none.
        let window = window.unwrap_or_else(|| Window::Tumbling { size: Duration::from_secs(60) }.into());
        let mut results = ReadResults::of(input, key, window).allowed_lateness(lateness);
        for (name, column) in [
            (RECORD_ID, &mut results.record_id),
            (REVISION, &mut results.revision),
            (WITHDRAWN, &mut results.withdrawn),
        ] {
            if let Some(written) = node.text(name) {
                *column = written;
            }
        }
        node.finish();
        results.identified()
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule {
            window: self.window.spec(),
            alignment: self.window.alignment,
            allowed_lateness_ms: millis(self.allowed_lateness),
        }
    }

    /// The columns that say what a row is a revision of, each with the key that names it and the types that it may have.
    fn check_columns(&self, given: &ColumnSchema, check: &mut Check<'_>) {
        let kinds = [
            (RECORD_ID, &self.record_id, "a text, or sixteen bytes"),
            (REVISION, &self.revision, "a whole number"),
            (WITHDRAWN, &self.withdrawn, "true or false"),
        ];
        for (role, name, right) in kinds {
            let place = check.path.key(role);
            let Some(column) = given.column(name) else {
                // Sinks leave it out where nothing is ever withdrawn.
                if name == WITHDRAWN {
                    continue;
                }
                let message = format!("its rows have no column `{name}`, so they are no results");
                let names: Vec<&str> = given.names().collect();
                let expected = format!("{role} = \"the column that holds it\", as other jobs write it in results");
                let mistake = Mistake::on_key(place, message).expected(expected).meant(name, &names);
                check.mistakes.push(mistake);
                continue;
            };
            let is_right = match role {
                RECORD_ID => matches!(column.data_type, DataType::Utf8 | DataType::FixedSizeBinary(16)),
                REVISION => column.data_type.is_integer(),
                _ => column.data_type == DataType::Boolean,
            };
            if !is_right {
                let message = format!("`{name}` is {}", type_name(&column.data_type));
                check.mistakes.push(Mistake::on_key(place, message).expected(right));
            }
        }
    }

    /// No other column may have the name of one that results have.
    fn check_names(&self, given: &ColumnSchema, time: &str, check: &mut Check<'_>) {
        let mut passed = given.names().filter(|name| self.is_passed(name, time));
        let own = [RECORD_ID, WINDOW_START, WINDOW_END, REVISION, WITHDRAWN];
        if let Some(name) = passed.find(|name| own.contains(name)) {
            let message = format!("results have a column `{name}` of their own");
            let mistake = Mistake::on_key(check.path.clone(), message);
            check.mistakes.push(mistake.expected(format!("another name for `{name}`, by a `map` before")));
        }
    }

    /// Whether a column that comes in goes out as it is: it is of the key, or a value. Bounds of windows are made anew.
    fn is_passed(&self, name: &str, time: &str) -> bool {
        let becomes = [&self.record_id, &self.revision, &self.withdrawn].iter().any(|own| *own == name);
        let is_bound = [time, WINDOW_START, WINDOW_END].contains(&name);
        self.key.iter().any(|key| key == name) || !(becomes || is_bound)
    }

    fn check_window(&self, check: &mut Check<'_>) {
        if !matches!(self.window.kind, Window::Tumbling { .. }) {
            let message = "which window a result is of is known by its event time, and that is in one window only";
            let mistake = Mistake::new(check.path.key("window"), message).found(self.window.note());
            check.mistakes.push(mistake.expected("{ tumbling = \"1m\" }, the windows that the other job counts by"));
            return;
        }
        check.window(self.window);
    }

    fn config(&self, given: &ColumnSchema, time: &str, needed: impl Fn(&str) -> bool) -> NewestRevisionConfig {
        let passed = given.names().filter(|name| self.is_passed(name, time));
        let is_key = |name: &str| self.key.iter().any(|key| key == name);
        NewestRevisionConfig {
            key: self.key.clone(),
            record_id: self.record_id.clone(),
            revision: self.revision.clone(),
            withdrawn: given.column(&self.withdrawn).map(|column| column.name.clone()),
            time_column: time.to_owned(),
            windows: self.window_rule(),
            output: passed.filter(|name| is_key(name) || needed(name)).map(str::to_owned).collect(),
        }
    }

    /// What is known of what goes out. The values are as if a map had computed them: whether they add up over windows, only the
    /// other job knows.
    fn results(&self, main: &ColumnSchema, name: &str, time: &str) -> Results {
        let own = [RECORD_ID, WINDOW_START, WINDOW_END, REVISION, WITHDRAWN];
        let is_value = |name: &&str| !own.contains(name) && !self.key.iter().any(|key| key == name);
        let values: Vec<String> = main.names().filter(is_value).map(str::to_owned).collect();
        let counted = Counted {
            name: name.to_owned(),
            key: self.key.clone(),
            window: self.window,
            allowed_lateness: self.allowed_lateness,
            computed: values.clone(),
            sums: Vec::new(),
            count: None,
            is_filtered: false,
            of_results: true,
            of_join: false,
            time: time.to_owned(),
            arguments: None,
        };
        let mut results = Results::of_aggregate(counted, false, main);
        for value in values {
            results.columns.insert(value, None);
        }
        // A reduce ranks what an aggregate of this job has counted.
        Results { are_groups: false, withdrawable: true, ..results }
    }
}

impl JobBuilder {
    /// Adds results of another job.
    #[must_use]
    pub fn results(self, name: impl Into<String>, results: ReadResults) -> Self {
        self.node(name, Box::new(results))
    }
}

impl Node for ReadResults {
    fn kind(&self) -> &'static str {
        "results"
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

    fn makes_results(&self) -> bool {
        true
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let before = check.mistakes.len();
        let given = check.take_given()?;
        if given.results.is_some() {
            let message = format!("its rows are results already, out of a {}", given.origin);
            let mistake = Mistake::new(check.path.key("input"), message);
            check.mistakes.push(mistake.expected("a source, or a map after one, of what another job has written"));
            return None;
        }
        check.key_columns(&self.key, &given.main);
        check.needs_event_time(&given);
        self.check_window(check);
        self.check_columns(&given.main, check);
        let time = given.event_time.clone().unwrap_or_default();
        self.check_names(&given.main, &time, check);
        if check.mistakes.len() > before {
            return None;
        }
        let config = self.config(&given.main, &time, |_| true);
        let main = check.accepted(columns(&config, &given.main))?;
        let results = self.results(&main, check.name, &time);
        Some(Types { results: Some(results), ..Types::of(main, self.kind()) })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let time = planning.given.first().and_then(|given| given.event_time.clone()).unwrap_or_default();
        let (id, from) = (planning.id.clone(), from.concat());
        let operator = NewestRevision { results: self.clone(), time };
        let step = match planning.is_spread(0) {
            true => planning.forward(id, from, operator),
            false => planning.hashed(id, from, self.identity.clone(), operator),
        };
        planning.output(Output::DeadLetters, vec![(step, ports::DEAD_LETTERS)]);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }

    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        Some(LateRule::Window(self.window_rule()))
    }

    fn spread_by(&self, _input: usize) -> Option<&[String]> {
        Some(&self.identity)
    }
}

fn columns(config: &NewestRevisionConfig, input: &ColumnSchema) -> weir_engine::Result<ColumnSchema> {
    Ok(ColumnSchema::from(&output_schema(&input.to_arrow(), config)?))
}

/// The revisions of results that are newer than what has come before.
#[derive(Debug)]
struct NewestRevision {
    results: ReadResults,
    time: String,
}

impl Operator for NewestRevision {
    fn needs(&self, output: &Names, given: &ColumnSchema) -> Names {
        let results = &self.results;
        let own = results.identity.iter().chain([&results.revision, &results.withdrawn, &self.time]);
        let passed = output.iter().filter(|name| results.is_passed(name, &self.time));
        own.chain(passed).filter(|name| given.column(name).is_some()).cloned().collect()
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        columns(&self.results.config(given, &self.time, |_| true), given).unwrap_or_default()
    }

    fn narrowed(&self, input: ColumnSchema, needed: &Names) -> StepColumns {
        let config = self.results.config(&input, &self.time, |name| needed.contains(name));
        let output = columns(&config, &input).unwrap_or_default();
        StepColumns { kept: Some(config.output), input, output, ..StepColumns::default() }
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let kept = columns.kept.as_deref().unwrap_or_default();
        let config = self.results.config(&columns.input, &self.time, |name| kept.iter().any(|kept| kept == name));
        Configuration::operator("newest_revision", json!(config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let ReadResults { window, allowed_lateness, key, .. } = &self.results;
        let by = if key.is_empty() { String::new() } else { format!(" by {}", key.join(", ")) };
        let does = format!("results of another job{by}, {}: each newer revision once", window.note());
        let kept = format!("the newest revision of each, until {} after its window", show(*allowed_lateness));
        Note::of(does).with_state(kept)
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        const MEANING: &[&str] = &["key", "record_id", "window", "offset_ms", "timezone"];
        Some(Memory::of(Remembers::State, MEANING).with_key())
    }
}
