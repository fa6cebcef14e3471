//! Every aggregate in whole jobs, with and without a key, against a recount in plain Rust; and bit for bit the same whatever the
//! parallelism and the batches.

mod events;

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{execute, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMillisecondType};
use arrow::util::display::array_value_to_string;
use events::{Event, events, write};
use weir_engine::graph::NodeRole;
use weir_jobs::explain::ExplainFormat;
use weir_jobs::{CompileOptions, parse};

const DEFINITION: &str = r#"
[job]
name = "aggregates"
checkpoint = { interval = "10ms" }

[source.events]
connector = "files"
path = "OUT/in"
format = "json"
event_time = "at"
watermark = { delay = "20s" }
schema = { at = { type = "timestamp", unit = "ms" }, ad = "string", who = "string", cost = "int", price = "float", ok = "bool" }

[aggregate.keyed]
input = "events"
key = ["ad"]
window = { tumbling = "1m", allowed_lateness = "10m" }
[aggregate.keyed.select]
CALLS

[aggregate.all]
input = "events"
key = []
window = { tumbling = "1m", allowed_lateness = "10m" }
[aggregate.all.select]
CALLS

[aggregate.hopping]
input = "events"
key = []
window = { hopping = "3m", slide = "1m", allowed_lateness = "10m" }
[aggregate.hopping.select]
CALLS

[aggregate.sessions]
input = "events"
key = []
window = { session = "15s", allowed_lateness = "10m" }
[aggregate.sessions.select]
CALLS

[sink.keyed]
input = "keyed"
connector = "files"
path = "OUT/keyed"

[sink.all]
input = "all"
connector = "files"
path = "OUT/all"
compression = "zstd"

[sink.hopping]
input = "hopping"
connector = "files"
path = "OUT/hopping"

[sink.sessions]
input = "sessions"
connector = "files"
path = "OUT/sessions"
"#;

/// Name, call, and what it must be of some events.
type Call = (&'static str, &'static str, fn(&[Event]) -> String);

/// As results are shown: null is nothing.
fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn costs(events: &[Event]) -> Vec<i64> {
    let mut costs: Vec<i64> = events.iter().filter_map(|event| event.cost).collect();
    costs.sort_unstable();
    costs
}

/// A float that was computed with rounding: compared by its first digits.
fn near(value: Option<f64>) -> String {
    shown(value)
}

fn of_prices(events: &[Event], of: fn(f64, f64, f64) -> Option<f64>) -> String {
    let prices: Vec<f64> = events.iter().filter_map(|event| event.price).collect();
    let n = prices.len() as f64;
    let mean = prices.iter().sum::<f64>() / n;
    near(of(n, mean, prices.iter().map(|price| (price - mean).powi(2)).sum()))
}

/// Number, and sums of squares and of products around the means, of costs and prices.
fn pairs(events: &[Event]) -> (f64, f64, f64, f64) {
    let pairs: Vec<(f64, f64)> = events.iter().filter_map(|e| Some((e.cost? as f64, e.price?))).collect();
    let n = pairs.len() as f64;
    let (x, y) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    (n, sum(&|p| (p.0 - x) * (p.0 - x)), sum(&|p| (p.1 - y) * (p.1 - y)), sum(&|p| (p.0 - x) * (p.1 - y)))
}

fn distinct(names: impl Iterator<Item = Option<String>>) -> Vec<String> {
    let names: std::collections::BTreeSet<String> = names.flatten().collect();
    names.into_iter().collect()
}

/// The median, or another part, of whole numbers.
fn part(sorted: &[i64], part: f64) -> Option<f64> {
    let position = part * (sorted.len().checked_sub(1)? as f64);
    let (low, high) = (sorted[position.floor() as usize] as f64, sorted[position.ceil() as usize] as f64);
    Some(low + (high - low) * position.fract())
}

const CALLS: &[Call] = &[
    ("rows", "count(*)", |events| events.len().to_string()),
    ("cheap", "count(*) filter (where cost < 50)", |events| {
        events.iter().filter(|event| event.cost.is_some_and(|cost| cost < 50)).count().to_string()
    }),
    ("spend", "sum(cost) filter (where ok)", |events| {
        let costs: Vec<i64> = events.iter().filter(|e| e.ok == Some(true)).filter_map(|e| e.cost).collect();
        shown((!costs.is_empty()).then(|| costs.iter().sum::<i64>()))
    }),
    ("people", "count(distinct who)", |events| distinct(events.iter().map(|e| e.who.clone())).len().to_string()),
    ("least", "min(who)", |events| shown(distinct(events.iter().map(|e| e.who.clone())).first())),
    ("most", "max(who || '!')", |events| {
        shown(distinct(events.iter().map(|e| e.who.clone().map(|who| who + "!"))).last())
    }),
    ("var", "var(price)", |events| of_prices(events, |n, _, squares| (n > 1.5).then(|| squares / (n - 1.0)))),
    ("stddev_pop", "stddev_pop(price)", |events| {
        of_prices(events, |n, _, squares| (n > 0.5).then(|| (squares / n).sqrt()))
    }),
    ("covar", "covar(cost, price)", |events| {
        let (n, _, _, products) = pairs(events);
        near((n > 1.5).then(|| products / (n - 1.0)))
    }),
    ("corr", "corr(cost, price)", |events| {
        let (n, xx, yy, xy) = pairs(events);
        near((n > 1.5 && xx > 1e-12 && yy > 1e-12).then(|| xy / (xx * yy).sqrt()))
    }),
    ("all_ok", "bool_and(ok)", |events| {
        let oks: Vec<bool> = events.iter().filter_map(|e| e.ok).collect();
        shown((!oks.is_empty()).then(|| oks.iter().all(|ok| *ok)))
    }),
    ("any_ok", "bool_or(cost > 90)", |events| {
        let costs = costs(events);
        shown((!costs.is_empty()).then(|| costs.iter().any(|cost| *cost > 90)))
    }),
    ("bits", "bit_or(cost)", |events| shown(costs(events).into_iter().reduce(|a, b| a | b))),
    ("odd_bits", "bit_xor(cost)", |events| shown(costs(events).into_iter().reduce(|a, b| a ^ b))),
    ("median", "median(cost)", |events| near(part(&costs(events), 0.5))),
    ("p90", "percentile_cont(0.9) within group (order by cost)", |events| near(part(&costs(events), 0.9))),
    // Whole numbers below 128 have a bucket each.
    ("about_p90", "approx_percentile_cont(cost, 0.9)", |events| near(part(&costs(events), 0.9))),
    ("first", "first_value(cost)", |events| {
        shown(events.iter().filter_map(|e| Some((e.at, e.cost?))).min().map(|(_, cost)| cost))
    }),
    ("last", "last(who) filter (where ok)", |events| {
        let ok = events.iter().filter(|e| e.ok == Some(true));
        shown(ok.filter_map(|e| Some((e.at, e.who.clone()?))).max().map(|(_, who)| who))
    }),
    ("dearest", "max_by(who, cost)", |events| {
        shown(events.iter().filter_map(|e| Some((e.cost?, e.who.clone()?))).max().map(|(_, who)| who))
    }),
    ("cheapest", "min_by(who, price * 2)", |events| {
        let by = |a: &(f64, String), b: &(f64, String)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        shown(events.iter().filter_map(|e| Some((e.price?, e.who.clone()?))).min_by(by).map(|(_, who)| who))
    }),
    ("costs", "array_agg(cost, 4)", |events| {
        let mut costs: Vec<(i64, Option<i64>)> = events.iter().map(|e| (e.at, e.cost)).collect();
        costs.sort_unstable();
        let first: Vec<String> = costs.iter().take(4).map(|(_, cost)| shown(*cost)).collect();
        format!("[{}]", first.join(", "))
    }),
    ("names", "array_agg(distinct who) filter (where who is not null)", |events| {
        let names = distinct(events.iter().map(|e| e.who.clone()));
        if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) }
    }),
];

/// Key and window of a result; the key is empty without one.
type Group = (String, i64, i64);

/// A result: its group, and its values as texts.
type Shown = (Group, Vec<String>);

/// The newest revisions of a sink's rows, as texts of all calls.
fn found(folder: &Path) -> BTreeMap<Group, Vec<String>> {
    let mut newest: BTreeMap<Vec<u8>, (i32, Option<Shown>)> = BTreeMap::new();
    for batch in rows(folder) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let ids = column("record_id").as_fixed_size_binary();
        let revisions = column("revision").as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let held = newest.entry(ids.value(row).to_vec()).or_insert((-1, None));
            assert_ne!(held.0, revisions.value(row), "a revision twice");
            if held.0 < revisions.value(row) {
                let holds = !column("withdrawn").as_boolean().value(row);
                *held = (revisions.value(row), holds.then(|| (group_of(&batch, row), values_of(&batch, row))));
            }
        }
    }
    newest.into_values().filter_map(|(_, result)| result).collect()
}

fn group_of(batch: &RecordBatch, row: usize) -> Group {
    let time = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<TimestampMillisecondType>().value(row);
    let key = batch.column_by_name("ad").map_or(String::new(), |ads| ads.as_string::<i32>().value(row).to_owned());
    (key, time("window_start"), time("window_end"))
}

fn values_of(batch: &RecordBatch, row: usize) -> Vec<String> {
    let value = |call: &Call| {
        let column = batch.column_by_name(call.0).unwrap();
        match column.data_type() {
            DataType::Float64 => {
                let values = column.as_primitive::<arrow::datatypes::Float64Type>();
                shown(values.is_valid(row).then(|| values.value(row)))
            }
            _ => array_value_to_string(column, row).unwrap(),
        }
    };
    CALLS.iter().map(value).collect()
}

/// What each group of events must come to.
fn recounted(groups: BTreeMap<Group, Vec<Event>>) -> BTreeMap<Group, Vec<String>> {
    let values = |events: &[Event]| CALLS.iter().map(|call| (call.2)(events)).collect();
    groups.into_iter().map(|(group, events)| (group, values(&events))).collect()
}

fn grouped(all: &[Event], groups_of: impl Fn(&Event) -> Vec<Group>) -> BTreeMap<Group, Vec<Event>> {
    let mut groups: BTreeMap<Group, Vec<Event>> = BTreeMap::new();
    for event in all {
        for group in groups_of(event) {
            groups.entry(group).or_default().push(event.clone());
        }
    }
    groups
}

const MINUTE: i64 = 60_000;

fn sessions(all: &[Event]) -> BTreeMap<Group, Vec<Event>> {
    let mut sorted = all.to_vec();
    sorted.sort_by_key(|event| event.at);
    let sessions = sorted.chunk_by(|one, next| next.at - one.at < 15_000);
    let group = |events: &[Event]| (String::new(), events[0].at, events[events.len() - 1].at + 15_000);
    sessions.map(|events| (group(events), events.to_vec())).collect()
}

#[track_caller]
fn assert_same(what: &str, found: &BTreeMap<Group, Vec<String>>, expected: &BTreeMap<Group, Vec<String>>) {
    for (group, values) in expected {
        let of = found.get(group).unwrap_or_else(|| panic!("{what}: nothing of {group:?}"));
        for ((call, found), expected) in CALLS.iter().zip(of).zip(values) {
            // Both are rounded: the last digit may differ.
            let is_near = match (found.parse::<f64>(), expected.parse::<f64>()) {
                (Ok(one), Ok(other)) => (one - other).abs() <= 1e-8 * (1.0 + other.abs()),
                _ => found == expected,
            };
            assert!(is_near, "{what}, {} of {group:?}: {found} instead of {expected}", call.1);
        }
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Runs the job and gives back the rows of its sinks, in an order of their own.
fn run(folder: &Path, all: &[Event], parallelism: usize, batch_rows: u64) -> Vec<BTreeMap<Group, Vec<String>>> {
    std::fs::create_dir_all(folder.join("in")).unwrap();
    write(all, &folder.join("in"));
    let calls: Vec<String> = CALLS.iter().map(|(name, call, _)| format!("{name} = {call:?}")).collect();
    let text = DEFINITION.replace("CALLS", &calls.join("\n")).replace("OUT", folder.to_str().unwrap());
    let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
    let mut job = parse("aggregates.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    for node in job.graph.nodes.iter_mut().filter(|node| node.role == NodeRole::Source) {
        node.config["batch_rows"] = batch_rows.into();
    }
    execute(job, &folder.join("checkpoints"));
    ["keyed", "all", "hopping", "sessions"].map(|sink| found(&folder.join(sink))).into()
}

#[test]
fn every_aggregate_is_what_a_recount_says_at_any_parallelism() {
    let all = events(7, 2_000);
    let minute = |event: &Event| event.at.div_euclid(MINUTE) * MINUTE;
    let expected = [
        grouped(&all, |event| vec![(event.ad.clone(), minute(event), minute(event) + MINUTE)]),
        grouped(&all, |event| vec![(String::new(), minute(event), minute(event) + MINUTE)]),
        grouped(&all, |event| {
            let window = |n: i64| (String::new(), minute(event) - n * MINUTE, minute(event) + (3 - n) * MINUTE);
            (0..3).map(window).collect()
        }),
        sessions(&all),
    ]
    .map(recounted);
    assert!(expected[3].len() > 3, "there are several sessions");
    let mut before = None;
    for (parallelism, batch_rows) in [(1, 4_096), (4, 7)] {
        let folder = tempfile::tempdir().unwrap();
        let found = run(folder.path(), &all, parallelism, batch_rows);
        for ((what, found), expected) in ["keyed", "all", "hopping", "sessions"].iter().zip(&found).zip(&expected) {
            assert_same(what, found, expected);
        }
        assert_eq!(before.get_or_insert_with(|| found.clone()), &found, "at parallelism {parallelism}");
    }
}

/// Without a key: running counts, a table by window, a top list, and what `explain` says.
#[test]
fn one_group_has_all_that_groups_have() {
    let folder = tempfile::tempdir().unwrap();
    let all = events(8, 600);
    std::fs::create_dir_all(folder.path().join("in")).unwrap();
    write(&all, &folder.path().join("in"));
    let head = DEFINITION.split("[aggregate.keyed]").next().unwrap();
    let text = format!(
        r#"{head}
[aggregate.all]
input = "events"
key = []
window = {{ tumbling = "1m", allowed_lateness = "10m" }}
select = {{ rows = "count(*)", people = "count(distinct who)" }}
emit = {{ every = "10ms" }}

[reduce.top]
input = "all"
top = {{ n = 3, by = "rows" }}

[sink.table]
input = "all"
connector = "sql"
url = "sqlite:OUT/results.sqlite"
table = "minutes"
key = ["window_start"]

[sink.top]
input = "top"
connector = "files"
path = "OUT/top"
"#
    )
    .replace("OUT", folder.path().to_str().unwrap());
    let options = CompileOptions { parallelism: Some(3), ..CompileOptions::default() };
    let job = parse("all.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    let shown = job.explain(ExplainFormat::Text).unwrap();
    assert!(shown.contains("over all rows") && shown.contains("all to one"), "{shown}");
    execute(job, &folder.path().join("checkpoints"));

    let minute = |event: &Event| event.at.div_euclid(MINUTE) * MINUTE;
    let mut expected: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    all.iter().for_each(|event| expected.entry(minute(event)).or_default().push(event.clone()));
    let count =
        |events: &[Event]| (events.len() as i64, distinct(events.iter().map(|event| event.who.clone())).len() as i64);
    let expected: BTreeMap<i64, (i64, i64)> =
        expected.into_iter().map(|(minute, events)| (minute, count(&events))).collect();
    assert_eq!(table(&folder.path().join("results.sqlite")), expected);

    let mut ranked = BTreeMap::new();
    let mut revisions = BTreeMap::new();
    for batch in rows(&folder.path().join("top")) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        for row in 0..batch.num_rows() {
            let start = column("window_start").as_primitive::<TimestampMillisecondType>().value(row);
            assert_eq!(column("rank").as_primitive::<Int32Type>().value(row), 1, "there is one group to rank");
            let revision = column("revision").as_primitive::<Int32Type>().value(row);
            if revisions.get(&start).is_none_or(|held| *held < revision) {
                revisions.insert(start, revision);
                ranked.insert(start, column("rows").as_primitive::<Int64Type>().value(row));
            }
        }
    }
    assert_eq!(ranked, expected.into_iter().map(|(minute, (rows, _))| (minute, rows)).collect());
}

/// Lists go where there is a form for them.
#[test]
fn lists_are_written_or_refused_before_the_job_starts() {
    let head = DEFINITION.split("[aggregate.keyed]").next().unwrap();
    let told = |sink: &str| {
        let text = format!(
            "{head}\n[aggregate.lists]\ninput = \"events\"\nkey = []\nwindow = {{ tumbling = \"1m\" }}\n\
             select = {{ costs = \"array_agg(cost)\" }}\n[sink.lists]\ninput = \"lists\"\n{sink}"
        );
        parse("lists.toml", &text, &[], &CompileOptions::default()).map_err(|refusal| refusal.to_string())
    };
    for accepted in [
        "connector = \"files\"\npath = \"out\"\n",
        "connector = \"files\"\npath = \"out\"\ncompression = \"zstd\"\n",
        "connector = \"kafka\"\nbrokers = \"localhost:9092\"\ntopic = \"lists\"\n",
        "connector = \"console\"\n",
        "connector = \"sql\"\nurl = \"sqlite:out.sqlite\"\ntable = \"lists\"\nselect = [\"record_id\", \"window_start\", \"revision\"]\n",
    ] {
        if let Err(refusal) = told(accepted) {
            panic!("{accepted}: {refusal}");
        }
    }
    let refusal = told("connector = \"sql\"\nurl = \"sqlite:out.sqlite\"\ntable = \"lists\"\n").unwrap_err();
    assert!(refusal.contains("`costs` is a list, which cannot be stored in a table"), "{refusal}");
    let rolled = "connector = \"files\"\npath = \"out\"\nroll = { every = \"1m\" }\n";
    let refusal = told(rolled).unwrap_err();
    assert!(refusal.contains("costs") && refusal.contains("roll"), "{refusal}");
}

/// Minute, rows and people of each row.
fn table(file: &Path) -> BTreeMap<i64, (i64, i64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = support_sql::open(file).await;
        support_sql::rows(&mut connection).await
    })
}

mod support_sql {
    use super::BTreeMap;
    use sqlx::{Connection, Row, SqliteConnection};
    use std::path::Path;

    pub(super) async fn open(file: &Path) -> SqliteConnection {
        SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap()
    }

    pub(super) async fn rows(connection: &mut SqliteConnection) -> BTreeMap<i64, (i64, i64)> {
        let rows = sqlx::query("SELECT window_start, rows, people FROM minutes").fetch_all(connection).await.unwrap();
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
    }
}
