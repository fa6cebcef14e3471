//! The checks of a sink that keeps a table: what the database would refuse after hours is told before the job starts.

use weir_engine::hidden::without_password;
use weir_operators::columns::{RECORD_ID, REVISION};
use weir_operators::event_time::event_time_type;
use weir_operators::expression::type_name;
use weir_operators::sink::sql::{Dialect, SqlType, check_name};

use super::super::check::Check;
use super::super::types::{Types, unknown_column};
use super::sql::{SqlSink, TableRetention};
use super::sql_table::stored;
use weir_operators::definition::duration::show;
use weir_operators::definition::{KeyPath, Mistake};

impl Check<'_> {
    /// Checks a sink that writes these columns into a table.
    pub(super) fn sql_sink(&mut self, place: &KeyPath, sql: &SqlSink, given: &Types, written: &Types) {
        let before = self.mistakes.len();
        if let Err(error) = Dialect::of(&sql.url) {
            let (message, expected) = error.message.split_once("; ").unwrap_or((error.message.as_str(), ""));
            let mistake =
                Mistake::new(self.path.key("url"), message).found(format!("{:?}", without_password(&sql.url)));
            self.mistakes.push(mistake.expected(expected));
        }
        self.table_name(sql);
        self.table_columns(place, written);
        let keyed = self.mistakes.len();
        self.table_key(sql, written);
        if self.mistakes.len() == keyed {
            self.result_key(sql, written);
        }
        self.table_revision(written);
        for (number, index) in sql.indexes.iter().enumerate() {
            let place = self.path.key("indexes").index(number).key("columns");
            self.known_columns(&place, &index.columns, written);
        }
        // What else is wrong would be echoed there.
        if let Some(retention) = sql.retention.as_ref().filter(|_| self.mistakes.len() == before) {
            self.retention(sql, retention, given, written);
        }
    }

    fn table_name(&mut self, sql: &SqlSink) {
        // A name that is missing was told of before.
        if sql.table.is_empty() {
            return;
        }
        if check_name(&sql.table).is_err() {
            let mistake = Mistake::new(self.path.key("table"), "this can't be the name of a table");
            self.mistakes.push(mistake.found(format!("{:?}", sql.table)).expected(NAMES));
        }
        if sql.table.starts_with("weir_") {
            let mistake = Mistake::new(self.path.key("table"), "names that begin with `weir_` are Weir's own");
            self.mistakes.push(mistake.found(format!("{:?}", sql.table)).expected("another name"));
        }
    }

    fn table_columns(&mut self, place: &KeyPath, written: &Types) {
        for column in stored(written) {
            if check_name(&column.name).is_err() {
                let message = format!("`{}` can't be the name of a table's column", column.name);
                self.mistakes.push(Mistake::new(place.clone(), message).expected(format!("a `select` with {NAMES}")));
            }
            if SqlType::of(&column.data_type).is_none() {
                let message = format!("`{}` is {}, which no table holds", column.name, type_name(&column.data_type));
                let expected = "a `select` with a number, a text, a timestamp or bytes in its place";
                self.mistakes.push(Mistake::new(place.clone(), message).expected(expected));
            }
        }
    }

    fn table_key(&mut self, sql: &SqlSink, written: &Types) {
        let place = self.path.key("key");
        let Some(key) = &sql.key else {
            if written.main.column(RECORD_ID).is_none() {
                let mistake = Mistake::on_key(self.path.clone(), "its rows have no `record_id`, and no `key` is named");
                self.mistakes.push(mistake.expected("key = [...], the columns that tell two rows apart"));
            }
            return;
        };
        if key.is_empty() {
            let mistake = Mistake::new(place.clone(), "a table without a key would hold rows twice after a restart");
            self.mistakes.push(mistake.expected("the columns that tell two rows apart"));
        }
        self.known_columns(&place, key, written);
        for (number, name) in key.iter().enumerate() {
            if written.main.column(name).and_then(|column| SqlType::of(&column.data_type)) == Some(SqlType::Double) {
                let mistake = Mistake::new(place.index(number), format!("`{name}` is a floating-point number"));
                self.mistakes.push(mistake.expected("a column whose values are equal or not, without rounding"));
            }
            if key[..number].contains(name) {
                let mistake = Mistake::new(place.index(number), format!("`{name}` stands there twice"));
                self.mistakes.push(mistake.expected("each column once"));
            }
        }
        if key.iter().any(|name| name == REVISION) && written.results.is_some() {
            let message =
                "with the revision in the key every correction would be a row beside the one that it corrects";
            self.mistakes.push(Mistake::new(place, message).expected("the key without `revision`"));
        }
    }

    /// Results are corrected later: the table must know which is newer.
    fn table_revision(&mut self, written: &Types) {
        if written.results.is_none() {
            return;
        }
        let whole = |column: &weir_operators::schema::Column| column.data_type.is_integer();
        if !written.main.column(REVISION).is_some_and(whole) {
            let message = "it does not write `revision`, which tells a correction from what it corrects";
            self.mistakes.push(Mistake::new(self.path.key("select"), message).expected("\"revision\" in the list"));
        }
    }

    fn known_columns(&mut self, place: &KeyPath, names: &[String], written: &Types) {
        for (number, name) in names.iter().enumerate() {
            if written.main.column(name).is_none() {
                self.mistakes.push(unknown_column(place.index(number), name, &written.main));
            }
        }
    }

    fn retention(&mut self, sql: &SqlSink, retention: &TableRetention, given: &Types, written: &Types) {
        let place = self.path.key("retention");
        match written.main.column(&retention.time) {
            None => self.mistakes.push(unknown_column(place.key("time"), &retention.time, &written.main)),
            Some(column) if column.data_type != event_time_type() => {
                let message = format!("`{}` is {}", retention.time, type_name(&column.data_type));
                self.mistakes.push(Mistake::new(place.key("time"), message).expected("a column of type timestamp"));
            }
            Some(_) if sql.key.as_ref().and_then(|key| key.first()) != Some(&retention.time) => {
                let message =
                    format!("`{}` is not the first column of the key, so old rows are not found", retention.time);
                self.mistakes.push(Mistake::new(place.key("time"), message).expected("the first column of `key`"));
            }
            Some(_) => {}
        }
        for (number, name) in sql.key.iter().flatten().enumerate() {
            if written.main.column(name).and_then(|column| SqlType::of(&column.data_type)) == Some(SqlType::Numeric) {
                let message = format!("`{name}` is an exact number, which `retention` can't find its way by");
                let mistake = Mistake::new(self.path.key("key").index(number), message);
                self.mistakes.push(mistake.expected("no `retention`, or texts, timestamps and ints in the key"));
            }
        }
        self.sums(sql, retention, given, written);
        self.spans(retention, given);
    }

    /// A column that is neither added up nor part of the key has no value for an hour.
    fn sums(&mut self, sql: &SqlSink, retention: &TableRetention, given: &Types, written: &Types) {
        let place = self.path.key("retention").key("sum");
        self.known_columns(&place, &retention.sum, written);
        for (number, name) in retention.sum.iter().enumerate() {
            let whole = written.main.column(name).is_none_or(|column| {
                SqlType::of(&column.data_type) == Some(SqlType::BigInt) && column.data_type.is_integer()
            });
            // Of what a map has computed that is not known.
            let results = given.results.as_ref();
            let sums = results.and_then(|results| results.adds_up(computed_from(written, name))).unwrap_or(true);
            if !whole || !sums || sql.key.iter().flatten().any(|key| key == name) {
                let mistake =
                    Mistake::new(place.index(number), format!("`{name}` of an hour is not the sum of its minutes'"));
                self.mistakes.push(mistake.expected("columns with a count or a sum of whole numbers"));
            }
        }
        for column in stored(written) {
            let name = &column.name;
            let known = sql.key.iter().flatten().chain(&retention.sum).any(|other| other == name) || name == REVISION;
            if !known {
                let message =
                    format!("it is not clear what `{name}` of an hour is: it is neither added up nor in the key");
                self.mistakes
                    .push(Mistake::new(place.clone(), message).expected("a `select` without it, or it in `sum`"));
            }
        }
    }

    /// Nothing may be put away that can still be corrected.
    fn spans(&mut self, retention: &TableRetention, given: &Types) {
        let place = self.path.key("retention");
        if let Some(results) = &given.results {
            let open = results.counted.allowed_lateness + results.window.length();
            if retention.minutes < open {
                let message = "windows would be put away that late events still correct";
                let expected = format!("at least the window and its allowed lateness, {}", show(open));
                let mistake = Mistake::new(place.key("minutes"), message).found(show(retention.minutes));
                self.mistakes.push(mistake.expected(expected));
            }
        }
        for (key, shorter, longer) in
            [("hours", retention.minutes, retention.hours), ("days", retention.hours, retention.days)]
        {
            if longer < shorter {
                let mistake = Mistake::new(place.key(key), "they would go before they have come");
                self.mistakes.push(mistake.found(show(longer)).expected(format!("at least {}", show(shorter))));
            }
        }
    }
}

const NAMES: &str = "letters, digits and `_`, no digit first, not longer than 48";

/// The column of the input that a selected one is.
fn computed_from<'a>(written: &'a Types, name: &'a str) -> &'a str {
    let item = written.select.iter().flatten().find(|item| item.name == name);
    item.map_or(name, |item| item.expression.trim_matches('"'))
}
