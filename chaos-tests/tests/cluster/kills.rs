//! Kills and freezes at random moments, while input arrives.

use weir_chaos_tests::cluster::kill_run::KillRun;

#[test]
fn whoever_is_killed_or_frozen_the_recount_agrees() {
    let _place = crate::a_place();
    let report = KillRun::short(1).and_then(|run| run.run()).unwrap_or_else(|error| panic!("{error:?}"));
    println!("{report}");
    assert!(report.kills() >= 20, "{report}");
    assert!(report.attempts > 10, "the kills hit nothing: {report}");
}
