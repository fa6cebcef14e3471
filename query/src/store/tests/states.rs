//! Stores that are not there, not yet, or not any more.

use super::fixture::{Fixture, MARCH, minutes};
use crate::store::{MINUTE_MS, Source, Store, StoreError};

#[tokio::test]
async fn a_store_is_found_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = Store::open(&format!("sqlite:{}", path.display()), 2).unwrap();
    let missing = store.freshness().await.unwrap_err();
    assert!(matches!(missing, StoreError::NothingYet(_)), "{missing:?}");
    assert!(!path.exists(), "asking makes no store");

    let fixture = Fixture::sqlite().await;
    let nothing = fixture.store.freshness().await.unwrap_err();
    assert_eq!(nothing.to_string(), "nothing has been committed yet: no job has committed clicks to the store");
    fixture.commit(1, 0).await;
    fixture.execute("DROP TABLE ad_counts").await;
    let nothing = fixture.store.ad_count("a", "0000", minutes(0, 1)).await.unwrap_err();
    assert_eq!(nothing.to_string(), "nothing has been committed yet: no such table: ad_counts");
}

#[tokio::test]
async fn a_reader_sees_each_commit_whole_and_never_writes() {
    let fixture = Fixture::sqlite().await;
    fixture.commit(1, 0).await;
    fixture.insert(MINUTE_MS, &[(MARCH, "0000", "a".into(), 1, 0)]).await;
    assert_eq!(fixture.store.ad_count("a", "0000", minutes(0, 1)).await.unwrap().clicks, 1);
    let mut writing = fixture.writer.begin().await.unwrap();
    sqlx::query("UPDATE ad_counts SET count = 2").execute(&mut *writing).await.unwrap();
    assert_eq!(
        fixture.store.ad_count("a", "0000", minutes(0, 1)).await.unwrap().clicks,
        1,
        "not committed, not waited for"
    );
    writing.commit().await.unwrap();
    assert_eq!(fixture.store.ad_count("a", "0000", minutes(0, 1)).await.unwrap().clicks, 2);
    let mut reading = fixture.store.readers.begin().await.unwrap();
    let refused = reading.rows("DELETE FROM ad_counts", &[]).await.err().unwrap();
    assert!(refused.to_string().contains("readonly"), "{refused}");
}

#[tokio::test]
async fn a_database_that_is_down_is_no_store_without_commits() {
    // Nobody listens on port 1.
    let store = Store::open("postgres://weir:secret@127.0.0.1:1/weir", 2).unwrap();
    let error = store.freshness().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(!error.to_string().contains("secret") && !format!("{store:?}").contains("secret"), "{error}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for address in ["store.sqlite", "mysql://u:secret@h/d", ""] {
        let error = Store::open(address, 1).unwrap_err().to_string();
        assert!(error.contains("sqlite:PATH or postgres://") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn tables_may_have_any_names() {
    let fixture = Fixture::sqlite().await;
    fixture.commit(1, 0).await;
    fixture.insert(MINUTE_MS, &[(MARCH, "0000", "a".into(), 1, 0)]).await;
    for (old, new) in [("ad_counts", "Select"), ("ad_counts_hours", "Select_hours"), ("top_ads", "group")] {
        fixture.execute(&format!("ALTER TABLE {old} RENAME TO \"{new}\"")).await;
        fixture.execute(&format!("UPDATE weir_sinks SET table_name = '{new}' WHERE table_name = '{old}'")).await;
    }
    fixture.execute(&format!("INSERT INTO \"group\" VALUES ({0} + 60000, {0}, '0000', 1, 'a', 1, 0)", MARCH)).await;
    assert_eq!(fixture.store.ad_count("a", "0000", minutes(0, 1)).await.unwrap().clicks, 1);
    assert_eq!(fixture.store.top_ads("0000", minutes(0, 1), 1).await.unwrap().source, Source::Precomputed);
    assert_eq!(fixture.store.top_ads("0000", minutes(0, 2), 1).await.unwrap().ads.len(), 1);
    assert_eq!(fixture.store.freshness().await.unwrap().minutes_ms, Some((MARCH, MARCH)));
    assert_eq!(fixture.store.minute_counts("a", "0000", minutes(0, 2)).await.unwrap().clicks, [1, 0]);
    let other = fixture.store.clone().of_table("ad_counts").freshness().await.unwrap_err().to_string();
    assert!(other.contains("no table of counts 'ad_counts'") && other.contains("only Select, group"), "{other}");
}
