//! Jobs drawn from the grammar of all nodes write what DuckDB says of the same rows, at any parallelism and over crashes; those
//! with a mistake are refused. The long form: `cargo run --release -p weir-chaos-tests --bin grammar -- --jobs 1000`.

use std::{num::NonZeroUsize, sync::Arc};
use weir_chaos_tests::{
    crash::crash_points,
    grammar::{
        draw::Case,
        job::{Sink, Target},
        judge::Judge,
        sequence::{Counts, Sequence},
        trial::Runs,
    },
};
use weir_operators::Registry;

/// Seeds that have found something once: texts in a dictionary that are in no row, which a cast failed on; a page of nulls alone
/// among pages of dictionaries; two counts that become one in a dense list.
const FOUND: [u64; 4] = [42, 46, 90, 5489];

/// None: there is no DuckDB here.
async fn sequence() -> Option<Sequence> {
    let judge = Judge::start().unwrap()?;
    let points: Vec<&str> = crash_points(Arc::new(Registry)).await.unwrap().into_keys().collect();
    Some(Sequence { judge, points, keep: None, counts: Counts::default() })
}

async fn assert_right(sequence: &mut Sequence, seed: u64) {
    if let Some(failure) = sequence.next(seed).await.unwrap() {
        panic!("seed {seed}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_jobs_write_what_duckdb_says() {
    let Some(mut sequence) = sequence().await else { return };
    for seed in (1..22).chain(FOUND) {
        assert_right(&mut sequence, seed).await;
    }
    let Counts { of_results, lists, dedups, sinks, rows, crashes, broken, .. } = sequence.counts;
    let there = [of_results > 3, lists > 3, dedups > 6, sinks > 80, rows > 6_000, crashes > 3, broken > 15];
    assert_eq!(there, [true; 7], "{}", sequence.counts);
}

/// A file that is there twice, and one that is not there, are noticed; the case itself is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_noticed() {
    let Some(mut sequence) = sequence().await else { return };
    let (case, judge) = (Case::draw(5), &mut sequence.judge);
    let folder = tempfile::tempdir().unwrap();
    let runs = Runs { early: Vec::new(), last: 3, workers: NonZeroUsize::MIN };
    let outcome = case.try_in(folder.path(), &runs, judge).await.unwrap();
    assert!(outcome.verdict.differences.is_empty() && outcome.verdict.rows > 50, "{:?}", outcome.verdict);

    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    let is_of_results =
        |sink: &&Sink| case.job.is_of_results(&sink.node) && matches!(sink.target, Target::Files { .. });
    let sink = case.job.sinks.iter().find(is_of_results).unwrap();
    let files = std::fs::read_dir(output.join(&sink.name)).unwrap().map(|entry| entry.unwrap().path());
    let file = files.filter(|path| path.is_file() && !path.ends_with("_owner.json")).min().unwrap();
    let twice = file.with_file_name("twice").with_extension(file.extension().unwrap());
    std::fs::copy(&file, &twice).unwrap();
    let found = judge.compare(&case.job, case.span(), &input, &output).unwrap().differences;
    assert!(found.iter().any(|difference| difference.contains("is there twice")), "{found:?}");
    std::fs::remove_file(twice).unwrap();
    std::fs::remove_file(file).unwrap();
    let found = judge.compare(&case.job, case.span(), &input, &output).unwrap().differences;
    assert!(found.iter().any(|difference| difference.contains("0 times instead of 1")), "{found:?}");
}
