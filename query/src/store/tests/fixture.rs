//! A store whose tables the SQL sink has made, filled by hand.

use crate::store::{DAY_MS, HOUR_MS, MINUTE_MS, Store};
use serde_json::{Value, json};
use sqlx::{AnyPool, AssertSqlSafe, any::AnyPoolOptions};
use tempfile::TempDir;
use weir_engine::{
    checkpoint::{CheckpointStore, Staging},
    env::Env,
    operator::CommitterContext,
};
use weir_operators::sink::sql;
use weir_test_support::postgres_server::PostgresServer;

/// 2022-03-04 00:00 UTC, when the sample's clicks begin.
pub(crate) const MARCH: i64 = 1_646_352_000_000;

/// A count of clicks: bucket, filter, ad, count, revision.
pub(crate) type Row = (i64, &'static str, String, i64, i64);

/// A store and a way to write to it.
pub(crate) struct Fixture {
    pub store: Store,
    pub writer: AnyPool,
    _folder: Option<TempDir>,
}

const TOP_KEY: [&str; 4] = ["window_end", "window_start", "filter_id", "rank"];
const TABLES: [&str; 3] = ["ad_counts", "ad_counts_hours", "ad_counts_days"];

impl Fixture {
    /// A store in a SQLite file, with the sink's tables and no rows in them.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
        let fixture = Fixture { _folder: Some(folder), ..Fixture::prepared(&url).await };
        fixture.execute("PRAGMA synchronous = OFF").await;
        fixture
    }

    /// The same in a database of a PostgreSQL server.
    pub(crate) async fn postgres(server: &PostgresServer) -> Self {
        Fixture::prepared(&server.new_database().unwrap()).await
    }

    /// A store in a SQLite file, with one table of such a sink.
    pub(crate) async fn with_table(config: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
        Fixture { _folder: Some(folder), ..Fixture::of_sinks(&url, "web", vec![("sink.store", config)]).await }
    }

    /// The same in a database of a PostgreSQL server.
    pub(crate) async fn with_table_in(server: &PostgresServer, config: Value) -> Self {
        Fixture::of_sinks(&server.new_database().unwrap(), "web", vec![("sink.store", config)]).await
    }

    /// Makes the tables as the job `ad-click` does before it runs.
    async fn prepared(url: &str) -> Self {
        let of_counts = json!({ "description": description(), "table": "ad_counts",
            "columns": columns(&["click_minute", "filter_id", "ad_id", "count", "revision"]),
            "key": ["click_minute", "filter_id", "ad_id"], "revision": "revision",
            "indexes": [{ "columns": ["click_minute", "filter_id", "count"], "where": "count >= 32" },
                        { "columns": ["click_minute"], "where": "revision > 0" }],
            "retention": { "time": "click_minute", "sum": ["count"], "minutes_ms": DAY_MS, "hours_ms": DAY_MS, "days_ms": DAY_MS } });
        let of_tops = json!({ "description": { "key": TOP_KEY }, "table": "top_ads",
            "columns": columns(&["window_end", "window_start", "filter_id", "rank", "ad_id", "count", "revision"]),
            "key": TOP_KEY, "revision": "revision" });
        Fixture::of_sinks(url, "ad-click", vec![("sink.store", of_counts), ("sink.store_top", of_tops)]).await
    }

    async fn of_sinks(url: &str, job: &str, sinks: Vec<(&str, Value)>) -> Self {
        let checkpoints = CheckpointStore::in_memory(job);
        checkpoints.claim_attempt(&Env::default()).await.unwrap();
        for (sink, mut config) in sinks {
            config["url"] = url.into();
            let staging = Staging::new(checkpoints.clone(), sink);
            let context = CommitterContext { staging, ..CommitterContext::single(job, sink) };
            (sql::KIND.stored)(&config).unwrap().committer(context).unwrap().prepare().await.unwrap();
        }
        sqlx::any::install_default_drivers();
        let writer = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
        Fixture { store: Store::open(url, 4).unwrap(), writer, _folder: None }
    }

    /// Runs a statement.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.writer, sql).await;
    }

    /// Puts counts into the table of that bucket width.
    pub(crate) async fn insert(&self, width_ms: i64, rows: &[Row]) {
        let table = match width_ms {
            MINUTE_MS => TABLES[0],
            HOUR_MS => TABLES[1],
            DAY_MS => TABLES[2],
            other => panic!("no table keeps buckets of {other} ms"),
        };
        for rows in rows.chunks(500) {
            let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
            let rows: Vec<String> = rows
                .iter()
                .map(|(at, filter, ad, count, revision)| {
                    format!("({at}, {}, {}, {count}, {revision})", quoted(filter), quoted(ad))
                })
                .collect();
            self.execute(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
        }
    }

    /// Notes a commit of the job `ad-click`, whose filters are `0000` and `0012`.
    pub(crate) async fn commit(&self, checkpoint: i64, staged_at_ms: i64) {
        let committed_at_ms = staged_at_ms + 40;
        self.execute(&format!(
            "UPDATE weir_sinks SET checkpoint = {checkpoint}, staged_at_ms = {staged_at_ms}, committed_at_ms = {committed_at_ms}"
        ))
        .await;
    }
}

/// What the compiler writes into the sink's settings, of this job.
fn description() -> Value {
    json!({ "filters": [{ "id": "0000", "predicate": "true" }, { "id": "0012", "predicate": "country = 'USA'" }],
        "key": ["click_minute", "filter_id", "ad_id"], "time": "click_minute", "window_ms": 60_000,
        "allowed_lateness_ms": 600_000, "running": true })
}

fn columns(names: &[&str]) -> Vec<Value> {
    let type_of = |name: &str| if name.ends_with("_id") { "text" } else { "big_int" };
    names.iter().map(|name| json!({ "name": name, "type": type_of(name) })).collect()
}

async fn execute(writer: &AnyPool, sql: &str) {
    sqlx::query(AssertSqlSafe(sql)).execute(writer).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Range from minute to minute after [`MARCH`].
pub(crate) fn minutes(from: i64, to: i64) -> crate::store::Range {
    crate::store::Range::new(MARCH + from * MINUTE_MS, MARCH + to * MINUTE_MS).unwrap()
}
