//! Lists of computed columns: what a `select` becomes, and what it carries beside what it names.

use weir_operators::columns::{RECORD_ID, WITHDRAWN};
use weir_operators::expression::Expression;
use weir_operators::map::SelectItem;
use weir_operators::schema::{Column, ColumnSchema};

use super::check::Check;
use super::types::{TimeLost, Types};
use weir_operators::definition::{KeyPath, Mistake};

/// A column's name as an SQL expression.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether an item is this column and nothing else.
pub(crate) fn is_column(item: &SelectItem, name: &str) -> bool {
    item.expression == name || item.expression == quoted(name)
}

/// Whether an item is more than a column, so that it may fail on a row.
pub(crate) fn is_computed(item: &SelectItem) -> bool {
    let column = item.expression.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&item.expression);
    !column.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// The columns that items are, of these.
pub(crate) fn selected(items: &[SelectItem], given: &ColumnSchema) -> ColumnSchema {
    let arrow = given.to_arrow();
    let column = |item: &SelectItem| {
        let expression = Expression::new(&item.expression, &arrow).ok()?;
        let (data_type, nullable) = (expression.data_type().clone(), expression.nullable());
        Some(Column { name: item.name.clone(), data_type, nullable })
    };
    ColumnSchema { columns: items.iter().filter_map(column).collect() }
}

/// The columns that an expression reads; it has been compiled before, so that a failure cannot be its own.
pub(crate) fn read_by(expression: &str, given: &ColumnSchema) -> Vec<String> {
    match Expression::new(expression, &given.to_arrow()) {
        Ok(expression) => expression.columns().map(str::to_owned).collect(),
        Err(_) => given.names().map(str::to_owned).collect(),
    }
}

impl Check<'_> {
    /// Adds the columns that a `select` over results carries beside what it names: the record's id in front, the others behind.
    fn carry(&mut self, given: &Types, items: &mut Vec<(KeyPath, SelectItem)>, carried: &[&str]) {
        let is_another = |(_, item): &&(KeyPath, SelectItem)| item.name == WITHDRAWN && !is_column(item, WITHDRAWN);
        if let Some((place, item)) = items.iter().find(is_another).filter(|_| given.results.is_some()) {
            let mistake = Mistake::new(place.clone(), format!("results have a column `{WITHDRAWN}` of their own"));
            self.mistakes.push(mistake.found(&item.expression).expected("another name"));
            return;
        }
        for name in carried {
            let place = self.path.key("select").key(name);
            match items.iter().find(|(_, item)| item.name == *name) {
                Some((_, item)) if is_column(item, name) => {}
                Some((place, item)) => {
                    let mistake = Mistake::new(place.clone(), format!("results have a column `{name}` of their own"));
                    self.mistakes.push(mistake.found(&item.expression).expected("another name"));
                }
                None => {
                    let at = if *name == RECORD_ID { 0 } else { items.len() };
                    items.insert(at, (place, SelectItem { name: (*name).to_owned(), expression: quoted(name) }));
                }
            }
        }
    }

    /// The output of a list of computed columns.
    pub(crate) fn select(
        &mut self,
        given: &Types,
        mut items: Vec<(KeyPath, SelectItem)>,
        carried: &[&str],
    ) -> Option<Types> {
        self.carry(given, &mut items, carried);
        let input = given.main.to_arrow();
        let mut columns: Vec<Column> = Vec::with_capacity(items.len());
        let mut event_time = None;
        for (place, item) in &items {
            if columns.iter().any(|column| column.name == item.name) {
                let message = format!("there are two columns `{}`", item.name);
                self.mistakes.push(Mistake::on_key(place.clone(), message));
                continue;
            }
            match Expression::new(&item.expression, &input) {
                Ok(expression) => {
                    if event_time.is_none() && expression.as_column() == given.event_time.as_deref() {
                        event_time = Some(item.name.clone()).filter(|_| given.event_time.is_some());
                    }
                    let (data_type, nullable) = (expression.data_type().clone(), expression.nullable());
                    columns.push(Column { name: item.name.clone(), data_type, nullable });
                }
                Err(error) => self.mistakes.push(Mistake::in_expression(place.clone(), &error)),
            }
        }
        let select: Vec<SelectItem> = items.into_iter().map(|(_, item)| item).collect();
        let results = given.results.as_ref().map(|results| results.selected(&select, &given.main));
        let main = ColumnSchema { columns };
        let main = match &results {
            Some(results) => results.nullable(main),
            None => main,
        };
        let time_lost = self.time_lost(given, event_time.as_deref(), &select);
        Some(Types { main, event_time, time_lost, select: Some(select), results, ..given.passed_on() })
    }

    /// What has become of the event time, if it does not come through a `select` as it is.
    fn time_lost(&self, given: &Types, kept: Option<&str>, select: &[SelectItem]) -> Option<TimeLost> {
        let column = given.event_time.as_deref().filter(|_| kept.is_none())?;
        let input = given.main.to_arrow();
        let reads = |item: &&SelectItem| {
            let expression = Expression::new(&item.expression, &input);
            item.name == column || expression.is_ok_and(|expression| expression.columns().any(|read| read == column))
        };
        let computed = select.iter().find(reads).map(|item| (item.name.clone(), item.expression.clone()));
        Some(TimeLost { node: self.path.clone(), column: column.to_owned(), computed })
    }
}
