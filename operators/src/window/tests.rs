//! Window arithmetic against its definition: every window by trying all that there may be.

use super::*;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn spec() -> impl Strategy<Value = WindowSpec> {
    prop_oneof![
        (1i64..100).prop_map(|size_ms| WindowSpec::Tumbling { size_ms }),
        // With and without a remainder.
        (1i64..50, 0i64..250).prop_map(|(slide_ms, more)| WindowSpec::Hopping { size_ms: slide_ms + more, slide_ms }),
        (1i64..20, 1i64..10).prop_map(|(step_ms, n)| WindowSpec::Cumulating { size_ms: n * step_ms, step_ms }),
        (1i64..100).prop_map(|gap_ms| WindowSpec::Session { gap_ms }),
    ]
}

/// Windows of all kinds, some with an offset.
pub(crate) fn rule() -> impl Strategy<Value = WindowRule> {
    (spec(), 0i64..50, 0i64..100).prop_map(|(window, lateness, offset)| {
        let most = match window {
            WindowSpec::Cumulating { size_ms, .. } => size_ms,
            _ => window.period_ms().unwrap_or(1),
        };
        let alignment = Alignment { offset_ms: offset % most, timezone: None };
        WindowRule { alignment, ..WindowRule::of(window, lateness) }
    })
}

/// Every window that holds the event, by trying all starts of the last 600 ms.
pub(crate) fn windows_of(rule: WindowRule, time: i64) -> Vec<(i64, i64)> {
    let begins = |start: &i64, each: i64| (start - rule.alignment.offset_ms).rem_euclid(each) == 0;
    let starts = time - 600..=time;
    let holds = |window: &(i64, i64)| window.0 <= time && time < window.1;
    match rule.window {
        WindowSpec::Session { gap_ms } => vec![(time, time + gap_ms)],
        WindowSpec::Global { ttl_ms } => vec![(i64::MIN, ttl_ms.map_or(i64::MAX, |ttl| time + ttl))],
        WindowSpec::Tumbling { size_ms } => {
            starts.filter(|start| begins(start, size_ms)).map(|start| (start, start + size_ms)).filter(holds).collect()
        }
        WindowSpec::Hopping { size_ms, slide_ms } => {
            starts.filter(|start| begins(start, slide_ms)).map(|start| (start, start + size_ms)).filter(holds).collect()
        }
        WindowSpec::Cumulating { size_ms, step_ms } => starts
            .filter(|start| begins(start, size_ms))
            .flat_map(|start| (1..=size_ms / step_ms).map(move |n| (start, start + n * step_ms)))
            .filter(holds)
            .collect(),
    }
}

proptest! {
    #[test]
    fn windows_agree_with_their_definition(rule in rule(), time in -1000i64..1000, watermark in -1200i64..1300) {
        rule.validate().unwrap();
        let windows = windows_of(rule, time);
        prop_assert!(windows.len() as i64 <= rule.window.windows_per_event());
        let last = windows.iter().map(|window| window.1).max().unwrap();
        let first = windows.iter().map(|window| window.1).min().unwrap();
        prop_assert_eq!((rule.first_window_end(time), rule.last_window_end(time)), (first, last));
        prop_assert_eq!(rule.is_late(time, watermark), last + rule.allowed_lateness_ms <= watermark);
        if rule.window.has_slices() {
            prop_assert_eq!(rule.ends_of(time).collect::<BTreeSet<_>>(), windows.iter().map(|window| window.1).collect());
            for (start, end) in &windows {
                prop_assert_eq!(rule.window_start(*end), *start);
            }
        }
        if !rule.is_late(time, watermark) {
            for (_, end) in windows {
                prop_assert!(rule.expiry(end) > watermark, "an accepted event finds all its windows");
            }
            prop_assert!(time + rule.minimum_dedup_ttl_ms() > watermark);
        }
    }

    #[test]
    fn slices_hold_events_of_the_same_windows(
        rule in rule().prop_filter("sessions have no slices", |rule| rule.window.has_slices()),
        time in -1000i64..1000,
    ) {
        let (start, width) = rule.slice(time);
        prop_assert!(start <= time && time < start + width);
        for other in start..start + width {
            prop_assert_eq!(windows_of(rule, other), windows_of(rule, time));
            prop_assert_eq!(rule.slice(other), (start, width));
        }
    }

    #[test]
    fn the_windows_of_slices_come_each_once_and_in_order(
        rule in rule().prop_filter("sessions have no slices", |rule| rule.window.has_slices()),
        times in prop::collection::btree_set(-300i64..300, 0..20),
        after in prop_oneof![Just(i64::MIN), -400i64..400],
    ) {
        let slices: BTreeSet<i64> = times.iter().map(|time| rule.slice(*time).0).collect();
        let all: BTreeSet<i64> =
            times.iter().flat_map(|time| windows_of(rule, *time)).map(|window| window.1).filter(|end| *end > after).collect();
        let found: Vec<i64> = rule.ends(slices.into_iter(), after).collect();
        prop_assert_eq!(found, all.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_window_is_kept_for_no_longer_than_it_can_change(rule in rule(), time in -300i64..300) {
        for (_, end) in windows_of(rule, time) {
            // Some event of the window is in the window that decides.
            let holds = |other: &i64| windows_of(rule, *other).iter().any(|window| window.1 == end);
            let last = (end - 700..end).filter(holds).map(|other| rule.last_window_end(other)).max();
            if let (true, Some(last)) = (rule.window.has_slices(), last) {
                prop_assert_eq!(rule.expiry(end), last + rule.allowed_lateness_ms);
            }
        }
    }
}

#[test]
fn the_windows_of_the_last_moment_end_with_it() {
    let of = |window: WindowSpec| {
        let rule = WindowRule::of(window, 0);
        rule.ends([rule.slice(i64::MAX).0].into_iter(), 0).collect::<Vec<_>>()
    };
    assert_eq!(of(WindowSpec::Tumbling { size_ms: 10 }), [i64::MAX]);
    assert_eq!(of(WindowSpec::Hopping { size_ms: 30, slide_ms: 10 }), [i64::MAX]);
    assert_eq!(of(WindowSpec::Cumulating { size_ms: 30, step_ms: 30 }), [i64::MAX]);
    // So many that nobody could hold them all.
    let hopping = WindowRule::of(WindowSpec::Hopping { size_ms: 1 << 50, slide_ms: 1 }, 0);
    assert_eq!(hopping.ends([0, 1 << 30].into_iter(), 5).take(3).collect::<Vec<_>>(), [6, 7, 8]);
    // The ends of time are the same by every clock.
    let shifted = Alignment { offset_ms: 7, timezone: Some("Asia/Seoul".parse().unwrap()) };
    for end in [i64::MIN, i64::MAX] {
        assert_eq!((shifted.read(end), shifted.event_time(end)), (end, end));
    }
    let rule = WindowRule { alignment: shifted, ..WindowRule::of(WindowSpec::Tumbling { size_ms: HOUR_MS }, 0) };
    assert!(rule.is_late(i64::MAX - 5, i64::MAX) && rule.first_window_end(i64::MAX) == i64::MAX);
}

#[test]
fn windows_that_are_open_at_once_are_as_many_as_begin_meanwhile() {
    let minutes = WindowSpec::Tumbling { size_ms: 60_000 };
    assert_eq!(WindowRule::of(minutes, 0).open_windows(0), 1);
    assert_eq!(WindowRule::of(minutes, 600_000).open_windows(15_000), 12);
    assert_eq!(WindowRule::of(WindowSpec::Hopping { size_ms: 10_000, slide_ms: 10 }, 100_000).open_windows(1), 11_001);
    assert_eq!(WindowRule::of(WindowSpec::Cumulating { size_ms: 100, step_ms: 10 }, 5).open_windows(0), 11);
    assert_eq!(WindowRule::of(WindowSpec::Session { gap_ms: 1 }, i64::MAX).open_windows(5), 0, "as many as keys have");
    let many = WindowRule::of(WindowSpec::Tumbling { size_ms: 1 }, i64::MAX).open_windows(i64::MAX);
    assert!(many > i64::from(MOST_OPEN_WINDOWS));
}

#[test]
fn times_before_the_epoch_are_rounded_down() {
    assert_eq!(floor(-1, 60_000), -60_000);
    assert_eq!(floor(-60_000, 60_000), -60_000);
    assert_eq!(floor(59_999, 60_000), 0);
    assert_eq!(WindowRule::of(WindowSpec::Tumbling { size_ms: 60_000 }, 0).last_window_end(-1), 0);
    assert_eq!(floor(i64::MIN, 7), i64::MIN, "no overflow at the edge");
    assert_eq!(WindowRule::of(WindowSpec::Tumbling { size_ms: 10 }, 0).last_window_end(i64::MAX), i64::MAX);
}

#[test]
fn senseless_windows_are_refused_with_what_would_be_right() {
    let refused = |spec: WindowSpec| spec.validate().unwrap_err().message;
    assert!(refused(WindowSpec::Hopping { size_ms: 60, slide_ms: 70 }).contains("at most the size"));
    assert!(refused(WindowSpec::Hopping { size_ms: 10_081, slide_ms: 1 }).contains("10081 windows"));
    assert!(WindowSpec::Hopping { size_ms: 300, slide_ms: 70 }.validate().is_ok());
    assert!(refused(WindowSpec::Cumulating { size_ms: 300, step_ms: 70 }).contains("for example 350 ms"));
    assert!(refused(WindowSpec::Cumulating { size_ms: 20_000, step_ms: 1 }).contains("20000 windows"));
    assert!(refused(WindowSpec::Tumbling { size_ms: 0 }).contains("must be positive"));
    assert!(refused(WindowSpec::Session { gap_ms: -5 }).contains("must be positive"));
    assert!(refused(WindowSpec::Global { ttl_ms: Some(0) }).contains("must be positive"));
    let rule = WindowRule::of(WindowSpec::Tumbling { size_ms: 1 }, -1);
    assert!(rule.validate().unwrap_err().message.contains("must not be negative"));
    let zone: Zone = "Asia/Seoul".parse().unwrap();
    let aligned = |window, offset_ms, timezone| {
        let alignment = Alignment { offset_ms, timezone };
        WindowRule { alignment, ..WindowRule::of(window, 0) }.validate().unwrap_err().message
    };
    assert!(aligned(WindowSpec::Tumbling { size_ms: 10 }, 10, None).contains("less than the 10 ms"));
    assert!(aligned(WindowSpec::Session { gap_ms: 10 }, 5, None).contains("no offset"));
    assert!(aligned(WindowSpec::Tumbling { size_ms: 60_000 }, 0, Some(zone)).contains("whole hours"));
    assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("no time zone"));
}

#[test]
fn configuration_reads_as_json() {
    let text = r#"{"window":{"hopping":{"size_ms":300000,"slide_ms":60000}},"allowed_lateness_ms":5}"#;
    let rule: WindowRule = serde_json::from_str(text).unwrap();
    assert_eq!(rule, WindowRule::of(WindowSpec::Hopping { size_ms: 300_000, slide_ms: 60_000 }, 5));
    assert_eq!(serde_json::to_string(&rule).unwrap(), text, "what is not said is not written");
    let text = r#"{"window":{"tumbling":{"size_ms":86400000}},"offset_ms":17,"timezone":"Asia/Seoul","allowed_lateness_ms":0}"#;
    let rule: WindowRule = serde_json::from_str(text).unwrap();
    assert_eq!(rule.alignment, Alignment { offset_ms: 17, timezone: Some("Asia/Seoul".parse().unwrap()) });
    assert_eq!(serde_json::to_string(&rule).unwrap(), text);
}

/// A moment in UTC.
fn utc(text: &str) -> i64 {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp_millis()
}

fn in_zone(window: WindowSpec, zone: &str) -> WindowRule {
    let alignment = Alignment { offset_ms: 0, timezone: Some(zone.parse().unwrap()) };
    let rule = WindowRule { alignment, ..WindowRule::of(window, 0) };
    rule.validate().unwrap();
    rule
}

const DAY: WindowSpec = WindowSpec::Tumbling { size_ms: 24 * HOUR_MS };

/// What chrono calls the date of a moment in a zone.
fn date_in(zone: chrono_tz::Tz, moment: i64) -> NaiveDate {
    DateTime::from_timestamp_millis(moment).unwrap().with_timezone(&zone).date_naive()
}

#[test]
fn a_day_begins_when_its_date_does() {
    for name in ["Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Beirut", "Pacific/Apia"]
    {
        let (rule, zone) = (in_zone(DAY, name), name.parse::<chrono_tz::Tz>().unwrap());
        // Each half hour of three years with changes of all kinds.
        let (mut at, until) = (utc("2010-12-25 00:00"), utc("2013-01-05 00:00"));
        while at < until {
            let (start, width) = rule.slice(at);
            assert!(start <= at && at < start + width, "{name}");
            let date = date_in(zone, at);
            assert_eq!((date_in(zone, start), date_in(zone, start + width - 1)), (date, date), "{name} {date}");
            assert!(date_in(zone, start - 1) < date && date_in(zone, start + width) > date, "{name} {date}");
            assert_eq!((rule.window_start(start + width), rule.last_window_end(at)), (start, start + width));
            assert_eq!(rule.ends_of(at).collect::<Vec<_>>(), [start + width]);
            at += HOUR_MS / 2;
        }
    }
}

#[test]
fn days_of_other_than_24_hours() {
    let hours = |zone: &str, moment: &str| {
        let (start, width) = in_zone(DAY, zone).slice(utc(moment));
        (DateTime::<Utc>::from_timestamp_millis(start).unwrap().to_string(), width as f64 / HOUR_MS as f64)
    };
    assert_eq!(hours("America/New_York", "2024-03-10 20:00"), ("2024-03-10 05:00:00 UTC".into(), 23.0));
    assert_eq!(hours("America/New_York", "2024-11-03 20:00"), ("2024-11-03 04:00:00 UTC".into(), 25.0));
    assert_eq!(hours("Australia/Lord_Howe", "2024-04-07 00:00"), ("2024-04-06 13:00:00 UTC".into(), 24.5));
    assert_eq!(hours("Australia/Lord_Howe", "2024-10-06 00:00"), ("2024-10-05 13:30:00 UTC".into(), 23.5));
    assert_eq!(hours("Asia/Seoul", "2024-03-10 20:00"), ("2024-03-10 15:00:00 UTC".into(), 24.0));
    // Midnight is skipped; and a whole day.
    assert_eq!(hours("Asia/Beirut", "2024-03-31 12:00"), ("2024-03-30 22:00:00 UTC".into(), 23.0));
    assert_eq!(hours("Pacific/Apia", "2011-12-30 12:00"), ("2011-12-30 10:00:00 UTC".into(), 24.0));
    // Midnight comes twice: the day begins with the first.
    assert_eq!(hours("America/Havana", "2024-11-03 12:00"), ("2024-11-03 04:00:00 UTC".into(), 25.0));
}

#[test]
fn an_hour_that_comes_twice_is_one_window_and_one_that_is_skipped_none() {
    let hour = in_zone(WindowSpec::Tumbling { size_ms: HOUR_MS }, "America/New_York");
    // From 01:00 in summer time to 02:00 in winter time.
    assert_eq!(hour.slice(utc("2024-11-03 06:30")), (utc("2024-11-03 05:00"), 2 * HOUR_MS));
    assert_eq!(hour.slice(utc("2024-11-03 05:30")), hour.slice(utc("2024-11-03 06:30")));
    let ends = |rule: WindowRule, from: &str, to: &str| {
        let (mut at, to, mut ends) = (utc(from), utc(to), BTreeSet::new());
        while at < to {
            ends.extend(rule.ends_of(at).map(|end| (rule.window_start(end), end)));
            at += HOUR_MS / 4;
        }
        ends
    };
    assert_eq!(ends(hour, "2024-03-10 05:00", "2024-03-11 04:00").len(), 23);
    assert_eq!(ends(hour, "2024-11-03 04:00", "2024-11-04 05:00").len(), 24);
    // Half past, in India.
    let hour = in_zone(WindowSpec::Tumbling { size_ms: HOUR_MS }, "Asia/Kolkata");
    assert_eq!(hour.slice(utc("2024-03-10 05:00")), (utc("2024-03-10 04:30"), HOUR_MS));
    // A step that the clock skips ends no window of its own: the one to 02:00 is the one to 03:00.
    let steps = in_zone(WindowSpec::Cumulating { size_ms: 24 * HOUR_MS, step_ms: HOUR_MS }, "America/New_York");
    let day = ends(steps, "2024-03-10 05:00", "2024-03-11 04:00");
    assert!(day.len() == 23 && day.iter().all(|window| window.0 == utc("2024-03-10 05:00")), "{day:?}");
    // Two windows would end as the clock is set forward: the one that begins first does.
    let hops = in_zone(WindowSpec::Hopping { size_ms: 3 * HOUR_MS, slide_ms: HOUR_MS }, "America/New_York");
    let all = ends(hops, "2024-03-10 05:00", "2024-03-10 10:00");
    let at_once: Vec<_> = all.iter().filter(|window| window.1 == utc("2024-03-10 07:00")).collect();
    assert_eq!(at_once, [&(utc("2024-03-10 04:00"), utc("2024-03-10 07:00"))]);
    let distinct: BTreeSet<i64> = all.iter().map(|window| window.1).collect();
    assert_eq!(distinct.len(), all.len(), "no two windows end at once");
}

/// Windows in a zone by their definition: of what the clock has shown at the latest by each moment.
fn windows_by_the_clock(rule: WindowRule, zone: chrono_tz::Tz, moment: i64) -> BTreeSet<(i64, i64)> {
    let shown = |moment: i64| {
        let at = DateTime::from_timestamp_millis(moment).unwrap().naive_utc();
        moment + i64::from(zone.offset_from_utc_datetime(&at).fix().local_minus_utc()) * 1_000
    };
    let step = HOUR_MS / 4;
    let latest = |moment: i64| (0..=30 * 4).map(|n| shown(moment - n * step)).max().unwrap();
    let first = |reading: i64| {
        (-30 * 4..=30 * 4).map(|n| reading + n * step).find(|moment| latest(*moment) >= reading).unwrap()
    };
    let plain = WindowRule { alignment: Alignment::default(), ..rule };
    windows_of_hours(plain, latest(moment)).into_iter().map(|(start, end)| (first(start), first(end))).collect()
}

/// [`windows_of`], in hours.
fn windows_of_hours(rule: WindowRule, time: i64) -> Vec<(i64, i64)> {
    let hours = |ms: i64| ms / HOUR_MS;
    let window = match rule.window {
        WindowSpec::Tumbling { size_ms } => WindowSpec::Tumbling { size_ms: hours(size_ms) },
        WindowSpec::Hopping { size_ms, slide_ms } => {
            WindowSpec::Hopping { size_ms: hours(size_ms), slide_ms: hours(slide_ms) }
        }
        WindowSpec::Cumulating { size_ms, step_ms } => {
            WindowSpec::Cumulating { size_ms: hours(size_ms), step_ms: hours(step_ms) }
        }
        other => other,
    };
    let all = windows_of(WindowRule { window, ..rule }, time.div_euclid(HOUR_MS));
    all.into_iter().map(|(start, end)| (start * HOUR_MS, end * HOUR_MS)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn windows_in_a_zone_are_those_of_its_clock(
        window in prop_oneof![
            (1i64..50).prop_map(|n| WindowSpec::Tumbling { size_ms: n * HOUR_MS }),
            (1i64..30, 0i64..40).prop_map(|(n, m)| WindowSpec::Hopping { size_ms: (n + m) * HOUR_MS, slide_ms: n * HOUR_MS }),
            (1i64..8, 1i64..6).prop_map(|(n, m)| WindowSpec::Cumulating { size_ms: n * m * HOUR_MS, step_ms: n * HOUR_MS }),
        ],
        zone in prop::sample::select(vec!["America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Asia/Kathmandu", "Antarctica/Troll"]),
        // Around a change, mostly.
        day in prop::sample::select(vec!["2024-03-10 06:00", "2024-11-03 06:00", "2024-04-06 15:00", "2024-10-05 15:30", "2024-03-30 22:00",
            "2024-10-26 21:00", "2024-03-31 01:00", "2024-10-27 01:00", "2024-07-01 00:00"]),
        quarters in -120i64..120,
    ) {
        let (rule, tz) = (in_zone(window, zone), zone.parse::<chrono_tz::Tz>().unwrap());
        let moment = utc(day) + quarters * HOUR_MS / 4;
        let found: BTreeSet<(i64, i64)> = rule.ends_of(moment).map(|end| (rule.window_start(end), end)).collect();
        let mut expected = windows_by_the_clock(rule, tz, moment);
        // Of windows that end at once there is the one that begins first.
        let longest = expected.iter().rev().fold(std::collections::BTreeMap::new(), |mut all, (start, end)| {
            all.insert(*end, *start);
            all
        });
        expected.retain(|(start, end)| longest[end] == *start);
        prop_assert_eq!(&found, &expected);
        let (start, width) = rule.slice(moment);
        prop_assert!(start <= moment && moment < start + width);
        prop_assert_eq!(rule.first_window_end(moment), expected.iter().map(|window| window.1).min().unwrap());
        prop_assert_eq!(rule.last_window_end(moment), expected.iter().map(|window| window.1).max().unwrap());
        prop_assert!(rule.last_window_end(moment) - moment <= rule.minimum_dedup_ttl_ms());
        let slices: BTreeSet<i64> = [rule.slice(moment).0, rule.slice(moment + 7 * HOUR_MS).0].into();
        let all: BTreeSet<i64> = slices.iter().flat_map(|slice| rule.ends_of(*slice)).filter(|end| *end > moment + HOUR_MS).collect();
        prop_assert_eq!(rule.ends(slices.into_iter(), moment + HOUR_MS).collect::<BTreeSet<_>>(), all);
    }
}

#[test]
fn an_offset_is_one_of_the_clock() {
    let six = WindowRule {
        alignment: Alignment { offset_ms: 6 * HOUR_MS, timezone: Some("America/New_York".parse().unwrap()) },
        ..WindowRule::of(DAY, 0)
    };
    let six_o_clock = NaiveTime::from_hms_opt(6, 0, 0).unwrap();
    for day in ["2024-03-09 20:00", "2024-03-10 20:00", "2024-11-03 03:00", "2024-11-03 20:00"] {
        let start = DateTime::from_timestamp_millis(six.slice(utc(day)).0).unwrap();
        assert_eq!(start.with_timezone(&chrono_tz::America::New_York).time(), six_o_clock, "{day}");
    }
    // Weeks begin on Thursdays, as 1970 did.
    let week = WindowRule {
        alignment: Alignment { offset_ms: 4 * 24 * HOUR_MS, timezone: Some("Europe/Paris".parse().unwrap()) },
        ..WindowRule::of(WindowSpec::Tumbling { size_ms: 7 * 24 * HOUR_MS }, 0)
    };
    assert_eq!(week.slice(utc("2024-07-04 12:00")).0, utc("2024-06-30 22:00"), "a Monday in Paris");
}

#[test]
fn which_windows_a_clock_leaves_whole() {
    let zone = |name: &str| name.parse::<Zone>().unwrap();
    assert!(zone("Asia/Seoul").keeps_windows_of(HOUR_MS / 2));
    assert!(zone("Asia/Kathmandu").keeps_windows_of(HOUR_MS / 4));
    assert!(!zone("Asia/Kolkata").keeps_windows_of(HOUR_MS));
    assert_eq!(zone("America/New_York").spread_ms(), HOUR_MS);
    assert_eq!(zone("Australia/Lord_Howe").spread_ms(), HOUR_MS * 3 / 2, "from 10 hours in 1980 to 11.5 in 1982");
}
