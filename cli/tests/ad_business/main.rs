//! The jobs of an ad business as their users run them, on real brokers: clicks and impressions to counts, counts to budgets, and
//! two regions to one store. Whatever is killed, each event is counted and paid for once.

mod pacing;
mod region;
#[path = "../support/mod.rs"]
mod support;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use pacing::{Pacing, asked};
use region::{Event, Region, Sent, now_ms};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Child,
    time::Duration,
};
use support::{Workplace, pause, rows, signal, wait_until};
use weir_test_support::{kafka_server::KafkaServer, needs_python};

const MINUTE: i64 = 60_000;
/// Cents of a click, for all ads.
const COST: i64 = 10;

/// Events of ten ads, of which every third is a click, at a moment. One in twenty comes twice, one in thirty is of no known type.
fn events(round: i64, count: i64, at_ms: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for n in 0..count {
        let number = round * 1_000 + n;
        let kind = match n % 3 {
            _ if number % 30 == 7 => "hover",
            0 => "click",
            _ => "impression",
        };
        let event = Event { id: format!("e{number}"), kind, ad: format!("ad{}", number * 7 % 10), at_ms: at_ms + n };
        events.extend(std::iter::repeat_n(event, if number % 20 == 3 { 2 } else { 1 }));
    }
    events
}

#[test]
fn budgets_are_spent_once_whatever_is_killed() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let Some(python) = needs_python(&["confluent_kafka"]) else { return };
    let mut region = Region::new(&server.brokers(), &server.new_name("pacing"));
    region.start();
    let budgets: BTreeMap<String, i64> = (0..10).map(|ad| (format!("ad{ad}"), 100 + 60 * ad)).collect();
    let mut pacing = Pacing::new(&python, &region, &budgets, COST);
    pacing.start();
    let mut sent = Sent::default();
    for round in 0..14 {
        region.send(&mut sent, events(round, 60, now_ms()));
        pause(Duration::from_millis(350));
        match round {
            3 | 9 => {
                region.kill();
                region.start();
            }
            2 | 5 | 6 | 11 => {
                pacing.kill();
                let (paid, real) = (pacing.clicks(), sent.clicks());
                let more = paid.iter().find(|(ad, clicks)| **clicks > real.get(*ad).copied().unwrap_or(0));
                assert!(more.is_none(), "{more:?} is more than was clicked: {real:?}");
                pacing.start();
            }
            _ => {}
        }
    }
    wait_until("all clicks to be paid for", || pacing.clicks() == sent.clicks());
    // The windows are not over: what comes when they are is the same again.
    pacing.kill();
    pacing.start();
    region.stop();
    pause(Duration::from_secs(2));
    assert_eq!(pacing.clicks(), sent.clicks());

    let spent: BTreeMap<String, i64> = sent.clicks().into_iter().map(|(ad, clicks)| (ad, clicks * COST)).collect();
    let is_spent = |ad: &String| spent.get(ad).is_some_and(|spent| *spent >= budgets[ad]);
    let expected: BTreeSet<String> = budgets.keys().filter(|ad| is_spent(ad)).cloned().collect();
    assert!(expected.len() > 2 && expected.len() < 10, "{expected:?} of {spent:?}");
    wait_until("all that are to stop to be told", || {
        pacing.stopped().keys().cloned().collect::<BTreeSet<_>>() == expected
    });
    // Who has spent more may not go on, and who may go on after a raise is told so.
    pacing.kill();
    let raised = budgets.keys().map(|ad| (ad.clone(), 1_000_000)).collect();
    pacing.set_budgets(&raised, COST);
    pacing.start();
    wait_until("all to go on", || pacing.stopped().is_empty());
}

/// Of ads whose budget ends with the next click: how long after that it is told. The limit is wide, as machines of tests are slow;
/// what it takes is printed.
#[test]
fn an_ad_is_stopped_soon_after_its_budget_is_spent() {
    let Some(server) = KafkaServer::shared().unwrap() else { return };
    let Some(python) = needs_python(&["confluent_kafka"]) else { return };
    let mut region = Region::new(&server.brokers(), &server.new_name("prompt"));
    region.start();
    let budgets: BTreeMap<String, i64> = (0..8).map(|ad| (format!("last{ad}"), 3 * COST)).collect();
    let mut pacing = Pacing::new(&python, &region, &budgets, COST);
    pacing.start();
    let mut sent = Sent::default();
    let click =
        |ad: i64, n: i64| Event { id: format!("{ad}-{n}"), kind: "click", ad: format!("last{ad}"), at_ms: now_ms() };
    for ad in 0..8 {
        region.send(&mut sent, vec![click(ad, 0), click(ad, 1)]);
    }
    wait_until("what was clicked before to be paid for", || pacing.clicks() == sent.clicks());
    assert!(pacing.stopped().is_empty());
    let mut delays = Vec::new();
    for ad in 0..8 {
        region.send(&mut sent, vec![click(ad, 2)]);
        // It has been acknowledged, so it can be read. (Most of the time before was a producer's start.)
        let at_ms = now_ms();
        let name = format!("last{ad}");
        wait_until("it to be told", || pacing.stopped().contains_key(&name));
        delays.push((pacing.stopped()[&name] * 1000.0) as i64 - at_ms);
    }
    delays.sort_unstable();
    println!("told after {delays:?} ms");
    assert!(delays[delays.len() / 2] < 5_000, "{delays:?}");
}

/// A job that merges what two regions have counted.
struct Union {
    place: Workplace,
    child: Option<Child>,
}

impl Union {
    fn new(east: &Region, west: &Region) -> Self {
        let place = Workplace::new();
        let text = fs::read_to_string(place.path("jobs/union_and_load.toml")).unwrap();
        let text = text.replace("localhost:9092", &east.brokers).replace("localhost:9094", &west.brokers);
        assert_eq!(text.matches("idle_after = \"10s\"").count(), 2);
        fs::write(place.path("union.toml"), text.replace("idle_after = \"10s\"", "idle_after = \"2s\"")).unwrap();
        Union { place, child: None }
    }

    fn start(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.place.path("union.log")).unwrap();
        let mut command = self.place.weir(&["run", "union.toml", "--quiet"]);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it as Ctrl-C does.
    fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        signal(&child, "INT");
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {}", fs::read_to_string(self.place.path("union.log")).unwrap());
    }

    /// What the store holds: clicks and impressions by minute and ad.
    fn stored(&self, python: &std::path::Path) -> Counts {
        let sql = "SELECT click_minute, ad_id, count, impressions FROM ad_counts WHERE filter_id = '0000'";
        let rows = asked(python, &self.place.path("out/union/store.sqlite"), sql);
        let number = |value: &Value| value.as_i64().unwrap();
        let read =
            |row: &Value| ((number(&row[0]), row[1].as_str().unwrap().into()), (number(&row[2]), number(&row[3])));
        rows.as_array().into_iter().flatten().map(read).collect()
    }

    /// What the files hold: the highest revision of each record, and none twice.
    fn written(&self) -> Counts {
        let mut seen = BTreeSet::new();
        let mut newest: BTreeMap<Vec<u8>, (i32, bool, Counted)> = BTreeMap::new();
        for batch in rows(&self.place.path("out/union/counts")) {
            for row in 0..batch.num_rows() {
                let (id, revision, withdrawn, counted) = read(&batch, row);
                assert!(seen.insert((id.clone(), revision)), "a revision comes twice");
                let known = newest.entry(id).or_insert((revision, withdrawn, counted.clone()));
                if known.0 < revision {
                    *known = (revision, withdrawn, counted);
                }
            }
        }
        let holding = newest.into_values().filter(|(_, withdrawn, counted)| !withdrawn && counted.0 == "0000");
        holding.map(|(_, _, (_, group, counts))| (group, counts)).collect()
    }
}

impl Drop for Union {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Clicks and impressions, by minute and ad.
type Counts = BTreeMap<(i64, String), (i64, i64)>;

/// A filter, a minute and an ad, clicks and impressions.
type Counted = (String, (i64, String), (i64, i64));

fn read(batch: &RecordBatch, row: usize) -> (Vec<u8>, i32, bool, Counted) {
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}"));
    let int = |name: &str| column(name).as_primitive::<Int64Type>().value(row);
    let text = |name: &str| column(name).as_string::<i32>().value(row).to_owned();
    let minute = column("window_start").as_primitive::<TimestampMillisecondType>().value(row);
    (
        column("record_id").as_fixed_size_binary().value(row).to_vec(),
        column("revision").as_primitive::<Int32Type>().value(row),
        column("withdrawn").as_boolean().value(row),
        (text("filter_id"), (minute, text("ad_id")), (int("clicks"), int("impressions"))),
    )
}

/// The store of a union while one region is killed with its brokers, and comes back after many minutes of event time.
#[test]
fn two_regions_are_one_store_although_one_is_killed_with_its_brokers() {
    let Some(python) = needs_python(&["sqlite3"]) else { return };
    let Some(east_server) = KafkaServer::start().unwrap() else { return };
    let Some(mut west_server) = KafkaServer::start().unwrap() else { return };
    let (mut east, mut west) = (Region::new(&east_server.brokers(), ""), Region::new(&west_server.brokers(), ""));
    let mut union = Union::new(&east, &west);
    east.start();
    west.start();
    union.start();
    let (mut of_east, mut of_west) = (Sent::default(), Sent::default());
    // Half a minute of event time each third of a second: it ends ten minutes before now.
    let start = now_ms() - 30 * MINUTE;
    let moment = |round: i64| start + round * MINUTE / 2;
    let mut away: Vec<Event> = Vec::new();
    for round in 0..40 {
        east.send(&mut of_east, events(round, 24, moment(round)));
        let of_round = events(round, 17, moment(round));
        match round {
            0..12 => west.send(&mut of_west, of_round),
            // What its servers would send is there when the brokers are back.
            12..30 => away.extend(of_round),
            _ => west.send(&mut of_west, of_round),
        }
        match round {
            12 => {
                west.kill();
                west_server.kill().unwrap();
            }
            20 => {
                union.kill();
                union.start();
            }
            25 => {
                east.kill();
                east.start();
            }
            29 => {
                // The union doesn't wait for whoever is silent, as long as somebody is not.
                let mut more = 0;
                wait_until("the east to go on while the west is away", || {
                    more += 1;
                    east.send(&mut of_east, events(100 + more, 6, moment(round) + more * 10_000));
                    pause(Duration::from_millis(300));
                    union.stored(&python).keys().any(|(minute, _)| *minute > moment(12) + 2 * MINUTE)
                });
                west_server.restart().unwrap();
                west.start();
                west.send(&mut of_west, std::mem::take(&mut away));
            }
            _ => {}
        }
        pause(Duration::from_millis(330));
    }
    // What comes later closes the last minutes, in the regions and in the union; each minute more brings out what was corrected
    // after the one before.
    for minutes in (0..7).rev() {
        let at_ms = now_ms() - minutes * MINUTE;
        let name = |n: i64| format!("closing{n}");
        let closing = |n: i64| Event { id: format!("{minutes}-{n}"), kind: "impression", ad: name(n), at_ms };
        east.send(&mut of_east, (0..20).map(closing).collect());
        west.send(&mut of_west, (0..20).map(closing).collect());
        pause(Duration::from_secs(3));
    }
    let mut expected: Counts = BTreeMap::new();
    for sent in [&of_east, &of_west] {
        for (group, (clicks, shown)) in sent.counts() {
            let sum = expected.entry(group).or_default();
            *sum = (sum.0 + clicks, sum.1 + shown);
        }
    }
    let without_closing =
        |counts: Counts| -> Counts { counts.into_iter().filter(|((_, ad), _)| ad.starts_with("ad")).collect() };
    let expected = without_closing(expected);
    let mut stored = Counts::new();
    for _ in 0..1_200 {
        stored = without_closing(union.stored(&python));
        if stored == expected {
            break;
        }
        pause(Duration::from_millis(100));
    }
    assert_eq!(stored, expected);
    union.stop();
    assert_eq!(without_closing(union.stored(&python)), expected);
    assert_eq!(without_closing(union.written()), expected);
}
