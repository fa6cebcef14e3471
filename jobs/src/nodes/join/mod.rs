//! `[join.NAME]`: matches rows of two inputs. There are two kinds.
//!
//! A join of events has `within` and `match`: it matches rows of both sides by key and event time, an interval join. What comes out are
//! results: a left row's match may be corrected while late rows still come. A join of results has a `type`: it matches the results of
//! two aggregates by their windows ([`windowed`]). What they have in common are the two [`sides`].

mod check;
mod definition;
mod operator;
mod sides;
mod windowed;

use weir_engine::element::Port;
use weir_operators::definition::Reader;
use weir_operators::join::{JoinColumn, JoinConfig, JoinInput, Match, Side, columns};
use weir_operators::late_gate::LateRule;
use weir_operators::ports;
use weir_operators::schema::ColumnSchema;

use super::check::Check;
use super::inputs::Inputs;
use super::node::Node;
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::results::{Counted, Results};
use super::types::Types;
use super::window::Window;
use operator::JoinOperator;
use weir_operators::definition::duration::millis;

pub use definition::Join;
pub use windowed::WindowJoin;

/// Reads a join; its type says that it is one of results.
pub(super) fn read(node: Reader<'_>) -> Box<dyn Node> {
    match node.has("type") {
        true => Box::new(WindowJoin::read(node)),
        false => Box::new(Join::read(node)),
    }
}

impl Join {
    /// The settings of its operator, for rows of these two kinds.
    fn config(&self, left: &Types, right: &Types) -> JoinConfig {
        let select = self.selected(&left.main, &right.main);
        let [on_left, on_right] = &self.sides.on;
        let input = |side: Side, given: &Types, on: &[String]| {
            let time_column = given.event_time.clone().unwrap_or_default();
            let kept = kept(&given.main, on, &time_column, select.iter().filter(|item| item.side == side));
            JoinInput { on: on.to_vec(), time_column, kept }
        };
        JoinConfig {
            left: input(Side::Left, left, on_left),
            right: input(Side::Right, right, on_right),
            before_ms: millis(self.before),
            after_ms: millis(self.after),
            allowed_lateness_ms: millis(self.allowed_lateness),
            matching: self.matching,
            select,
        }
    }

    /// Whether a later revision may have another match.
    fn is_corrected(&self) -> bool {
        self.matching != Match::All && !self.allowed_lateness.is_zero()
    }

    /// What is known of its results.
    fn results(&self, check: &Check<'_>, config: &JoinConfig, main: &ColumnSchema) -> Results {
        let is_left_time = |item: &&JoinColumn| item.side == Side::Left && item.column == config.left.time_column;
        let left_time = config.select.iter().find(is_left_time);
        let counted = Counted {
            name: check.name.to_owned(),
            key: Vec::new(),
            // They are of no window.
            window: Window::Global { ttl: None }.into(),
            allowed_lateness: self.allowed_lateness,
            computed: Vec::new(),
            sums: Vec::new(),
            count: None,
            is_filtered: false,
            of_results: false,
            of_join: true,
            time: left_time.map_or(String::new(), |item| item.name.clone()),
            arguments: None,
        };
        let is_fixed = |item: &&JoinColumn| {
            item.side == Side::Left || !self.is_corrected() || config.right.on.contains(&item.column)
        };
        Results::of_join(counted, config.select.iter().filter(is_fixed).map(|item| item.name.clone()), main)
    }
}

/// The columns that are kept of a side: those that have to be equal, then the selected ones, but for the event time.
fn kept<'a>(
    given: &ColumnSchema,
    on: &[String],
    time: &str,
    selected: impl Iterator<Item = &'a JoinColumn> + Clone,
) -> ColumnSchema {
    let is_selected = |name: &str| name != time && selected.clone().any(|item| item.column == name);
    let of_on = on.iter().filter_map(|name| given.column(name));
    let others = given.columns.iter().filter(|column| !on.contains(&column.name) && is_selected(&column.name));
    ColumnSchema { columns: of_on.chain(others).cloned().collect() }
}

impl Node for Join {
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
        &[Output::Unmatched, Output::LateLeft, Output::LateRight]
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let before = check.mistakes.len();
        let right = check.take_given()?;
        let left = check.take_given()?;
        self.check_sides(check, &left, &right);
        if check.mistakes.len() > before {
            return None;
        }
        let config = self.config(&left, &right);
        let main = columns(&config);
        let results = self.results(check, &config, &main);
        Some(Types { results: Some(results), ..Types::of(main, self.kind()) })
    }

    /// What is unmatched is withdrawn by the first match that comes late.
    fn beside(&self, _output: Output, own: &Types) -> Types {
        let withdrawable = !self.allowed_lateness.is_zero();
        let results = own.results.clone().map(|results| Results { withdrawable, ..results });
        Types { results, ..own.clone() }
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let [left, right] = planning.given.as_slice() else { return };
        let config = self.config(left, right);
        let operator = JoinOperator { config, left: self.sides.left.list(), right: self.sides.right.list() };
        let step = planning.joined(planning.id.clone(), from.into_iter().zip(self.sides.on.clone()), operator);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
        planning.output(Output::Unmatched, vec![(step, ports::UNMATCHED)]);
    }

    fn makes_results(&self) -> bool {
        true
    }

    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        Some(LateRule::Row { allowed_lateness_ms: millis(self.allowed_lateness) })
    }

    fn spread_by(&self, input: usize) -> Option<&[String]> {
        self.sides.on.get(input).map(Vec::as_slice)
    }
}
