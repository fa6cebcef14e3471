//! The row of a sink in `weir_sinks`: whose table it is, which checkpoint is in, and who is refused.
//!
//! Every transaction of a committer changes or locks this row first, so that of two committers one comes after the other.

use super::{committable::StagedCheckpoint, config::SqlSinkConfig};
use sqlx::Row;
use weir_engine::{
    error::EngineError,
    ids::{Attempt, CheckpointId},
    operator::CommitterContext,
};
use weir_store::{
    Connection, Dialect, Parameters, Tried,
    tables::{COMMITS, SINKS},
};

/// Commits that the history keeps, by the numbers of their checkpoints.
const HISTORY: u64 = 1_000;

/// A row of `weir_sinks`.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    pub job: String,
    pub sink: String,
    pub table: String,
    /// Committables of attempts before this one are refused.
    pub fence: Attempt,
    /// The newest checkpoint that is in; 0: none.
    pub checkpoint: CheckpointId,
    /// The checkpoint storage that decides what is committed.
    pub owner: String,
}

/// Statements about the row of one sink.
#[derive(Clone, Debug)]
pub(super) struct Markers {
    job: String,
    sink: String,
    table: String,
    description: String,
}

/// Whether a checkpoint may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is next.
    Commit,
    /// It is in.
    Done,
    /// Of several, those up to this one are in.
    Partly(CheckpointId),
}

const COLUMNS: &str = "SELECT job, sink, table_name, fence_attempt, checkpoint, owner FROM";

impl Markers {
    pub fn new(config: &SqlSinkConfig, context: &CommitterContext) -> Self {
        Markers {
            job: context.job.clone(),
            sink: context.sink.clone(),
            table: config.table.clone(),
            description: config.description.to_string(),
        }
    }

    /// The row of this sink.
    pub async fn read(&self, connection: &mut Connection) -> Tried<Option<Marker>> {
        let [job, sink] = parameters(connection.dialect);
        let sql = format!("{COLUMNS} {SINKS} WHERE job = {job} AND sink = {sink}");
        read(connection, sql, self.own()).await
    }

    /// The row of whatever sink has this table.
    pub async fn of_table(&self, connection: &mut Connection) -> Tried<Option<Marker>> {
        let sql = format!("{COLUMNS} {SINKS} WHERE table_name = {}", connection.dialect.parameter(1));
        read(connection, sql, Parameters::default().text(&self.table)).await
    }

    /// Writes the row of this sink, in which no checkpoint is yet.
    pub async fn write(&self, connection: &mut Connection, owner: &str, fence: Attempt) -> Tried<()> {
        let values: Vec<_> = (1..=6).map(|n| connection.dialect.parameter(n)).collect();
        let sql = format!(
            "INSERT INTO {SINKS} (job, sink, table_name, description, fence_attempt, owner, \
             checkpoint, staged_at_ms, committed_at_ms, ended) VALUES ({}, 0, 0, 0, 0)",
            values.join(", ")
        );
        let row = self.own().text(&self.table).text(&self.description).number(fence.0 as i64).text(owner);
        connection.execute("enter the sink", sql, row.into()).await.map(|_| ())
    }

    /// Removes the row of a sink, and its history.
    pub async fn forget(&self, connection: &mut Connection, marker: &Marker) -> Tried<()> {
        let [job, sink] = parameters(connection.dialect);
        for table in [SINKS, COMMITS] {
            let sql = format!("DELETE FROM {table} WHERE job = {job} AND sink = {sink}");
            let values = Parameters::default().text(&marker.job).text(&marker.sink);
            connection.execute("forget the sink", sql, values.into()).await?;
        }
        Ok(())
    }

    /// Says what readers should know of the table, where that has changed.
    pub async fn describe(&self, connection: &mut Connection) -> Tried<()> {
        let [description, job, sink] = parameters(connection.dialect);
        let sql = format!("UPDATE {SINKS} SET description = {description} WHERE job = {job} AND sink = {sink}");
        let values = Parameters::default().text(&self.description).text(&self.job).text(&self.sink);
        connection.execute("describe the sink", sql, values.into()).await?;
        Ok(())
    }

    /// Raises the row to a checkpoint, past all that are committed with it, and locks it. `false`: they may not be committed, or not all
    /// of them any more.
    pub async fn raise(
        &self,
        connection: &mut Connection,
        staged: &StagedCheckpoint,
        owner: &str,
        now_ms: i64,
    ) -> Tried<bool> {
        let [checkpoint, fence, staged_at, now, ended, job, sink, own, below, attempt] = parameters(connection.dialect);
        let sql = format!(
            "UPDATE {SINKS} SET checkpoint = {checkpoint}, fence_attempt = {fence}, staged_at_ms = {staged_at}, \
             committed_at_ms = {now}, ended = {ended} WHERE job = {job} AND sink = {sink} AND owner = {own} AND checkpoint < {below} \
             AND fence_attempt <= {attempt}"
        );
        let (number, attempt) = (staged.checkpoint.0 as i64, staged.attempt.0 as i64);
        let values = Parameters::default().number(number).number(attempt).number(staged.staged_at_ms).number(now_ms);
        let values = values
            .number(staged.last.into())
            .text(&self.job)
            .text(&self.sink)
            .text(owner)
            .number(staged.first().0 as i64)
            .number(attempt);
        Ok(connection.execute("mark the checkpoint", sql, values.into()).await? == 1)
    }

    /// Locks the row if this checkpoint is still the newest that is in. `false`: it is not, another process has continued.
    pub async fn hold(&self, connection: &mut Connection, staged: &StagedCheckpoint, owner: &str) -> Tried<bool> {
        let [job, sink, own, checkpoint, fence] = parameters(connection.dialect);
        let sql = format!(
            "UPDATE {SINKS} SET owner = owner WHERE job = {job} AND sink = {sink} AND owner = {own} \
             AND checkpoint = {checkpoint} AND fence_attempt = {fence}"
        );
        let values = self.own().text(owner).number(staged.checkpoint.0 as i64).number(staged.attempt.0 as i64);
        Ok(connection.execute("hold the sink", sql, values.into()).await? == 1)
    }

    /// Adds each checkpoint of a commit to the history, and forgets old ones.
    pub async fn remember(&self, connection: &mut Connection, staged: &StagedCheckpoint, now_ms: i64) -> Tried<()> {
        let [job, sink, checkpoint, attempt, staged_at, now, rows] = parameters(connection.dialect);
        let sql = format!(
            "INSERT INTO {COMMITS} (job, sink, checkpoint, attempt, staged_at_ms, committed_at_ms, rows) \
             VALUES ({job}, {sink}, {checkpoint}, {attempt}, {staged_at}, {now}, {rows})"
        );
        for of in &staged.each {
            let values = self.own().number(of.checkpoint.0 as i64).number(staged.attempt.0 as i64);
            let values = values.number(of.staged_at_ms).number(now_ms).number(of.rows as i64);
            connection.execute("note the commit", sql.clone(), values.into()).await?;
        }
        let [job, sink, oldest] = parameters(connection.dialect);
        let sql = format!("DELETE FROM {COMMITS} WHERE job = {job} AND sink = {sink} AND checkpoint <= {oldest}");
        let oldest = staged.checkpoint.0.saturating_sub(HISTORY);
        connection.execute("forget old commits", sql, self.own().number(oldest as i64).into()).await?;
        Ok(())
    }

    fn own(&self) -> Parameters {
        Parameters::default().text(&self.job).text(&self.sink)
    }
}

impl Marker {
    /// What is to become of a checkpoint.
    ///
    /// # Errors
    /// When it is not for this table.
    pub fn judge(&self, staged: &StagedCheckpoint, owner: &str, shown: &str) -> Result<Verdict, EngineError> {
        self.check_owner(owner, shown)?;
        if self.checkpoint >= staged.checkpoint {
            return Ok(Verdict::Done);
        }
        if self.fence > staged.attempt {
            return Err(EngineError::fenced(format!(
                "'{}' in '{shown}' was started over by attempt {}: what attempt {} has staged no longer belongs in it",
                self.table, self.fence, staged.attempt
            )));
        }
        if self.checkpoint >= staged.first() {
            return Ok(Verdict::Partly(self.checkpoint));
        }
        if staged.after.is_some_and(|before| self.checkpoint < before) {
            return Err(self.is_behind(staged.after.unwrap_or(self.checkpoint), shown));
        }
        Ok(Verdict::Commit)
    }

    /// Whether the table is where the checkpoint that is resumed from says: `newest` is the newest one that has rows for it;
    /// before they are committed, it may be behind.
    ///
    /// # Errors
    /// When the database or the checkpoints were restored to another state than the other.
    pub fn compare(&self, newest: CheckpointId, is_committed: bool, shown: &str) -> Result<(), EngineError> {
        if self.checkpoint < newest && is_committed {
            return Err(self.is_behind(newest, shown));
        }
        if self.checkpoint <= newest {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "the checkpoint that was restored has rows for '{}' up to checkpoint {newest}, but the table in '{shown}' holds those \
             of checkpoint {} already: an older state of the job was restored than of the database, and resuming would count \
             twice. Restore the newest checkpoints; or restore the database to checkpoint {newest}; or start with --fresh, which \
             empties the table and counts again",
            self.table, self.checkpoint
        )))
    }

    fn is_behind(&self, newest: CheckpointId, shown: &str) -> EngineError {
        EngineError::corrupt(format!(
            "the table '{}' in '{shown}' is at checkpoint {}, but the job has committed checkpoint {newest} to it: an older state of the \
             database was restored than of the job, and the rows in between are missing. Restore a newer state of the database; \
             or restore the job's checkpoints of that time; or start with --fresh, which counts again",
            self.table, self.checkpoint
        ))
    }

    /// The table is not there any more.
    pub fn is_without_table(&self, shown: &str) -> EngineError {
        EngineError::corrupt(format!(
            "the table '{}' in '{shown}' is gone, which held what the job has committed up to checkpoint {}: made anew, it would be \
             without that. Restore it as it was then; or start with --fresh, which counts again",
            self.table, self.checkpoint
        ))
    }

    /// # Errors
    /// When checkpoints of another place decide what is in the table.
    pub fn check_owner(&self, owner: &str, shown: &str) -> Result<(), EngineError> {
        if self.owner == owner {
            return Ok(());
        }
        Err(EngineError::definition(format!(
            "the table '{}' in '{shown}' contains the results of another run of job '{}', whose checkpoints lie elsewhere (another \
             --data-dir or storage, or one that was removed): both together would count twice. Run the job from there; or start \
             it with --fresh, which empties the table; or let it write into another table",
            self.table, self.job
        )))
    }
}

async fn read(connection: &mut Connection, sql: String, values: Parameters) -> Tried<Option<Marker>> {
    let doing = "read weir_sinks";
    let rows = connection.query(doing, sql, values.into()).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let number = |column: usize| row.try_get::<i64, _>(column).map(|number| number.max(0) as u64);
    let read = || -> sqlx::Result<Marker> {
        Ok(Marker {
            job: row.try_get(0)?,
            sink: row.try_get(1)?,
            table: row.try_get(2)?,
            fence: Attempt(number(3)?),
            checkpoint: CheckpointId(number(4)?),
            owner: row.try_get(5)?,
        })
    };
    read().map(Some).map_err(|error| connection.unreadable(doing, &error))
}

/// The places of the first parameters of a statement.
fn parameters<const N: usize>(dialect: Dialect) -> [String; N] {
    std::array::from_fn(|n| dialect.parameter(n + 1))
}
