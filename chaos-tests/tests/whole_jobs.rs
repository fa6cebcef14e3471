//! Whole ad-click jobs without faults: whatever the format, the parallelism, the batch size and the checkpoint interval, what
//! is committed at the end is what the recount says.

use std::sync::Arc;
use weir_chaos_tests::{
    job::{Bench, JobConfig},
    workload::{InputFormat, Workload, WorkloadConfig},
};
use weir_operators::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_at_every_parallelism() {
    let workload = Workload::generate(&WorkloadConfig::default());
    for format in InputFormat::ALL {
        for parallelism in [1, 3] {
            let config = JobConfig { format, parallelism, ..JobConfig::default() };
            let bench = Bench::new().unwrap();
            workload.write(&bench.input(), format).unwrap();
            let outcome = bench.run_to_end(&config, Arc::new(Registry), 1).await.unwrap();
            if let Err(error) = bench.check(&config, &outcome) {
                panic!("{config:?}:\n{error}");
            }
        }
    }
}
