//! What is wrong with a SQL sink's settings: what the database would refuse after hours is told before the job starts.

use super::{Dialect, OWN, Retention, SqlSinkSettings, SqlType, check_name};
use crate::{
    columns::{RECORD_ID, REVISION, WITHDRAWN},
    definition::{KeyPath, Mistake, duration::show},
    event_time::event_time_type,
    expression::type_name,
    schema::Column,
    sink::{SinkGiven, SinkWindows},
};
use std::time::Duration;
use weir_engine::{hidden::without_password, secrets};

const NAMES: &str = "letters, digits and `_`, no digit first, not longer than 48";

/// The settings of one sink, being checked.
pub(super) struct Check<'a> {
    pub(super) sql: &'a SqlSinkSettings,
    pub(super) given: &'a SinkGiven<'a>,
    pub(super) at: &'a KeyPath,
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

impl Check<'_> {
    pub(super) fn all(mut self) {
        let before = self.mistakes.len();
        self.url();
        self.table_name();
        self.table_columns();
        self.column_twins();
        let keyed = self.mistakes.len();
        self.table_key();
        if self.mistakes.len() == keyed {
            self.result_key();
        }
        self.table_revision();
        for (number, index) in self.sql.indexes.iter().enumerate() {
            let place = self.at.key("indexes").index(number).key("columns");
            self.known_columns(&place, &index.columns);
        }
        // What else is wrong would be echoed there.
        if let Some(retention) = self.sql.retention.as_ref().filter(|_| self.mistakes.len() == before) {
            self.retention(retention);
        }
    }

    /// The type of a column in the table; none where there is no such column, or no such type.
    fn sql_type(&self, name: &str) -> Option<SqlType> {
        self.given.columns.column(name).and_then(|column| SqlType::of(&column.data_type))
    }

    fn url(&mut self) {
        if let Err(wrong) = Dialect::of(&self.sql.url) {
            let mistake = at_url(self.sql, self.at, &wrong.message);
            self.mistakes.push(mistake.expected(wrong.expected.unwrap_or_default()));
        }
    }

    fn table_name(&mut self) {
        let table = &self.sql.table;
        // A name that is missing was told of before.
        if table.is_empty() {
            return;
        }
        if check_name(table).is_err() {
            let mistake = Mistake::new(self.at.key("table"), "this can't be the name of a table");
            self.mistakes.push(mistake.found(format!("{table:?}")).expected(NAMES));
        }
        if table.starts_with(OWN) {
            let mistake = Mistake::new(self.at.key("table"), "names that begin with `weir_` are Weir's own");
            self.mistakes.push(mistake.found(format!("{table:?}")).expected("another name"));
        }
    }

    fn table_columns(&mut self) {
        let place = self.given.columns_at(self.at);
        for column in stored(self.given) {
            if check_name(&column.name).is_err() {
                let message = format!("`{}` can't be the name of a table's column", column.name);
                self.mistakes.push(Mistake::new(place.clone(), message).expected(format!("a `select` with {NAMES}")));
            }
            if SqlType::of(&column.data_type).is_none() {
                let message =
                    format!("`{}` is {}, which cannot be stored in a table", column.name, type_name(&column.data_type));
                let expected = "a `select` with a number, a text, a timestamp or bytes in its place";
                self.mistakes.push(Mistake::new(place.clone(), message).expected(expected));
            }
        }
    }

    /// For SQLite capital and small letters are the same in names.
    fn column_twins(&mut self) {
        if !matches!(Dialect::of(&self.sql.url), Ok(Dialect::Sqlite)) {
            return;
        }
        let names: Vec<&str> = stored(self.given).map(|column| column.name.as_str()).collect();
        for (number, name) in names.iter().enumerate() {
            if let Some(twin) = names[..number].iter().find(|twin| twin.eq_ignore_ascii_case(name)) {
                let message = format!(
                    "`{twin}` and `{name}` are one name in SQLite, where capital letters are the same as small ones"
                );
                let expected = "a `select` that renames one of them";
                self.mistakes.push(Mistake::new(self.given.columns_at(self.at), message).expected(expected));
            }
        }
    }

    fn table_key(&mut self) {
        let place = self.at.key("key");
        let Some(key) = &self.sql.key else {
            if self.given.columns.column(RECORD_ID).is_none() {
                let mistake = Mistake::on_key(self.at.clone(), "its rows have no `record_id`, and no `key` is named");
                self.mistakes.push(mistake.expected("key = [...], the columns that tell two rows apart"));
            }
            return;
        };
        if key.is_empty() {
            let mistake = Mistake::new(place.clone(), "a table without a key would have rows twice after a restart");
            self.mistakes.push(mistake.expected("the columns that tell two rows apart"));
        }
        self.known_columns(&place, key);
        for (number, name) in key.iter().enumerate() {
            if self.sql_type(name) == Some(SqlType::Double) {
                let mistake = Mistake::new(place.index(number), format!("`{name}` is a floating-point number"));
                self.mistakes.push(mistake.expected("a column with exact values"));
            }
            if key[..number].contains(name) {
                let mistake = Mistake::new(place.index(number), format!("`{name}` is listed twice"));
                self.mistakes.push(mistake.expected("each column once"));
            }
        }
        if key.iter().any(|name| name == REVISION) && self.given.results.is_some() {
            let message = "with the revision in the key every correction would be a second row";
            self.mistakes.push(Mistake::new(place, message).expected("the key without `revision`"));
        }
    }

    /// Results are corrected later: the table must know which is newer.
    fn table_revision(&mut self) {
        if self.given.results.is_none() {
            return;
        }
        let whole = |column: &Column| column.data_type.is_integer();
        if !self.given.columns.column(REVISION).is_some_and(whole) {
            let message = "it does not write `revision`, which tells a correction from what it corrects";
            self.mistakes.push(Mistake::new(self.at.key("select"), message).expected("\"revision\" in the list"));
        }
    }

    fn known_columns(&mut self, place: &KeyPath, names: &[String]) {
        for (number, name) in names.iter().enumerate() {
            if self.given.columns.column(name).is_none() {
                self.mistakes.push(Mistake::unknown_column(place.index(number), name, self.given.columns));
            }
        }
    }

    fn retention(&mut self, retention: &Retention) {
        let place = self.at.key("retention");
        let key = self.sql.key.as_deref().unwrap_or_default();
        match self.given.columns.column(&retention.time) {
            None => self.mistakes.push(Mistake::unknown_column(place.key("time"), &retention.time, self.given.columns)),
            Some(column) if column.data_type != event_time_type() => {
                let message = format!("`{}` is {}", retention.time, type_name(&column.data_type));
                self.mistakes.push(Mistake::new(place.key("time"), message).expected("a column of type timestamp"));
            }
            Some(_) if key.first() != Some(&retention.time) => {
                let message =
                    format!("`{}` is not the first column of the key, so old rows are not found", retention.time);
                self.mistakes.push(Mistake::new(place.key("time"), message).expected("the first column of `key`"));
            }
            Some(_) => {}
        }
        for (number, name) in key.iter().enumerate() {
            if self.sql_type(name) == Some(SqlType::Numeric) {
                let message = format!("`{name}` is an exact number, which `retention` can't search by");
                let mistake = Mistake::new(self.at.key("key").index(number), message);
                self.mistakes.push(mistake.expected("no `retention`, or texts, timestamps and ints in the key"));
            }
        }
        self.sums(retention);
        self.spans(retention);
    }

    /// A column that is neither added up nor part of the key has no value for an hour.
    fn sums(&mut self, retention: &Retention) {
        let place = self.at.key("retention").key("sum");
        self.known_columns(&place, &retention.sum);
        let key = self.sql.key.as_deref().unwrap_or_default();
        for (number, name) in retention.sum.iter().enumerate() {
            let whole = self.given.columns.column(name).is_none_or(|column| {
                SqlType::of(&column.data_type) == Some(SqlType::BigInt) && column.data_type.is_integer()
            });
            let known = self.given.columns.column(name).is_some();
            let sums = self.given.results.is_none_or(|results| known && !results.not_sums.contains(name));
            if !whole || !sums || key.contains(name) {
                let mistake =
                    Mistake::new(place.index(number), format!("`{name}` of an hour is not the sum of its minutes'"));
                self.mistakes.push(mistake.expected("columns with a count or a sum of whole numbers"));
            }
        }
        for column in stored(self.given) {
            let name = &column.name;
            if !key.contains(name) && !retention.sum.contains(name) && name != REVISION {
                let message =
                    format!("it is not clear what `{name}` of an hour is: it is neither summed nor in the key");
                self.mistakes
                    .push(Mistake::new(place.clone(), message).expected("a `select` without it, or it in `sum`"));
            }
        }
    }

    /// What is summed up to hours and days in UTC must lie in them, and no event in two of them.
    fn side_by_side(&mut self, place: &KeyPath) {
        let Some(results) = self.given.results else { return };
        let (message, expected) = match results.windows {
            SinkWindows::SideBySide => return,
            SinkWindows::Growing => {
                ("windows that grow hold the same events, which an hour would sum up several times", "tumbling windows")
            }
            SinkWindows::None => ("its results have no window, so they are of no hour", "no `retention`"),
            SinkWindows::Other => (
                "its windows overlap, or don't begin with the hours and days in UTC that they would be summed up to",
                "tumbling windows without `offset` and `timezone`",
            ),
        };
        self.mistakes.push(Mistake::new(place.clone(), message).expected(expected));
    }

    /// Nothing may be summed up that can still be corrected.
    fn spans(&mut self, retention: &Retention) {
        let place = self.at.key("retention");
        let shown = |ms: i64| show(span(ms));
        self.side_by_side(&place);
        if let Some(results) = self.given.results {
            let open = results.allowed_lateness + results.window;
            if span(retention.minutes_ms) < open {
                let message = "windows would be summed up that late events may still correct";
                let expected = format!("at least the window and its allowed lateness, {}", show(open));
                let mistake = Mistake::new(place.key("minutes"), message).found(shown(retention.minutes_ms));
                self.mistakes.push(mistake.expected(expected));
            }
        }
        for (key, shorter, longer) in
            [("hours", retention.minutes_ms, retention.hours_ms), ("days", retention.hours_ms, retention.days_ms)]
        {
            if longer < shorter {
                let mistake = Mistake::new(place.key(key), "they would be removed before they are written");
                self.mistakes.push(mistake.found(shown(longer)).expected(format!("at least {}", shown(shorter))));
            }
        }
    }
}

/// A time of the settings.
pub(super) fn span(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// The columns of the table. What is withdrawn is not in it, so that nothing has to say so.
pub(super) fn stored<'a>(given: &SinkGiven<'a>) -> impl Iterator<Item = &'a Column> + use<'a> {
    let is_result = given.results.is_some();
    given.columns.columns.iter().filter(move |column| !is_result || column.name != WITHDRAWN)
}

/// Notes references to secrets that are not written right, or, where the job runs, lead to nothing. The kind of the database is no
/// secret, and has to be known before.
pub(super) fn check_secrets(sql: &SqlSinkSettings, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
    let resolved = secrets::references(&sql.url).and_then(|references| match references.is_empty() {
        false if runs_here => secrets::resolve(&sql.url).map(|_| ()),
        _ => Ok(()),
    });
    if let Err(wrong) = resolved {
        let mistake = at_url(sql, at, &wrong.message);
        mistakes.push(match wrong.expected {
            None => mistake,
            Some(expected) => mistake.expected(expected),
        });
    }
}

fn at_url(sql: &SqlSinkSettings, at: &KeyPath, message: &str) -> Mistake {
    Mistake::new(at.key("url"), message).found(format!("{:?}", without_password(&sql.url)))
}
