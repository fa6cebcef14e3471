//! What a definition with a lookup becomes, and what a user is told about mistakes in it.

use std::fmt::Write as _;
use weir_engine::graph::NodeRole;
use weir_jobs::{CompileOptions, Job, Refusal, explain::ExplainFormat, parse};

const RIGHT: &str = r#"[job]
name = "clicks"

[source.clicks]
connector = "files"
path = "in"
format = "click_log"
event_time = "click_timestamp"
watermark = { delay = "15s" }

[lookup.campaigns]
input = "clicks"
connector = "sql"
url = "postgres://me:secret@localhost/ads"
table = "campaigns"
on = { ad_id = "id" }
schema = { budget = "int", owner = { type = "string", path = "owner_name" } }
cache = { ttl = "10m", size = 1000 }
retries = { times = 2, pause = "50ms", longest_pause = "1s" }

[lookup.pages]
input = "campaigns"
connector = "http"
url = "https://ads.internal/ads/{ad_id}?country={country}"
headers = { Authorization = "Bearer ${env:HOME}" }
schema = { title = "string" }
missing = "drop"
on_failure = "null"

[aggregate.per_owner]
input = "pages"
key = ["owner", "title"]
window = { tumbling = "1m" }
select = { clicks = "count(*)" }

[sink.counts]
input = "per_owner"
connector = "console"

[sink.refused]
input = ["campaigns.dead_letters", "pages.dead_letters"]
connector = "console"
"#;

/// Name, what is replaced, by what.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("no connector", "connector = \"sql\"\n", ""),
    ("a connector that is none", "connector = \"sql\"\n", "connector = \"redis\"\n"),
    ("no url", "url = \"postgres://me:secret@localhost/ads\"\n", ""),
    ("a database that is not known", "postgres://me:secret@localhost/ads", "mysql://me:secret@localhost/ads"),
    ("no table", "table = \"campaigns\"\n", ""),
    ("a name that no table may have", "table = \"campaigns\"", "table = \"camp aigns\""),
    ("on nothing", "on = { ad_id = \"id\" }\n", ""),
    ("on an empty list", "on = { ad_id = \"id\" }", "on = []"),
    ("on a column that is not there", "on = { ad_id = \"id\" }", "on = { add_id = \"id\" }"),
    ("on a time", "on = { ad_id = \"id\" }", "on = [\"click_timestamp\"]"),
    ("no schema", "schema = { title = \"string\" }\n", ""),
    ("an empty schema", "schema = { title = \"string\" }", "schema = {}"),
    ("a column that is there already", "schema = { title = \"string\" }", "schema = { budget = \"int\" }"),
    ("a type that is none", "budget = \"int\"", "budget = \"integer\""),
    ("a path into a column", "path = \"owner_name\"", "path = \"owner.name\""),
    ("a cache for ever", "cache = { ttl = \"10m\", size = 1000 }", "cache = { size = 1000 }"),
    ("an unknown key of the cache", "size = 1000", "sise = 1000"),
    ("a first pause that is the longest", "longest_pause = \"1s\"", "longest_pause = \"10ms\""),
    ("an end of what has none", "on_failure = \"null\"", "on_failure = \"fail\"\nretries = { times = 3 }"),
    ("a failure that is none", "on_failure = \"null\"", "on_failure = \"ignore\""),
    ("a url without a column", "{ad_id}?country={country}", "all"),
    ("a url with a column that is not there", "{country}", "{land}"),
    ("a column for a host", "https://ads.internal", "https://{country}.internal"),
    ("a scheme that is not spoken", "https://ads.internal", "ftp://ads.internal"),
    ("a secret that is none", "Bearer ${env:HOME}", "Bearer abc"),
    ("no time for an answer", "missing = \"drop\"", "timeout = \"1ms\""),
    ("over results", "input = \"pages\"\nkey", "input = \"clicks\"\nkey"),
    ("nothing in flight", "missing = \"drop\"", "in_flight = 0"),
    ("an unknown key", "missing = \"drop\"", "mising = \"drop\""),
];

fn compile(text: &str) -> Result<Job, Refusal> {
    parse("job.toml", text, &[], &CompileOptions { parallelism: Some(2), ..CompileOptions::default() })
}

#[test]
fn a_lookup_is_a_node_of_its_own_with_what_it_asks() {
    let job = compile(RIGHT).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    let node = |id: &str| job.graph.nodes.iter().find(|node| node.id == id).unwrap();
    for id in ["lookup.campaigns", "lookup.pages"] {
        assert_eq!((node(id).role, node(id).kind.as_str()), (NodeRole::Lookup, "lookup"));
    }
    let names = |value: &serde_json::Value| {
        value.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Nobody needs the user, and the budget is needed by none that comes later.
    assert_eq!(names(&node("lookup.campaigns").config["input"]), ["ad_id", "click_timestamp", "country"]);
    assert_eq!(names(&node("lookup.pages").config["input"]), ["ad_id", "click_timestamp", "country", "owner"]);
    let output: Vec<String> = serde_json::from_value(node("lookup.pages").config["output"].clone()).unwrap();
    assert_eq!(output, ["click_timestamp", "owner", "title"]);
    let shown = job.explain(ExplainFormat::Text).unwrap();
    assert!(!shown.contains("secret"), "{shown}");
    insta::assert_snapshot!("explained", shown);
}

#[test]
fn mistakes_are_told_with_their_places() {
    let mut told = String::new();
    for (name, from, to) in MISTAKES {
        assert!(RIGHT.contains(from), "{name}");
        let text = RIGHT.replacen(from, to, 1);
        let text = match *name {
            "over results" => RIGHT.replace("[sink.counts]\ninput = \"per_owner\"", "[lookup.late]\ninput = \"per_owner\"\nconnector = \"sql\"\nurl = \"sqlite:a\"\ntable = \"a\"\non = [\"owner\"]\nschema = { a = \"int\" }\n\n[sink.counts]\ninput = \"late\""),
            _ => text,
        };
        match compile(&text) {
            Ok(_) => panic!("{name} is accepted"),
            Err(refusal) => {
                let _ = writeln!(told, "## {name}\n\n{refusal}\n");
            }
        }
    }
    assert!(!told.contains("me:secret"));
    insta::assert_snapshot!("mistakes", told);
}

/// Both examples of lookups are one definition, and what their defaults are told to be they are.
#[test]
fn the_examples_of_lookups_are_definitions() {
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/job-definition.md")).unwrap();
    let section = written.split("## `[lookup.NAME]`").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let examples: Vec<&str> = section.split("```toml").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    let compiled = |campaigns: &str, pages: &str| {
        let source = "[source.clicks]\nconnector = \"files\"\npath = \"in\"\nformat = \"click_log\"\nevent_time = \"click_timestamp\"";
        let sinks = "[sink.a]\ninput = \"campaigns\"\nconnector = \"console\"\n[sink.b]\ninput = \"pages\"\nconnector = \"console\"";
        let text = format!("[job]\nname = \"j\"\n{source}\n{campaigns}\n{pages}\n{sinks}");
        // As where it is submitted: the secrets are the workers'.
        let options = CompileOptions { runs_here: false, ..CompileOptions::default() };
        let job = parse("job.toml", &text, &[], &options).unwrap_or_else(|refusal| panic!("{refusal}"));
        let explained = job.explain(ExplainFormat::Text).unwrap();
        (serde_json::to_value(job.graph).unwrap(), explained)
    };
    let (graph, explained) = compiled(examples[0], examples[1]);
    assert!(explained.contains("budget, owner from the table campaigns in postgres://"), "{explained}");
    let said = "in_flight = 100\ntimeout = \"5s\"\nretries = { times = 3, pause = \"100ms\", longest_pause = \"10s\" }";
    let campaigns = examples[0].replace("{ ttl = \"10m\" }", "{ ttl = \"10m\", size = 100000 }");
    let campaigns = format!("{campaigns}\non_failure = \"dead_letter\"\nmissing = \"null\"\n{said}");
    assert_eq!(compiled(&campaigns, &format!("{}\n{said}", examples[1])).0, graph);
}
