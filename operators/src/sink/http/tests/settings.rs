//! What a definition says of an HTTP sink, what is wrong with it, and where it leads.

use crate::{
    confinement::{Location, Place},
    definition::testing::read,
    sink::{
        SinkConnector, StoredSink,
        http::{HttpSinkConfig, HttpSinkSettings, KIND},
    },
};
use serde_json::{Value, json};

fn wrong(keys: Value) -> Vec<String> {
    read(keys, HttpSinkSettings::read).1
}

fn stored(keys: Value) -> HttpSinkConfig {
    HttpSinkConfig::from_json(&keys).unwrap()
}

#[test]
fn keys_become_the_configuration_of_a_node() {
    let keys = json!({
        "url": "https://example.com/hooks?token=${env:HOOK_TOKEN}", "batch": 7, "format": "json_lines", "timeout": "3s",
        "headers": { "Authorization": "Bearer ${env:TOKEN}" }, "rejected_path": "out/rejected",
    });
    let (settings, wrong) = read(keys, HttpSinkSettings::read);
    assert_eq!(wrong, Vec::<String>::new());
    let expected = json!({
        "url": "https://example.com/hooks?token=${env:HOOK_TOKEN}", "batch": 7, "format": "json_lines", "timeout_ms": 3000,
        "headers": { "Authorization": "Bearer ${env:TOKEN}" }, "rejected_path": "out/rejected",
    });
    assert_eq!(json!(settings.config), expected);
    assert_eq!(stored(expected), settings.config);
    assert_eq!(settings.note(), "posts to https://example.com/hooks?token=***, 7 rows at a time, at least once");
    assert!(!format!("{settings:?}").contains("TOKEN"), "secrets are not printed, not even by reference");
    let least = read(json!({ "url": "http://h" }), HttpSinkSettings::read).0;
    assert_eq!(json!(least.config), json!({ "url": "http://h", "format": "json", "batch": 500, "timeout_ms": 10_000 }));
    assert!(least.owns().is_none() && least.keeps_revisions() && !least.takes_running());
}

#[test]
fn what_is_wrong_is_told_at_its_key() {
    assert_eq!(wrong(json!({})), ["the key `url` is missing"]);
    assert_eq!(wrong(json!({ "url": "ftp://h" })), ["url: rows are posted over http or https"]);
    let told = wrong(json!({ "url": "https://me:pw@h" }));
    assert_eq!(told, ["url: a user and a password go into the header `Authorization`"]);
    assert_eq!(wrong(json!({ "url": "https://${env:A" })), ["url: a reference has no end"]);
    for right in ["${env:HOOK}", "https://${env:HOST}/a", "https://h/${file:/run/hook}"] {
        assert_eq!(wrong(json!({ "url": right })), Vec::<String>::new(), "{right}");
    }
    let with = |more: Value| {
        let mut keys = json!({ "url": "http://h" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wrong(keys)
    };
    assert!(with(json!({ "batch": 0 }))[0].starts_with("batch: "));
    assert!(with(json!({ "timeout": "1ms" }))[0].starts_with("timeout: "));
    assert!(with(json!({ "format": "xml" }))[0].starts_with("format: "));
    let header = |name: &str, value: &str| with(json!({ "headers": { name: value } }));
    let secret = "a secret stands in the definition, where whoever sees the job reads it";
    for name in ["Authorization", "X-Api-Key", "Cookie"] {
        assert_eq!(header(name, "abc"), [format!("headers.{name}: {secret}")]);
        assert_eq!(header(name, "${env:A}"), Vec::<String>::new());
    }
    assert_eq!(header("Idempotency-Key", "1"), ["headers.Idempotency-Key: `Idempotency-Key` is set by Weir itself"]);
    assert_eq!(header("Content-Type", "x"), ["headers.Content-Type: `Content-Type` is set by Weir itself"]);
    let twins = with(json!({ "headers": { "X-A": "1", "x-a": "2" } }));
    assert_eq!(twins, ["headers.x-a: it is the same header as `X-A`"]);
    assert_eq!(header("a b", "1"), ["headers.\"a b\": this can't be the name of a header"]);
    assert_eq!(header("A", "1\n2"), ["headers.A: this can't be the value of a header"]);
    assert_eq!(header("A", "${env:}").len(), 1);
}

#[test]
fn it_says_where_it_leads() {
    let places = |keys: Value| stored(keys).locations().unwrap();
    let keys = json!({
        "url": "https://h:8443/hooks/${file:/run/hook}", "batch": 1, "timeout_ms": 1, "rejected_path": "out/rejected",
        "headers": { "Authorization": "Bearer ${file:/run/token}" },
    });
    let found = places(keys);
    let place = Place::url("https", "h:8443", "hooks/\0");
    let expected = [
        Location { key: "url", place },
        Location::path("url", "/run/hook"),
        Location::path("headers", "/run/token"),
        Location::path("rejected_path", "out/rejected"),
    ];
    assert_eq!(found, expected);
    for hidden in ["${env:HOOK}", "https://${env:HOST}/a"] {
        let found = places(json!({ "url": hidden, "batch": 1, "timeout_ms": 1 }));
        assert_eq!(found, [Location { key: "url", place: Place::url("https", "?url", "") }], "{hidden}");
    }
    assert_eq!(KIND.name, "http");
}

#[test]
fn secrets_are_looked_for_where_the_job_runs() {
    let settings = HttpSinkSettings::to("https://h/${env:WEIRD_HOOK}").header("Authorization", "${env:WEIRD_TOKEN}");
    let told = |runs_here| {
        let mut mistakes = Vec::new();
        settings.check_secrets(runs_here, &Default::default(), &mut mistakes);
        mistakes.iter().map(|mistake| mistake.path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(false), Vec::<String>::new());
    assert_eq!(told(true), ["url", "headers.Authorization"]);
}
