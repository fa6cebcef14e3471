//! Jobs drawn from the grammar of all nodes write what DuckDB says of the same rows, at any parallelism and over crashes; those
//! with a mistake are refused. The long form: `cargo run --release -p weir-chaos-tests --bin grammar -- --jobs 1000`.

use std::sync::Arc;
use weir_chaos_tests::{
    crash::crash_points,
    grammar::{
        judge::Judge,
        sequence::{Counts, Sequence},
    },
};
use weir_operators::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_jobs_write_what_duckdb_says() {
    let Some(judge) = Judge::start().unwrap() else { return };
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await.unwrap().into_keys().collect();
    let mut sequence = Sequence { judge, points, keep: None, counts: Counts::default() };
    for seed in 1..41 {
        if let Some(failure) = sequence.next(seed).await.unwrap() {
            panic!("seed {seed}: {failure}");
        }
    }
    let Counts { of_results, lists, dedups, rows, crashes, .. } = sequence.counts;
    assert!(of_results > 5 && lists > 5 && dedups > 10 && rows > 10_000 && crashes > 5, "{}", sequence.counts);
}
