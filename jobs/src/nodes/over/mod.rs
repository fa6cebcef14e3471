//! `[over.NAME]`: for each row, aggregates over the rows of its key before it, and values of these rows.

mod definition;
mod operator;
mod step;

use std::time::Duration;

use weir_engine::element::Port;
use weir_operators::expression::{Expression, OverCall, OverItem};
use weir_operators::late_gate::LateRule;
use weir_operators::map::SelectItem;
use weir_operators::over::can_keep;
use weir_operators::schema::ColumnSchema;

use super::check::Check;
use super::inputs::Inputs;
use super::map::MapOperator;
use super::node::Node;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::types::Types;
use operator::OverOperator;
use step::OverStep;
use weir_operators::definition::{KeyPath, Mistake};
use weir_operators::ports;

pub use definition::Over;

impl Over {
    /// Notes what is wrong with the items of the `select`, as far as it can be known of each alone.
    fn items(&self, check: &mut Check<'_>, given: &ColumnSchema) {
        for (name, text) in &self.select {
            let place = check.path.key("select").key(name);
            match OverItem::parse(name, text) {
                Ok(item) => self.calls(check, (name, text), &item, given),
                Err(error) => check.mistakes.push(Mistake::in_expression(place, &error)),
            }
        }
    }

    fn calls(&self, check: &mut Check<'_>, (name, text): (&str, &str), item: &OverItem, given: &ColumnSchema) {
        for (_, call) in &item.calls {
            match call {
                OverCall::Aggregate(call) => check.parsed_call(name, text, call, given, false),
                OverCall::Lag { argument, rows } => {
                    check.argument(name, argument, given, false);
                    if let Some(seen) = self.rows.filter(|seen| rows >= seen) {
                        let message =
                            format!("a row sees the {seen} last ones, itself included, and this is {rows} before it");
                        let mistake = Mistake::new(check.path.key("select").key(name), message);
                        check.mistakes.push(mistake.found(text).expected(format!("`rows = {}` or more", rows + 1)));
                    }
                }
            }
        }
    }

    /// Notes columns that can't be kept.
    fn kept(check: &mut Check<'_>, step: &OverStep, input: &ColumnSchema) {
        for column in input.columns.iter().filter(|column| step.columns.contains(&column.name) && !can_keep(column)) {
            let message = format!("`{}` is {}, which can't be kept", column.name, column.data_type);
            let mistake = Mistake::new(check.path.key("select"), message);
            check.mistakes.push(mistake.expected("numbers, times, texts, bytes and bools; a `map` can convert it"));
        }
    }

    /// What goes out: the items of the `select`, whose calls are columns.
    fn selected(&self, check: &mut Check<'_>, given: &Types, step: &OverStep) -> Option<Types> {
        let place = check.path.key("select");
        let columns = check.accepted(step.config(&step.input(&given.main)).columns())?;
        let before = check.mistakes.len();
        for item in &step.select {
            // Of what is called the item knows nothing but its own.
            let own = format!("{}/", item.name);
            let called = columns.columns.iter().filter(|column| column.name.starts_with(&own));
            let known = ColumnSchema { columns: given.main.columns.iter().chain(called).cloned().collect() };
            if let Err(error) = Expression::new(&item.expression, &known.to_arrow()) {
                let mistake = Mistake::in_expression(place.key(&item.name), &error);
                // Positions in what is left of an item are not positions in it.
                let is_whole = self.select.iter().any(|(_, text)| *text == item.expression);
                check.mistakes.push(Mistake { position: mistake.position.filter(|_| is_whole), ..mistake });
            }
        }
        if check.mistakes.len() > before {
            return None;
        }
        let items: Vec<(KeyPath, SelectItem)> =
            step.select.iter().map(|item| (place.key(&item.name), item.clone())).collect();
        let types = check.select(&Types { main: columns, ..given.clone() }, items, &[])?;
        Some(Types { select: None, origin: self.kind().to_owned(), ..types })
    }

    fn condition(&self, check: &mut Check<'_>, selected: &ColumnSchema) {
        if let Some(condition) = &self.condition
            && let Err(error) = Expression::predicate(condition, &selected.to_arrow())
        {
            check.mistakes.push(Mistake::in_expression(check.path.key("where"), &error));
        }
        if self.once && self.condition.is_none() {
            let mistake =
                Mistake::new(check.path.key("once"), "there is no condition that rows could meet in succession");
            check.mistakes.push(mistake.expected("a `where`, such as \"n > 100\""));
        }
    }
}

impl Node for Over {
    fn kind(&self) -> &'static str {
        "over"
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
        check.key_columns(&self.key, &given.main);
        check.needs_event_time(&given);
        self.items(check, &given.main);
        if check.mistakes.len() > before {
            return None;
        }
        let step = OverStep::new(self, given.event_time.as_deref()?, &given.main);
        Self::kept(check, &step, &step.input(&given.main));
        let types = self.selected(check, &given, &step)?;
        self.condition(check, &types.main);
        (check.mistakes.len() == before).then_some(types)
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let Some(given) = planning.given.pop() else { return };
        let (id, name, mut from) = (planning.id.clone(), planning.name, from.concat());
        let mut dead_letters = Vec::new();
        let step = OverStep::new(self, given.event_time.as_deref().unwrap_or_default(), &given.main);
        if let Some(select) = step.arguments.clone() {
            let map = planning.forward(format!("map.{name}.arguments"), from, MapOperator::selecting(select, None));
            dead_letters.push((map, ports::DEAD_LETTERS));
            from = vec![(map, Port::MAIN)];
        }
        let operator = OverOperator { step, output: planning.own.main.clone() };
        let over = match planning.is_spread(0) {
            true => planning.forward(id, from, operator),
            false => planning.hashed(id, from, self.key.clone(), operator),
        };
        dead_letters.push((over, ports::DEAD_LETTERS));
        planning.output(Output::DeadLetters, dead_letters);
        planning.output(Output::Main, vec![(over, Port::MAIN)]);
    }

    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        Some(LateRule::Ttl { ttl_ms: self.lateness_ms() })
    }

    fn holds_back(&self) -> Option<Duration> {
        Some(self.allowed_lateness)
    }

    fn spread_by(&self, _input: usize) -> Option<&[String]> {
        Some(&self.key)
    }
}
