//! Whatever is done to a definition, it is a graph that the engine accepts, or a list of mistakes; never a panic.

use proptest::prelude::*;
use weir_engine::graph::ExecutionGraph;
use weir_jobs::explain::ExplainFormat;
use weir_jobs::{CompileOptions, parse};

const AD_CLICK: &str = include_str!("../../ad_click.toml");

/// Pieces that mean something in a definition.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "\"\"\"",
    "-",
    "0",
    "9223372036854775807",
    "1e999",
    "nan",
    "true",
    "1979-05-27",
    "[[sink.x]]",
    "[map.valid]",
    "[job]",
    "\u{0}",
    "é",
    "𝄞",
    "\\u0041",
    "input = \"unique\"",
    "\"clicks\"",
    "\"top_ads\"",
    "\"0s\"",
    "\"10000d\"",
    "\"18446744073709551615ms\"",
    "\"5m\"",
    "count(*)",
    "sum(ad_id)",
    "((((",
    "or",
    "and",
    "filter_id",
    "click_timestamp",
    "record_id",
    "event_time",
    "session = \"1m\"",
    "parquet",
    "generator",
    "csv",
    "schema = { a = \"int\" }",
    "parallelism = 300",
    "max_parallelism = 1",
    "key = []",
    "per = []",
    "n = 0",
];

/// One change of a text: what is at a place is removed, and something put there.
#[derive(Debug, Clone)]
struct Change {
    at: prop::sample::Index,
    remove: usize,
    insert: String,
}

fn change() -> impl Strategy<Value = Change> {
    let insert = prop_oneof![
        4 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => ".{0,4}",
        2 => Just(String::new()),
    ];
    (any::<prop::sample::Index>(), prop_oneof![4 => 0..4usize, 1 => 0..60usize], insert)
        .prop_map(|(at, remove, insert)| Change { at, remove, insert })
}

fn apply(text: &str, changes: &[Change]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for change in changes {
        let at = change.at.index(characters.len() + 1);
        let end = (at + change.remove).min(characters.len());
        characters.splice(at..end, change.insert.chars());
    }
    characters.into_iter().collect()
}

/// Moves, doubles or drops whole lines: the results are more often valid TOML.
fn shuffle_lines(text: &str, moves: &[(prop::sample::Index, prop::sample::Index, u8)]) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for (from, to, what) in moves {
        let line = lines[from.index(lines.len())];
        match what % 3 {
            0 => drop(lines.remove(from.index(lines.len()))),
            1 => lines.insert(to.index(lines.len() + 1), line),
            _ => {
                lines.remove(from.index(lines.len()));
                lines.insert(to.index(lines.len() + 1), line);
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

fn check(text: &str, settings: &[String]) {
    match parse("job.toml", text, settings, &CompileOptions::default()) {
        Ok(job) => {
            ExecutionGraph::new(job.graph.clone()).expect("a compiled job is a graph");
            for format in [ExplainFormat::Text, ExplainFormat::Mermaid, ExplainFormat::Json] {
                assert!(!job.explain(format).expect("a compiled job can be shown").is_empty());
            }
        }
        Err(refusal) => {
            assert!(!refusal.diagnostics.is_empty());
            assert!(!refusal.to_string().is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn changed_characters(changes in prop::collection::vec(change(), 1..4)) {
        check(&apply(AD_CLICK, &changes), &[]);
    }

    #[test]
    fn changed_lines(moves in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index, u8)>(), 1..6)) {
        check(&shuffle_lines(AD_CLICK, &moves), &[]);
    }

    #[test]
    fn overrides(
        key in prop::collection::vec(prop::sample::select(&[
            "job", "name", "source", "clicks", "path", "format", "map", "valid", "where", "select", "dedup", "unique", "key", "ttl",
            "aggregate", "clicks_per_minute", "window", "tumbling", "filters", "0000", "reduce", "top_ads", "top", "n", "sink",
            "counts", "input", "\"a.b\"", "",
        ][..]), 1..5),
        value in prop_oneof![prop::sample::select(PIECES).prop_map(str::to_owned), ".{0,12}"],
    ) {
        check(AD_CLICK, &[format!("{}={value}", key.join("."))]);
    }

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(&text, &[]);
    }
}
