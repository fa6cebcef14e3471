//! Replacements on SQLite: crashes at every step, readers all the while, hours and days, and lists.

use super::*;
use crate::records::{Plan, begin, find, prepare};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use weir_engine::{env::CrashPlan, error::ErrorKind};
use weir_jobs::recalculation::TableWindows;
use weir_store::{DAY_MS, tables::shadow_of};

const MINUTE: i64 = 60_000;
/// Some midnight.
const MIDNIGHT: i64 = 19_055 * DAY_MS;

struct Fixture {
    _folder: tempfile::TempDir,
    url: String,
    store: Store,
    tables: Vec<ShadowedTable>,
}

fn table(name: &str, start: &str, end: Option<&str>, columns: &[&str], key: &[&str], size_ms: i64) -> StoreTable {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    StoreTable {
        sink: name.into(),
        url: String::new().into(),
        table: name.into(),
        columns: texts(columns),
        key: texts(key),
        sums: if end.is_none() { texts(&["count"]) } else { Vec::new() },
        windows: TableWindows { start: Some(start.into()), end: end.map(str::to_owned), size_ms, slide_ms: MINUTE },
        allowed_lateness_ms: 0,
        archive_held_ms: 0,
        counted: None,
    }
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.sqlite").display());
        let store = Store::open(&format!("{url}?mode=rwc")).await.unwrap();
        store.execute("PRAGMA journal_mode = WAL", &[]).await.unwrap();
        let columns = ["click_minute", "filter_id", "ad_id", "count", "revision"];
        let counts = table("ad_counts", "click_minute", None, &columns, &columns[..3], MINUTE);
        let columns = ["window_end", "window_start", "rank", "ad_id"];
        let lists = table("top_ads", "window_start", Some("window_end"), &columns, &columns[..3], 3 * MINUTE);
        for name in ["ad_counts", "ad_counts_hours", "ad_counts_days", "ad_counts__replay_1"] {
            let sql = "(click_minute BIGINT, filter_id TEXT, ad_id TEXT, count BIGINT, revision BIGINT, \
                       PRIMARY KEY (click_minute, filter_id, ad_id)) WITHOUT ROWID";
            store.execute(&format!("CREATE TABLE {name} {sql}"), &[]).await.unwrap();
        }
        for name in ["top_ads", "top_ads__replay_1"] {
            let sql = "(window_end BIGINT, window_start BIGINT, rank BIGINT, ad_id TEXT, \
                       PRIMARY KEY (window_end, window_start, rank)) WITHOUT ROWID";
            store.execute(&format!("CREATE TABLE {name} {sql}"), &[]).await.unwrap();
        }
        prepare(&store).await.unwrap();
        let shadowed = |table: StoreTable| ShadowedTable { shadow: shadow_of(&table.table, 1), table };
        Fixture { _folder: folder, url, store, tables: vec![shadowed(counts), shadowed(lists)] }
    }

    /// Counts of a minute: of so many ads, each with the same count.
    async fn fill(&self, table: &str, start: i64, ads: i64, count: i64) {
        let sql = format!(
            "INSERT INTO {table} WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $2) \
             SELECT $1, '0000', 'ad' || n, $3, 0 FROM n"
        );
        self.store.execute(&sql, &[start.into(), ads.into(), count.into()]).await.unwrap();
    }

    async fn list(&self, table: &str, end: i64, ad: &str) {
        let sql = format!("INSERT INTO {table} VALUES ($1, $2, 1, $3)");
        self.store.execute(&sql, &[end.into(), (end - 3 * MINUTE).into(), ad.into()]).await.unwrap();
    }

    fn plan(&self, from_ms: i64, to_ms: i64) -> Plan {
        let range = EventTimeRange { from_ms, to_ms };
        Plan { job: "ad-click".into(), definition: "d".into(), archive: "raw".into(), range }
    }

    async fn replace(&self, plan: &Plan, env: &Env) -> Result<ReplayRecord> {
        let record = begin(&self.store, plan, 7).await?;
        let mut replacement = Replacement::new(&self.store, env, self.tables.clone(), record.clone()).await?;
        replacement.run(|_| {}).await?;
        find(&self.store, "ad-click", record.number).await
    }

    /// Start → (rows, sum of the counts).
    async fn counts(&self, table: &str) -> BTreeMap<i64, (i64, i64)> {
        let sql = format!("SELECT click_minute, count(*), sum(count) FROM {table} GROUP BY click_minute");
        let rows = self.store.rows(&sql, &[]).await.unwrap();
        let row = |row| (integer(row, 0).unwrap(), (integer(row, 1).unwrap(), integer(row, 2).unwrap()));
        rows.iter().map(row).collect()
    }

    async fn lists(&self) -> Vec<(i64, String)> {
        let rows = self.store.rows("SELECT window_end, ad_id FROM top_ads ORDER BY 1", &[]).await.unwrap();
        rows.iter().map(|row| (integer(row, 0).unwrap(), text(row, 1).unwrap())).collect()
    }
}

fn at(minute: i64) -> i64 {
    MIDNIGHT + minute * MINUTE
}

#[tokio::test]
async fn windows_of_the_range_are_replaced_and_no_others() {
    let fixture = Fixture::new().await;
    for minute in 0..10 {
        fixture.fill("ad_counts", at(minute), 2, 1).await;
    }
    fixture.fill("ad_counts__replay_1", at(3), 3, 5).await;
    fixture.fill("ad_counts__replay_1", at(4), 1, 7).await;
    for end in 1..12 {
        fixture.list("top_ads", at(end), "old").await;
    }
    for end in 3..9 {
        fixture.list("top_ads__replay_1", at(end), "new").await;
    }
    let record = fixture.replace(&fixture.plan(at(2), at(7)), &Env::default()).await.unwrap();
    let mut expected: BTreeMap<i64, (i64, i64)> = [0, 1, 7, 8, 9].map(|minute| (at(minute), (2, 2))).into();
    expected.extend([(at(3), (3, 15)), (at(4), (1, 7))]);
    assert_eq!(fixture.counts("ad_counts").await, expected);
    // What is partly in the range is computed by whoever asks: the replay has counted only a part of it.
    let list = |end: i64, ad: &str| (at(end), ad.to_owned());
    let expected = [
        list(1, "old"),
        list(2, "old"),
        list(5, "new"),
        list(6, "new"),
        list(7, "new"),
        list(10, "old"),
        list(11, "old"),
    ];
    assert_eq!(fixture.lists().await, expected);
    assert_eq!((record.state, record.replaced_to_ms), (ReplayState::Replaced, at(7)));
    assert_eq!((record.replaced_rows, record.new_rows), (10 + 7, 4 + 3));
}

/// The live job corrects single places of a list, so that one that was removed would come back in part.
#[tokio::test]
async fn lists_that_may_still_be_corrected_are_left_as_they_are() {
    let fixture = Fixture::new().await;
    for minute in 0..9 {
        fixture.fill("ad_counts", at(minute), 2, 1).await;
        fixture.fill("ad_counts__replay_1", at(minute), 2, 1).await;
    }
    for end in 1..10 {
        fixture.list("top_ads", at(end), "old").await;
        fixture.list("top_ads__replay_1", at(end), "new").await;
    }
    let record = begin(&fixture.store, &fixture.plan(at(0), at(5)), 7).await.unwrap();
    let env = Env::default();
    let replacement = Replacement::new(&fixture.store, &env, fixture.tables.clone(), record).await.unwrap();
    replacement.while_final_until(Some(at(6))).run(|_| {}).await.unwrap();
    let list = |end: i64, ad: &str| (at(end), ad.to_owned());
    // The one that ends with the sixth minute is final, and only a part of it was counted.
    let new = (1..6).map(|end| list(end, "new"));
    let old = (7..10).map(|end| list(end, "old"));
    assert_eq!(fixture.lists().await, new.chain(old).collect::<Vec<_>>());
}

#[tokio::test]
async fn lists_reach_beyond_the_range_where_nothing_was_counted() {
    let fixture = Fixture::new().await;
    for minute in 2..7 {
        fixture.fill("ad_counts", at(minute), 2, 1).await;
        fixture.fill("ad_counts__replay_1", at(minute), 2, 1).await;
    }
    for end in 3..10 {
        fixture.list("top_ads", at(end), "old").await;
        fixture.list("top_ads__replay_1", at(end), "new").await;
    }
    fixture.replace(&fixture.plan(at(2), at(7)), &Env::default()).await.unwrap();
    let expected: Vec<_> = (3..10).map(|end| (at(end), "new".to_owned())).collect();
    assert_eq!(fixture.lists().await, expected);
}

/// Seed 405243 of the simulation: the counts of the only minute before the range had been removed by hand.
#[tokio::test]
async fn lists_of_minutes_whose_counts_were_removed_are_not_taken_for_whole() {
    let fixture = Fixture::new().await;
    for minute in 3..7 {
        fixture.fill("ad_counts", at(minute), 2, 1).await;
        fixture.fill("ad_counts__replay_1", at(minute), 2, 1).await;
    }
    for end in 3..10 {
        fixture.list("top_ads", at(end), "old").await;
        fixture.list("top_ads__replay_1", at(end), "new").await;
    }
    fixture.replace(&fixture.plan(at(3), at(7)), &Env::default()).await.unwrap();
    let new = (6..10).map(|end| (at(end), "new".to_owned()));
    let expected: Vec<_> = std::iter::once((at(3), "old".to_owned())).chain(new).collect();
    assert_eq!(fixture.lists().await, expected);
}

#[tokio::test]
async fn hours_and_days_are_replaced_as_a_whole() {
    let fixture = Fixture::new().await;
    fixture.fill("ad_counts_days", MIDNIGHT, 4, 100).await;
    // The second hour of the next day is being added up.
    let tomorrow = MIDNIGHT + DAY_MS;
    fixture.fill("ad_counts_hours", tomorrow, 1, 9).await;
    fixture.fill("ad_counts_hours", tomorrow + HOUR_MS, 1, 9).await;
    fixture.fill("ad_counts", tomorrow + HOUR_MS + MINUTE, 5, 1).await;
    fixture.fill("ad_counts", tomorrow + 2 * HOUR_MS, 5, 1).await;
    for start in [at(1), at(700), tomorrow, tomorrow + HOUR_MS, tomorrow + HOUR_MS + MINUTE, tomorrow + 2 * HOUR_MS] {
        fixture.fill("ad_counts__replay_1", start, 2, 3).await;
    }
    let plan = fixture.plan(MIDNIGHT, tomorrow + 3 * HOUR_MS);
    fixture.replace(&plan, &Env::default()).await.unwrap();
    assert_eq!(fixture.counts("ad_counts_days").await, [(MIDNIGHT, (2, 12))].into());
    assert_eq!(fixture.counts("ad_counts_hours").await, [(tomorrow, (2, 6)), (tomorrow + HOUR_MS, (2, 12))].into());
    assert_eq!(fixture.counts("ad_counts").await, [(tomorrow + 2 * HOUR_MS, (2, 6))].into());
    let part = Plan { definition: "other".into(), ..fixture.plan(tomorrow + MINUTE, tomorrow + HOUR_MS) };
    let message = fixture.replace(&part, &Env::default()).await.unwrap_err().message;
    assert!(message.contains("summed into whole hours"), "{message}");
}

#[tokio::test]
async fn a_newer_replay_stops_an_older_one() {
    let fixture = Fixture::new().await;
    fixture.fill("ad_counts", at(0), 2, 1).await;
    let plan = fixture.plan(at(0), at(1));
    let record = begin(&fixture.store, &plan, 7).await.unwrap();
    assert_eq!(begin(&fixture.store, &plan, 8).await.unwrap(), record, "the same goes on");
    let newer = begin(&fixture.store, &Plan { definition: "e".into(), ..plan.clone() }, 9).await.unwrap();
    assert_eq!(newer.number, 2);
    let env = Env::default();
    let mut old = Replacement::new(&fixture.store, &env, fixture.tables.clone(), record).await.unwrap();
    assert_eq!(old.run(|_| {}).await.unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(fixture.counts("ad_counts").await, [(at(0), (2, 2))].into(), "nothing was replaced");
    let left: Vec<i64> =
        records::to_clean(&fixture.store, "ad-click").await.unwrap().iter().map(|old| old.number).collect();
    assert_eq!(left, [1]);
}

/// What a replay that was replaced has made once more is found, whatever its record says.
#[tokio::test]
async fn shadows_are_found_by_their_names() {
    let fixture = Fixture::new().await;
    for name in ["ad_counts__replay_12_withdrawn", "top_ads__replay_3_hours", "ad_counts__replay_x", "ad_counts_2"] {
        fixture.store.execute(&format!("CREATE TABLE {name} (a BIGINT)"), &[]).await.unwrap();
    }
    let tables: Vec<StoreTable> = fixture.tables.iter().map(|one| one.table.clone()).collect();
    assert_eq!(shadow_numbers(&fixture.store, &tables).await.unwrap(), [1, 3, 12].into());
}

/// Readers see each minute with all of its old rows, or all of its new ones, whatever happens to the replay.
#[tokio::test(flavor = "multi_thread")]
async fn no_reader_ever_sees_a_window_half_old_and_half_new() {
    const ADS: i64 = 9_000;
    let fixture = Fixture::new().await;
    for minute in 0..12 {
        fixture.fill("ad_counts", at(minute), ADS, 1).await;
        fixture.fill("ad_counts__replay_1", at(minute), ADS / 2, 4).await;
    }
    let (old, new) = ((ADS, ADS), (ADS / 2, 2 * ADS));
    let done = Arc::new(AtomicBool::new(false));
    let reader = Store::open(&fixture.url).await.unwrap();
    let reading = tokio::spawn({
        let done = done.clone();
        async move {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::SeqCst) {
                let sql = "SELECT click_minute, count(*), sum(count) FROM ad_counts GROUP BY click_minute";
                for row in reader.rows(sql, &[]).await.unwrap() {
                    seen.insert((integer(&row, 1).unwrap(), integer(&row, 2).unwrap()));
                }
            }
            seen
        }
    });
    let plan = fixture.plan(at(0), at(12));
    let mut crashes = 0;
    'points: for point in ["replay.replacing", "replay.before_commit", "replay.replaced"] {
        for visit in 1..3 {
            let env = Env::seeded(1).with_crash_plan(CrashPlan::crash_at(point, visit));
            match fixture.replace(&plan, &env).await {
                Err(error) => assert_eq!(error.kind, ErrorKind::Crash, "{error}"),
                Ok(_) => break 'points,
            }
            crashes += 1;
        }
    }
    let record = fixture.replace(&plan, &Env::default()).await.unwrap();
    done.store(true, Ordering::SeqCst);
    let seen = reading.await.unwrap();
    assert!(crashes >= 3, "only {crashes} crashes");
    assert!(seen.iter().all(|one| [old, new].contains(one)), "half a window was seen: {seen:?}");
    assert!(fixture.counts("ad_counts").await.values().all(|minute| *minute == new));
    assert_eq!((record.replaced_rows, record.new_rows), (12 * ADS, 12 * ADS / 2), "each window was replaced once");
}
