//! The second phase: staged rows go into the table in one transaction with the marker that says so. Decided by the marker,
//! never by what a process remembers.
//!
//! Checkpoints that wait go in together, as if they were one: either the marker was below the first of them and is at the last
//! one afterwards, or nothing has happened. Where the first ones are in already, or the database refuses a row, they are parted again.

mod start;

use super::{
    committable::{StagedCheckpoint, StagedRows},
    config::SqlSinkConfig,
    file::DatabaseFile,
    marker::{Markers, Verdict},
    patience::Patience,
    rejected::{self, Rejected},
    retention::{self, Keeper},
    staged_rows,
    upsert::Upsert,
    withdrawn::Withdrawals,
    write_ahead_log::{LONG, WriteAheadLog},
};
use crate::sink::json_rows::text_bytes;
use arrow::array::RecordBatch;
use futures::{FutureExt, future::BoxFuture};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, OnceCell};
use weir_engine::{
    checkpoint::manifest::FileRef,
    error::{EngineError, ErrorKind, Result},
    ids::{CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, CommitterContext, ShownResults, SweepScope, ToCommit},
};
use weir_store::{Connection, Database, Fault, Role, Tried, tables::rejected_from};

/// What is waited for before a job starts.
const AT_A_START: Patience = Patience::Limited(crate::sink::patience::AT_A_START);

/// Rows are put into the order of their keys in groups that take so much, staged.
const GROUP_BYTES: u64 = 16 << 20;

/// Or whose texts take so much in memory, where they are one column: of long ones that repeat a staged file has hardly anything.
const GROUP_TEXT_BYTES: usize = 256 << 20;

/// Commits the rows of one sink of one job.
#[derive(Debug)]
pub struct SqlCommitter {
    config: SqlSinkConfig,
    context: CommitterContext,
    database: Database,
    markers: Markers,
    upsert: Upsert,
    withdrawals: Option<Withdrawals>,
    keeper: Option<Keeper>,
    pub(super) log: WriteAheadLog,
    /// The checkpoint storage that decides what is committed.
    owner: OnceCell<String>,
    /// How many transactions with rows it has committed.
    transactions: AtomicU64,
    file: DatabaseFile,
    /// The connection of the last piece of work, if that went well.
    connection: Mutex<Option<Connection>>,
}

/// How the rows of a checkpoint are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Many at a time.
    Usual,
    /// So that one which the database refuses can be set aside: it has refused one.
    Careful,
}

/// What has become of what was to be committed.
enum Became {
    /// It is in.
    In(Committed),
    /// It was in.
    WasIn,
    /// Of several checkpoints, those up to this one were in; nothing of the others is.
    WasPartlyIn(CheckpointId),
    /// Of several checkpoints, the database has refused some row; nothing is in.
    Refused,
}

/// What a commit has done.
struct Committed {
    rejected: Rejected,
    rows: u64,
    /// The newest time among rows that are final.
    newest: Option<i64>,
}

impl SqlCommitter {
    /// For a sink of a job.
    ///
    /// # Errors
    /// When the URL is of no database that is known.
    pub fn new(config: SqlSinkConfig, context: CommitterContext) -> Result<Self> {
        let database = Database::new(&config.url, Role::Sink, &context.env)?;
        // A missing secret is reported before anything is processed.
        database.resolved().map_err(|error| error.context(&context.sink))?;
        Ok(SqlCommitter {
            markers: Markers::new(&config, &context),
            upsert: Upsert::new(database.dialect, &config),
            withdrawals: Withdrawals::new(database.dialect, &config),
            keeper: Keeper::new(database.dialect, &config),
            log: WriteAheadLog::of(&database, LONG),
            owner: OnceCell::new(),
            transactions: AtomicU64::new(0),
            file: DatabaseFile::of(&database),
            connection: Mutex::default(),
            config,
            context,
            database,
        })
    }

    async fn owner(&self) -> Result<&str> {
        self.owner.get_or_try_init(|| self.context.staging.identity()).await.map(String::as_str)
    }

    async fn try_commit(&self, connection: &mut Connection, staged: &StagedCheckpoint, care: Care) -> Tried<Became> {
        let owner = self.owner().await?;
        if let Some(was) = was(self.judge(connection, staged).await?) {
            return Ok(was);
        }
        // The first rows before the transaction begins: most have no others, and hold no lock while they are fetched.
        let mut parts = staged.parts.as_slice();
        let Some(mut rows) = self.next_rows(&mut parts).await? else { return self.missing(connection, staged).await };
        self.context.env.crash_point("sql_sink.loaded")?;
        connection.begin().await?;
        let now_ms = self.context.env.cluster_clock_ms();
        if !self.markers.raise(connection, staged, owner, now_ms).await? {
            connection.roll_back().await?;
            let changes = || Fault::Passing("the sink's row changes from moment to moment".into());
            return was(self.judge(connection, staged).await?).ok_or_else(changes);
        }
        self.context.env.crash_point("sql_sink.marked")?;
        let mut committed = Committed { rejected: Rejected::default(), rows: 0, newest: None };
        if care == Care::Careful {
            rejected::prepare(connection, &self.config).await?;
        }
        loop {
            if let Some(rows) = staged_rows::merge(&self.config, &rows)? {
                committed.rows += match care {
                    Care::Usual => self.write(connection, &rows).await?,
                    Care::Careful => {
                        let at = (staged.checkpoint, now_ms);
                        self.write_carefully(connection, &rows, at, &mut committed.rejected).await?
                    }
                };
                committed.newest = committed.newest.max(retention::newest_final(&self.config, &rows));
            }
            self.context.waits.step();
            self.context.env.crash_point("sql_sink.written")?;
            if parts.is_empty() {
                break;
            }
            rows = match connection.awake(self.next_rows(&mut parts)).await?? {
                Some(rows) => rows,
                None => return Err(self.lost(staged).into()),
            };
        }
        self.markers.remember(connection, staged, now_ms).await?;
        self.context.env.crash_point("sql_sink.remembered")?;
        connection.commit().await?;
        self.context.env.crash_point("sql_sink.committed")?;
        Ok(Became::In(committed))
    }

    /// Writes rows, one a key, and takes out what is withdrawn. Says how many rows of the table that has changed.
    async fn write(&self, connection: &mut Connection, rows: &RecordBatch) -> Tried<u64> {
        let Some(withdrawals) = &self.withdrawals else { return self.upsert.write(connection, rows).await };
        let (holding, removed) = withdrawals.apply(connection, rows).await?;
        Ok(removed + self.upsert.write(connection, &holding).await?)
    }

    /// The same, piece by piece: of what the database refuses, smaller and smaller pieces, down to rows that are set aside.
    async fn write_carefully(
        &self,
        connection: &mut Connection,
        rows: &RecordBatch,
        at: (CheckpointId, i64),
        rejected: &mut Rejected,
    ) -> Tried<u64> {
        const DOING: &str = "write rows one by one";
        let mut taken = 0;
        // Ranges still to be written, the first of them last.
        let mut ranges = vec![(0, rows.num_rows())];
        while let Some((start, length)) = ranges.pop().filter(|(_, length)| *length > 0) {
            let piece = rows.slice(start, length);
            connection.run(DOING, "SAVEPOINT weir_rows").await?;
            let refused = match self.write(connection, &piece).await {
                Ok(rows) => {
                    taken += rows;
                    connection.run(DOING, "RELEASE SAVEPOINT weir_rows").await?;
                    continue;
                }
                Err(Fault::Refused(refused)) => refused,
                Err(fault) => return Err(fault),
            };
            connection.run(DOING, "ROLLBACK TO SAVEPOINT weir_rows").await?;
            if length == 1 {
                rejected::set_aside(connection, &self.config, &piece, at, &refused.told).await?;
                rejected.rows += 1;
                rejected.reason.get_or_insert(refused.told);
                continue;
            }
            let half = length / 2;
            ranges.push((start + half, length - half));
            ranges.push((start, half));
        }
        Ok(taken)
    }

    async fn judge(&self, connection: &mut Connection, staged: &StagedCheckpoint) -> Tried<Verdict> {
        let shown = self.database.shown();
        match self.markers.read(connection).await? {
            Some(marker) => Ok(marker.judge(staged, self.owner().await?, &shown)?),
            None => Err(EngineError::corrupt(format!(
                "'{shown}' knows nothing of '{}' any more, which has written to '{}' there: {} rows of checkpoint {} are not \
                 committed to what is left. Restore the database from a backup, or start over with --fresh",
                self.context.sink, self.config.table, staged.rows, staged.checkpoint
            ))
            .into()),
        }
    }

    /// The rows of the next files. `None`: a file is gone.
    async fn next_rows(&self, parts: &mut &[FileRef]) -> Result<Option<Vec<RecordBatch>>> {
        let (mut rows, mut bytes, mut texts) = (Vec::new(), 0, 0);
        let has_room = |bytes: u64, texts: usize| bytes < GROUP_BYTES && texts < GROUP_TEXT_BYTES;
        while let Some((part, rest)) = parts.split_first().filter(|_| has_room(bytes, texts)) {
            let Some(content) = self.context.staging.get(part).await? else { return Ok(None) };
            let decoded = staged_rows::decode(&part.path, content)?;
            bytes += part.bytes;
            texts += decoded.iter().map(text_bytes).sum::<usize>();
            rows.extend(decoded);
            *parts = rest;
        }
        Ok(Some(rows))
    }

    /// A staged file is gone: another process was faster, or it is lost.
    async fn missing(&self, connection: &mut Connection, staged: &StagedCheckpoint) -> Tried<Became> {
        was(self.judge(connection, staged).await?).ok_or_else(|| self.lost(staged).into())
    }

    fn lost(&self, staged: &StagedCheckpoint) -> EngineError {
        let paths: Vec<_> = staged.parts.iter().map(|part| part.path.as_str()).collect();
        EngineError::corrupt(format!(
            "a completed checkpoint decided that {} rows go into '{}' in '{}', but they are no longer in '{}'. Somebody \
             has removed them; restore them, or start the job over with --fresh",
            staged.rows,
            self.config.table,
            self.database.shown(),
            paths.join("', '")
        ))
    }

    /// Removes what was committed from the staging area. Repeated it removes nothing.
    async fn clear(&self, staged: &StagedCheckpoint) -> Result<()> {
        for part in &staged.parts {
            self.context.staging.remove(part).await?;
        }
        self.context.env.crash_point("sql_sink.cleared")
    }

    /// The open connection, or a new one, if the file is still there. After an error it is not returned.
    async fn connect(&self, held: &mut Option<Connection>) -> Tried<Connection> {
        self.file.check()?;
        if let Some(connection) = held.take() {
            return Ok(connection);
        }
        let connection = self.database.connect().await?;
        self.file.remember();
        Ok(connection)
    }

    /// As usual; carefully, if the database refuses a row, which is a matter of one checkpoint.
    async fn commit_once(&self, staged: &StagedCheckpoint) -> Tried<Became> {
        match self.commit_with(staged, Care::Usual).await {
            Err(Fault::Refused(_)) if staged.each.len() > 1 => Ok(Became::Refused),
            Err(Fault::Refused(_)) => self.commit_with(staged, Care::Careful).await,
            done => done,
        }
    }

    async fn commit_with(&self, staged: &StagedCheckpoint, care: Care) -> Tried<Became> {
        let mut held = self.connection.lock().await;
        let mut connection = self.connect(&mut held).await?;
        let committed = self.try_commit(&mut connection, staged, care).await?;
        *held = Some(connection);
        Ok(committed)
    }

    /// Says how many rows are set aside: in all, so that it is right whoever has committed before, and after a restart.
    async fn tell_rejected(&self, connection: &mut Connection) -> Tried<()> {
        let rows = rejected::count(connection, &self.config).await?;
        self.context.waits.set_rejected(&self.context.sink, rows);
        Ok(())
    }

    /// The first of several checkpoints, with as many of the others as fit into one transaction. Returns how many are in.
    async fn commit_several(&self, several: &[ToCommit]) -> Result<(usize, CommitOutcome)> {
        let stage = |one: &ToCommit| StagedCheckpoint::new(one.checkpoint, &one.committables);
        let Some((first, others)) = several.split_first() else { return Ok((0, CommitOutcome::AlreadyDone)) };
        let mut together = stage(first)?;
        for next in others {
            if !together.join(stage(next)?) {
                break;
            }
        }
        let many = together.each.len();
        match self.commit_patiently(&together).await? {
            Became::In(_) => Ok((many, CommitOutcome::Done)),
            Became::WasIn => Ok((many, CommitOutcome::AlreadyDone)),
            Became::WasPartlyIn(until) => {
                let were_in = several.iter().take_while(|one| one.checkpoint <= until);
                for one in were_in.clone() {
                    self.clear(&stage(one)?).await?;
                }
                Ok((were_in.count(), CommitOutcome::AlreadyDone))
            }
            Became::Refused => {
                for one in &several[..many] {
                    self.commit_patiently(&stage(one)?).await?;
                }
                Ok((many, CommitOutcome::Done))
            }
        }
    }

    async fn commit_patiently(&self, staged: &StagedCheckpoint) -> Result<Became> {
        let became = Patience::Endless.retry(&self.context, || self.commit_once(staged)).await?;
        let committed = match &became {
            Became::In(committed) => committed,
            Became::WasIn => {
                self.clear(staged).await?;
                return Ok(became);
            }
            Became::WasPartlyIn(_) | Became::Refused => return Ok(became),
        };
        self.clear(staged).await?;
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let mut held = self.connection.lock().await;
        if let Some(reason) = &committed.rejected.reason {
            tracing::warn!(
                sink = self.context.sink,
                checkpoint = %staged.checkpoint,
                rows = committed.rejected.rows,
                reason,
                "the database refused rows; they are in the table '{}'",
                rejected_from(&self.config.table)
            );
            // Once they cannot be counted, the next one who looks counts them, too.
            if let Some(mut connection) = held.take()
                && self.tell_rejected(&mut connection).await.is_ok()
            {
                *held = Some(connection);
            }
        }
        tracing::debug!(sink = self.context.sink, checkpoint = %staged.checkpoint, staged = staged.rows, rows = committed.rows, "committed");
        self.retain(&mut held, staged, committed).await?;
        self.shorten_log(&mut held).await;
        drop(held);
        Ok(became)
    }

    /// Some steps of retention. What fails is done after the next commit.
    async fn retain(
        &self,
        held: &mut Option<Connection>,
        staged: &StagedCheckpoint,
        committed: &Committed,
    ) -> Result<()> {
        let (Some(keeper), Some(newest)) = (&self.keeper, committed.newest) else { return Ok(()) };
        for _ in 0..retention::steps(committed.rows) {
            match self.retain_once(held, staged, keeper, newest).await {
                Ok(true) => self.context.env.crash_point("sql_sink.retained")?,
                Ok(false) => break,
                Err(Fault::Lasting(error)) if error.kind == ErrorKind::Crash => return Err(error),
                Err(fault) => {
                    let cause = fault.into_error().message;
                    tracing::warn!(
                        sink = self.context.sink,
                        cause,
                        "old rows stay for now; the next commit continues with them"
                    );
                    break;
                }
            }
        }
        Ok(())
    }

    /// What fails is done after the next commit.
    async fn shorten_log(&self, held: &mut Option<Connection>) {
        let Some(mut connection) = held.take() else { return };
        match self.log.shorten(&mut connection).await {
            Ok(()) => *held = Some(connection),
            Err(fault) => {
                let cause = fault.into_error().message;
                tracing::warn!(sink = self.context.sink, cause, "the write-ahead log stays as long as it is for now");
            }
        }
    }

    async fn retain_once(
        &self,
        held: &mut Option<Connection>,
        staged: &StagedCheckpoint,
        keeper: &Keeper,
        newest: i64,
    ) -> Tried<bool> {
        let mut connection = self.connect(held).await?;
        connection.begin().await?;
        let owner = self.owner().await?;
        let moved =
            self.markers.hold(&mut connection, staged, owner).await? && keeper.step(&mut connection, newest).await?;
        if moved {
            self.context.env.crash_point("sql_sink.retaining")?;
            connection.commit().await?;
        } else {
            connection.roll_back().await?;
        }
        *held = Some(connection);
        Ok(moved)
    }

    async fn sweep_older(&self, scope: &SweepScope) -> Result<u64> {
        let staged = scope.keep.iter().map(StagedRows::from_committable).collect::<Result<Vec<_>>>()?;
        let keep = staged.into_iter().flat_map(|one| one.parts).map(|part| part.path).collect();
        self.context.staging.sweep(scope.attempt, &keep).await
    }
}

/// What has become of it before. None: it is to be committed.
fn was(verdict: Verdict) -> Option<Became> {
    match verdict {
        Verdict::Commit => None,
        Verdict::Done => Some(Became::WasIn),
        Verdict::Partly(until) => Some(Became::WasPartlyIn(until)),
    }
}

impl Committer for SqlCommitter {
    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        AT_A_START.retry(&self.context, || self.prepare_once()).boxed()
    }

    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        async move {
            match self.commit_patiently(&StagedCheckpoint::new(checkpoint, committables)?).await? {
                Became::In(_) => Ok(CommitOutcome::Done),
                _ => Ok(CommitOutcome::AlreadyDone),
            }
        }
        .boxed()
    }

    fn commit_together<'a>(&'a self, several: &'a [ToCommit]) -> BoxFuture<'a, Result<(usize, CommitOutcome)>> {
        self.commit_several(several).boxed()
    }

    fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        self.sweep_older(scope).boxed()
    }

    fn compare(&self, newest: CheckpointId, is_committed: bool) -> BoxFuture<'_, Result<()>> {
        AT_A_START.retry(&self.context, move || self.compare_once(newest, is_committed)).boxed()
    }

    fn shown(&self) -> BoxFuture<'_, Result<ShownResults>> {
        AT_A_START.retry(&self.context, || self.shown_once()).boxed()
    }

    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        self.reset_all(lineage).boxed()
    }
}
