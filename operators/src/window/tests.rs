//! Window arithmetic against its definition.

use super::*;
use proptest::prelude::*;

fn spec() -> impl Strategy<Value = WindowSpec> {
    prop_oneof![
        (1i64..100).prop_map(|size_ms| WindowSpec::Tumbling { size_ms }),
        (1i64..50, 1i64..8).prop_map(|(slide_ms, n)| WindowSpec::Hopping { size_ms: slide_ms * n, slide_ms }),
        (1i64..100).prop_map(|gap_ms| WindowSpec::Session { gap_ms }),
    ]
}

/// Every window that holds the event, by trying all starts.
fn windows_of(spec: WindowSpec, time: i64) -> Vec<(i64, i64)> {
    match spec {
        WindowSpec::Session { gap_ms } => vec![(time, time + gap_ms)],
        _ => {
            let slide = spec.slice_ms().unwrap();
            (time - 500..=time)
                .filter(|start| start.rem_euclid(slide) == 0)
                .map(|start| (start, start + spec.size_ms()))
                .filter(|(start, end)| *start <= time && time < *end)
                .collect()
        }
    }
}

proptest! {
    #[test]
    fn slices_and_windows_agree_with_their_definition(spec in spec(), time in -1000i64..1000, lateness in 0i64..50, watermark in -1200i64..1300) {
        spec.validate().unwrap();
        let windows = windows_of(spec, time);
        prop_assert_eq!(windows.len() as i64, spec.slices_per_window());
        let last = windows.iter().map(|window| window.1).max().unwrap();
        prop_assert_eq!(spec.last_window_end(time), last);
        let rule = WindowRule { window: spec, allowed_lateness_ms: lateness };
        prop_assert_eq!(rule.is_late(time, watermark), last + lateness <= watermark);
        if !rule.is_late(time, watermark) {
            for (_, end) in windows {
                prop_assert!(rule.expiry(end) > watermark, "an accepted event finds all its windows");
            }
            prop_assert!(time + rule.minimum_dedup_ttl_ms() > watermark);
        }
    }
}

proptest! {
    #[test]
    fn the_windows_of_slices_come_each_once_and_in_order(
        spec in spec().prop_filter("sessions have no slices", |spec| spec.slice_ms().is_some()),
        times in prop::collection::btree_set(-300i64..300, 0..20),
        after in prop_oneof![Just(i64::MIN), -400i64..400],
    ) {
        let slices: std::collections::BTreeSet<i64> = times.iter().map(|time| floor(*time, spec.slice_ms().unwrap())).collect();
        let all: std::collections::BTreeSet<i64> =
            times.iter().flat_map(|time| windows_of(spec, *time)).map(|window| window.1).filter(|end| *end > after).collect();
        let found: Vec<i64> = spec.ends(slices.into_iter(), after).collect();
        prop_assert_eq!(found, all.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_windows_of_the_last_moment_end_with_it() {
    let of = |window: WindowSpec| {
        window.ends([floor(i64::MAX, window.slice_ms().unwrap())].into_iter(), 0).collect::<Vec<_>>()
    };
    assert_eq!(of(WindowSpec::Tumbling { size_ms: 10 }), [i64::MAX]);
    assert_eq!(of(WindowSpec::Hopping { size_ms: 30, slide_ms: 10 }), [i64::MAX]);
    // So many that nobody could hold them all.
    let hopping = WindowSpec::Hopping { size_ms: 1 << 50, slide_ms: 1 };
    assert_eq!(hopping.ends([0, 1 << 30].into_iter(), 5).take(3).collect::<Vec<_>>(), [6, 7, 8]);
}

#[test]
fn windows_that_are_open_at_once_are_as_many_as_begin_meanwhile() {
    let rule = |window, allowed_lateness_ms| WindowRule { window, allowed_lateness_ms };
    let minutes = WindowSpec::Tumbling { size_ms: 60_000 };
    assert_eq!(rule(minutes, 0).open_windows(0), 1);
    assert_eq!(rule(minutes, 600_000).open_windows(15_000), 12);
    assert_eq!(rule(WindowSpec::Hopping { size_ms: 10_000, slide_ms: 10 }, 100_000).open_windows(1), 11_001);
    assert_eq!(rule(WindowSpec::Session { gap_ms: 1 }, i64::MAX).open_windows(5), 0, "as many as keys have");
    assert!(rule(WindowSpec::Tumbling { size_ms: 1 }, i64::MAX).open_windows(i64::MAX) > i64::from(MOST_OPEN_WINDOWS));
}

#[test]
fn times_before_the_epoch_are_rounded_down() {
    assert_eq!(floor(-1, 60_000), -60_000);
    assert_eq!(floor(-60_000, 60_000), -60_000);
    assert_eq!(floor(59_999, 60_000), 0);
    assert_eq!(WindowSpec::Tumbling { size_ms: 60_000 }.last_window_end(-1), 0);
    assert_eq!(floor(i64::MIN, 7), i64::MIN, "no overflow at the edge");
    assert_eq!(WindowSpec::Tumbling { size_ms: 10 }.last_window_end(i64::MAX), i64::MAX);
}

#[test]
fn senseless_windows_are_refused_with_what_would_be_right() {
    let refused = |spec: WindowSpec| spec.validate().unwrap_err().message;
    assert!(refused(WindowSpec::Hopping { size_ms: 300, slide_ms: 70 }).contains("for example 350 ms"));
    assert!(refused(WindowSpec::Tumbling { size_ms: 0 }).contains("must be positive"));
    assert!(refused(WindowSpec::Session { gap_ms: -5 }).contains("must be positive"));
    let rule = WindowRule { window: WindowSpec::Tumbling { size_ms: 1 }, allowed_lateness_ms: -1 };
    assert!(rule.validate().unwrap_err().message.contains("must not be negative"));
}

#[test]
fn configuration_reads_as_json() {
    let rule: WindowRule = serde_json::from_str(
        r#"{"window": {"hopping": {"size_ms": 300000, "slide_ms": 60000}}, "allowed_lateness_ms": 5}"#,
    )
    .unwrap();
    assert_eq!(rule.window, WindowSpec::Hopping { size_ms: 300_000, slide_ms: 60_000 });
}
