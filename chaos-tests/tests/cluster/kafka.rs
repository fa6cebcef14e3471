//! Kafka on both sides of a job, whose processes and whose broker are killed, frozen, cut off from each other, and crash in the
//! midst of a commit.

use weir_chaos_tests::cluster::kafka::KafkaRun;

#[test]
fn what_a_consumer_reads_is_what_was_clicked() {
    let _place = crate::a_place();
    let run = KafkaRun { seed: 1, faults: 11, verbose: false };
    let Some(report) = run.run().unwrap_or_else(|error| panic!("{error:?}")) else { return };
    println!("{report}");
    assert!(report.crashes.len() >= 2, "no commit was interrupted: {report}");
    assert!(report.cut_off > 0, "nobody was cut off from the broker: {report}");
    assert!(report.transactions > 0, "the coordinator knows of no transaction: {report}");
    assert!(report.attempts > 4, "the faults hit nothing: {report}");
}
