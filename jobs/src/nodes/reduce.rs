//! `[reduce.NAME]`: the largest groups of every window of an aggregate.

use std::time::Duration;

use arrow::datatypes::DataType;
use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::Remembers;
use weir_operators::columns::{RANK, WINDOW_END, WINDOW_START};
use weir_operators::reduce::{Ranking, TopConfig, output_schema};
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
use super::window::{Window, Windows, read_window};
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
    pub(crate) ranking: Ranking,
    pub(crate) window: Option<Windows>,
}

impl Reduce {
    /// The `n` groups of an aggregate with the largest value in the column `by`; ties by key, ascending.
    pub fn top(input: impl Into<Inputs>, n: usize, by: impl Into<String>) -> Self {
        Reduce { input: input.into(), n, by: by.into(), per: Vec::new(), ranking: Ranking::default(), window: None }
    }

    /// Ranks separately for each value of these key columns.
    #[must_use]
    pub fn per<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.per = columns.into_iter().map(Into::into).collect();
        self
    }

    /// What ranks equal values have: by default one after the other.
    #[must_use]
    pub fn rank(mut self, ranking: Ranking) -> Self {
        self.ranking = ranking;
        self
    }

    /// Adds up the aggregate's windows to longer ones first.
    #[must_use]
    pub fn window(mut self, window: impl Into<Windows>) -> Self {
        self.window = Some(window.into());
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
        let rankings =
            [("row_number", Ranking::RowNumber), ("rank", Ranking::Rank), ("dense_rank", Ranking::DenseRank)];
        reduce.ranking = node.choice("rank", &rankings).unwrap_or_default();
        reduce.window = node.table("window").and_then(|window| read_window(window, true));
        node.finish();
        reduce
    }

    /// The settings of its operators, over the results of an aggregate.
    fn config(&self, counted: &Counted) -> TopConfig {
        let (own, counted_windows) = (self.window.unwrap_or(counted.window), counted.window);
        // Tumbling windows are their own slices.
        let slices = matches!(counted_windows.kind, Window::Tumbling { .. }) || self.window.is_some();
        TopConfig {
            n: self.n,
            by: self.by.clone(),
            key: counted.key.clone(),
            per: self.per.clone(),
            ranking: self.ranking,
            windows: WindowRule {
                window: own.spec(),
                alignment: own.alignment,
                allowed_lateness_ms: millis(counted.allowed_lateness),
            },
            slice_ms: slices.then(|| counted_windows.spec().size_ms()),
        }
    }

    /// What is ranked must come through the maps between as the aggregate has made it.
    fn unchanged_between(&self, results: &Results, check: &mut Check<'_>) {
        let key = results.counted.key.iter().map(String::as_str);
        let bounds: &[&str] = if results.counted.window.is_global() { &[] } else { &[WINDOW_START, WINDOW_END] };
        for name in key.chain(bounds.iter().copied()).chain([self.by.as_str()]) {
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

    /// The column with the rank must not be there already.
    fn check_names(&self, counted: &Counted, check: &mut Check<'_>) {
        if counted.key.iter().any(|name| name == RANK) || self.by == RANK {
            let message = format!("two columns would be called `{RANK}`");
            check.mistakes.push(Mistake::on_key(check.path.clone(), message).expected("another name in the aggregate"));
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
        if counted.window.is_global() {
            let message = "it ranks the results of a window when that is over, and the global window never is";
            let mistake = Mistake::new(check.path.key("input"), message);
            check.mistakes.push(mistake.expected("an aggregate with any other window"));
            return;
        }
        let Some(window) = self.window else { return };
        let place = check.path.key("window");
        let Window::Tumbling { size: piece } = counted.window.kind else {
            let message = "it adds up windows of its aggregate, and those don't lie side by side";
            let mistake = Mistake::new(place, message).found(counted.window.note());
            let expected =
                "an aggregate with { tumbling = ... }, or no `window`: then each of the aggregate's has a list";
            check.mistakes.push(mistake.expected(expected));
            return;
        };
        check.window(window);
        let Some(period_ms) = window.spec().period_ms() else {
            let mistake = Mistake::new(place, "sessions and the global window can't be built from windows");
            check.mistakes.push(mistake.expected("a tumbling, a hopping or a cumulating window"));
            return;
        };
        let fits = |ms: i64| ms % millis(piece).max(1) == 0;
        if !fits(period_ms) || !fits(window.spec().size_ms()) {
            let mistake = Mistake::new(place, "its windows don't consist of whole windows of the aggregate");
            check.mistakes.push(mistake.expected(format!("multiples of {}", show(piece))));
            return;
        }
        let (own, pieces) = (window.alignment, counted.window.alignment);
        if !fits(own.offset_ms - pieces.offset_ms) {
            let mistake = Mistake::new(place.key("offset"), "its windows begin within windows of the aggregate");
            let found = show(Duration::from_millis(own.offset_ms.unsigned_abs()));
            let expected = show(Duration::from_millis(pieces.offset_ms.unsigned_abs()));
            let expected = format!("{expected}, as of the aggregate, or {} more, or a multiple of that", show(piece));
            check.mistakes.push(mistake.found(found).expected(expected));
        }
        let is_cut = match (own.timezone, pieces.timezone) {
            (own, pieces) if own == pieces => false,
            (Some(zone), None) => !zone.keeps_windows_of(millis(piece)),
            _ => true,
        };
        if is_cut {
            let message = "its windows begin by another clock than those of the aggregate, and would cut them";
            let mistake = Mistake::new(place.key("timezone"), message).found(window.note());
            let expected = "the `timezone` of the aggregate, or windows of the aggregate of at most 15m";
            check.mistakes.push(mistake.expected(expected));
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

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        &[]
    }

    fn makes_results(&self) -> bool {
        true
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let before = check.mistakes.len();
        let given = check.take_given()?;
        let Some(results) = given.results.as_ref().filter(|results| results.are_groups) else {
            let mistake = Mistake::new(check.path.key("input"), "a reduce ranks the groups of an aggregate");
            let is_of_results = |results: &Results| results.counted.of_join && !results.is_of_events();
            let expected = match given.results.as_ref().is_some_and(is_of_results) {
                true => {
                    "a join of results that selects the whole key of both sides; with `type = \"full\"` one that has no nulls in `on`"
                }
                false => "the name of an aggregate, or of a map after one",
            };
            check.mistakes.push(mistake.found(format!("a {}", given.origin)).expected(expected));
            return None;
        };
        self.unchanged_between(results, check);
        self.check_by(&given.main, &results.counted, check);
        self.check_per(&results.counted, check);
        self.check_names(&results.counted, check);
        self.check_window(&results.counted, check);
        if check.mistakes.len() > before {
            return None;
        }
        let main = check.accepted(columns(&self.config(&results.counted), &given.main))?;
        let results = results.ranked(&self.per, self.ranking.is_row_number(), self.window, &main);
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

const MEANING: &[&str] = &[
    "key",
    "by",
    "per",
    "n",
    "ranking",
    "window",
    "offset_ms",
    "timezone",
    "slice_ms",
    "size_ms",
    "slide_ms",
    "allowed_lateness_ms",
];

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
    window: Windows,
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
        let ties = match self.config.ranking {
            Ranking::RowNumber => "",
            Ranking::Rank => " with ties (rank)",
            Ranking::DenseRank => " with ties (dense_rank)",
        };
        let does = format!("top {n} by {by}{per}{ties}, {}", self.window.note());
        Note::of(does).with_state("the top of open windows")
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::State, MEANING).with_key())
    }
}
