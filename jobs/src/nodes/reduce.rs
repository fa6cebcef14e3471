//! `[reduce.NAME]`: the largest groups of every window of an aggregate.

use std::time::Duration;

use arrow::datatypes::DataType;
use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::Remembers;
use weir_operators::columns::{WINDOW_END, WINDOW_START};
use weir_operators::reduce::{TopConfig, output_schema};
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowRule;

use super::check::Check;
use super::inputs::Inputs;
use super::node::Node;
use super::operator::{Configuration, Memory, Note, Operator, StepColumns};
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::results::{Counted, Results};
use super::types::Types;
use super::window::{Window, read_window};
use crate::builder::JobBuilder;
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{Mistake, Reader};

/// The largest groups of every window of an aggregate.
#[derive(Debug, Clone)]
pub struct Reduce {
    pub(crate) input: Inputs,
    pub(crate) n: usize,
    pub(crate) by: String,
    pub(crate) per: Vec<String>,
    pub(crate) window: Option<Window>,
}

impl Reduce {
    /// The `n` groups of an aggregate with the largest value in the column `by`; ties by key, ascending.
    pub fn top(input: impl Into<Inputs>, n: usize, by: impl Into<String>) -> Self {
        Reduce { input: input.into(), n, by: by.into(), per: Vec::new(), window: None }
    }

    /// Ranks separately for each value of these key columns.
    #[must_use]
    pub fn per<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.per = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Adds up the aggregate's windows to longer ones first.
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let mut reduce = Reduce::top(Inputs::read(&node, "input", "the name of an aggregate, in quotes"), 0, "");
        match node.table("top") {
            Some(top) => {
                top.require("n", "100");
                reduce.n = top.integer("n", 1..=1_000_000).and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
                reduce.by = top.required_text("by", "\"count\"");
                reduce.per = top.texts("per").unwrap_or_default();
                top.finish();
            }
            None => node.missing("top", "{ n = 100, by = \"count\" }"),
        }
        reduce.window = node.table("window").and_then(|window| read_window(window, false));
        node.finish();
        reduce
    }

    /// The settings of its operators, over the results of an aggregate.
    fn config(&self, counted: &Counted) -> TopConfig {
        let slice = counted.window.spec();
        TopConfig {
            n: self.n,
            by: self.by.clone(),
            key: counted.key.clone(),
            per: self.per.clone(),
            windows: WindowRule {
                window: self.window.map_or(slice, Window::spec),
                allowed_lateness_ms: millis(counted.allowed_lateness),
            },
            slice_ms: slice.size_ms(),
        }
    }

    /// What is ranked must come through the maps between as the aggregate has made it.
    fn unchanged_between(&self, results: &Results, check: &mut Check<'_>) {
        let key = results.counted.key.iter().map(String::as_str);
        for name in key.chain([WINDOW_START, WINDOW_END, self.by.as_str()]) {
            if results.behind_map && !results.is_unchanged(name) {
                let message = format!("`{name}` does not come through unchanged from the aggregate");
                let mistake = Mistake::new(check.path.key("input"), message);
                check
                    .mistakes
                    .push(mistake.expected(format!("`{name} = \"{name}\"` in the `select` of the maps between")));
            }
        }
    }

    fn check_by(&self, given: &ColumnSchema, counted: &Counted, check: &mut Check<'_>) {
        let place = check.path.key("top").key("by");
        let names = &counted.computed;
        match given.column(&self.by).filter(|_| names.contains(&self.by)) {
            None => {
                let mistake = Mistake::new(place, format!("the aggregate computes no `{}`", self.by));
                check.mistakes.push(mistake.one_of("columns", names).meant(&self.by, names));
            }
            Some(column) if column.data_type != DataType::Int64 || !counted.adds_up(&self.by) => {
                let message = format!("`{}` can't be summed over windows", self.by);
                check.mistakes.push(Mistake::new(place, message).expected("a count, or a sum of whole numbers"));
            }
            Some(_) => {}
        }
    }

    fn check_per(&self, counted: &Counted, check: &mut Check<'_>) {
        let place = check.path.key("top").key("per");
        for (position, name) in self.per.iter().enumerate() {
            if !counted.key.contains(name) {
                let mistake = Mistake::new(place.index(position), format!("the key has no `{name}`"));
                check.mistakes.push(mistake.one_of("columns", &counted.key).meant(name, &counted.key));
            }
        }
        // Without a key there is one group, which is the first of its list.
        if !counted.key.is_empty() && counted.key.iter().all(|name| self.per.contains(name)) {
            let message = "nothing is left to rank: all key columns are in `per`";
            check.mistakes.push(Mistake::new(place, message).expected("not all columns of the aggregate's key"));
        }
    }

    /// The windows of an aggregate can be put together to longer ones if they lie side by side, and are pieces of those.
    fn check_window(&self, counted: &Counted, check: &mut Check<'_>) {
        let Window::Tumbling { size: piece } = counted.window else {
            let message = "it ranks over the windows of its aggregate, and those are not tumbling";
            let mistake = Mistake::new(check.path.key("input"), message);
            check.mistakes.push(mistake.expected("an aggregate with { tumbling = ... }; its `window` can be hopping"));
            return;
        };
        let Some(window) = self.window else { return };
        check.window(window);
        let (size, slide) = match window {
            Window::Tumbling { size } => (size, size),
            Window::Hopping { size, slide } => (size, slide),
            Window::Session { .. } => {
                let mistake = Mistake::new(check.path.key("window"), "sessions can't be built from windows");
                check.mistakes.push(mistake.expected("a tumbling or a hopping window"));
                return;
            }
        };
        let fits = |length: Duration| length.as_millis().is_multiple_of(piece.as_millis().max(1));
        if !fits(size) || !fits(slide) {
            let message = "its windows don't consist of whole windows of the aggregate";
            let mistake = Mistake::new(check.path.key("window"), message);
            check.mistakes.push(mistake.expected(format!("multiples of {}", show(piece))));
        }
    }
}

/// What it emits, from what the aggregate does.
fn columns(config: &TopConfig, input: &ColumnSchema) -> weir_engine::Result<ColumnSchema> {
    Ok(ColumnSchema::from(&output_schema(&input.to_arrow(), config)?))
}

impl JobBuilder {
    /// Adds a reduce.
    #[must_use]
    pub fn reduce(self, name: impl Into<String>, reduce: Reduce) -> Self {
        self.node(name, Box::new(reduce))
    }
}

impl Node for Reduce {
    fn kind(&self) -> &'static str {
        "reduce"
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
        &[]
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let before = check.mistakes.len();
        let given = check.take_given()?;
        let Some(results) = given.results.as_ref().filter(|results| results.are_groups) else {
            let mistake = Mistake::new(check.path.key("input"), "a reduce ranks the groups of an aggregate");
            let expected = "the name of an aggregate, or of a map after one";
            check.mistakes.push(mistake.found(format!("a {}", given.origin)).expected(expected));
            return None;
        };
        self.unchanged_between(results, check);
        self.check_by(&given.main, &results.counted, check);
        self.check_per(&results.counted, check);
        self.check_window(&results.counted, check);
        if check.mistakes.len() > before {
            return None;
        }
        let main = check.accepted(columns(&self.config(&results.counted), &given.main))?;
        let results = results.ranked(&self.per, self.window, &main);
        Some(Types { results: Some(results), ..Types::of(main, self.kind()) })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let Some(results) = planning.given.first().and_then(|given| given.results.as_ref()) else { return };
        let window = self.window.unwrap_or(results.counted.window);
        let config = self.config(&results.counted);
        let (id, key) = (planning.id.clone(), config.exchange_key());
        let local = planning.forward(format!("{id}.local"), from.concat(), LocalTop(config.clone()));
        let global = planning.hashed(id, vec![(local, Port::MAIN)], key, GlobalTop { config, window });
        planning.output(Output::Main, vec![(global, Port::MAIN)]);
    }
}

const MEANING: &[&str] = &["key", "by", "per", "n", "window", "slice_ms", "size_ms", "slide_ms", "allowed_lateness_ms"];

/// The best of each subtask.
#[derive(Debug)]
struct LocalTop(TopConfig);

impl Operator for LocalTop {
    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        given.clone()
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("local_top", json!(self.0))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        Note::of(format!("own top {} by {}", self.0.n, self.0.by)).with_state("open windows")
    }

    fn shows_columns(&self) -> bool {
        false
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::State, MEANING).with_key())
    }
}

/// The best of all.
#[derive(Debug)]
struct GlobalTop {
    config: TopConfig,
    window: Window,
}

impl Operator for GlobalTop {
    /// Checked when the types were inferred.
    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        columns(&self.config, given).unwrap_or_default()
    }

    fn takes_partials(&self) -> bool {
        true
    }

    fn configuration(&self, _columns: &StepColumns) -> Configuration {
        Configuration::operator("global_top", json!(self.config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let TopConfig { n, by, per, .. } = &self.config;
        let per = if per.is_empty() { String::new() } else { format!(" per {}", per.join(", ")) };
        let does = format!("top {n} by {by}{per}, {}", self.window.note());
        Note::of(does).with_state("the top of open windows")
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::State, MEANING).with_key())
    }
}
