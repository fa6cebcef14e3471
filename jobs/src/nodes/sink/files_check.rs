//! A sink of files: the checks of the columns that they hold, and its configuration.

use serde_json::{Value, json};
use weir_operators::event_time::event_time_type;
use weir_operators::expression::type_name;
use weir_operators::sink::files::can_be_written;

use super::super::check::Check;
use super::super::types::{Types, unknown_column};
use super::files::FilesSink;
use super::roll;
use weir_operators::definition::duration::{millis, show};
use weir_operators::definition::{KeyPath, Mistake};

impl FilesSink {
    /// Checks the columns that it is to write.
    pub(super) fn check(&self, place: &KeyPath, written: &Types, check: &mut Check<'_>) {
        if self.path.trim().is_empty() {
            let mistake = Mistake::new(check.path.key("path"), "this names no folder");
            check.mistakes.push(mistake.found(format!("{:?}", self.path)).expected("a folder or a URL of its own"));
        }
        check.mistakes.extend(roll::mistake(self, &check.path, &written.main));
        for column in written.main.columns.iter().filter(|column| !can_be_written(&column.data_type)) {
            let message = format!("`{}` is {}, which no file holds", column.name, type_name(&column.data_type));
            let expected = "a `select` without it, or a `map` that makes something else of it";
            check.mistakes.push(Mistake::new(place.clone(), message).expected(expected));
        }
        let place = check.path.key("partition_column");
        match &self.partition_column {
            Some(name) if !self.hourly => {
                let mistake = Mistake::new(place, format!("`{name}` partitions nothing"));
                check.mistakes.push(mistake.expected("`partition_by = \"hour\"` beside it"));
            }
            Some(name) => match written.main.column(name) {
                None => check.mistakes.push(unknown_column(place, name, &written.main)),
                Some(column) if column.data_type != event_time_type() => {
                    let message = format!("`{name}` is {}", type_name(&column.data_type));
                    check.mistakes.push(Mistake::new(place, message).expected("a column of type timestamp"));
                }
                Some(_) => {}
            },
            None if self.hourly && written.partition_column().is_none() => {
                let message = "it is not clear which column's hour is meant";
                let mistake = Mistake::new(check.path.key("partition_by"), message);
                check.mistakes.push(mistake.expected("`partition_column = \"a timestamp column\"` beside it"));
            }
            None => {}
        }
    }

    /// Its settings.
    pub(super) fn configuration(&self, written: &Types) -> Value {
        let mut config = json!({ "path": self.path, "format": "parquet", "compression": self.compression });
        if self.hourly {
            let column = self.partition_column.as_deref().or_else(|| written.partition_column());
            config["partition_by"] = "hour".into();
            config["partition_column"] = json!(column);
        }
        if let Some(retention) = self.retention {
            config["retention_ms"] = millis(retention).into();
        }
        config
    }

    /// For people.
    pub(super) fn note(&self) -> String {
        let hourly = if self.hourly { ", a folder an hour" } else { "" };
        let kept = self.retention.map_or(String::new(), |kept| format!(", kept for {}", show(kept)));
        format!("Parquet files at {}{hourly}{kept}", self.path)
    }
}
