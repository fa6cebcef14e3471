//! Processes in network namespaces, which are killed and cut off from each other.

use weir_chaos_tests::cluster::chaos::{ChaosRun, timeline};

#[test]
fn whoever_is_cut_off_from_whom_results_come_again_and_are_right() {
    let _place = crate::a_place();
    let Some(report) = ChaosRun::short(1).run().unwrap_or_else(|error| panic!("{error:?}")) else { return };
    println!("{report}");
    assert!(report.wrong.is_none(), "{report}");
    assert_eq!(report.incidents.len() + report.missed, 6, "{report}");
    assert_eq!(report.missed, 0, "somebody was not there: {report}");
    assert!(report.attempts > 1, "the faults hit nothing: {report}");
    assert_eq!(report.recoveries().len(), 6, "each kind of fault is got over: {report}");
    assert!(report.store.commits > 20 && report.compared.counts > 0, "{report}");
    let page = timeline::page(&report);
    let drawn = report.incidents.iter().filter(|incident| page.contains(&incident.victims)).count();
    assert_eq!(drawn, 6, "the page shows every fault");
}
