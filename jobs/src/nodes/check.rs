//! A node being checked, and what checks of several kinds of nodes have in common: keys, windows and event time.

use std::time::Duration;

use arrow::datatypes::DataType;
use weir_operators::expression::type_name;
use weir_operators::filters::FILTER_ID;
use weir_operators::schema::ColumnSchema;
use weir_operators::table::can_be_key;
use weir_operators::window::{HOUR_MS, MOST_WINDOWS};

use super::found::Found;
use super::types::{TimeLost, Types};
use super::window::{Window, Windows};
use crate::settings::JobSettings;
use weir_operators::definition::duration::show;
use weir_operators::definition::{KeyPath, Mistake};

/// Two lengths of a window.
fn pair(size: Duration, other: Duration) -> String {
    format!("{} by {}", show(size), show(other))
}

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
    /// What comes in at the one input of a node that has one; of several, at the last that has not been taken.
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
            self.key_column(place, name, columns);
        }
    }

    /// A column that is a key, or a part of one: there, and of a type that is alike in every representation.
    pub(crate) fn key_column(&mut self, place: KeyPath, name: &str, columns: &ColumnSchema) {
        match columns.column(name) {
            None if name == FILTER_ID => self.mistakes.push(
                Mistake::new(place, "there is no `filter_id`: no filters are defined")
                    .expected("a section [filters], such as \"0000\" = \"true\", or a key without `filter_id`"),
            ),
            None => self.mistakes.push(Mistake::unknown_column(place, name, columns)),
            Some(column) if matches!(column.data_type, DataType::Float16 | DataType::Float32 | DataType::Float64) => {
                let mistake = Mistake::new(place, format!("`{name}` is a floating-point number"));
                self.mistakes.push(mistake.expected("a column with exact values"));
            }
            Some(column) if !can_be_key(&column.data_type) => {
                let message = format!("`{name}` is {}, which cannot be part of a key", type_name(&column.data_type));
                let expected = "a text, an exact number, a time, bytes or a bool; a `map` can convert it";
                self.mistakes.push(Mistake::new(place, message).expected(expected));
            }
            Some(_) => {}
        }
    }

    /// Notes rows that are no events with a time, at the one input of a node that has one.
    pub(crate) fn needs_event_time(&mut self, given: &Types) {
        self.needs_event_time_of("input", self.path.clone(), given);
    }

    /// The same of one of several inputs.
    pub(crate) fn needs_event_time_at(&mut self, key: &str, given: &Types) {
        self.needs_event_time_of(key, self.path.key(key), given);
    }

    /// `lacking` is where it is said that there is no event time.
    fn needs_event_time_of(&mut self, key: &str, lacking: KeyPath, given: &Types) {
        if given.results.is_some() {
            let message =
                "its rows are results, which later revisions correct; they can't be counted or compared as events";
            let expected = "the name of a source, a map or a dedup before any aggregate";
            self.mistakes.push(Mistake::new(self.path.key(key), message).expected(expected));
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
            self.mistakes.push(Mistake::on_key(lacking, message).expected(expected));
        }
    }

    /// The columns of an operator that has accepted its settings; its own words, where it has not.
    pub(crate) fn accepted(&mut self, columns: weir_engine::Result<ColumnSchema>) -> Option<ColumnSchema> {
        columns.map_err(|error| self.mistakes.push(Mistake::on_key(self.path.clone(), error.message))).ok()
    }

    /// Notes windows that no operator takes.
    pub(crate) fn window(&mut self, windows: Windows) {
        let place = self.path.key("window");
        let per_event = windows.spec().windows_per_event();
        match windows.kind {
            Window::Hopping { size, slide } | Window::Cumulating { size, step: slide }
                if per_event > i64::from(MOST_WINDOWS) =>
            {
                let key = if matches!(windows.kind, Window::Hopping { .. }) { "slide" } else { "step" };
                let mistake = Mistake::new(place, format!("each event would be in {per_event} windows"));
                let expected = format!(
                    "at most {MOST_WINDOWS} windows, as many as a week has minutes: a longer `{key}`, or a shorter window"
                );
                self.mistakes.push(mistake.found(pair(size, slide)).expected(expected));
            }
            Window::Hopping { size, slide } if size < slide => {
                let mistake = Mistake::new(place, "events between two windows would be in none");
                let expected = format!("a `slide` of at most {}, the size", show(size));
                self.mistakes.push(mistake.found(pair(size, slide)).expected(expected));
            }
            Window::Cumulating { size, step } if !size.as_millis().is_multiple_of(step.as_millis().max(1)) => {
                let mistake = Mistake::new(place, "the last step would be shorter than the others");
                let expected = "a size that is a multiple of the step, such as { cumulating = \"1d\", step = \"1h\" }";
                self.mistakes.push(mistake.found(pair(size, step)).expected(expected));
            }
            _ => self.alignment(windows),
        }
    }

    /// Notes windows that cannot begin where they are to.
    fn alignment(&mut self, windows: Windows) {
        let (place, spec) = (self.path.key("window"), windows.spec());
        let Some(period_ms) = spec.period_ms() else { return };
        let span = |ms: i64| show(Duration::from_millis(ms.unsigned_abs()));
        // Those that grow begin with the longest.
        let apart = if matches!(windows.kind, Window::Cumulating { .. }) { spec.size_ms() } else { period_ms };
        let offset_ms = windows.alignment.offset_ms;
        if offset_ms >= apart {
            let message = format!("one window begins each {}, so none is that much later", span(apart));
            let mistake = Mistake::new(place.key("offset"), message).found(span(offset_ms));
            let expected = match offset_ms % apart {
                0 => "no `offset`: it would change nothing".to_owned(),
                same => format!("less than {}, such as {}, which is the same", span(apart), span(same)),
            };
            self.mistakes.push(mistake.expected(expected));
        }
        if let Some(zone) = windows.alignment.timezone
            && (period_ms % HOUR_MS != 0 || spec.size_ms() % HOUR_MS != 0)
        {
            let message = "the clock of a zone is set by hours, and would cut windows that are not of whole hours";
            let mistake = Mistake::new(place.key("timezone"), message).found(format!("\"{zone}\""));
            self.mistakes
                .push(mistake.expected("windows of whole hours, or no `timezone`: minutes are the same in all zones"));
        }
    }
}
