//! The same with a store: what is in it, and what the query service answers meanwhile and at the end.

use std::sync::PoisonError;
use weir_chaos_tests::cluster::{kill_run::KillRun, kill_run::Report, serving::Store};

#[test]
fn whoever_is_killed_a_sqlite_store_is_what_the_recount_says() {
    kills_with(7, || Some(Store::sqlite()));
}

#[test]
fn whoever_is_killed_a_postgresql_store_is_what_the_recount_says() {
    let has_database = || Store::postgres().unwrap_or_else(|error| panic!("{error:?}"));
    if let Some(report) = kills_with(8, has_database) {
        assert!(report.database_kills > 0, "{report}");
    }
}

/// `None`: there is no such store here.
fn kills_with(seed: u64, store: impl FnOnce() -> Option<Store>) -> Option<Report> {
    let _alone = crate::ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let store = store()?;
    let run = KillRun::short_serving(seed).and_then(|run| run.run_serving(store));
    let report = run.unwrap_or_else(|error| panic!("{error:?}"));
    println!("{report}");
    assert!(report.worker_kills > 0 && report.coordinator_kills > 0 && report.query_kills > 0, "{report}");
    let (compared, seen) = report.served.as_ref().expect("there was a store");
    assert!(seen.rises > 10 && compared.commits > 20, "too little happened meanwhile: {report}");
    Some(report)
}
