//! The OpenAPI document: complete, whole in itself, and true.

use super::{fixture, post, schema, serve_snapshot};
use crate::{http::Refusal, status::Snapshot};
use serde_json::Value;
use weir_http::testing::{Answer, get};

const OURS: &[(&str, &str)] = &[("x-weir-request", "1")];

async fn document() -> Value {
    get(&serve_snapshot(Snapshot::default(), |_, _| Ok(())), "/api/v1/openapi.json").await.json()
}

#[tokio::test]
async fn it_lists_every_route() {
    let document = document().await;
    let mut routes: Vec<String> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        routes.extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    routes.sort();
    let expected = [
        "GET /api/v1/cluster",
        "GET /api/v1/jobs",
        "GET /api/v1/jobs/{id}",
        "GET /api/v1/jobs/{id}/checkpoints",
        "GET /api/v1/workers",
        "POST /api/v1/jobs/{id}/cancel",
        "POST /api/v1/jobs/{id}/stop",
    ];
    assert_eq!(routes, expected);
}

#[tokio::test]
async fn it_is_whole_in_itself() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert!(!document["info"]["title"].as_str().unwrap().is_empty());
    assert!(!document["info"]["version"].as_str().unwrap().is_empty());
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        schema::resolve(&document, reference).unwrap();
    }
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            ids.push(operation["operationId"].as_str().unwrap().to_string());
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{path}");
            let declared: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|p| p["in"] == "path")
                .filter_map(|p| p["name"].as_str())
                .collect();
            assert_eq!(declared.contains(&"id"), path.contains("{id}"), "{path}");
        }
    }
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

#[tokio::test]
async fn every_field_of_every_type_is_explained() {
    let document = document().await;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What may be null is one of two.
            let choices = schema["oneOf"].as_array().into_iter().flatten();
            let explained = choices.chain([schema]).any(|schema| schema["description"].is_string());
            assert!(explained, "{name}.{field}: {schema}");
        }
    }
}

#[tokio::test]
async fn every_answer_is_as_it_says() {
    let document = document().await;
    let router = serve_snapshot(fixture::snapshot(), |job, _| match job {
        "ad-click" => Ok(()),
        "revenue" => Err(Refusal::Conflict("it has FAILED".into())),
        "talkingdata" => Err(Refusal::Unavailable("another leads".into())),
        _ => Err(Refusal::UnknownJob),
    });
    for job in ["ad-click", "talkingdata", "revenue", "backfill-2025-10", "unknown"] {
        for path in ["/api/v1/jobs/{id}", "/api/v1/jobs/{id}/checkpoints"] {
            fits(&document, path, "get", &get(&router, &path.replace("{id}", job)).await);
        }
        for path in ["/api/v1/jobs/{id}/cancel", "/api/v1/jobs/{id}/stop"] {
            fits(&document, path, "post", &post(&router, &path.replace("{id}", job), OURS).await);
        }
    }
    for path in ["/api/v1/cluster", "/api/v1/jobs", "/api/v1/workers"] {
        fits(&document, path, "get", &get(&router, path).await);
    }
    let path = "/api/v1/jobs/{id}/stop";
    fits(&document, path, "post", &post(&router, "/api/v1/jobs/ad-click/stop?drain=7", OURS).await);
    fits(&document, path, "post", &post(&router, "/api/v1/jobs/ad-click/stop", &[]).await);
}

/// The answer's status is described, and its body is as described.
fn fits(document: &Value, path: &str, method: &str, answer: &Answer) {
    let described = &document["paths"][path][method]["responses"][answer.status.as_str()];
    assert!(described.is_object(), "{method} {path} does not tell of {}", answer.status);
    let media_type = answer.header("content-type");
    let content = &described["content"][media_type];
    assert!(content.is_object(), "{method} {path} {}: not described as {media_type}", answer.status);
    schema::check(document, &content["schema"], &answer.json(), path).unwrap();
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}
