//! What every join has: two sides, the columns that have to be equal, and the columns of its results.

use arrow::datatypes::DataType;
use weir_operators::definition::{KeyPath, Kind, Mistake, Reader};
use weir_operators::expression::type_name;
use weir_operators::join::{JoinColumn, Side};
use weir_operators::schema::ColumnSchema;
use weir_operators::table::{can_be_key, plain_key_type};

use super::super::check::Check;
use super::super::inputs::Inputs;

/// The two sides of a join.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    pub(super) left: Inputs,
    pub(super) right: Inputs,
    /// The columns of the left and of the right that have to be equal, in pairs.
    pub(super) on: [Vec<String>; 2],
    /// Whether `on` was written as a table, for the places of mistakes.
    on_is_table: bool,
    /// Names and columns, as `left.NAME` or `right.NAME`; none: all columns.
    pub(super) select: Option<Vec<(String, String)>>,
}

impl Sides {
    /// Nothing is equal, and all columns are selected.
    pub(super) fn of(left: Inputs, right: Inputs) -> Self {
        Sides { left, right, on: [Vec::new(), Vec::new()], on_is_table: false, select: None }
    }

    pub(super) fn add_on(&mut self, left: String, right: String) {
        let [of_left, of_right] = &mut self.on;
        of_left.push(left);
        of_right.push(right);
    }

    pub(super) fn add_selected(&mut self, name: String, column: String) {
        self.select.get_or_insert_default().push((name, column));
    }

    /// The keys that every join has.
    pub(super) fn read(node: &Reader<'_>) -> Self {
        let example = "the name of a node, in quotes";
        let (left, right) = (Inputs::read(node, "left", example), Inputs::read(node, "right", example));
        let (on, on_is_table) = read_on(node);
        let (of_left, of_right) = on.into_iter().unzip();
        Sides { left, right, on: [of_left, of_right], on_is_table, select: node.named_texts("select") }
    }

    /// `on` for people.
    pub(super) fn shown_on([left, right]: [&[String]; 2]) -> String {
        let pair = |(left, right): (&String, &String)| match left == right {
            true => left.clone(),
            false => format!("{left} = {right}"),
        };
        left.iter().zip(right).map(pair).collect::<Vec<_>>().join(", ")
    }

    /// The place of a pair of `on`.
    pub(super) fn place_of(&self, path: &KeyPath, position: usize) -> KeyPath {
        let place = path.key("on");
        match self.on[0].get(position) {
            Some(name) if self.on_is_table => place.key(name),
            _ => place.index(position),
        }
    }

    /// Whether each pair of `on` is one of columns that can be equal.
    pub(super) fn check_on(&self, check: &mut Check<'_>, left: &ColumnSchema, right: &ColumnSchema) {
        let [of_left, of_right] = &self.on;
        for (position, (one, other)) in of_left.iter().zip(of_right).enumerate() {
            let place = self.place_of(&check.path, position);
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

    /// The items of `select`, as far as they make sense; none, where it is not given.
    pub(super) fn selected(&self) -> Option<Vec<JoinColumn>> {
        let items = self.select.as_ref()?;
        Some(items.iter().filter_map(|(name, text)| item(name, text)).collect())
    }

    /// Whether these columns can be those of the results, beside their `own`.
    pub(super) fn check_select(
        &self,
        check: &mut Check<'_>,
        (left, right): (&ColumnSchema, &ColumnSchema),
        selected: Vec<JoinColumn>,
        own: &[&str],
    ) {
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
        let mut names: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
        for item in selected {
            let place = if self.select.is_some() { place.key(&item.name) } else { check.path.clone() };
            if names.contains(&item.name) {
                let mistake = Mistake::on_key(place, format!("two columns would be called `{}`", item.name));
                let expected = format!("a `select` with other names than {}, each once", own.join(", "));
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

/// `["user_id"]`, or `{ user_id = "uid" }`; and whether it is the latter.
fn read_on(node: &Reader<'_>) -> (Vec<(String, String)>, bool) {
    node.require("on", "[\"user_id\"], or { left_column = \"right_column\" }");
    match node.value("on").map(|value| &value.kind) {
        Some(Kind::Table(_)) => (node.named_texts("on").unwrap_or_default(), true),
        _ => {
            let names = node.texts("on").unwrap_or_default();
            (names.into_iter().map(|name| (name.clone(), name)).collect(), false)
        }
    }
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
