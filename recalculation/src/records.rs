//! What is written down in the store about replays and reconciliations, so that a count can be traced.
//!
//! `weir_replays` has a row for each replay of a job, numbered from 1; the newest number is the only one that may still
//! replace anything. `weir_reconciliations` has a row for each reconciliation, the newest thousand of a job.

use crate::store::{Store, Writing};
use sqlx::any::AnyRow;
use weir_engine::error::{EngineError, Result};
use weir_operators::source::files::EventTimeRange;
use weir_store::{
    Value,
    row::{integer, text},
    tables::{RECONCILIATIONS, REPLAYS},
};

/// How many reconciliations of a job are kept.
const KEPT_RECONCILIATIONS: i64 = 1_000;

/// The columns of the two tables.
const OF_REPLAYS: &str = "job TEXT NOT NULL, number BIGINT NOT NULL, \
    definition TEXT NOT NULL, archive TEXT NOT NULL, from_ms BIGINT NOT NULL, to_ms BIGINT NOT NULL, \
    replaced_to_ms BIGINT NOT NULL, state TEXT NOT NULL, replaced_rows BIGINT NOT NULL, new_rows BIGINT NOT NULL, \
    started_at_ms BIGINT NOT NULL, changed_at_ms BIGINT NOT NULL, PRIMARY KEY (job, number)";
const OF_RECONCILIATIONS: &str = "job TEXT NOT NULL, \
    made_at_ms BIGINT NOT NULL, archive TEXT NOT NULL, from_ms BIGINT NOT NULL, to_ms BIGINT NOT NULL, \
    matching BIGINT NOT NULL, differing BIGINT NOT NULL, PRIMARY KEY (job, made_at_ms)";

const COLUMNS: &str = "number, definition, archive, from_ms, to_ms, replaced_to_ms, state, replaced_rows, new_rows";

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// Its job counts, or its counts replace the old ones.
    Running,
    /// All windows are replaced, but what the replay has made for itself is still there.
    Replaced,
    /// Nothing is left of it but this record.
    Done,
    /// A newer replay was begun before this one was through; what it has made for itself is still there.
    Superseded,
}

impl ReplayState {
    fn name(self) -> &'static str {
        match self {
            ReplayState::Running => "running",
            ReplayState::Replaced => "replaced",
            ReplayState::Done => "done",
            ReplayState::Superseded => "superseded",
        }
    }

    fn of(name: &str) -> Result<Self> {
        let all = [ReplayState::Running, ReplayState::Replaced, ReplayState::Done, ReplayState::Superseded];
        let found = all.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| EngineError::corrupt(format!("{REPLAYS}: there is no state '{name}'")))
    }
}

/// What is to be counted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The job whose counts are replaced.
    pub job: String,
    /// Fingerprint of the definition that counts again.
    pub definition: String,
    /// The archive.
    pub archive: String,
    /// The windows that are replaced lie in it.
    pub range: EventTimeRange,
}

/// A replay as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRecord {
    /// What it counts.
    pub plan: Plan,
    /// Its number among the replays of the job.
    pub number: i64,
    /// Windows before this have been replaced.
    pub replaced_to_ms: i64,
    /// How far it has come.
    pub state: ReplayState,
    /// Rows that were there before.
    pub replaced_rows: i64,
    /// Rows in their place.
    pub new_rows: i64,
}

/// What a transaction of a replay has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Windows before this are replaced now.
    pub to_ms: i64,
    /// Rows that went.
    pub old_rows: u64,
    /// Rows that came.
    pub new_rows: u64,
}

/// Makes the tables where they are not there.
///
/// # Errors
/// When the store refuses.
pub async fn prepare(store: &Store) -> Result<()> {
    for (name, columns) in [(REPLAYS, OF_REPLAYS), (RECONCILIATIONS, OF_RECONCILIATIONS)] {
        // Asked first, so that a user who may not create tables can continue where they exist.
        if !store.has(name).await? {
            store.execute(&format!("CREATE TABLE IF NOT EXISTS {name} ({columns})"), &[]).await?;
        }
    }
    Ok(())
}

/// Goes on with the newest replay of the job if it is this one and not through; else begins a new one, which supersedes it.
///
/// # Errors
/// When the store refuses.
pub async fn begin(store: &Store, plan: &Plan, now_ms: i64) -> Result<ReplayRecord> {
    let mut writing = store.begin().await?;
    let job = Value::from(plan.job.as_str());
    let sql = format!("SELECT {COLUMNS} FROM {REPLAYS} WHERE job = $1 ORDER BY number DESC LIMIT 1");
    let newest = writing.rows(&sql, std::slice::from_ref(&job)).await?;
    let newest = newest.first().map(|row| record(&plan.job, row)).transpose()?;
    if let Some(newest) = &newest
        && newest.plan == *plan
        && newest.state == ReplayState::Running
    {
        return Ok(newest.clone());
    }
    let supersede = format!("UPDATE {REPLAYS} SET state = $1, changed_at_ms = $2 WHERE job = $3 AND state = $4");
    let (superseded, running) = (ReplayState::Superseded.name(), ReplayState::Running.name());
    writing.execute(&supersede, &[superseded.into(), now_ms.into(), job.clone(), running.into()]).await?;
    let number = newest.map_or(1, |newest| newest.number + 1);
    let EventTimeRange { from_ms, to_ms } = plan.range;
    let insert = format!(
        "INSERT INTO {REPLAYS} (job, number, definition, archive, from_ms, to_ms, replaced_to_ms, state, replaced_rows, \
         new_rows, started_at_ms, changed_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, $9, $10)"
    );
    let values = [
        job,
        number.into(),
        plan.definition.as_str().into(),
        plan.archive.as_str().into(),
        from_ms.into(),
        to_ms.into(),
        from_ms.into(),
        running.into(),
        now_ms.into(),
        now_ms.into(),
    ];
    writing.execute(&insert, &values).await?;
    writing.commit().await?;
    let (plan, state) = (plan.clone(), ReplayState::Running);
    Ok(ReplayRecord { plan, number, replaced_to_ms: from_ms, state, replaced_rows: 0, new_rows: 0 })
}

/// Notes progress in the transaction that makes it.
///
/// # Errors
/// [`Fenced`](weir_engine::error::ErrorKind::Fenced) when the replay is not the newest one of its job, or another process
/// has come further with it; then the transaction must not be committed.
pub async fn advance(writing: &mut Writing, record: &ReplayRecord, done: Replaced, now_ms: i64) -> Result<()> {
    let state = if done.to_ms >= record.plan.range.to_ms { ReplayState::Replaced } else { ReplayState::Running };
    let sql = format!(
        "UPDATE {REPLAYS} SET replaced_to_ms = $1, replaced_rows = replaced_rows + $2, new_rows = new_rows + $3, \
         changed_at_ms = $4, state = $5 WHERE job = $6 AND number = $7 AND replaced_to_ms = $8 AND state = $9"
    );
    let rows = |rows: u64| Value::Integer(i64::try_from(rows).unwrap_or(i64::MAX));
    let values = [
        done.to_ms.into(),
        rows(done.old_rows),
        rows(done.new_rows),
        now_ms.into(),
        state.name().into(),
        record.plan.job.as_str().into(),
        record.number.into(),
        record.replaced_to_ms.into(),
        ReplayState::Running.name().into(),
    ];
    if writing.execute(&sql, &values).await? == 1 {
        return Ok(());
    }
    Err(EngineError::fenced(format!(
        "replay {} of '{}' is being run by another process, or a newer one was started; this one stops",
        record.number, record.plan.job
    )))
}

/// The replays of a job that have left something behind.
///
/// # Errors
/// When the store refuses.
pub async fn to_clean(store: &Store, job: &str) -> Result<Vec<ReplayRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM {REPLAYS} WHERE job = $1 AND state IN ($2, $3) ORDER BY number");
    let states = [ReplayState::Replaced, ReplayState::Superseded].map(|state| Value::from(state.name()));
    let rows = store.rows(&sql, &[&[job.into()], states.as_slice()].concat()).await?;
    rows.iter().map(|row| record(job, row)).collect()
}

/// Notes that nothing is left of a replay.
///
/// # Errors
/// When the store refuses.
pub async fn cleaned(store: &Store, record: &ReplayRecord) -> Result<()> {
    let state = match record.state {
        // It never came to its end.
        ReplayState::Superseded => "superseded and removed",
        _ => ReplayState::Done.name(),
    };
    let sql = format!("UPDATE {REPLAYS} SET state = $1 WHERE job = $2 AND number = $3");
    store.execute(&sql, &[state.into(), record.plan.job.as_str().into(), record.number.into()]).await?;
    Ok(())
}

/// The record of a replay.
///
/// # Errors
/// When the store refuses, or there is none.
pub async fn find(store: &Store, job: &str, number: i64) -> Result<ReplayRecord> {
    let sql = format!("SELECT {COLUMNS} FROM {REPLAYS} WHERE job = $1 AND number = $2");
    let rows = store.rows(&sql, &[job.into(), number.into()]).await?;
    let row =
        rows.first().ok_or_else(|| EngineError::corrupt(format!("{REPLAYS} has no replay {number} of '{job}'")))?;
    record(job, row)
}

fn record(job: &str, row: &AnyRow) -> Result<ReplayRecord> {
    Ok(ReplayRecord {
        number: integer(row, 0)?,
        plan: Plan {
            job: job.to_owned(),
            definition: text(row, 1)?,
            archive: text(row, 2)?,
            range: EventTimeRange { from_ms: integer(row, 3)?, to_ms: integer(row, 4)? },
        },
        replaced_to_ms: integer(row, 5)?,
        state: match text(row, 6)?.as_str() {
            "superseded and removed" => ReplayState::Done,
            name => ReplayState::of(name)?,
        },
        replaced_rows: integer(row, 7)?,
        new_rows: integer(row, 8)?,
    })
}

/// Writes a reconciliation down.
///
/// # Errors
/// When the store refuses.
pub async fn reconciled(store: &Store, report: &crate::reconcile::Report, now_ms: i64) -> Result<()> {
    let mut writing = store.begin().await?;
    let job = Value::from(report.job.as_str());
    let count = |count: u64| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
    // Two within a millisecond are one.
    let sql = format!(
        "INSERT INTO {RECONCILIATIONS} (job, made_at_ms, archive, from_ms, to_ms, matching, differing) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (job, made_at_ms) DO NOTHING"
    );
    let values = [
        job.clone(),
        now_ms.into(),
        report.archive.as_str().into(),
        report.from_ms.into(),
        report.to_ms.into(),
        count(report.matching),
        count(report.differing),
    ];
    writing.execute(&sql, &values).await?;
    let oldest = format!(
        "DELETE FROM {RECONCILIATIONS} WHERE job = $1 AND made_at_ms <= (SELECT made_at_ms \
         FROM {RECONCILIATIONS} WHERE job = $1 ORDER BY made_at_ms DESC LIMIT 1 OFFSET CAST($2 AS BIGINT))"
    );
    writing.execute(&oldest, &[job, KEPT_RECONCILIATIONS.into()]).await?;
    writing.commit().await
}
