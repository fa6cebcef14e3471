//! A store as the SQL sink leaves it, filled by hand.

use crate::store::{DAY_MS, HOUR_MS, MINUTE_MS, Store};
use sqlx::{AnyPool, AssertSqlSafe, any::AnyPoolOptions};
use tempfile::TempDir;

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

const TABLES: [&str; 3] = ["ad_counts", "ad_counts_hours", "ad_counts_days"];

impl Fixture {
    /// A store in a SQLite file, with the sink's tables and no rows in them.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
        sqlx::any::install_default_drivers();
        let writer = AnyPoolOptions::new().max_connections(1).connect(&format!("{url}?mode=rwc")).await.unwrap();
        execute(&writer, "PRAGMA journal_mode = WAL").await;
        execute(&writer, "PRAGMA synchronous = OFF").await;
        create_tables(&writer, " WITHOUT ROWID").await;
        Fixture { store: Store::open(&url, 4).unwrap(), writer, _folder: Some(folder) }
    }

    /// A store in a fresh database of a PostgreSQL server, as [`Fixture::sqlite`]. The server's address ends in its name.
    pub(crate) async fn postgres(server: &str, database: &str) -> Self {
        sqlx::any::install_default_drivers();
        let admin = AnyPoolOptions::new().max_connections(1).connect(&format!("{server}/postgres")).await.unwrap();
        execute(&admin, &format!("DROP DATABASE IF EXISTS {database}")).await;
        execute(&admin, &format!("CREATE DATABASE {database}")).await;
        let url = format!("{server}/{database}");
        let writer = AnyPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
        create_tables(&writer, "").await;
        Fixture { store: Store::open(&url, 4).unwrap(), writer, _folder: None }
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
        self.execute("DELETE FROM weir_sinks").await;
        let description = r#"{"filters":[{"id":"0000","predicate":"true"},{"id":"0012","predicate":"country = ''USA''"}],
            "key":["click_minute","filter_id","ad_id"],"time":"click_minute","window_ms":60000,
            "allowed_lateness_ms":600000,"running":true,"retention":null}"#;
        self.execute(&format!(
            "INSERT INTO weir_sinks VALUES ('ad-click', 'sink.store', 'ad_counts', '{description}', 1, {checkpoint}, \
             {staged_at_ms}, {})",
            staged_at_ms + 40
        ))
        .await;
    }
}

async fn execute(writer: &AnyPool, sql: &str) {
    sqlx::query(AssertSqlSafe(sql)).execute(writer).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn create_tables(writer: &AnyPool, suffix: &str) {
    for table in TABLES {
        execute(
            writer,
            &format!(
                "CREATE TABLE {table} (click_minute BIGINT, filter_id TEXT, ad_id TEXT, count BIGINT, revision BIGINT, \
                 PRIMARY KEY (click_minute, filter_id, ad_id)){suffix}"
            ),
        )
        .await;
    }
    execute(writer, "CREATE INDEX ad_counts_top ON ad_counts (click_minute, filter_id, count) WHERE count >= 32").await;
    execute(writer, "CREATE INDEX ad_counts_corrected ON ad_counts (click_minute) WHERE revision > 0").await;
    execute(
        writer,
        &format!(
            "CREATE TABLE top_ads (window_end BIGINT, window_start BIGINT, filter_id TEXT, rank BIGINT, ad_id TEXT, \
             count BIGINT, revision BIGINT, PRIMARY KEY (window_end, window_start, filter_id, rank)){suffix}"
        ),
    )
    .await;
    execute(
        writer,
        "CREATE TABLE weir_sinks (job TEXT, sink TEXT, table_name TEXT, description TEXT, fence_attempt BIGINT, \
         checkpoint BIGINT, staged_at_ms BIGINT, committed_at_ms BIGINT, PRIMARY KEY (job, sink))",
    )
    .await;
}

/// Range from minute to minute after [`MARCH`].
pub(crate) fn minutes(from: i64, to: i64) -> crate::store::Range {
    crate::store::Range::new(MARCH + from * MINUTE_MS, MARCH + to * MINUTE_MS).unwrap()
}
