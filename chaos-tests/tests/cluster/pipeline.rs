//! From what people do to budgets that are spent and stores that are loaded, with everybody on the way killed at some time.

use std::time::Duration;
use weir_chaos_tests::cluster::pipeline::PipelineRun;

#[test]
fn counts_orders_and_budgets_are_right_whoever_is_killed() {
    let _place = crate::a_place();
    let run = PipelineRun { seed: 1, faults: 6, longest_pause: Duration::from_millis(1_200), verbose: false };
    let Some(report) = run.run().unwrap_or_else(|error| panic!("{error:?}")) else { return };
    println!("{report}");
    let killed = [report.workers, report.coordinators, report.brokers, report.consumers];
    assert!(killed.iter().all(|times| *times > 0), "somebody was spared: {report}");
    let attempts: u64 = report.jobs.iter().map(|(_, attempts, _)| attempts).sum();
    assert!(attempts > report.jobs.len() as u64, "no job was hit: {report}");
    let [matched, unmatched] = report.compared.orders;
    assert!(matched > 0 && unmatched > 0, "orders of one kind alone: {report}");
    assert!(report.compared.not_counted.iter().all(|records| *records > 0), "everything came in order: {report}");
}
