//! The OpenAPI document: complete, whole in itself, explained. That answers are as it says, the fuzzer checks.

use super::{at, clicks};
use crate::{
    http::parameters::{MOMENTS, MOST_ADS, MOST_ROWS, MOST_WINDOW_MINUTES},
    store::tests::fixture::MARCH,
};
use serde_json::Value;
use weir_http::testing::get;

async fn document() -> Value {
    let fixture = clicks().await;
    get(&at(&fixture.store, MARCH), "/openapi.json").await.json()
}

#[tokio::test]
async fn it_lists_every_question_and_explains_every_word() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut routes: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    routes.sort_unstable();
    let expected = [
        "/v1/ads/popular_ads",
        "/v1/ads/{ad_id}/aggregated_count",
        "/v1/ads/{ad_id}/counts_per_minute",
        "/v1/filters",
        "/v1/freshness",
        "/v1/reconciliations",
        "/v1/tables",
        "/v1/tables/{name}",
    ];
    assert_eq!(routes, expected);
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["get"];
        assert!(operation["summary"].is_string() && operation["operationId"].is_string(), "{path}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{path}: {parameter}");
        }
        for status in ["200", "400", "503"] {
            assert!(operation["responses"][status]["content"].is_object(), "{path} {status}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema["description"].is_string(), "{name}.{field}: {schema}");
        }
    }
}

#[tokio::test]
async fn its_references_lead_somewhere() {
    fn check(document: &Value, value: &Value, found: &mut usize) {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
            *found += 1;
        }
        let members = value.as_object().into_iter().flat_map(|members| members.values());
        members.chain(value.as_array().into_iter().flatten()).for_each(|inner| check(document, inner, found));
    }
    let document = document().await;
    let mut found = 0;
    check(&document, &document, &mut found);
    assert!(found > 10);
}

#[tokio::test]
async fn its_bounds_are_those_that_are_kept() {
    let document = document().await;
    let mut found = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            let schema = &parameter["schema"];
            let bounds = match parameter["name"].as_str().unwrap() {
                "from" | "to" => (*MOMENTS.start(), *MOMENTS.end()),
                "count" => (1, MOST_ADS),
                "window" => (1, MOST_WINDOW_MINUTES),
                "limit" => (1, MOST_ROWS),
                _ => continue,
            };
            assert_eq!(
                (schema["minimum"].as_i64(), schema["maximum"].as_i64()),
                (Some(bounds.0), Some(bounds.1)),
                "{parameter}"
            );
            assert_eq!((&parameter["in"], &parameter["required"]), (&"query".into(), &false.into()), "{parameter}");
            found += 1;
        }
    }
    assert_eq!(found, 2 + 3 + 2 + 3);
}
