//! Which rows of a table are asked for, as a statement.
//!
//! Rows come newest first. Those of one key are looked up window by window where the time leads the primary key: a chart then
//! costs as many lookups as it has bars, however many keys a window has.

use super::{Holds, Table, TableColumn};
use crate::store::StoreError;
use weir_store::{Dialect, SqlType, Value, quoted};

/// Which rows of a table are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsQuestion {
    /// The table.
    pub table: String,
    /// Only those of this key: the value of the table's only series column, or a JSON array with a value for each.
    pub key: Option<String>,
    /// The first millisecond of the time that they are of.
    pub from_ms: Option<i64>,
    /// The first one behind it.
    pub to_ms: Option<i64>,
    /// The column by which rows of one time are in order, the largest first; none: by their key.
    pub by: Option<String>,
    /// How many at most. Of a key whose table leads with the time: within so many of the table's newest windows.
    pub limit: u32,
}

/// The statement, and its values.
pub(super) fn statement<'q>(
    question: &'q RowsQuestion,
    table: &'q Table,
    dialect: Dialect,
) -> Result<(String, Vec<Value<'q>>), StoreError> {
    let mut statement = Statement { question, table, dialect, values: Vec::new() };
    let sql = statement.sql()?;
    Ok((sql, statement.values))
}

struct Statement<'q> {
    question: &'q RowsQuestion,
    table: &'q Table,
    dialect: Dialect,
    values: Vec<Value<'q>>,
}

impl<'q> Statement<'q> {
    fn sql(&mut self) -> Result<String, StoreError> {
        let columns: Vec<String> = self.table.columns.iter().map(TableColumn::selected).collect();
        let (columns, limit) = (columns.join(", "), self.question.limit);
        let order = self.order()?;
        let mut conditions = self.of_key()?;
        let name = quoted(&self.table.name);
        if let Some(time) = self.leading_time().filter(|_| !conditions.is_empty()) {
            let newest = self.newest(&name, time)?;
            conditions.push(format!("found.{} = newest.moment", quoted(time)));
            let conditions = conditions.join(" AND ");
            return Ok(format!(
                "WITH RECURSIVE {newest} SELECT {columns} FROM newest JOIN {name} AS found ON {conditions} \
                 ORDER BY {order} LIMIT {limit}"
            ));
        }
        conditions.extend(self.within("found.")?);
        let conditions =
            if conditions.is_empty() { String::new() } else { format!("WHERE {} ", conditions.join(" AND ")) };
        Ok(format!("SELECT {columns} FROM {name} AS found {conditions}ORDER BY {order} LIMIT {limit}"))
    }

    /// A time that the primary key begins with, if what tells rows apart within it is all in the key.
    fn leading_time(&self) -> Option<&'q str> {
        let (time, table) = (self.table.shape.time.as_ref()?, self.table);
        let leads = table.key.first() == Some(time) && table.shape.series.iter().all(|name| table.key.contains(name));
        leads.then_some(time)
    }

    /// The table's newest times, each found behind the one before it.
    fn newest(&mut self, name: &str, time: &str) -> Result<String, StoreError> {
        let (time, limit) = (quoted(time), self.question.limit);
        let until = match self.question.to_ms {
            Some(to_ms) => format!(" WHERE {time} < {}", self.place(to_ms.into())),
            None => String::new(),
        };
        let since = match self.question.from_ms {
            Some(from_ms) => format!(" WHERE moment >= {}", self.place(from_ms.into())),
            None => " WHERE moment IS NOT NULL".into(),
        };
        Ok(format!(
            "walk(moment, nth) AS (SELECT max({time}), 1 FROM {name}{until} UNION ALL \
             SELECT (SELECT max({time}) FROM {name} WHERE {time} < walk.moment), walk.nth + 1 FROM walk \
             WHERE walk.moment IS NOT NULL AND walk.nth < {limit}), newest AS (SELECT moment FROM walk{since})"
        ))
    }

    /// The conditions of a range of time.
    fn within(&mut self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut conditions = Vec::new();
        let bounds = [(self.question.from_ms, ">="), (self.question.to_ms, "<")];
        for (bound, sign) in bounds.into_iter().filter_map(|(bound, sign)| Some((bound?, sign))) {
            let Some(time) = &self.table.shape.time else {
                return Err(StoreError::Question(format!(
                    "the rows of '{}' have no time, so 'from' and 'to' make no sense here",
                    self.table.name
                )));
            };
            let place = self.place(bound.into());
            conditions.push(format!("{prefix}{} {sign} {place}", quoted(time)));
        }
        Ok(conditions)
    }

    /// The conditions of a key.
    fn of_key(&mut self) -> Result<Vec<String>, StoreError> {
        let Some(asked) = &self.question.key else { return Ok(Vec::new()) };
        let (series, table) = (&self.table.shape.series, &self.table.name);
        let wrong = |why: String| StoreError::Question(format!("'key' is '{asked}': {why}"));
        let parts = match series.as_slice() {
            [] => return Err(wrong(format!("'{table}' has one row a time, and no key beside it"))),
            [_] => vec![asked.clone()],
            several => parts(asked).filter(|parts| parts.len() == several.len()).ok_or_else(|| {
                let example: Vec<String> = several.iter().map(|name| format!("\"a {name}\"")).collect();
                wrong(format!("a key of '{table}' is a JSON array of {}: [{}]", several.join(", "), example.join(", ")))
            })?,
        };
        let mut conditions = Vec::with_capacity(parts.len());
        for (name, part) in series.iter().zip(parts) {
            let column = self.column(name)?;
            let value = value(column, part, self.dialect).map_err(wrong)?;
            let compared = column.compared(self.dialect);
            let place = self.place(value);
            conditions.push(format!("{compared} = {place}"));
        }
        Ok(conditions)
    }

    /// The order of the rows.
    fn order(&self) -> Result<String, StoreError> {
        let mut order = Vec::new();
        let by = self.question.by.as_deref().map(|by| self.column(by)).transpose()?;
        // Where each key has one row, its time says nothing of its place among the others.
        if let Some(time) = self.table.shape.time.as_ref().filter(|_| self.table.has_history() || by.is_none()) {
            let absent = if self.table.key.contains(time) { "" } else { " NULLS LAST" };
            order.push(format!("found.{} DESC{absent}", quoted(time)));
        }
        order.extend(by.map(|column| format!("{} DESC NULLS LAST", column.ordered(self.dialect))));
        for name in self.table.shape.series.iter().chain(&self.table.key) {
            let column = self.column(name)?.ordered(self.dialect);
            if !order.iter().any(|one| one.starts_with(&column)) {
                order.push(column);
            }
        }
        Ok(order.join(", "))
    }

    fn column(&self, name: &str) -> Result<&'q TableColumn, StoreError> {
        self.table.column(name).ok_or_else(|| {
            let known: Vec<&str> = self.table.columns.iter().map(|column| column.name.as_str()).collect();
            StoreError::Question(format!(
                "'{}' has no column '{name}'; there are: {}",
                self.table.name,
                known.join(", ")
            ))
        })
    }

    /// The place of one more value.
    fn place(&mut self, value: Value<'q>) -> String {
        self.values.push(value);
        let place = format!("${}", self.values.len());
        match self.values.last() {
            Some(Value::Integer(_)) => format!("CAST({place} AS BIGINT)"),
            _ => place,
        }
    }
}

/// The parts of a key of several columns.
fn parts(asked: &str) -> Option<Vec<String>> {
    let parts: Vec<serde_json::Value> = serde_json::from_str(asked).ok()?;
    let text = |part: serde_json::Value| match part {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    parts.into_iter().map(text).collect()
}

/// A part of a key, as its column has it.
fn value(column: &TableColumn, part: String, dialect: Dialect) -> Result<Value<'static>, String> {
    let number = |part: &str| part.parse::<i64>().map_err(|_| format!("`{}` is a whole number", column.name));
    match column.sql_type {
        SqlType::BigInt if column.holds == Holds::Time => {
            let seconds = number(&part)?.checked_mul(1000);
            seconds.map(Value::Integer).ok_or_else(|| format!("`{}` is a moment in Unix seconds", column.name))
        }
        SqlType::BigInt => Ok(Value::Integer(number(&part)?)),
        SqlType::Double => Err(format!("`{}` is a floating-point number, which is not asked for", column.name)),
        SqlType::Bytes => Ok(Value::from(part.replace('-', "").to_lowercase())),
        SqlType::Text | SqlType::Numeric if dialect.can_hold(&part) => Ok(Value::from(part)),
        SqlType::Text | SqlType::Numeric => Err("no text here has the character 0 in it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::Shape;

    fn table(key: &[&str], time: Option<&str>, series: &[&str]) -> Table {
        let column = |(name, sql_type): (&str, SqlType)| TableColumn {
            name: name.into(),
            sql_type,
            holds: if name == "at" { Holds::Time } else { Holds::of(sql_type) },
        };
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let columns =
            [("at", SqlType::BigInt), ("path", SqlType::Text), ("n", SqlType::BigInt), ("hits", SqlType::BigInt)];
        Table {
            name: "t".into(),
            job: "job".into(),
            key: owned(key),
            columns: columns.into_iter().map(column).collect(),
            shape: Shape {
                time: time.map(Into::into),
                times: owned(&["at"]),
                series: owned(series),
                values: owned(&["hits"]),
            },
            window_ms: None,
            running: false,
            checkpoint: 1,
            read_until_ms: 0,
            ended: false,
        }
    }

    fn asked(table: &Table, question: RowsQuestion) -> Result<(String, usize), String> {
        let question = RowsQuestion { table: "t".into(), limit: 7, ..question };
        let (sql, values) = statement(&question, table, Dialect::Sqlite).map_err(|error| error.to_string())?;
        Ok((sql.split_once("found.\"hits\" ").unwrap().1.to_owned(), values.len()))
    }

    #[test]
    fn newest_rows_come_first_the_largest_of_each_time_before_the_others() {
        let table = table(&["at", "path"], Some("at"), &["path"]);
        let (sql, _) = asked(&table, RowsQuestion::default()).unwrap();
        assert_eq!(sql, "FROM \"t\" AS found ORDER BY found.\"at\" DESC, found.\"path\" LIMIT 7");
        let question = RowsQuestion { by: Some("hits".into()), to_ms: Some(5), ..RowsQuestion::default() };
        let (sql, values) = asked(&table, question).unwrap();
        assert!(sql.contains(
            "WHERE found.\"at\" < CAST($1 AS BIGINT) ORDER BY found.\"at\" DESC, found.\"hits\" DESC NULLS LAST"
        ));
        assert_eq!(values, 1);
        let missing = asked(&table, RowsQuestion { by: Some("hit".into()), ..RowsQuestion::default() }).unwrap_err();
        assert_eq!(missing, "'t' has no column 'hit'; there are: at, path, n, hits");
    }

    #[test]
    fn rows_of_a_key_are_looked_up_window_by_window_where_the_time_leads() {
        let of = |key: &str| RowsQuestion { key: Some(key.into()), ..RowsQuestion::default() };
        let leading = table(&["at", "path"], Some("at"), &["path"]);
        let (sql, values) = asked(&leading, RowsQuestion { from_ms: Some(0), ..of("/a") }).unwrap();
        assert!(
            sql.contains("FROM newest JOIN \"t\" AS found ON found.\"path\" = $1 AND found.\"at\" = newest.moment"),
            "{sql}"
        );
        assert_eq!(values, 2);
        let following = table(&["path", "at"], Some("at"), &["path"]);
        let (sql, _) = asked(&following, of("/a")).unwrap();
        assert!(sql.starts_with("FROM \"t\" AS found WHERE found.\"path\" = $1 ORDER BY found.\"at\" DESC"), "{sql}");
    }

    #[test]
    fn a_key_has_a_value_for_each_column() {
        let of = |key: &str| RowsQuestion { key: Some(key.into()), ..RowsQuestion::default() };
        let two = table(&["at", "path", "n"], Some("at"), &["path", "n"]);
        assert_eq!(asked(&two, of(r#"["/a", 3]"#)).unwrap().1, 2);
        let told = asked(&two, of("/a")).unwrap_err();
        assert!(told.ends_with("a key of 't' is a JSON array of path, n: [\"a path\", \"a n\"]"), "{told}");
        assert!(asked(&two, of(r#"["/a", "x"]"#)).unwrap_err().ends_with("`n` is a whole number"));
        let none = table(&["at"], Some("at"), &[]);
        assert!(asked(&none, of("/a")).unwrap_err().contains("has one row a time"));
        let timeless = table(&["path"], None, &["path"]);
        let told = asked(&timeless, RowsQuestion { from_ms: Some(1), ..RowsQuestion::default() }).unwrap_err();
        assert!(told.contains("have no time"), "{told}");
    }

    #[test]
    fn of_one_row_a_key_the_largest_come_first() {
        let newest = table(&["path"], Some("at"), &["path"]);
        let (sql, _) = asked(&newest, RowsQuestion { by: Some("hits".into()), ..RowsQuestion::default() }).unwrap();
        assert!(sql.contains("ORDER BY found.\"hits\" DESC NULLS LAST, found.\"path\""), "{sql}");
    }
}
