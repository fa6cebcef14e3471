//! A node being checked, and what checks of several kinds of nodes have in common: keys, windows and event time.

use arrow::datatypes::DataType;
use weir_operators::expression::type_name;
use weir_operators::filters::FILTER_ID;
use weir_operators::schema::ColumnSchema;
use weir_operators::table::can_be_key;
use weir_operators::window::MOST_WINDOWS;

use super::found::Found;
use super::types::{TimeLost, Types};
use super::window::Window;
use crate::settings::JobSettings;
use weir_operators::definition::duration::show;
use weir_operators::definition::{KeyPath, Mistake};

/// One node being checked.
pub(crate) struct Check<'a> {
    /// The settings of the whole job.
    pub(crate) job: &'a JobSettings,
    /// The node's name.
    pub(crate) name: &'a str,
    /// The node's key in the definition.
    pub(crate) path: KeyPath,
    /// What comes in, at each input.
    pub(crate) given: Vec<Types>,
    /// What a look outside has shown.
    pub(crate) found: &'a Found,
    /// What is wrong, so that it is not known what goes out.
    pub(crate) mistakes: &'a mut Vec<Mistake>,
    /// What is wrong, although what goes out is known, and what stands behind can be checked.
    pub(crate) beside: &'a mut Vec<Mistake>,
}

impl Check<'_> {
    /// What comes in at the one input of a node that has one.
    pub(crate) fn take_given(&mut self) -> Option<Types> {
        self.given.pop()
    }

    /// The columns of a key, of which there is at least one.
    pub(crate) fn key(&mut self, key: &[String], columns: &ColumnSchema) {
        if key.is_empty() && self.mistakes.iter().all(|mistake| mistake.path != self.path) {
            let mistake = Mistake::new(self.path.key("key"), "the key is empty");
            self.mistakes.push(mistake.expected("at least one column"));
        }
        self.key_columns(key, columns);
    }

    /// The columns of a key: there, each once, and of types that are alike in every representation.
    pub(crate) fn key_columns(&mut self, key: &[String], columns: &ColumnSchema) {
        let place = self.path.key("key");
        for (position, name) in key.iter().enumerate() {
            let place = place.index(position);
            if key[..position].contains(name) {
                self.mistakes.push(Mistake::new(place, format!("`{name}` is in the key twice")));
                continue;
            }
            match columns.column(name) {
                None if name == FILTER_ID => self.mistakes.push(
                    Mistake::new(place, "there is no `filter_id`: no filters are defined")
                        .expected("a section [filters], such as \"0000\" = \"true\", or a key without `filter_id`"),
                ),
                None => self.mistakes.push(Mistake::unknown_column(place, name, columns)),
                Some(column)
                    if matches!(column.data_type, DataType::Float16 | DataType::Float32 | DataType::Float64) =>
                {
                    let mistake = Mistake::new(place, format!("`{name}` is a floating-point number"));
                    self.mistakes.push(mistake.expected("a column with exact values"));
                }
                Some(column) if !can_be_key(&column.data_type) => {
                    let message =
                        format!("`{name}` is {}, which cannot be part of a key", type_name(&column.data_type));
                    let expected = "a text, an exact number, a time, bytes or a bool; a `map` can convert it";
                    self.mistakes.push(Mistake::new(place, message).expected(expected));
                }
                Some(_) => {}
            }
        }
    }

    /// Notes rows that are no events with a time.
    pub(crate) fn needs_event_time(&mut self, given: &Types) {
        if given.results.is_some() {
            let message =
                "its rows are results, which later revisions correct; they can't be counted or compared as events";
            let expected = "the name of a source, a map or a dedup before any aggregate";
            self.mistakes.push(Mistake::new(self.path.key("input"), message).expected(expected));
        } else if given.event_time.is_none() {
            let (message, expected) = match &given.time_lost {
                None => {
                    ("its rows have no event time".to_owned(), "`event_time = \"a column\"` in the source".to_owned())
                }
                Some(TimeLost { node, column, computed: Some((name, expression)) }) => (
                    format!(
                        "its rows have no event time: `{node}` computes `{name} = {expression:?}`, which is another column"
                    ),
                    format!(
                        "`{column} = \"{column}\"` in that `select`; or in the source, where lateness is decided: \
                         event_time = {{ name = {name:?}, expression = {expression:?} }}"
                    ),
                ),
                Some(TimeLost { node, column, computed: None }) => (
                    format!("its rows have no event time: the `select` of `{node}` leaves `{column}` out"),
                    format!("`{column} = \"{column}\"` in that `select`"),
                ),
            };
            self.mistakes.push(Mistake::on_key(self.path.clone(), message).expected(expected));
        }
    }

    /// The columns of an operator that has accepted its settings; its own words, where it has not.
    pub(crate) fn accepted(&mut self, columns: weir_engine::Result<ColumnSchema>) -> Option<ColumnSchema> {
        columns.map_err(|error| self.mistakes.push(Mistake::on_key(self.path.clone(), error.message))).ok()
    }

    /// Notes a hopping window that no operator takes.
    pub(crate) fn window(&mut self, window: Window) {
        let Window::Hopping { size, slide } = window else { return };
        let place = self.path.key("window");
        let found = format!("{} by {}", show(size), show(slide));
        let windows = size.as_millis() / slide.as_millis().max(1);
        if windows > u128::from(MOST_WINDOWS) {
            let mistake = Mistake::new(place, format!("each event would be in {windows} windows"));
            let expected = format!(
                "at most {MOST_WINDOWS} windows, as many as a week has minutes: a longer `slide`, or a shorter window"
            );
            self.mistakes.push(mistake.found(found).expected(expected));
        } else if slide.is_zero() || !size.as_millis().is_multiple_of(slide.as_millis()) {
            let mistake = Mistake::new(place, "a window's size must be a multiple of its slide");
            self.mistakes.push(mistake.found(found).expected("such as { hopping = \"5m\", slide = \"1m\" }"));
        }
    }
}
