//! From what people do to budgets that are spent and stores that are loaded, with everybody on the way killed at some time.

use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, time::Duration};
use weir_chaos_tests::cluster::pipeline::{
    PipelineRun,
    business::{CLICKS, ORDERS},
    recount::{Counts, Expected},
};

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

/// A minute that nothing is special about.
const NOON: i64 = 1_646_395_200_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 1_440 * MINUTE;

/// The recount of some topics of two partitions; those that are not given are empty.
fn recounted(topics: &[(&str, [Vec<Value>; 2])]) -> Expected {
    let folder = tempfile::tempdir().unwrap();
    let write = |topic: &str, partition: usize, records: &[Value]| {
        let path = folder.path().join(topic);
        std::fs::create_dir_all(&path).unwrap();
        let lines: String = records.iter().map(|record| format!("{}\n", line(record))).collect();
        std::fs::write(path.join(format!("{partition}.log")), lines).unwrap();
    };
    for topic in ["events-east", "events-west", CLICKS, ORDERS] {
        (0..2).for_each(|partition| write(topic, partition, &[]));
    }
    for (topic, partitions) in topics {
        (0..).zip(partitions).for_each(|(partition, records)| write(topic, partition, records));
    }
    Expected::recount(Path::new(folder.path())).unwrap()
}

/// A text stands for itself, which is no record.
fn line(record: &Value) -> String {
    record.as_str().map_or_else(|| record.to_string(), str::to_owned)
}

fn event(id: &str, kind: &str, ad: &str, at: i64) -> Value {
    json!({ "event_id": id, "event_type": kind, "ad_id": ad, "country": "KOR", "event_at": at })
}

#[test]
fn the_recount_counts_events_once_in_their_minute() {
    let server = vec![
        event("1", "click", "a", NOON),
        event("2", "impression", "a", NOON + MINUTE - 1),
        event("3", "hover", "a", NOON),
        json!("{no record"),
        event("4", "click", "a", NOON - 2 * DAY),
        // The minute at noon is settled when the server has come a little further than this.
        event("5", "click", "b", NOON + 11 * MINUTE + 15 * SECOND - 1),
        event("6", "click", "a", NOON),
        event("7", "click", "b", NOON + 11 * MINUTE + 15 * SECOND),
        event("8", "click", "a", NOON),
        event("1", "click", "a", NOON),
    ];
    let other = vec![event("8", "click", "a", NOON), event("2", "impression", "a", NOON + MINUTE - 1)];
    let expected = recounted(&[("events-east", [server, other])]);
    let place = |minute, ad: &str| (NOON + minute * MINUTE, "0000".to_owned(), ad.to_owned());
    let counts = Counts::from([(place(0, "a"), (3, 1)), (place(11, "b"), (2, 0))]);
    assert_eq!((&expected.regions["east"], expected.together()), (&counts, counts.clone()));
    assert_eq!((expected.late["east"], expected.rejected["east"]), (2, 3));
    assert_eq!(expected.clicks("east"), BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]));
}

#[test]
fn the_recount_gives_orders_to_the_last_click_before_them() {
    let click = |ad: &str, user: &str, at| json!({ "ad_id": ad, "user_id": user, "click_timestamp": at });
    let order = |id: &str, user: Value, at| json!({ "order_id": id, "user_id": user, "ordered_at": at });
    let clicks = vec![
        click("e", "y", NOON - 7 * DAY),
        click("a", "x", NOON),
        click("c", "x", NOON + 1),
        click("b", "x", NOON + 1),
        click("d", "x", NOON + 3),
        click("", "x", NOON + 1),
        // A week late.
        click("a", "y", NOON - 7 * DAY + 1),
    ];
    let orders = vec![
        order("at once", "x".into(), NOON),
        order("of two", "x".into(), NOON + 2),
        order("before", "x".into(), NOON - 1),
        order("within a week", "y".into(), NOON),
        order("a week later", "y".into(), NOON + 2),
        order("of nobody", Value::Null, NOON + 9),
        order("of two", "x".into(), NOON + 2),
    ];
    let expected = recounted(&[(CLICKS, [clicks, vec![]]), (ORDERS, [orders, vec![]])]);
    let of = |order: &str, ad: Option<&str>| (order.to_owned(), ad.map(str::to_owned));
    let attributed = [
        of("at once", Some("a")),
        of("of two", Some("c")),
        of("before", None),
        of("within a week", Some("e")),
        of("a week later", None),
        of("of nobody", None),
    ];
    assert_eq!(expected.orders, BTreeMap::from(attributed));
    assert_eq!((expected.late_clicks, expected.late_orders), (1, 0));
}
