//! What is let through and what is not, with every way to write a place that somebody might try.

use super::*;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};
use weir_engine::graph::NodeRole;

fn node(role: NodeRole, kind: &str, config: Value) -> Node {
    Node {
        id: format!("{}.x", if role == NodeRole::Sink { "sink" } else { "source" }),
        kind: kind.into(),
        role,
        parallelism: 1,
        config,
    }
}

fn source(path: &str) -> Node {
    node(NodeRole::Source, "files", json!({ "path": path, "format": "click_log" }))
}

fn sink(path: &str) -> Node {
    node(NodeRole::Sink, "files", json!({ "path": path }))
}

fn table(url: &str) -> Node {
    let columns = json!([{ "name": "a", "type": "text" }]);
    node(NodeRole::Sink, "sql", json!({ "url": url, "table": "t", "columns": columns, "key": ["a"] }))
}

fn to(paths: &[&Path], urls: &[&str]) -> Confinement {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    Confinement::To { paths, urls: urls.iter().map(|url| (*url).to_owned()).collect() }
}

fn refusal(confinement: &Confinement, node: &Node) -> String {
    confinement.check_node(node).expect_err(&node.config.to_string()).message
}

#[test]
fn paths_are_followed_before_they_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for made in ["data/in", "data-of-others", "secret"] {
        fs::create_dir_all(root.join(made)).unwrap();
    }
    symlink(root.join("secret"), root.join("data/way-out")).unwrap();
    symlink(root.join("nowhere"), root.join("data/dangling")).unwrap();
    symlink(root.join("data"), root.join("other-name")).unwrap();
    let confinement = to(&[&root.join("data")], &[]);
    let at = |path: &str| format!("{}/{path}", root.display());
    for path in ["data", "data/", "data/in", "data/new/folder", "data/./in/../in", "other-name/in", "data/in/*.log"] {
        confinement.check_node(&source(&at(path))).unwrap();
        confinement.check_node(&sink(&at(path))).unwrap();
        confinement.check_node(&table(&format!("sqlite:{}", at(path)))).unwrap();
    }
    confinement.check_node(&source(&format!("file://{}", at("data/in")))).unwrap();
    confinement.check_node(&sink(&format!("file://{}", at("data/in")))).unwrap();
    for path in [
        "",
        "secret",
        "data-of-others",
        "data/..",
        "data/../secret",
        "data/in/../../secret",
        "data/way-out",
        "data/way-out/new",
        "data/dangling",
        "data/new/../../secret",
        "other-name/../secret",
        "*/in",
        "new",
    ] {
        for node in [source(&at(path)), sink(&at(path)), table(&format!("sqlite:{}", at(path)))] {
            refusal(&confinement, &node);
        }
    }
    // The ways in which each connector decodes what it is given.
    refusal(&confinement, &sink(&format!("file://{}", at("data/%2e%2e/secret"))));
    refusal(&confinement, &sink(&format!("file:{}", at("secret"))));
    refusal(&confinement, &table(&format!("sqlite:{}", at("data/%2e%2e/secret"))));
    refusal(&confinement, &table(&format!("sqlite://{}", at("secret/x?mode=rwc"))));
    let told = refusal(&confinement, &sink(&at("secret")));
    for part in ["'sink.x'", "`path`", "--allow-path", &at("secret"), &at("data")] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn urls_are_compared_by_scheme_host_and_whole_components() {
    let urls = ["s3://bucket/clicks", "postgres://db.internal/weir"];
    let confinement = to(&[], &urls);
    for path in ["s3://bucket/clicks", "s3://bucket/clicks/", "s3://bucket/clicks/2026/07"] {
        confinement.check_node(&source(path)).unwrap();
        confinement.check_node(&sink(path)).unwrap();
    }
    for path in ["s3://bucket", "s3://bucket/clicks-of-others", "s3://bucket2/clicks", "s3://other/clicks"] {
        refusal(&confinement, &source(path));
        refusal(&confinement, &sink(path));
    }
    // What a source takes for the names of objects, a sink takes for a path.
    refusal(&confinement, &source("s3://bucket/a/../clicks"));
    refusal(&confinement, &source("s3://bucket/clicks/../x"));
    for path in ["s3://bucket/clicks/../x", "s3://bucket/clicks/%2e%2e/x", "s3://bucket/clicks%2f..%2fx"] {
        refusal(&confinement, &sink(path));
    }
    confinement.check_node(&table("postgres://me:hunter2@db.internal/weir")).unwrap();
    confinement.check_node(&table("postgresql://me:${env:PGPASSWORD}@DB.internal:5432/weir?sslmode=require")).unwrap();
    for url in [
        "postgres://db.internal/other",
        "postgres://db.internal:5433/weir",
        "postgres://db.evil/weir",
        "postgres://me:hunter2@db.evil/weir@db.internal/weir",
        "postgres://me:hunter2@db.internal/weir?host=db.evil",
        "postgres://db.internal/weir?hostaddr=10.0.0.1",
        "postgres://db.internal/weir?dbname=other",
        "postgres://db.internal/weir?sslrootcert=/etc/passwd",
        "postgres://${env:HOST}/weir",
        "postgres:///weir",
    ] {
        let told = refusal(&confinement, &table(url));
        assert!(!told.contains("hunter2"), "{told}");
    }
    let any = to(&[], &["*"]);
    any.check_node(&table("postgres://anywhere/x")).unwrap();
    any.check_node(&source("s3://b/c")).unwrap();
    refusal(&any, &source("/etc/passwd"));
    refusal(&any, &table("sqlite:/etc/passwd"));
}

#[test]
fn a_secret_in_a_file_is_read_only_where_files_may_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let url = |file: &str| format!("postgres://me:${{file:{}/{file}}}@db/weir", root.display());
    let confinement = to(&[&root.join("secrets")], &["postgres://db"]);
    confinement.check_node(&table(&url("secrets/pg"))).unwrap();
    refusal(&confinement, &table(&url("shadow")));
}

#[test]
fn nothing_is_allowed_unless_it_is_named_and_generators_and_consoles_need_nothing() {
    let nothing = to(&[], &[]);
    assert!(refusal(&nothing, &source("relative")).contains("may read and write nothing"));
    refusal(&nothing, &table("sqlite:x.sqlite"));
    nothing.check_node(&node(NodeRole::Source, "generator", json!({}))).unwrap();
    nothing.check_node(&node(NodeRole::Sink, "console", json!({}))).unwrap();
    nothing.check_node(&source("memory://store/a")).unwrap();
    nothing.check_node(&node(NodeRole::Operator, "dedup", json!({}))).unwrap();
    Confinement::None.check_node(&source("/etc/passwd")).unwrap();
    // A connector that does not say where it reads is refused, not let through.
    refusal(&nothing, &node(NodeRole::Source, "kafka", json!({})));
}

#[test]
fn a_coordinator_refuses_what_no_worker_could_allow() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let confinement = to(&[&root.join("on-workers-alone")], &[]);
    let submitted = |node: Node| {
        let mut graph = JobGraph::new("job");
        graph.add_node(node);
        confinement.check_submitted(&graph, &Extensions::new())
    };
    submitted(source(&format!("{}/on-workers-alone/in", root.display()))).unwrap();
    submitted(source("relative")).unwrap();
    submitted(source("/etc")).unwrap_err();
    submitted(source(&format!("{}/on-workers-alone/../x", root.display()))).unwrap_err();
}

#[test]
fn a_webhook_posts_only_to_what_is_allowed() {
    let hook = |url: &str| node(NodeRole::Sink, "http", json!({ "url": url, "batch": 1, "timeout_ms": 1000 }));
    let confinement = to(&[], &["https://hooks.example.com/clicks", "http://localhost:8000"]);
    for url in
        ["https://hooks.example.com/clicks/a?b=c", "https://hooks.example.com:443/clicks", "http://localhost:8000/x"]
    {
        confinement.check_node(&hook(url)).unwrap();
    }
    // A secret in the path leads nowhere else.
    confinement.check_node(&hook("https://hooks.example.com/clicks/${env:HOOK}")).unwrap();
    for url in [
        "https://hooks.example.com/",
        "https://hooks.example.com/clicks/../admin",
        "http://hooks.example.com/clicks",
        "https://hooks.example.com:8443/clicks",
        "http://169.254.169.254/latest",
        "https://${env:HOST}/clicks",
        "${env:HOOK}",
    ] {
        let told = refusal(&confinement, &hook(url));
        assert!(told.contains("'sink.x' may not use `url`") && told.contains("--allow-url"), "{told}");
    }
    confinement.check_node(&node(NodeRole::Sink, "console", json!({ "format": "json" }))).unwrap();
}

/// A graph may come from anybody: what a node asks is decided by its kind, not by what it says that it is.
#[test]
fn lookups_are_let_ask_what_is_allowed() {
    let of = |role, service: Value| {
        let config = json!({
            "service": service, "input": [{ "name": "a", "type": "Utf8" }], "columns": { "b": "int" }, "in_flight": 1,
            "timeout_ms": 1, "retries": { "times": 0, "pause_ms": 1, "longest_ms": 1 }, "on_failure": "null", "missing": "null",
        });
        node(role, "lookup", config)
    };
    let http = |url: &str| json!({ "connector": "http", "url": url });
    let sql = |url: &str| json!({ "connector": "sql", "url": url, "table": "t", "on": [["a", "a"]] });
    let confinement = to(&[], &["http://ads:8080/public", "postgres://db/ads"]);
    for role in [NodeRole::Lookup, NodeRole::Operator] {
        for service in [
            http("http://ads:8080/public/{a}"),
            http("http://ads:8080/public/x?q={a}&k=${env:KEY}"),
            sql("postgres://me:${env:PASSWORD}@db/ads"),
        ] {
            confinement.check_node(&of(role, service)).unwrap();
        }
        for service in [
            http("http://ads:8080/{a}"),
            http("http://ads:8080/{a}/public"),
            http("http://ads:8080/public/../{a}"),
            http("http://ads/public/{a}"),
            http("http://{a}:8080/public"),
            http("${env:ADS}/public/{a}"),
            http("http://ads:8080/public/{a}?k=${file:/etc/shadow}"),
            sql("postgres://db/others"),
            sql("sqlite:/tmp/a"),
        ] {
            let refused = of(role, service);
            refusal(&confinement, &refused);
            let built =
                Confined::to(confinement.clone()).operator(&refused, OperatorContext::single("job", "lookup.x"));
            assert!(built.is_err(), "{:?}", refused.config);
        }
    }
}
