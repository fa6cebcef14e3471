//! `[map.NAME]`: keeps rows by a condition, and computes columns.

use serde_json::json;
use weir_engine::element::Port;
use weir_operators::columns::{RECORD_ID, REVISION, WITHDRAWN};
use weir_operators::expression::Expression;
use weir_operators::map::{MapConfig, ResultRows, SelectItem};
use weir_operators::schema::ColumnSchema;
use weir_operators::sink::sql::TableRule;

use super::check::Check;
use super::inputs::Inputs;
use super::node::Node;
use super::operator::{Configuration, Names, Note, Operator, StepColumns, only};
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::results::with_null_values;
use super::select::{is_computed, quoted, read_by, selected};
use super::types::Types;
use crate::builder::JobBuilder;
use crate::store_table::RecountStep;
use weir_operators::definition::{KeyPath, Mistake, Reader};
use weir_operators::ports;

/// Keeps rows by a condition, and computes columns.
#[derive(Debug, Clone)]
pub struct Map {
    pub(crate) input: Inputs,
    pub(crate) condition: Option<String>,
    /// Why a row is a dead letter, and the condition that it does not meet then.
    pub(crate) require: Vec<(String, String)>,
    pub(crate) select: Option<Vec<(String, String)>>,
}

impl Map {
    /// A map over the output of a node.
    pub fn over(input: impl Into<Inputs>) -> Self {
        Map { input: input.into(), condition: None, require: Vec::new(), select: None }
    }

    /// Keeps the rows for which this SQL expression is true.
    #[must_use]
    pub fn keep_where(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Makes a dead letter of each row for which this SQL expression is not true, with this reason. What is required first is looked
    /// at first, and all of it only of rows that are kept.
    #[must_use]
    pub fn require(mut self, reason: impl Into<String>, condition: impl Into<String>) -> Self {
        self.require.push((reason.into(), condition.into()));
        self
    }

    /// Adds a column of the result. Without any, all columns of the input are kept.
    #[must_use]
    pub fn select(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.select.get_or_insert_default().push((name.into(), expression.into()));
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        let map = Map {
            input,
            condition: node.text("where"),
            require: node.named_texts("require").unwrap_or_default(),
            select: node.named_texts("select"),
        };
        if ["where", "require", "select"].iter().all(|key| node.value(key).is_none()) {
            node.missing(
                "where",
                "\"a condition\", or select = { name = \"an expression\" }, or require = { \"reason\" = \"a condition\" }: \
                 without any it does nothing",
            );
        }
        node.finish();
        map
    }
}

impl Map {
    /// What is required, compiled.
    fn check_required(&self, given: &ColumnSchema, check: &mut Check<'_>) -> Vec<Expression> {
        let (place, input) = (check.path.key("require"), given.to_arrow());
        let mut required = Vec::with_capacity(self.require.len());
        for (reason, condition) in &self.require {
            let place = place.key(reason);
            if reason.trim().is_empty() {
                let mistake = Mistake::on_key(place, "dead letters would have no reason");
                check.mistakes.push(mistake.expected("what is wrong with such a row, in a few words"));
                continue;
            }
            match Expression::predicate(condition, &input) {
                Ok(condition) => required.push(condition),
                Err(error) => check.mistakes.push(Mistake::in_expression(place, &error)),
            }
        }
        required
    }

    /// What is required, as the operator takes it.
    fn required(&self) -> Vec<SelectItem> {
        let item =
            |(name, expression): &(String, String)| SelectItem { name: name.clone(), expression: expression.clone() };
        self.require.iter().map(item).collect()
    }
}

impl JobBuilder {
    /// Adds a map.
    #[must_use]
    pub fn map(self, name: impl Into<String>, map: Map) -> Self {
        self.node(name, Box::new(map))
    }
}

impl Node for Map {
    fn kind(&self) -> &'static str {
        "map"
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        &[Output::DeadLetters]
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let mut given = check.take_given()?;
        let (running, input) = (given.running, given.main.to_arrow());
        let condition = self.condition.as_ref().map(|condition| Expression::predicate(condition, &input));
        let condition = condition.transpose().unwrap_or_else(|error| {
            check.mistakes.push(Mistake::in_expression(check.path.key("where"), &error));
            None
        });
        let required = self.check_required(&given.main, check);
        if let Some(results) = &mut given.results {
            for condition in condition.iter().chain(&required) {
                *results = results.kept_by(condition);
            }
            results.behind_map = true;
        }
        let Some(select) = &self.select else {
            let mut types = Types { running, ..given.passed_on() };
            if let Some(results) = &types.results {
                types.main = results.nullable(types.main);
            }
            return Some(types);
        };
        let place = check.path.key("select");
        if select.is_empty() {
            check.mistakes.push(Mistake::new(place, "it passes on no column").expected("at least one column"));
            return None;
        }
        let item = |(name, expression): &(String, String)| {
            (place.key(name), SelectItem { name: name.clone(), expression: expression.clone() })
        };
        let items: Vec<(KeyPath, SelectItem)> = select.iter().map(item).collect();
        // All that makes them results.
        let carried: &[&str] = if given.results.is_some() { &[RECORD_ID, REVISION, WITHDRAWN] } else { &[] };
        Some(Types { running, ..check.select(&given, items, carried)? })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let select = planning.own.select.clone();
        let may_withdraw =
            self.condition.is_some() || !self.require.is_empty() || select.iter().flatten().any(is_computed);
        let given = planning.given.first().and_then(|given| given.results.as_ref());
        let splits_running = planning.running_wanted && planning.own.running.is_some();
        let results = given.filter(|_| may_withdraw).map(|results| results.rows(splits_running));
        let mut from = from.concat();
        if splits_running {
            let running: Vec<StepOutput> = from.iter().map(|(step, _)| (*step, ports::RUNNING)).collect();
            from.extend(running);
        }
        let operator = MapOperator {
            condition: self.condition.clone(),
            require: self.required(),
            select,
            results,
            table: None,
            splits_running,
        };
        let step = planning.forward(planning.id.clone(), from, operator);
        planning.output(Output::DeadLetters, vec![(step, ports::DEAD_LETTERS)]);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }

    fn passes_running(&self) -> bool {
        true
    }

    fn only_keeps(&self) -> bool {
        self.select.is_none()
    }

    fn recount_steps(&self, _given: &Types, own: &Types) -> Option<Vec<RecountStep>> {
        let kept = self.condition.iter().chain(self.require.iter().map(|(_, condition)| condition));
        let kept = kept.cloned().map(RecountStep::Keep);
        Some(kept.chain(own.select.clone().map(RecountStep::Compute)).collect())
    }
}

/// A map as it runs; other nodes become such ones, too.
#[derive(Debug)]
pub(crate) struct MapOperator {
    pub(crate) condition: Option<String>,
    pub(crate) require: Vec<SelectItem>,
    pub(crate) select: Option<Vec<SelectItem>>,
    /// What is known of rows that are results, of which it may withdraw some.
    pub(crate) results: Option<ResultRows>,
    /// Of rows on their way to a table, what it can take.
    pub(crate) table: Option<TableRule>,
    /// Whether running counts come in, too, and go out beside the results.
    pub(crate) splits_running: bool,
}

impl MapOperator {
    /// A map that computes these columns.
    pub(crate) fn selecting(select: Vec<SelectItem>, results: Option<ResultRows>) -> Self {
        MapOperator {
            condition: None,
            require: Vec::new(),
            select: Some(select),
            results,
            table: None,
            splits_running: false,
        }
    }

    /// What it lets through: of results, withdrawn ones too, which have no values.
    fn let_through(&self, columns: ColumnSchema, given: &ColumnSchema) -> ColumnSchema {
        let Some(results) = &self.results else { return columns };
        let is_fixed = |name: &str| given.column(name).is_some() && results.fixed.iter().any(|fixed| fixed == name);
        with_null_values(columns, is_fixed)
    }

    fn does(&self, columns: &StepColumns) -> String {
        let mut parts: Vec<String> = self.condition.iter().map(|condition| format!("where {condition}")).collect();
        if !self.require.is_empty() {
            let reasons: Vec<&str> = self.require.iter().map(|item| item.name.as_str()).collect();
            parts.push(format!("dead letters: {}", reasons.join(", ")));
        }
        if let (Some(_), Some(items)) = (&self.select, &columns.select) {
            let item = |item: &SelectItem| {
                let plain = item.expression.trim_matches('"') == item.name;
                if plain { item.name.clone() } else { format!("{} as {}", item.expression, item.name) }
            };
            parts.push(format!("select {}", items.iter().map(item).collect::<Vec<_>>().join(", ")));
        }
        parts.join("; ")
    }
}

impl Operator for MapOperator {
    fn needs(&self, output: &Names, given: &ColumnSchema) -> Names {
        let mut needed: Names = match &self.select {
            None => output.clone(),
            Some(items) => items
                .iter()
                .filter(|item| output.contains(&item.name))
                .flat_map(|item| read_by(&item.expression, given))
                .collect(),
        };
        let conditions = self.condition.iter().chain(self.require.iter().map(|item| &item.expression));
        needed.extend(conditions.flat_map(|condition| read_by(condition, given)));
        if self.results.is_some() {
            needed.extend([REVISION, WITHDRAWN].map(str::to_owned));
        }
        if self.splits_running {
            needed.insert(REVISION.to_owned());
        }
        needed
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        let columns = self.select.as_ref().map_or_else(|| given.clone(), |items| selected(items, given));
        self.let_through(columns, given)
    }

    fn narrowed(&self, input: ColumnSchema, needed: &Names) -> StepColumns {
        let mut needed = needed.clone();
        if self.splits_running {
            needed.insert(REVISION.to_owned());
        }
        let select: Option<Vec<SelectItem>> = match &self.select {
            Some(items) => Some(items.iter().filter(|item| needed.contains(&item.name)).cloned().collect()),
            // What only the condition reads does not have to be copied with the rows that are kept.
            None if input.names().any(|name| !needed.contains(name)) => {
                let kept = only(&input, &needed);
                Some(kept.names().map(|name| SelectItem { name: name.into(), expression: quoted(name) }).collect())
            }
            None => None,
        };
        let output = match &select {
            Some(items) => self.let_through(selected(items, &input), &input),
            None => self.output(&input),
        };
        StepColumns { input, output, select, ..StepColumns::default() }
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let config = MapConfig {
            input: columns.input.clone(),
            condition: self.condition.clone(),
            require: self.require.clone(),
            select: columns.select.clone(),
            results: self.results.clone(),
            table: self.table.clone(),
            splits_running: self.splits_running,
        };
        Configuration::operator("map", json!(config))
    }

    fn note(&self, columns: &StepColumns) -> Note {
        if let Some(rule) = &self.table {
            return Note::of(format!("passes on what the table {} can take", rule.table));
        }
        let withdraws = if self.results.is_some() { "; withdraws results that no longer match" } else { "" };
        Note::of(self.does(columns) + withdraws)
    }
}
