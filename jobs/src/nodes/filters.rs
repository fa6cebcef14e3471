//! `[filters]`: the conditions under each of which an aggregate with `filter_id` in its key counts a row once.
//!
//! No node of its own: it stands before each of those aggregates.

use serde_json::json;
use weir_operators::expression::Expression;
use weir_operators::filters::{FILTER_ID, FilterConfig, FiltersConfig};
use weir_operators::schema::{Column, ColumnSchema};

use super::operator::{Configuration, Names, Note, Operator, StepColumns, copying, with};
use super::select::read_by;
use super::types::Types;
use crate::settings::JobSettings;
use weir_operators::definition::{KeyPath, Mistake, Reader};

/// The section.
pub(crate) const SECTION: &str = "filters";

/// Reads the section.
pub(crate) fn read(section: &Reader<'_>) -> Vec<(String, String)> {
    section.keys().filter_map(|id| Some((id.to_owned(), section.text(id)?))).collect()
}

/// The column that filters add.
pub(crate) fn column() -> Column {
    Column { name: FILTER_ID.into(), data_type: arrow::datatypes::DataType::Utf8, nullable: false }
}

/// Notes filters that have one name.
pub(crate) fn check_names(job: &JobSettings, mistakes: &mut Vec<Mistake>) {
    for (position, (id, _)) in job.filters.iter().enumerate() {
        if job.filters[..position].iter().any(|(other, _)| other == id) {
            mistakes.push(Mistake::on_key(KeyPath::of([SECTION, id]), format!("there are two filters \"{id}\"")));
        }
    }
}

/// Checks the conditions against the rows of all places where they stand, none where these are not known. The same mistake is
/// reported once.
pub(crate) fn check(job: &JobSettings, places: &[Option<Types>], mistakes: &mut Vec<Mistake>) {
    let mut found: Vec<Mistake> = Vec::new();
    for given in places.iter().flatten() {
        for (id, condition) in &job.filters {
            if let Err(error) = Expression::predicate(condition, &given.main.to_arrow()) {
                let mistake = Mistake::in_expression(KeyPath::of([SECTION, id]), &error);
                if !found.iter().any(|other| other.path == mistake.path) {
                    found.push(mistake);
                }
            }
        }
    }
    if places.is_empty() && !job.filters.is_empty() {
        let message = "no aggregate has `filter_id` in its key, so the filters do nothing";
        found.push(Mistake::warning(KeyPath::of([SECTION]), message));
    }
    mistakes.extend(found);
}

/// The filters as they run.
#[derive(Debug)]
pub(crate) struct FiltersOperator(pub(crate) Vec<(String, String)>);

impl Operator for FiltersOperator {
    fn needs(&self, output: &Names, given: &ColumnSchema) -> Names {
        let mut needed = output.clone();
        needed.remove(FILTER_ID);
        with(needed, self.0.iter().flat_map(|(_, condition)| read_by(condition, given)))
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        ColumnSchema { columns: given.columns.iter().cloned().chain([column()]).collect() }
    }

    fn narrowed(&self, input: ColumnSchema, needed: &Names) -> StepColumns {
        copying(self, input, needed)
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let filter = |(id, condition): &(String, String)| FilterConfig { id: id.clone(), condition: condition.clone() };
        let config = FiltersConfig {
            input: columns.input.clone(),
            filters: self.0.iter().map(filter).collect(),
            output: columns.kept.clone(),
        };
        Configuration::operator("filters", json!(config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let ids: Vec<&str> = self.0.iter().map(|(id, _)| id.as_str()).collect();
        Note::of(format!("{} filters: {}", ids.len(), ids.join(", ")))
    }
}
