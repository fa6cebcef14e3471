use super::*;
use crate::workload::{Workload, WorkloadConfig};

fn rules() -> Rules {
    Rules {
        format: InputFormat::ClickLog,
        in_a_topic: None,
        max_line_bytes: 1_000,
        delay_ms: 10_000,
        doubts: None,
        allowed_lateness_ms: 60_000,
        fails_in_map: |click| click.ip == "map",
        fails_in_filters: |click| click.ip.ends_with("7"),
        filters: vec![("all", |_| true), ("usa", |click| click.country.as_deref() == Some("USA"))],
        top_minutes: 2,
        top_n: 1,
        block_minutes: 2,
        pairs: None,
        others: None,
        window_join: None,
    }
}

fn recount_text(text: &str) -> Expected {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.log"), text).unwrap();
    recount(folder.path(), &rules()).unwrap()
}

/// A day by hand: every class once.
#[test]
fn a_log_counted_by_hand() {
    let expected = recount_text(
        "[AdClickEvent] ad1, 1970-01-01 00:10:00, u1, i, USA\n\
         [AdClickEvent] ad1, 1970-01-01 00:10:01, u1, i, USA\n\
         [AdClickEvent] ad1, 1970-01-01 00:10:02, u1, i, Japan\n\
         [AdClickEvent] ad1, 1970-01-01 00:10:02, u1, i, Japan\n\
         rubbish\n\
         [AdClickEvent] , 1970-01-01 00:10:02, u1, i, Japan\n\
         [AdClickEvent] ad2, 1970-01-01 00:10:03, u1, map, Japan\n\
         [AdClickEvent] ad2, 1970-01-01 00:10:03, u1, map, Japan\n\
         [AdClickEvent] ad2, 1970-01-01 00:10:03, u1, i7, Japan\n\
         [AdClickEvent] ad2, 1970-01-01 00:10:03, u1, i7, Japan\n\
         [AdClickEvent] ad2, 1970-01-01 00:13:10, u1, i, Japan\n\
         [AdClickEvent] ad3, 1970-01-01 00:12:00, u1, i, Japan\n\
         [AdClickEvent] ad4, 1970-01-01 00:10:59, u1, i, Japan\n",
    );
    let minute = |minute: i64| minute * 60_000;
    let key = |ad: &str, at, filter: &str| (ad.to_owned(), minute(at), filter.to_owned());
    let counts = [
        (key("ad1", 10, "all"), 3),
        (key("ad1", 10, "usa"), 2),
        (key("ad2", 13, "all"), 1),
        (key("ad3", 12, "all"), 1),
    ];
    assert_eq!(expected.counts, counts.into());
    assert_eq!((expected.duplicates, expected.refused_by_where, expected.counted), (2, 1, 5));
    let refused: Vec<&str> = expected.refused.iter().map(|(operator, ..)| *operator).collect();
    assert_eq!(refused, [REFUSED_BY_FILTERS, REFUSED_BY_MAP, REFUSED_BY_MAP], "what is no map's row is no duplicate");
    assert_eq!(expected.late.len(), 1, "13:10 less 10 s is 13:00, and the minute of 10:59 ends at 11:00, plus one");
    assert_eq!(expected.dead_letters.len(), 1);
    assert_eq!(expected.valid.len(), 12);
    assert_eq!(expected.top_ads[&(minute(12), "all".into(), 1)], ("ad1".into(), 3));
    assert_eq!(expected.top_ads[&(minute(13), "all".into(), 1)], ("ad3".into(), 1));
}

#[test]
fn every_line_has_one_class() {
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload::generate(&WorkloadConfig::default());
    workload.write(folder.path(), InputFormat::ClickLog).unwrap();
    let expected = recount(folder.path(), &rules()).unwrap();
    let classes = expected.dead_letters.len() as u64
        + expected.refused.len() as u64
        + expected.late.len() as u64
        + expected.duplicates
        + expected.refused_by_where
        + expected.matched_by_no_filter
        + expected.counted;
    assert_eq!(classes, workload.line_count() as u64);
    let least = [expected.dead_letters.len() as u64, expected.late.len() as u64, expected.duplicates];
    assert!(least.iter().all(|class| *class > 5), "no class is missing in the workload: {least:?}");
}

/// Or a join that loses them would be right.
#[test]
fn there_are_pairs_and_rows_without_a_partner_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    Workload::generate(&WorkloadConfig::default()).write(folder.path(), InputFormat::ClickLog).unwrap();
    let join = WindowJoin { kind: JoinKind::Full, turned: false, more_lateness_minutes: 3 };
    let expected = recount(folder.path(), &Rules { window_join: Some(join), ..rules() }).unwrap();
    let number = |is: fn(&Joined) -> bool| expected.window_join.values().filter(|joined| is(joined)).count();
    let pairs = number(|(count, clicks)| count.is_some() && clicks.is_some());
    let (counts, clicks) = (number(|(_, clicks)| clicks.is_none()), number(|(count, _)| count.is_none()));
    assert!(pairs.min(counts).min(clicks) > 10, "{pairs} pairs, {counts} counts and {clicks} numbers of clicks alone");
}

/// The same clicks give the same counts however they are written.
#[test]
fn formats_agree() {
    let config = WorkloadConfig { one_broken_in: 0, ..WorkloadConfig::default() };
    let workload = Workload::generate(&config);
    let recounted: Vec<Expected> = InputFormat::ALL
        .into_iter()
        .map(|format| {
            let folder = tempfile::tempdir().unwrap();
            workload.write(folder.path(), format).unwrap();
            recount(folder.path(), &Rules { format, ..rules() }).unwrap()
        })
        .collect();
    assert_eq!(recounted[0], recounted[1]);
    assert_eq!(recounted[0], recounted[2]);
}

fn judged(doubts: Option<Doubts>, times: &[i64]) -> (Vec<i64>, Option<i64>) {
    let click = |time: &i64| Click {
        ad_id: String::new(),
        click_timestamp: *time,
        user_id: String::new(),
        ip: String::new(),
        country: None,
        event_id: None,
    };
    let records: Vec<Parsed> = times.iter().map(|time| Parsed::Click { click: click(time), offset: 0 }).collect();
    let mut time = SplitTime::of(&records, doubts, 1);
    let believed = times.iter().copied().filter(|event_time| time.hears(*event_time, 1)).collect();
    (believed, time.watermark(1))
}

#[test]
fn wrong_clocks_are_not_believed_until_many_say_the_same() {
    let doubts = Some(Doubts { largest_jump_ms: 100, voices: 4, span_ms: 3, put_aside: true });
    assert_eq!(judged(None, &[5, 9, 1_000, 8]).1, Some(999), "where none is doubted");
    assert_eq!(judged(doubts, &[1_000, 5, 9, 1_000, 8, 1_001]), (vec![5, 9, 8], Some(8)));
    let times = [5, 6, 7, 8, 1_000, 1_000, 1_000, 1_000, 1_000, 1_003, 1_004];
    assert_eq!(judged(doubts, &times), (vec![5, 6, 7, 8, 1_003, 1_004], Some(1_003)));
    assert_eq!(judged(doubts, &[5, 6, 7, 8, 1_000, 1_001, 9, 1_002, 1_003]).1, Some(8), "time went on meanwhile");
}
