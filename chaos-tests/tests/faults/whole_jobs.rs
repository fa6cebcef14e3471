//! Whole ad-click jobs without faults: whatever the format, the parallelism, the batch size and the checkpoint interval, what
//! is committed at the end is what the recount says.

use proptest::prelude::*;
use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};
use weir_chaos_tests::{
    bench::Bench,
    job::{JobConfig, Outputs},
    oracle::{Others, REFUSED_BY_FILTERS, REFUSED_BY_MAP, WindowJoin},
    results::{Results, read_results},
    workload::{InputFormat, Workload, WorkloadConfig},
};
use weir_operators::Registry;

/// The workload has what it is made for: clicks that expressions of the map and of the filters fail on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_that_expressions_fail_on_are_dead_letters_once() {
    let workload = Workload::generate(&WorkloadConfig { lines_per_file: 400, ..WorkloadConfig::default() });
    let results = run(&workload, &JobConfig::default()).await;
    let of = |operator: &str| results.refused.iter().filter(|refused| refused.0 == operator).count();
    assert!(of(REFUSED_BY_MAP) > 40 && of(REFUSED_BY_FILTERS) > 10, "{:?}", results.refused);
}

async fn run(workload: &Workload, config: &JobConfig) -> Results {
    let bench = Bench::new().unwrap();
    workload.write(&bench.input(), config.format).unwrap();
    let outcome = bench.run_to_end(config, Arc::new(Registry), 1).await.unwrap();
    if let Err(error) = bench.check(config, &outcome) {
        panic!("{config:?}:\n{error}");
    }
    read_results(&bench.output()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_gives_the_same_at_every_parallelism() {
    let workload = Workload::generate(&WorkloadConfig::default());
    let mut first: HashMap<&str, Results> = HashMap::new();
    for (turn, format) in InputFormat::ALL.into_iter().cycle().take(9).enumerate() {
        // Eight subtasks are as many as there are ads with clicks, and more.
        let parallelism = [1, 8, 3][turn / 3];
        // What is written has no say in what is counted.
        let outputs = Outputs::ALL[(turn + turn / 3) % 3];
        let results = run(&workload, &JobConfig { format, parallelism, outputs, ..JobConfig::default() }).await;
        let of = first.entry("all formats").or_insert_with(|| results.clone());
        assert_eq!((&of.counts, &of.top_ads, &of.raw), (&results.counts, &results.top_ads, &results.raw), "{format:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_row_a_batch_and_more_subtasks_than_ads() {
    let workload = Workload::generate(&WorkloadConfig { ads: 2, files: 5, lines_per_file: 40, ..Default::default() });
    run(&workload, &JobConfig { batch_rows: 1, parallelism: 8, ..JobConfig::default() }).await;
}

/// Windows are corrected again and again: the highest revision is the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrections_have_revisions_without_gaps() {
    let workload = Workload::generate(&WorkloadConfig { files: 1, one_late_in: 3, ..WorkloadConfig::default() });
    let config = JobConfig { allowed_lateness_minutes: 9, batch_rows: 4, parallelism: 1, ..JobConfig::default() };
    let results = run(&workload, &config).await;
    assert!(results.highest_revision >= 2, "the highest revision is {}", results.highest_revision);
    assert!(results.count_rows > results.counts.len() + 10);
}

/// Clicks with wrong clocks, at the beginning, in the middle and at the end of files: alone, some in a row, and so many that
/// their file goes on there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_with_wrong_clocks_are_dead_letters_in_every_format() {
    let config = WorkloadConfig { seed: 5, files: 6, one_wrong_in: 30, one_broken_in: 0, ..WorkloadConfig::default() };
    let workload = Workload::generate(&config);
    let mut first: Option<Results> = None;
    for (turn, format) in InputFormat::ALL.into_iter().cycle().take(6).enumerate() {
        let (parallelism, batch_rows) = [(1, 7), (4, 1), (2, 300)][turn % 3];
        let config = JobConfig { format, parallelism, batch_rows, with_max_jump: true, ..JobConfig::default() };
        let results = run(&workload, &config).await;
        assert!(results.dead_letters.len() > 50, "{}", results.dead_letters.len());
        let of = first.get_or_insert_with(|| results.clone());
        assert_eq!((&of.counts, &of.late, &of.raw), (&results.counts, &results.late, &results.raw), "{format:?}");
    }
}

/// Two sources that flow together are as one: each click is as late as it is in its own file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_that_flow_together_give_the_same_as_one() {
    let workload = Workload::generate(&WorkloadConfig { files: 5, ..WorkloadConfig::default() });
    let one = run(&workload, &JobConfig::default()).await;
    for (parallelism, batch_rows) in [(1, 200), (3, 7), (8, 1)] {
        let config = JobConfig { two_sources: true, parallelism, batch_rows, ..JobConfig::default() };
        let two = run(&workload, &config).await;
        assert_eq!((&one.counts, &one.top_ads, &one.raw), (&two.counts, &two.top_ads, &two.raw));
    }
}

#[test]
fn an_empty_folder_of_empty_files_ends_at_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let workload = Workload { files: vec![("a".into(), Vec::new()), ("b".into(), Vec::new())] };
    let results = runtime.block_on(run(&workload, &JobConfig::default()));
    assert!(results.counts.is_empty() && results.raw.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_combination_is_right(
        seed in 0u64..1_000_000,
        format in prop::sample::select(InputFormat::ALL.to_vec()),
        parallelism in 1usize..9,
        workers in prop::sample::select(vec![NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)]),
        checkpoint_interval_ms in prop_oneof![Just(20), 20u64..1_000],
        batch_rows in prop_oneof![Just(1), 1usize..200],
        channel_bytes in prop_oneof![Just(300), Just(1usize << 20)],
        count_all in any::<bool>(),
        allowed_lateness_minutes in 0i64..10,
        files in 1usize..6,
        lines_per_file in 0usize..120,
        ads in 1usize..30,
        minutes in 1i64..90,
        begins_at_minute in 0i64..60,
        one_late_in in 2usize..40,
        one_broken_in in 0usize..20,
        one_wrong_in in 0usize..30,
        with_max_jump in any::<bool>(),
        outputs in prop::sample::select(Outputs::ALL.to_vec()),
        archive_by_hour in any::<bool>(),
        two_sources in any::<bool>(),
        pairs in any::<bool>(),
        others in prop::option::of(prop::sample::select(Others::ALL.to_vec())),
    ) {
        let workload =
            WorkloadConfig { seed, files, lines_per_file, ads, minutes, begins_at_minute, one_late_in, one_broken_in, one_wrong_in };
        let config = JobConfig {
            format,
            two_sources: two_sources && files > 1,
            parallelism,
            workers,
            checkpoint_interval_ms,
            batch_rows,
            channel_bytes,
            count_all,
            follow: false,
            idle_after_ms: None,
            max_drift_ms: None,
            without_dedup: false,
            allowed_lateness_minutes,
            with_table: seed.is_multiple_of(3),
            with_max_jump,
            outputs,
            archive_by_hour,
            wrong_filter: seed.is_multiple_of(5),
            store: None,
            from_kafka: false,
            to_kafka: false,
            to_webhook: false,
            campaigns: None,
            pairs,
            others,
            window_join: WindowJoin::of_seed(seed),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let workload = Workload::generate(&workload);
        runtime.block_on(run(&workload, &config));
    }
}
