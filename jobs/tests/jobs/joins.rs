//! Joins as definitions: what is wrong with one is said where it is written, the shipped one attributes the sample orders as a
//! recount does, and results flow on as all results do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::support::{execute, rows};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMillisecondType};
use sqlx::{Connection, Row};
use weir_jobs::sink::console::ConsoleSinkConfig;
use weir_jobs::source::files::FilesConfig;
use weir_jobs::{CompileOptions, Job, JobBuilder, Join, Match, Sink, Source, load, parse};
use weir_operators::moment;

const RIGHT: &str = r#"[job]
name = "shop"

[source.orders]
connector = "files"
path = "in/orders"
format = "json"
schema = { order_id = "string", user_id = "string", ordered_at = "timestamp", amount = "float", shop = "int" }
event_time = "ordered_at"

[source.clicks]
connector = "files"
path = "in/clicks"
format = "json"
schema = { ad_id = "string", user_id = "string", clicked_at = "timestamp", price = "float", shop = "string" }
event_time = "clicked_at"

[dedup.once]
input = "orders"
key = ["order_id"]
ttl = "2h"

[join.attributed]
left = "once"
right = "clicks"
on = ["user_id"]
within = { before = "7d", after = "0s", allowed_lateness = "1h" }
match = "last"
select = { order_id = "left.order_id", ad_id = "right.ad_id", clicked_at = "right.clicked_at" }

[sink.attributed]
input = "attributed"
connector = "console"

[sink.unmatched]
input = "attributed.unmatched"
connector = "console"
"#;

/// Name, what is replaced, by what.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("no bounds", "within = { before = \"7d\", after = \"0s\", allowed_lateness = \"1h\" }\n", ""),
    ("half of the bounds", "before = \"7d\", after = \"0s\", ", "before = \"7d\", "),
    ("a bound that is as good as none", "before = \"7d\"", "before = \"100000d\""),
    ("no match", "match = \"last\"\n", ""),
    ("an unknown match", "match = \"last\"", "match = \"latest\""),
    ("no right side", "right = \"clicks\"\n", ""),
    ("a side that is not there", "right = \"clicks\"", "right = \"click\""),
    ("nothing to join on", "on = [\"user_id\"]", "on = []"),
    ("a column that the left has not", "on = [\"user_id\"]", "on = [\"ad_id\"]"),
    ("a column that the right has not", "on = [\"user_id\"]", "on = { user_id = \"visitor\" }"),
    ("types that differ", "on = [\"user_id\"]", "on = [\"user_id\", \"shop\"]"),
    ("a floating-point number", "on = [\"user_id\"]", "on = { amount = \"price\" }"),
    ("a column twice", "on = [\"user_id\"]", "on = [\"user_id\", \"user_id\"]"),
    ("a selected column that is not there", "\"right.ad_id\"", "\"right.ad\""),
    ("a selected column of no side", "\"right.ad_id\"", "\"ad_id\""),
    ("an expression", "\"right.ad_id\"", "\"upper(right.ad_id)\""),
    ("a name that results have", "ad_id = \"right.ad_id\"", "revision = \"right.ad_id\""),
    (
        "nothing selected",
        "{ order_id = \"left.order_id\", ad_id = \"right.ad_id\", clicked_at = \"right.clicked_at\" }",
        "{}",
    ),
    ("no event time on the right", "event_time = \"clicked_at\"\n", ""),
    (
        "neither bounds nor a match",
        "within = { before = \"7d\", after = \"0s\", allowed_lateness = \"1h\" }\nmatch = \"last\"\n",
        "",
    ),
    ("an unknown key", "match = \"last\"", "match = \"last\"\nttl = \"7d\""),
    ("an unknown key of the bounds", "allowed_lateness = \"1h\"", "lateness = \"1h\""),
    ("a dedup that forgets too soon", "ttl = \"2h\"", "ttl = \"1h\""),
    ("an output that it has not", "attributed.unmatched", "attributed.late"),
    (
        "a side of results",
        "[join.attributed]\nleft = \"once\"",
        "[aggregate.minutes]\ninput = \"once\"\nkey = [\"user_id\"]\nwindow = { tumbling = \"1m\", allowed_lateness = \"1h\" }\nselect = { n = \"count(*)\" }\n\n[join.attributed]\nleft = \"minutes\"",
    ),
    (
        "an aggregate behind the same dedup",
        "[join.attributed]",
        "[aggregate.minutes]\ninput = \"once\"\nkey = [\"user_id\"]\nwindow = { tumbling = \"1m\", allowed_lateness = \"1h\" }\nselect = { n = \"count(*)\" }\n\n[join.attributed]",
    ),
    (
        "an aggregate of its results",
        "[sink.attributed]\ninput = \"attributed\"",
        "[aggregate.minutes]\ninput = \"attributed\"\nkey = [\"order_id\"]\nwindow = { tumbling = \"1m\" }\nselect = { n = \"count(*)\" }\n\n[sink.attributed]\ninput = \"minutes\"",
    ),
    (
        "a dedup of its results",
        "[sink.attributed]\ninput = \"attributed\"",
        "[dedup.results]\ninput = \"attributed\"\nkey = [\"order_id\"]\nttl = \"1m\"\n\n[sink.attributed]\ninput = \"results\"",
    ),
    (
        "a key of a table that corrections change",
        "[sink.attributed]\ninput = \"attributed\"\nconnector = \"console\"",
        "[sink.attributed]\ninput = \"attributed\"\nconnector = \"sql\"\nurl = \"sqlite:out/store.sqlite\"\ntable = \"orders\"\nkey = [\"ad_id\"]",
    ),
];

fn compile(text: &str) -> Result<Job, weir_jobs::Refusal> {
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    parse("shop.toml", text, &[], &options)
}

#[test]
fn the_definition_without_mistakes_compiles() {
    let job = compile(RIGHT).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(weir_jobs::explain::ExplainFormat::Text).unwrap());
}

#[test]
fn every_mistake_is_said_where_it_is() {
    let mut out = String::new();
    for (name, from, to) in MISTAKES {
        assert!(RIGHT.contains(from), "{name}: {from}");
        let refusal = match compile(&RIGHT.replacen(from, to, 1)) {
            Err(refusal) => refusal,
            Ok(_) => panic!("{name}: it compiles"),
        };
        let _ = write!(out, "## {name}\n\n{refusal}\n\n");
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_built_in_rust_is_what_is_written() {
    let written = r#"
[job]
name = "shop"
[source.seen]
connector = "files"
path = "in/seen"
format = "click_log"
event_time = "click_timestamp"
[source.clicks]
connector = "files"
path = "in/clicks"
format = "click_log"
event_time = "click_timestamp"
[join.both]
left = "seen"
right = "clicks"
on = { user_id = "user_id", country = "ip" }
within = { before = "2h", after = "1h", allowed_lateness = "3h" }
match = "first"
select = { seen = "left.ad_id", clicked = "right.ad_id" }
[sink.out]
input = "both"
connector = "console"
"#;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let source = |path: &str| Source::of(FilesConfig::at(path)).event_time("click_timestamp");
    let join = Join::of("seen", "clicks")
        .on("user_id")
        .on_columns("country", "ip")
        .within(hours(2), hours(1))
        .allowed_lateness(hours(3))
        .matching(Match::First)
        .select("seen", "left.ad_id")
        .select("clicked", "right.ad_id");
    let built = JobBuilder::new("shop")
        .source("seen", source("in/seen"))
        .source("clicks", source("in/clicks"))
        .join("both", join)
        .sink("out", Sink::of("both", ConsoleSinkConfig::default()));
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    let built = built.build(&options).unwrap_or_else(|refusal| panic!("{refusal}"));
    let parsed = compile(written).unwrap_or_else(|refusal| panic!("{refusal}"));
    let json = |job: &Job| serde_json::to_value(&job.graph).unwrap();
    assert_eq!(json(&built), json(&parsed));
    // Each side has its gate, and carries what is kept of it, whoever reads what comes out.
    let join = built.graph.nodes.iter().position(|node| node.id == "join.both").unwrap();
    let edges: Vec<_> = built.graph.edges.iter().filter(|edge| edge.to == join).collect();
    let from: Vec<_> = edges.iter().map(|edge| (edge.input, built.graph.nodes[edge.from].id.as_str())).collect();
    assert_eq!(from, [(0, "late_gate.both.left"), (1, "late_gate.both.right")]);
    let read = |source: &str| {
        let node = built.graph.nodes.iter().find(|node| node.id == source).unwrap();
        node.config["columns"].as_array().unwrap().len()
    };
    assert_eq!((read("source.seen"), read("source.clicks")), (4, 4));
}

/// An ad, and when it was clicked.
type Click = (String, i64);

/// Orders, and of each the last click before it.
type Attributed = BTreeMap<String, Option<Click>>;

/// What the shipped files give, read and joined in the plainest way.
fn recount(root: &Path) -> Attributed {
    let mut clicks: Vec<(String, i64, String)> = Vec::new();
    for path in files(&root.join("jobs/data/clicks")) {
        let bytes = std::fs::read(path).unwrap();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let Some(fields) = line.strip_prefix("[AdClickEvent] ") else { continue };
            let fields: Vec<&str> = fields.split(", ").collect();
            let [ad, at, user, _, _] = fields.as_slice() else { continue };
            let Some(at) = moment::parse(&format!("{}Z", at.replace(' ', "T"))) else { continue };
            clicks.push(((*user).to_owned(), at, (*ad).to_owned()));
        }
    }
    let mut attributed = Attributed::new();
    for path in files(&root.join("jobs/data/orders")) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let order: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(at) = order["ordered_at"].as_str().and_then(moment::parse) else { continue };
            let is_before = |click: &&(String, i64, String)| order["user_id"] == click.0.as_str() && click.1 <= at;
            let last = clicks.iter().filter(is_before).max_by_key(|click| (click.1, &click.2));
            attributed
                .insert(order["order_id"].as_str().unwrap().to_owned(), last.map(|(_, at, ad)| (ad.clone(), *at)));
        }
    }
    attributed
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The highest revision of each order in files of results, unless it is withdrawn.
fn holds(batches: &[RecordBatch]) -> Attributed {
    let mut newest: BTreeMap<String, (i32, Option<Option<Click>>)> = BTreeMap::new();
    for batch in batches {
        let text =
            |name: &str, row| batch.column_by_name(name).map(|column| column.as_string::<i32>().value(row).to_owned());
        for row in 0..batch.num_rows() {
            let revision = batch.column_by_name("revision").unwrap().as_primitive::<Int32Type>().value(row);
            let withdrawn = batch.column_by_name("withdrawn").unwrap().as_boolean().value(row);
            let clicked = batch.column_by_name("click_timestamp");
            let clicked = clicked.map(|clicked| clicked.as_primitive::<TimestampMillisecondType>());
            let clicked = clicked.filter(|clicked| clicked.is_valid(row)).map(|clicked| clicked.value(row));
            let order = text("order_id", row).unwrap();
            if newest.get(&order).is_none_or(|known| known.0 < revision) {
                newest.insert(
                    order,
                    (revision, (!withdrawn).then(|| clicked.and_then(|at| Some((text("ad_id", row)?, at))))),
                );
            }
        }
    }
    newest.into_iter().filter_map(|(order, (_, held))| Some((order, held?))).collect()
}

#[test]
fn the_sample_orders_are_attributed_as_a_recount_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let expected = recount(root);
    assert!(expected.values().flatten().count() > 80 && expected.values().filter(|last| last.is_none()).count() > 20);
    for parallelism in [1, 3] {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path).display().to_string();
        let sinks = ["attributed", "unmatched", "late_orders", "late_clicks", "dead_letters"];
        let mut settings: Vec<String> = sinks.iter().map(|sink| format!("sink.{sink}.path={}", at(sink))).collect();
        settings.push(format!("sink.store.url=sqlite:{}", at("store.sqlite")));
        settings.push("sink.store.enabled=true".into());
        settings.push(format!("source.orders.path={}", root.join("jobs/data/orders").display()));
        settings.push(format!("source.clicks.path={}", root.join("jobs/data/clicks").display()));
        settings.push("job.checkpoint.interval=20ms".into());
        let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
        let job = load(&root.join("jobs/attribution.toml"), &settings, &options)
            .unwrap_or_else(|refusal| panic!("{refusal}"));
        assert!(job.warnings.is_empty(), "{:?}", job.warnings);
        execute(job, &place.path().join("checkpoints"));
        let matched = holds(&rows(&place.path().join("attributed")));
        let unmatched = holds(&rows(&place.path().join("unmatched")));
        assert!(matched.keys().all(|order| !unmatched.contains_key(order)), "an order is in one place");
        let both: Attributed = matched.into_iter().chain(unmatched).collect();
        assert_eq!(both, expected);
        assert_eq!(table(&place.path().join("store.sqlite")), expected, "the table");
        let letters = rows(&place.path().join("dead_letters"));
        assert!(letters.iter().map(RecordBatch::num_rows).sum::<usize>() > 1);
    }
}

fn table(path: &Path) -> Attributed {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}", path.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        let query = sqlx::query("SELECT order_id, ad_id, click_timestamp FROM attributed_orders");
        query.fetch_all(&mut connection).await.unwrap()
    });
    let mut attributed = Attributed::new();
    for row in rows {
        let click = row.get::<Option<String>, _>(1).zip(row.get::<Option<i64>, _>(2));
        assert!(attributed.insert(row.get(0), click).is_none(), "an order is in the table once");
    }
    attributed
}
