//! The SQL sink against the contract of all sinks, on both databases, and what only it promises.

mod faults;
mod file;
mod read_back;
mod rejected;
mod retention;
mod tables;
mod withdrawn;

use super::{SqlColumn, SqlCommitter, SqlSink, SqlSinkConfig, SqlType};
use crate::sink::conformance::{self, JOB, SINK, SinkUnderTest, context};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{Connection as _, Row};
use std::{sync::Arc, time::Duration};
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    element::Barrier,
    env::Env,
    ids::{Attempt, CheckpointId, Lineage},
    operator::{Committable, Committer, CommitterContext, OperatorContext, Sink, Waits},
};
use weir_store::{Database, Description, Role};
use weir_test_support::postgres_server::PostgresServer;

/// A table in a database that only one test has, and the checkpoint storage beside it.
struct Target {
    config: SqlSinkConfig,
    store: CheckpointStore,
    env: Env,
    waits: Waits,
    _folder: Option<tempfile::TempDir>,
}

impl Target {
    /// Rows of the contract's tests: a number and a time, without revisions.
    fn at(url: String, folder: Option<tempfile::TempDir>) -> Self {
        let column = |name: &str| SqlColumn { name: name.into(), sql_type: SqlType::BigInt };
        let config = SqlSinkConfig {
            url: url.into(),
            table: "numbers".into(),
            columns: vec![column("n"), column("time")],
            key: vec!["n".into()],
            revision: None,
            withdrawn: None,
            newest_by: None,
            indexes: vec![],
            retention: None,
            description: Description { key: vec!["n".into()], ..Description::default() },
        };
        let store = CheckpointStore::in_memory(JOB);
        store.claim_attempt(&Env::from_entropy()).now_or_never().unwrap().unwrap();
        Target { config, store, env: Env::default(), waits: Waits::default(), _folder: folder }
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Target::at(format!("sqlite:{}/out/store.sqlite", folder.path().display()), Some(folder))
    }

    fn postgres(server: &PostgresServer) -> Self {
        Target::at(server.new_database().unwrap(), None)
    }

    /// The same table, for a job whose checkpoints lie elsewhere.
    fn elsewhere(&self) -> Self {
        Target { config: self.config.clone(), ..Target::at(String::clone(&self.config.url), None) }
    }

    fn staging(&self, sink: &str) -> Staging {
        Staging::new(self.store.clone(), sink)
    }

    /// A committer that has not spoken to its database yet.
    fn new_committer(&self, job: &str, sink: &str) -> SqlCommitter {
        let mut config = self.config.clone();
        if sink != SINK {
            config.table = format!("other_{}", config.table);
        }
        let context = CommitterContext {
            job: job.into(),
            sink: sink.into(),
            env: self.env.clone(),
            staging: self.staging(sink),
            waits: self.waits.clone(),
        };
        SqlCommitter::new(config, context).unwrap()
    }

    async fn prepared(&self) -> SqlCommitter {
        let committer = self.new_committer(JOB, SINK);
        committer.prepare().await.unwrap();
        committer
    }

    async fn query<T>(&self, sql: &str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        let database = Database::new(&self.config.url, Role::Sink, &self.env).unwrap();
        let mut connection = database.connect().await.unwrap();
        let rows = connection.query("look", sql, Default::default()).await.unwrap();
        rows.iter().map(|row| row.try_get(0).unwrap()).collect()
    }

    async fn execute(&self, sql: &str) {
        self.query::<i64>(sql).await;
    }

    async fn staged(&self, attempt: u64, numbers: std::ops::Range<i64>, checkpoint: u64) -> Vec<Committable> {
        let mut sink = self.sink(&context(attempt, 0));
        sink.write(conformance::rows(numbers)).await.unwrap();
        sink.stage(Barrier::new(CheckpointId(checkpoint))).await.unwrap()
    }
}

impl SinkUnderTest for Target {
    fn sink(&self, context: &OperatorContext) -> Box<dyn Sink> {
        let context =
            OperatorContext { staging: self.staging(&context.operator), env: self.env.clone(), ..context.clone() };
        Box::new(SqlSink::new(self.config.clone(), &context).unwrap())
    }

    fn committer(&self, job: &str, sink: &str) -> Arc<dyn Committer> {
        Arc::new(Prepared(self.new_committer(job, sink)))
    }

    fn visible(&self) -> BoxFuture<'_, Vec<i64>> {
        async {
            let mut numbers = Vec::new();
            for table in ["numbers", "other_numbers"] {
                let found: Vec<i64> = match self.config.url.starts_with("sqlite:") {
                    true if !std::path::Path::new(self.config.url.trim_start_matches("sqlite:")).exists() => vec![],
                    true => self.query(&format!("SELECT count(*) FROM sqlite_master WHERE name = '{table}'")).await,
                    false => self.query(&format!("SELECT count(*) FROM pg_class WHERE relname = '{table}'")).await,
                };
                if found == [1i64] {
                    numbers.extend(self.query::<i64>(&format!("SELECT n FROM {table}")).await);
                }
            }
            numbers
        }
        .boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, usize> {
        async {
            let mut all = 0;
            for sink in [SINK, "sink.counts-late"] {
                all += self.staging(sink).list().await.unwrap().len();
            }
            all
        }
        .boxed()
    }
}

/// A committer whose tables are made before its first commit, as every attempt of a job does.
struct Prepared(SqlCommitter);

impl Committer for Prepared {
    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, weir_engine::Result<weir_engine::operator::CommitOutcome>> {
        async move {
            self.0.prepare().await?;
            self.0.commit(checkpoint, committables).await
        }
        .boxed()
    }

    fn commit_together<'a>(
        &'a self,
        several: &'a [weir_engine::operator::ToCommit],
    ) -> BoxFuture<'a, weir_engine::Result<(usize, weir_engine::operator::CommitOutcome)>> {
        async move {
            self.0.prepare().await?;
            self.0.commit_together(several).await
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a weir_engine::operator::SweepScope) -> BoxFuture<'a, weir_engine::Result<u64>> {
        self.0.sweep(scope)
    }

    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, weir_engine::Result<u64>> {
        self.0.reset(lineage)
    }
}

/// Runs a test on each database that is installed.
async fn on_each_database(test: impl AsyncFn(Target)) {
    test(Target::sqlite()).await;
    if let Some(server) = PostgresServer::shared().unwrap() {
        test(Target::postgres(&server)).await;
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    conformance::check_all(Target::sqlite).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    conformance::check_all(|| Target::postgres(&server)).await;
}

/// Waits until something holds; a test that waits forever has failed.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let env = Env::default();
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        env.sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}
