//! Whether the two sides of a join fit: keys, bounds, and the columns of its results.

use std::time::Duration;

use arrow::datatypes::DataType;
use weir_operators::columns::{RECORD_ID, REVISION, WITHDRAWN};
use weir_operators::definition::duration::show;
use weir_operators::definition::{KeyPath, Mistake};
use weir_operators::expression::type_name;
use weir_operators::join::{JoinColumn, Side};
use weir_operators::schema::ColumnSchema;
use weir_operators::table::{can_be_key, plain_key_type};

use super::super::check::Check;
use super::super::types::Types;
use super::definition::Join;

/// Rows that are kept for longer are as good as kept for ever.
const LONGEST: Duration = Duration::from_secs(3_660 * 24 * 3600);

impl Join {
    /// What is wrong with it.
    pub(super) fn check_sides(&self, check: &mut Check<'_>, left: &Types, right: &Types) {
        let before = check.mistakes.len();
        check.needs_event_time_at("left", left);
        check.needs_event_time_at("right", right);
        if check.mistakes.len() > before {
            return; // What else there is to say would be of other rows.
        }
        self.check_on(check, &left.main, &right.main);
        self.check_bounds(check);
        self.check_select(check, &left.main, &right.main);
    }

    fn check_on(&self, check: &mut Check<'_>, left: &ColumnSchema, right: &ColumnSchema) {
        let place = check.path.key("on");
        let [of_left, of_right] = &self.on;
        if of_left.is_empty() && check.mistakes.iter().all(|mistake| mistake.path != check.path) {
            let mistake = Mistake::new(place.clone(), "it names no column that has to be equal");
            check.mistakes.push(mistake.expected("at least one, such as [\"user_id\"]"));
        }
        for (position, (one, other)) in of_left.iter().zip(of_right).enumerate() {
            let place = if self.on_is_table { place.key(one) } else { place.index(position) };
            if of_left[..position].contains(one) {
                check.mistakes.push(Mistake::new(place, format!("`{one}` is in `on` twice")));
                continue;
            }
            match (left.column(one), right.column(other)) {
                (None, _) => check.mistakes.push(unknown(place, "left", one, left)),
                (_, None) => check.mistakes.push(unknown(place, "right", other, right)),
                (Some(left), Some(right)) => {
                    let types = (&left.data_type, &right.data_type);
                    if let Some(mistake) = check_types(place, (one, other), types) {
                        check.mistakes.push(mistake);
                    }
                }
            }
        }
    }

    fn check_bounds(&self, check: &mut Check<'_>) {
        for (key, bound) in
            [("before", self.before), ("after", self.after), ("allowed_lateness", self.allowed_lateness)]
        {
            if bound > LONGEST {
                let message = "rows would be kept for so long that the state would hardly ever stop growing";
                let mistake = Mistake::new(check.path.key("within").key(key), message).found(show(bound));
                check.mistakes.push(mistake.expected(format!("{} at most", show(LONGEST))));
            }
        }
    }

    /// The columns of the results, as far as they make sense.
    pub(super) fn selected(&self, left: &ColumnSchema, right: &ColumnSchema) -> Vec<JoinColumn> {
        match &self.select {
            None => all_columns(left, right),
            Some(items) => items.iter().filter_map(|(name, text)| item(name, text)).collect(),
        }
    }

    fn check_select(&self, check: &mut Check<'_>, left: &ColumnSchema, right: &ColumnSchema) {
        let place = check.path.key("select");
        if self.select.as_ref().is_some_and(Vec::is_empty) {
            let mistake = Mistake::new(place.clone(), "it selects no column");
            check.mistakes.push(mistake.expected("at least one, such as { order_id = \"left.order_id\" }"));
        }
        for (name, text) in self.select.iter().flatten().filter(|(name, text)| item(name, text).is_none()) {
            let mistake = Mistake::new(place.key(name), "it does not say which side's column this is");
            let expected = "`left.NAME` or `right.NAME`; a `map` behind the join computes others";
            check.mistakes.push(mistake.found(format!("{text:?}")).expected(expected));
        }
        let mut names: Vec<String> = [RECORD_ID, REVISION, WITHDRAWN].map(str::to_owned).to_vec();
        for item in self.selected(left, right) {
            let place = if self.select.is_some() { place.key(&item.name) } else { check.path.clone() };
            if names.contains(&item.name) {
                let mistake = Mistake::on_key(place, format!("two columns would be called `{}`", item.name));
                let expected =
                    format!("a `select` with other names than {RECORD_ID}, {REVISION}, {WITHDRAWN}, each once");
                check.mistakes.push(mistake.expected(expected));
                continue;
            }
            let (side, columns) = match item.side {
                Side::Left => ("left", left),
                Side::Right => ("right", right),
            };
            match columns.column(&item.column) {
                None => check.mistakes.push(unknown(place, side, &item.column, columns)),
                Some(column) if !can_be_key(&column.data_type) => {
                    let kind = type_name(&column.data_type);
                    let mistake =
                        Mistake::new(place, format!("`{side}.{}` is {kind}, which a join cannot keep", column.name));
                    let expected = "a text, a number, a time, bytes or a bool; a `map` before can convert it";
                    check.mistakes.push(mistake.expected(expected));
                }
                Some(_) => {}
            }
            names.push(item.name);
        }
    }
}

/// All columns of the left, then those of the right that have other names.
fn all_columns(left: &ColumnSchema, right: &ColumnSchema) -> Vec<JoinColumn> {
    let item = |side: Side| move |name: &str| JoinColumn { name: name.to_owned(), side, column: name.to_owned() };
    let others = right.names().filter(|name| left.column(name).is_none());
    left.names().map(item(Side::Left)).chain(others.map(item(Side::Right))).collect()
}

/// `left.NAME` or `right.NAME`.
fn item(name: &str, text: &str) -> Option<JoinColumn> {
    let (side, column) = match text.split_once('.')? {
        ("left", column) => (Side::Left, column),
        ("right", column) => (Side::Right, column),
        _ => return None,
    };
    Some(JoinColumn { name: name.to_owned(), side, column: column.to_owned() })
}

fn unknown(place: KeyPath, side: &str, name: &str, columns: &ColumnSchema) -> Mistake {
    let mistake = Mistake::unknown_column(place, name, columns);
    Mistake { message: format!("there is no column `{name}` in the rows of `{side}`"), ..mistake }
}

/// What keeps two columns from being compared.
fn check_types(place: KeyPath, (left, right): (&str, &str), (one, other): (&DataType, &DataType)) -> Option<Mistake> {
    if plain_key_type(one) != plain_key_type(other) {
        let message = format!(
            "`left.{left}` is {}, and `right.{right}` {}: they would never be equal",
            type_name(one),
            type_name(other)
        );
        let expected = "columns of one type; a `map` before can convert one";
        return Some(Mistake::new(place, message).expected(expected));
    }
    if matches!(one, DataType::Float16 | DataType::Float32 | DataType::Float64) {
        let mistake = Mistake::new(place, format!("`{left}` is a floating-point number"));
        return Some(mistake.expected("a column with exact values"));
    }
    (!can_be_key(one)).then(|| {
        let message = format!("`{left}` is {}, which cannot be compared", type_name(one));
        Mistake::new(place, message)
            .expected("a text, an exact number, a time, bytes or a bool; a `map` can convert it")
    })
}
