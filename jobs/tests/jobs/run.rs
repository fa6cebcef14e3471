//! Definitions are not only graphs: they run, with checkpoints of all their state, to results that add up.

mod inputs;

use crate::support::{execute, rows};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use weir_jobs::{CompileOptions, parse};

const EVENTS: i64 = 3_000;

/// Every aggregate over every kind of window, from generated clicks that are all in time and all different.
const EVERYTHING: &str = r#"
[job]
name = "everything"
checkpoint = { interval = "20ms" }

[source.clicks]
connector = "generator"
events = 3000
ads = 40
users = 60
rate = 5
late_share = 0.0
duplicate_share = 0.0
event_time = "click_timestamp"
watermark = { delay = "10s" }
clicks_per_second = 6000

[map.priced]
input = "clicks"
[map.priced.select]
ad_id = "ad_id"
user_id = "user_id"
country = "country"
click_timestamp = "click_timestamp"
cost = "length(ip) - 10"
price = "cast(length(ip) as double) / 4"

[filters]
all = "true"
short = "cost < 2"

[aggregate.minutes]
input = "priced"
key = ["ad_id", "filter_id"]
window = { tumbling = "1m", allowed_lateness = "1m" }
[aggregate.minutes.select]
count = "count(*)"
counted = "count(country)"
cost = "sum(cost)"
price = "sum(price * 2)"
least = "min(cost)"
first = "min(click_timestamp)"
most = "max(price)"
mean = "avg(cost)"
users = "approx_distinct(user_id)"

[aggregate.hopping]
input = "priced"
key = ["country"]
window = { hopping = "10m", slide = "2m" }
select = { count = "count(*)", cost = "sum(cost)" }

[aggregate.sessions]
input = "priced"
key = ["user_id"]
window = { session = "2m" }
select = { count = "count(*)", cost = "sum(cost)", ads = "approx_distinct(ad_id)" }

[reduce.top]
input = "minutes"
window = { hopping = "5m", slide = "1m" }
top = { n = 3, by = "cost", per = ["filter_id"] }

[sink.minutes]
input = "minutes"
connector = "files"
path = "OUT/minutes"

[sink.hopping]
input = "hopping"
connector = "files"
path = "OUT/hopping"
compression = "zstd"

[sink.sessions]
input = "sessions"
connector = "files"
path = "OUT/sessions"
select = ["user_id", "window_start as began", "count", "revision"]
partition_by = "hour"

[sink.top]
input = "top"
connector = "files"
path = "OUT/top"
"#;

/// Sums of a column over the first revisions, where there are no others.
fn sum(batches: &[RecordBatch], column: &str, filter: Option<&str>) -> i64 {
    let mut total = 0;
    for batch in batches {
        let values = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
        let ids = batch.column_by_name("filter_id").map(|ids| ids.as_string::<i32>());
        for row in 0..batch.num_rows() {
            if filter.is_none_or(|filter| ids.is_some_and(|ids| ids.value(row) == filter)) {
                total += values.value(row);
            }
        }
    }
    total
}

#[test]
fn every_aggregate_over_every_window_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let text = EVERYTHING.replace("OUT", folder.path().to_str().unwrap());
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = parse("everything.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &folder.path().join("checkpoints"));

    let minutes = rows(&folder.path().join("minutes"));
    assert_eq!(sum(&minutes, "count", Some("all")), EVENTS);
    assert_eq!(sum(&minutes, "counted", Some("all")), EVENTS);
    let short = sum(&minutes, "count", Some("short"));
    assert!(0 < short && short < EVENTS, "{short}");
    let cost = sum(&minutes, "cost", Some("all"));
    let prices = minutes.iter().flat_map(|batch| {
        let ids = batch.column_by_name("filter_id").unwrap().as_string::<i32>();
        let prices = batch.column_by_name("price").unwrap().as_primitive::<Float64Type>();
        ids.iter().zip(prices.iter()).filter(|(id, _)| *id == Some("all")).filter_map(|(_, price)| price)
    });
    // cost = length - 10 and price = length / 4, twice.
    assert_eq!(prices.sum::<f64>() * 2.0, (cost + 10 * EVENTS) as f64);

    // Every click is in five windows of ten minutes that start two minutes apart.
    let hopping = rows(&folder.path().join("hopping"));
    assert_eq!((sum(&hopping, "count", None), sum(&hopping, "cost", None)), (5 * EVENTS, 5 * cost));

    let sessions = rows(&folder.path().join("sessions"));
    assert_eq!(sum(&sessions, "count", None), EVENTS);
    let names: Vec<&String> = sessions[0].schema_ref().fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["user_id", "began", "count", "revision", "withdrawn"]);

    let top = rows(&folder.path().join("top"));
    assert!(top.iter().map(RecordBatch::num_rows).sum::<usize>() > 0);
}

/// Expressions that fail on some rows, everywhere that a definition has expressions. `user_id` ends with a number.
const FAILING: &str = r#"
[job]
name = "failing"
checkpoint = { interval = "20ms" }

[source.clicks]
connector = "generator"
events = 3000
ads = 10
users = 40
late_share = 0.0
duplicate_share = 0.0
event_time = "click_timestamp"

[map.numbered]
input = "clicks"
where = "12 / (length(user_id) - 6) > 0"
select = { ad_id = "ad_id", user = "user_id", click_timestamp = "click_timestamp", n = "cast(substr(user_id, 6) as bigint)" }

[filters]
all = "true"
odd = "6 / (n - 11) = 0 and n % 2 = 1"

[aggregate.minutes]
input = "numbered"
key = ["ad_id", "filter_id"]
window = { tumbling = "1m" }
select = { count = "count(*)", share = "sum(100 / (n - 12))" }

[sink.minutes]
input = "minutes"
connector = "files"
path = "OUT/minutes"
select = ["filter_id", "count", "10 / (cast(substr(ad_id, 3) as bigint) - 3) as tenth"]

[sink.all_minutes]
input = "minutes"
connector = "files"
path = "OUT/all_minutes"

[sink.of_map]
input = "numbered.dead_letters"
connector = "files"
path = "OUT/of_map"

[sink.of_aggregate]
input = "minutes.dead_letters"
connector = "files"
path = "OUT/of_aggregate"

[sink.of_sink]
input = "sink.minutes.dead_letters"
connector = "files"
path = "OUT/of_sink"
"#;

/// Rows of dead letters by the first words of their source and reason.
fn letters(folder: &std::path::Path) -> std::collections::BTreeMap<(String, String), i64> {
    let mut letters = std::collections::BTreeMap::new();
    for batch in rows(folder) {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        for (source, reason) in text("source").iter().zip(text("reason").iter()) {
            let place = reason.unwrap().split(':').next().unwrap().to_owned();
            *letters.entry((source.unwrap().to_owned(), place)).or_default() += 1;
        }
    }
    letters
}

#[test]
fn rows_that_an_expression_fails_on_are_dead_letters_once_and_counted_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let text = FAILING.replace("OUT", folder.path().to_str().unwrap());
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let job = parse("failing.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
    execute(job, &folder.path().join("checkpoints"));

    let of_map = letters(&folder.path().join("of_map"));
    let of_aggregate = letters(&folder.path().join("of_aggregate"));
    let key = |source: &str, place: &str| (source.to_owned(), place.to_owned());
    assert_eq!(of_map.keys().collect::<Vec<_>>(), [&key("map.numbered", "where")], "users with one digit: {of_map:?}");
    let expected = [key("filters.minutes", "filter \"odd\""), key("map.minutes.arguments", "select.share/argument")];
    assert_eq!(of_aggregate.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "{of_aggregate:?}");
    let dead: i64 = of_map.values().chain(of_aggregate.values()).sum();

    // Every click is under the filter `all` or a dead letter, and none is both.
    let minutes = rows(&folder.path().join("all_minutes"));
    assert_eq!(sum(&minutes, "count", Some("all")) + dead, EVENTS);
    let odd = sum(&minutes, "count", Some("odd"));
    assert!(0 < odd && odd < EVENTS / 2, "{odd}");

    // What a sink's expression fails on is missing there and nowhere else.
    let of_sink = letters(&folder.path().join("of_sink"));
    assert_eq!(of_sink.keys().collect::<Vec<_>>(), [&key("sink.minutes.select", "select.tenth")]);
    let written: usize = rows(&folder.path().join("minutes")).iter().map(RecordBatch::num_rows).sum();
    let all: usize = minutes.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(written as i64 + of_sink.values().sum::<i64>(), all as i64);
}
