//! A join of results: those of two aggregates that have one window and are equal in some columns.
//!
//! What comes out are results again, which a correction of either side corrects. Where `on` is the whole key of a side, that side is
//! *single*: it has one result at most for each value of `on` and each window.

mod check;
mod definition;
mod operator;

use weir_engine::element::Port;
use weir_operators::columns::RECORD_ID;
use weir_operators::definition::duration::millis;
use weir_operators::join::{JoinColumn, Side};
use weir_operators::schema::ColumnSchema;
use weir_operators::window::WindowRule;
use weir_operators::window_join::{JoinType, WindowJoinColumn, WindowJoinConfig, WindowJoinInput, columns};

use super::super::check::Check;
use super::super::inputs::Inputs;
use super::super::node::Node;
use super::super::output::Output;
use super::super::planning::{Planning, StepOutput};
use super::super::results::{Counted, Results};
use super::super::types::Types;
use operator::WindowJoinOperator;

pub use definition::WindowJoin;

/// A side: its columns, and what is known of its results.
type Given<'a> = (&'a ColumnSchema, &'a Results);

impl WindowJoin {
    /// The columns of the results, as far as they make sense: by default those of `on`, then the others of the left, then those of the
    /// right that have other names.
    fn selected(&self, left: &ColumnSchema, right: &ColumnSchema) -> Vec<JoinColumn> {
        self.sides.selected().unwrap_or_else(|| {
            let [on_left, on_right] = &self.sides.on;
            let item = |side: Side| move |name: &str| JoinColumn { name: name.into(), side, column: name.into() };
            let others = |columns: &ColumnSchema, on: &[String]| -> Vec<String> {
                let is_other = |name: &&str| !check::OWN.contains(name) && !on.iter().any(|on| on == name);
                columns.names().filter(is_other).map(str::to_owned).collect()
            };
            let of_left: Vec<String> = on_left.iter().cloned().chain(others(left, on_left)).collect();
            let of_right = others(right, on_right).into_iter().filter(|name| !of_left.contains(name));
            let of_right: Vec<JoinColumn> = of_right.map(|name| item(Side::Right)(&name)).collect();
            of_left.iter().map(|name| item(Side::Left)(name)).chain(of_right).collect()
        })
    }

    /// Whether `on` has the whole key of a side.
    fn is_single(&self, side: Side, results: &Results) -> bool {
        let on = &self.sides.on[side as usize];
        results.key.iter().all(|key| on.iter().any(|name| results.origin(name) == Some(key)))
    }

    /// The settings of its operator, for rows of these two kinds.
    fn config(&self, left: Given<'_>, right: Given<'_>) -> WindowJoinConfig {
        let items = self.selected(left.0, right.0);
        let input = |side: Side, (columns, results): Given<'_>| {
            let on = &self.sides.on[side as usize];
            let is_selected = |name: &str| items.iter().any(|item| item.side == side && item.column == name);
            let others = columns.columns.iter().filter(|column| !on.contains(&column.name));
            let kept = on.iter().filter_map(|name| columns.column(name));
            let kept = kept.chain(others.filter(|column| is_selected(&column.name))).cloned().collect();
            let is_single = self.is_single(side, results);
            WindowJoinInput { on: on.clone(), is_single, kept: ColumnSchema { columns: kept } }
        };
        let (of_left, of_right) = (input(Side::Left, left), input(Side::Right, right));
        let is_fixed = |item: &JoinColumn| {
            let (input, (_, results)) = match item.side {
                Side::Left => (&of_left, left),
                Side::Right => (&of_right, right),
            };
            // The row of a single side comes and goes, and what there is of it beside `on`.
            input.on.contains(&item.column) || (!input.is_single && results.is_fixed(&item.column))
        };
        let select = items.iter().map(|item| WindowJoinColumn {
            name: item.name.clone(),
            side: item.side,
            column: item.column.clone(),
            is_fixed: is_fixed(item),
        });
        let select = select.collect();
        let lateness = left.1.counted.allowed_lateness.max(right.1.counted.allowed_lateness);
        WindowJoinConfig {
            join_type: self.join_type,
            windows: WindowRule {
                window: left.1.window.spec(),
                alignment: left.1.window.alignment,
                allowed_lateness_ms: millis(lateness),
            },
            left: of_left,
            right: of_right,
            select,
        }
    }

    /// The columns of its results that tell those of a window apart; none, where these are not selected, or don't: because two results
    /// may have a null in one of them, each for a reason of its own.
    fn key(&self, config: &WindowJoinConfig, left: Given<'_>, right: Given<'_>) -> Option<Vec<String>> {
        let may_be_null = |input: &WindowJoinInput| input.kept.columns[..input.on.len()].iter().any(|on| on.nullable);
        if config.join_type == JoinType::Full && may_be_null(&config.left) && may_be_null(&config.right) {
            return None; // Neither side's null has a match.
        }
        let on = (0..config.left.on.len()).map(|position| {
            let is_it = |item: &&WindowJoinColumn| config.place_in_on(item.side, &item.column) == Some(position);
            config.select.iter().find(is_it).map(|item| item.name.clone())
        });
        let mut key = on.collect::<Option<Vec<String>>>()?;
        for (side, other, (_, results)) in [(Side::Left, Side::Right, left), (Side::Right, Side::Left, right)] {
            let input = config.input(side);
            let is_rest = |key: &&String| !input.on.iter().any(|name| results.origin(name) == Some(key));
            for rest in results.key.iter().filter(is_rest) {
                let is_it =
                    |item: &&WindowJoinColumn| item.side == side && results.origin(&item.column) == Some(rest.as_str());
                let item = config.select.iter().find(is_it)?;
                if config.join_type.keeps(other) && input.kept.column(&item.column).is_none_or(|kept| kept.nullable) {
                    return None; // It may be the null of a key, or that of a result without a match.
                }
                key.push(item.name.clone());
            }
        }
        Some(key)
    }

    /// Whether a result may be withdrawn: because a row is that it needs, or because it is one without a match, and a match comes.
    fn is_withdrawable(config: &WindowJoinConfig, left: &Results, right: &Results) -> bool {
        let (left, right) = (left.may_be_withdrawn(), right.may_be_withdrawn());
        match config.join_type {
            JoinType::Inner => left || right,
            JoinType::Left => left || !config.right.is_single,
            JoinType::Right => right || !config.left.is_single,
            JoinType::Full => left || right || !config.left.is_single || !config.right.is_single,
        }
    }

    /// What is known of its results.
    fn results(
        &self,
        check: &Check<'_>,
        (config, main): (&WindowJoinConfig, &ColumnSchema),
        left: Given<'_>,
        right: Given<'_>,
    ) -> Results {
        let key = self.key(config, left, right);
        let are_groups = key.is_some();
        let key = key.unwrap_or_else(|| vec![RECORD_ID.to_owned()]);
        let adds_up = |item: &&WindowJoinColumn| {
            let (_, results) = if item.side == Side::Left { left } else { right };
            !item.is_fixed && results.adds_up(&item.column) == Some(true)
        };
        let counted = Counted {
            name: check.name.to_owned(),
            key: key.clone(),
            window: left.1.window,
            allowed_lateness: left.1.counted.allowed_lateness.max(right.1.counted.allowed_lateness),
            computed: config.select.iter().map(|item| item.name.clone()).filter(|name| !key.contains(name)).collect(),
            sums: config.select.iter().filter(adds_up).map(|item| item.name.clone()).collect(),
            count: None,
            is_filtered: false,
            of_results: true,
            of_join: true,
            time: String::new(),
            arguments: None,
        };
        let fixed = config.select.iter().filter(|item| item.is_fixed).map(|item| item.name.clone());
        let withdrawable = Self::is_withdrawable(config, left.1, right.1);
        Results { are_groups, withdrawable, ..Results::of_window_join(counted, fixed, main) }
    }
}

impl Node for WindowJoin {
    fn kind(&self) -> &'static str {
        "join"
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("left", &self.sides.left), ("right", &self.sides.right)]
    }

    fn read_from(&mut self, output: &str) {
        (self.sides.left, self.sides.right) = (output.into(), output.into());
    }

    fn outputs(&self) -> &'static [Output] {
        &[]
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let before = check.mistakes.len();
        let right = check.take_given()?;
        let left = check.take_given()?;
        self.check_sides(check, &left, &right);
        if check.mistakes.len() > before {
            return None;
        }
        let (left, right) = ((&left.main, left.results.as_ref()?), (&right.main, right.results.as_ref()?));
        let config = self.config(left, right);
        let main = columns(&config);
        let results = self.results(check, (&config, &main), left, right);
        Some(Types { results: Some(results), ..Types::of(main, self.kind()) })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let [left, right] = planning.given.as_slice() else { return };
        let (Some(of_left), Some(of_right)) = (&left.results, &right.results) else { return };
        let config = self.config((&left.main, of_left), (&right.main, of_right));
        let operator = WindowJoinOperator {
            config,
            window: of_left.window,
            left: self.sides.left.list(),
            right: self.sides.right.list(),
        };
        let step = planning.joined(planning.id.clone(), from.into_iter().zip(self.sides.on.clone()), operator);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }

    fn makes_results(&self) -> bool {
        true
    }
}
