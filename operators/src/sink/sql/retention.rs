//! Retention of rows: old ones are summed into hours, then days, then removed. Step by step, each in its own transaction.
//!
//! Invariants: a row is moved and summed in one transaction, so that a reader of all three tables in one statement sees it
//! once; a step moves so many rows and no more, so that the next commit does not wait; what is old is measured against rows
//! that are final, so that no row that is moved can still be corrected (`minutes` is at least the allowed lateness), and no
//! clock has a say.

use super::{config::SqlSinkConfig, withdrawn::beside};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use sqlx::Row;
use weir_store::{
    Connection, DAY_MS, Dialect, Grain, HOUR_MS, Parameters, Retention, SqlType, Tried, quoted, quoted_list,
};

/// Rows that one step moves or removes at most.
const STEP_ROWS: usize = 5_000;

/// Steps after a commit: as many rows as came with it are moved, and some more, so that retention keeps up.
const STEPS: u64 = 4;

/// The newest time among rows that are final: no window that ended before can change any more but within its lateness.
pub(super) fn newest_final(config: &SqlSinkConfig, rows: &RecordBatch) -> Option<i64> {
    let retention = config.retention.as_ref()?;
    let times = rows.column(config.column(&retention.time)?).as_primitive::<Int64Type>();
    let revisions = config.revision.as_deref().and_then(|name| config.column(name)).map(|at| rows.column(at));
    let revisions = revisions.map(|column| column.as_primitive::<Int64Type>());
    let is_final = |row: &usize| revisions.is_none_or(|revisions| revisions.value(*row) >= 0);
    (0..rows.num_rows()).filter(is_final).map(|row| times.value(row)).max()
}

/// How many steps are due after a commit of so many rows.
pub(super) fn steps(rows: u64) -> u64 {
    STEPS + 2 * rows / STEP_ROWS as u64
}

/// What one sink's retention does.
#[derive(Debug)]
pub(super) struct Keeper {
    dialect: Dialect,
    config: SqlSinkConfig,
    retention: Retention,
}

/// Rows of one time in one of the tables, which are to go.
struct Old {
    from: String,
    /// The table that they are added up in; none: they are removed.
    to: Option<String>,
    time: i64,
    /// The time that they have there.
    becomes: i64,
}

impl Keeper {
    /// None where everything is kept.
    pub fn new(dialect: Dialect, config: &SqlSinkConfig) -> Option<Self> {
        let retention = config.retention.clone()?;
        Some(Keeper { dialect, config: config.clone(), retention })
    }

    /// One step, within a transaction. `newest`: of rows that are final. `false`: there was nothing to do.
    pub async fn step(&self, connection: &mut Connection, newest: i64) -> Tried<bool> {
        let Some(old) = self.oldest(connection, newest).await? else { return Ok(false) };
        let bound = self.bound(connection, &old).await?;
        if let Some(to) = &old.to {
            self.add_up(connection, &old, to, bound.as_ref()).await?;
        }
        self.remove(connection, &old, bound.as_ref()).await?;
        Ok(true)
    }

    /// What goes next: of the smallest table that has something old.
    async fn oldest(&self, connection: &mut Connection, newest: i64) -> Tried<Option<Old>> {
        let table = &self.config.table;
        let [hours, days] = Grain::ROLLED_UP.map(|grain| grain.table(table));
        let kinds = [
            (days.clone(), None, DAY_MS, self.retention.days_ms),
            (hours.clone(), Some(days), DAY_MS, self.retention.hours_ms),
            (table.clone(), Some(hours), HOUR_MS, self.retention.minutes_ms),
        ];
        // Nothing that is so old comes again, so that nothing has to be kept away.
        let withdrawn = beside(&self.config).map(|beside| (beside.table, None, HOUR_MS, self.retention.minutes_ms));
        for (from, to, unit, kept_ms) in withdrawn.into_iter().chain(kinds) {
            let Some(time) = self.first_time(connection, &from).await? else { continue };
            let becomes = time.div_euclid(unit) * unit;
            // All of the hour, or day, must be old.
            if becomes.saturating_add(unit) <= newest.saturating_sub(kept_ms) {
                return Ok(Some(Old { from, to, time, becomes }));
            }
        }
        Ok(None)
    }

    async fn first_time(&self, connection: &mut Connection, table: &str) -> Tried<Option<i64>> {
        let time = quoted(&self.retention.time);
        let doing = format!("find the oldest row of '{table}'");
        let sql = format!("SELECT {time} FROM {} ORDER BY {time} LIMIT 1", quoted(table));
        let rows = connection.query(&doing, sql, Parameters::default().into()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        row.try_get(0).map(Some).map_err(|error| connection.unreadable(&doing, &error))
    }

    /// The key, behind the time, of the first row that is too many for one step.
    async fn bound(&self, connection: &mut Connection, old: &Old) -> Tried<Option<sqlx::any::AnyRow>> {
        let rest = &self.config.key[1..];
        if rest.is_empty() {
            return Ok(None);
        }
        let keys = quoted_list(rest);
        let sql = format!(
            "SELECT {keys} FROM {} WHERE {} = {} ORDER BY {keys} LIMIT 1 OFFSET {STEP_ROWS}",
            quoted(&old.from),
            quoted(&self.retention.time),
            self.dialect.parameter(1)
        );
        let rows = connection.query("find old rows", sql, Parameters::default().number(old.time).into()).await?;
        Ok(rows.into_iter().next())
    }

    /// The condition of the rows of a step, whose parameters begin with number `first`.
    fn condition(&self, first: usize, bounded: bool) -> String {
        let time = format!("{} = {}", quoted(&self.retention.time), self.dialect.parameter(first));
        if !bounded {
            return time;
        }
        let rest = &self.config.key[1..];
        let value = |(n, name): (usize, &String)| {
            let column = self.config.column(name).map(|at| self.config.columns[at].sql_type);
            column.map_or_else(String::new, |sql_type| self.dialect.value(first + 1 + n, sql_type))
        };
        let values: Vec<_> = rest.iter().enumerate().map(value).collect();
        format!("{time} AND ({}) < ({})", quoted_list(rest), values.join(", "))
    }

    fn parameters(&self, mut values: Parameters, old: &Old, bound: Option<&sqlx::any::AnyRow>) -> Parameters {
        values.push(old.time);
        let Some(bound) = bound else { return values };
        for (n, name) in self.config.key[1..].iter().enumerate() {
            let sql_type = self.config.column(name).map(|at| self.config.columns[at].sql_type);
            match sql_type {
                Some(SqlType::BigInt) => values.push(bound.try_get::<i64, _>(n).ok()),
                Some(SqlType::Bytes) => values.push(bound.try_get::<Vec<u8>, _>(n).ok()),
                Some(SqlType::Double) => values.push(bound.try_get::<f64, _>(n).ok().map(|number| number.to_string())),
                _ => values.push(bound.try_get::<String, _>(n).ok()),
            }
        }
        values
    }

    async fn add_up(
        &self,
        connection: &mut Connection,
        old: &Old,
        to: &str,
        bound: Option<&sqlx::any::AnyRow>,
    ) -> Tried<()> {
        let dialect = self.dialect;
        let names: Vec<String> = self.config.columns.iter().map(|column| column.name.clone()).collect();
        let value = |name: &String| match name {
            name if *name == self.retention.time => match dialect {
                Dialect::Sqlite => dialect.parameter(1),
                Dialect::Postgres => format!("{}::bigint", dialect.parameter(1)),
            },
            // A sum has no revisions.
            name if Some(name) == self.config.revision.as_ref() => "0".into(),
            name => quoted(name),
        };
        let values: Vec<_> = names.iter().map(value).collect();
        let sums = self.retention.sum.iter().map(|name| quoted(name));
        let sums: Vec<_> = sums.map(|name| format!("{name} = {}.{name} + excluded.{name}", quoted(to))).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} WHERE {} ON CONFLICT ({}) DO UPDATE SET {}",
            quoted(to),
            quoted_list(&names),
            values.join(", "),
            quoted(&old.from),
            self.condition(2, bound.is_some()),
            quoted_list(&self.config.key),
            sums.join(", ")
        );
        let values = self.parameters(Parameters::default().number(old.becomes), old, bound);
        connection.execute("add old rows up", sql, values.into()).await.map(|_| ())
    }

    async fn remove(&self, connection: &mut Connection, old: &Old, bound: Option<&sqlx::any::AnyRow>) -> Tried<()> {
        let condition = self.condition(1, bound.is_some());
        let sql = format!("DELETE FROM {} WHERE {condition}", quoted(&old.from));
        let values = self.parameters(Parameters::default(), old, bound);
        connection.execute("remove old rows", sql, values.into()).await.map(|_| ())
    }
}
