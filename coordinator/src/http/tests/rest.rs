//! REST: what is shown, what can be asked for, and how it is refused.

use super::{fixture, post, serve_snapshot};
use crate::{
    http::{Access, Action, Refusal, router},
    status::{ClusterStatus, JobStatus, Snapshot, StatusBoard},
};
use axum::http::StatusCode;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;
use weir_http::testing::{check_headers, get, send};
use weir_proto::secret::Keys;

const OURS: &[(&str, &str)] = &[("x-weir-request", "1")];

#[tokio::test]
async fn what_is_published_is_served() {
    let board = StatusBoard::default();
    let (actions, _asked) = mpsc::channel(1);
    let router = router(board.clone(), actions, Access::default());
    let empty: ClusterStatus = serde_json::from_str(&get(&router, "/api/v1/cluster").await.text).unwrap();
    assert!(empty.jobs.is_empty());

    board.publish(fixture::snapshot());
    let snapshot = fixture::snapshot();
    let cluster: ClusterStatus = serde_json::from_str(&get(&router, "/api/v1/cluster").await.text).unwrap();
    assert_eq!(cluster, snapshot.cluster);
    let job: JobStatus = serde_json::from_str(&get(&router, "/api/v1/jobs/ad-click").await.text).unwrap();
    assert_eq!(job, snapshot.jobs["ad-click"]);

    let jobs = get(&router, "/api/v1/jobs").await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 4);
    assert_eq!(jobs["jobs"][3]["waiting_for"], "needs 4 slots, 0 free");
    let workers = get(&router, "/api/v1/workers").await.json();
    assert_eq!(workers["workers"][2]["state"], "lost");
    let checkpoints = get(&router, "/api/v1/jobs/ad-click/checkpoints").await.json();
    assert_eq!(checkpoints["checkpoints"].as_array().unwrap().len(), 60);
    assert_eq!(checkpoints["committed"], 1839);
    assert_eq!(get(&router, "/healthz").await.text, "ok\n");
}

#[tokio::test]
async fn an_unknown_job_is_answered_with_the_known_ones() {
    let router = serve_snapshot(fixture::snapshot(), |_, _| Err(Refusal::UnknownJob));
    for path in ["/api/v1/jobs/ad-clik", "/api/v1/jobs/ad-clik/checkpoints"] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        let detail = answer.problem().detail;
        assert_eq!(detail, "there is no job 'ad-clik'; there are: ad-click, backfill-2025-10, revenue, talkingdata");
    }
    let answer = post(&router, "/api/v1/jobs/ad-clik/cancel", OURS).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.problem().detail.contains("ad-click, "));

    let empty = serve_snapshot(Snapshot::default(), |_, _| Ok(()));
    assert_eq!(get(&empty, "/api/v1/jobs/x").await.problem().detail, "there is no job 'x'; there are no jobs");
}

#[tokio::test]
async fn only_some_of_many_jobs_are_named() {
    let jobs = (0..50).map(|n| JobStatus { id: format!("job-{n:02}"), ..JobStatus::default() });
    let router = serve_snapshot(Snapshot::new(0, Default::default(), vec![], jobs), |_, _| Ok(()));
    let detail = get(&router, "/api/v1/jobs/x").await.problem().detail;
    assert!(detail.ends_with("job-18, job-19 and 30 more"), "{detail}");
}

#[tokio::test]
async fn an_id_that_needs_escaping_is_found_and_a_broken_one_refused() {
    let router = serve_snapshot(fixture::hostile_snapshot(), |_, _| Ok(()));
    let escaped: String = fixture::HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = get(&router, &format!("/api/v1/jobs/{escaped}")).await;
    assert_eq!(answer.json()["name"], fixture::HOSTILE);

    let answer = get(&router, "/api/v1/jobs/%FF").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.problem().detail.contains("cannot be decoded"));
}

#[tokio::test]
async fn wrong_paths_and_methods_are_problems() {
    let router = serve_snapshot(fixture::snapshot(), |_, _| Ok(()));
    let answer = get(&router, "/api/v2/jobs").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.problem().detail.contains("/api/v2/jobs"));

    let answer = post(&router, "/api/v1/jobs", OURS).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.problem().detail, "'/api/v1/jobs' does not support POST");
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
    let answer = get(&router, "/api/v1/jobs/ad-click/cancel").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "POST");
}

#[tokio::test]
async fn actions_go_out_and_their_answers_come_back() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let router = serve_snapshot(fixture::snapshot(), move |job, drain| {
        log.lock().push((job.to_string(), drain));
        match job {
            "revenue" => Err(Refusal::Conflict("job 'revenue' has FAILED; there is nothing to cancel".into())),
            "talkingdata" => Err(Refusal::Unavailable("coordinator 2 leads".into())),
            _ => Ok(()),
        }
    });
    let answer = post(&router, "/api/v1/jobs/ad-click/cancel", OURS).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json(), serde_json::json!({"job": "ad-click", "action": "cancel"}));
    for (query, drain) in [("", false), ("?drain=true", true), ("?drain=false", false)] {
        let answer = post(&router, &format!("/api/v1/jobs/ad-click/stop{query}"), OURS).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(asked.lock().pop(), Some(("ad-click".into(), Some(drain))));
    }
    assert_eq!(asked.lock().pop(), Some(("ad-click".into(), None)));

    let answer = post(&router, "/api/v1/jobs/revenue/cancel", OURS).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.problem().detail, "job 'revenue' has FAILED; there is nothing to cancel");
    let answer = post(&router, "/api/v1/jobs/talkingdata/stop", OURS).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

    let before = asked.lock().len();
    let answer = post(&router, "/api/v1/jobs/ad-click/stop?drain=maybe", OURS).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.problem().detail.contains("`drain` is true or false"), "{}", answer.text);
    assert_eq!(asked.lock().len(), before, "what makes no sense goes nowhere");
}

#[tokio::test]
async fn nobody_to_act_is_said() {
    let (actions, asked) = mpsc::channel(1);
    drop(asked);
    let router = router(StatusBoard::new(fixture::snapshot()), actions, Access::default());
    let answer = post(&router, "/api/v1/jobs/ad-click/cancel", OURS).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    answer.problem();
}

#[tokio::test]
async fn a_foreign_page_can_ask_for_nothing() {
    let router = serve_snapshot(fixture::snapshot(), |job, _| panic!("somebody ended {job}"));
    // What a browser sends for a form, or for a fetch that it does not ask about first.
    let foreign: [&[(&str, &str)]; 6] = [
        &[],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded"), ("origin", "https://elsewhere.example")],
        &[("content-type", "multipart/form-data; boundary=application/json")],
        &[("x-weir-request", "1"), ("sec-fetch-site", "cross-site")],
        // A page whose name was made to mean this machine.
        &[("x-weir-request", "1"), ("origin", "http://evil.example:7071"), ("host", "evil.example:7071")],
    ];
    for headers in foreign {
        let answer = post(&router, "/api/v1/jobs/ad-click/cancel", headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        let detail = answer.problem().detail;
        assert!(detail.contains("x-weir-request") || detail.contains("--allowed-host evil.example"), "{detail}");
    }
    let asks_first = axum::http::Request::builder()
        .method("OPTIONS")
        .uri("/api/v1/jobs/ad-click/cancel")
        .header("origin", "https://elsewhere.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-weir-request")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = send(&router, asks_first).await;
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{:?}", answer.headers);
}

#[tokio::test]
async fn each_of_our_marks_is_enough() {
    let router = serve_snapshot(fixture::snapshot(), |_, _| Ok(()));
    let ours: [&[(&str, &str)]; 5] = [
        &[("x-weir-request", "1")],
        &[("content-type", "application/json")],
        &[("content-type", "Application/JSON; charset=utf-8")],
        &[("x-weir-request", "1"), ("sec-fetch-site", "same-origin")],
        &[("x-weir-request", "1"), ("origin", "http://127.0.0.1:7071"), ("host", "127.0.0.1:7071")],
    ];
    for headers in ours {
        let answer = post(&router, "/api/v1/jobs/ad-click/cancel", headers).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{headers:?}");
    }
}

#[tokio::test]
async fn every_answer_bears_the_headers_that_keep_strangers_out() {
    let router = serve_snapshot(fixture::snapshot(), |_, _| Ok(()));
    check_headers(&router, &["/", "/page/main.js", "/api/v1/cluster", "/metrics", "/nothing"]).await;
}

/// The routes of a cluster with a secret, where nothing may be asked for unless a test fails.
fn locked(protects_reads: bool) -> axum::Router {
    let (actions, mut asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(action) = asked.recv().await {
            let (Action::Cancel { job, reply } | Action::Stop { job, reply, .. }) = action;
            let _ = reply.send(if job == "ad-click" { Ok(()) } else { Err(Refusal::UnknownJob) });
        }
    });
    let keys = Keys { secret: "open sesame".into(), read_token: "let me see".into() };
    let access = Access { keys, protects_reads, ..Access::default() };
    router(StatusBoard::new(fixture::snapshot()), actions, access)
}

#[tokio::test]
async fn with_a_secret_actions_need_it_and_reading_does_not() {
    let router = locked(false);
    for path in ["/api/v1/jobs/ad-click/cancel", "/api/v1/jobs/ad-click/stop?drain=true"] {
        let answer = post(&router, path, OURS).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
        assert!(answer.problem().detail.contains("authorization: Bearer"), "{}", answer.text);
        let answer = post(&router, path, &[OURS[0], ("authorization", "Bearer open barley")]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let answer = post(&router, path, &[OURS[0], ("authorization", "Bearer open sesame")]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        // The secret alone is not enough where a foreign page may have asked.
        let answer = post(&router, path, &[("authorization", "Bearer open sesame")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    for path in ["/api/v1/cluster", "/api/v1/jobs/ad-click", "/metrics", "/", "/page/secret.js"] {
        assert_eq!(get(&router, path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn reading_can_be_protected_too() {
    let router = locked(true);
    let paths = ["/api/v1/cluster", "/api/v1/jobs", "/api/v1/jobs/ad-click", "/api/v1/workers", "/metrics"];
    for path in paths {
        assert_eq!(get(&router, path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        for (shown, status) in [
            ("Bearer open sesame", StatusCode::OK),
            ("Bearer let me see", StatusCode::OK),
            ("Bearer let me in", StatusCode::UNAUTHORIZED),
        ] {
            let request = axum::http::Request::get(path).header("authorization", shown);
            let answer = send(&router, request.body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(answer.status, status, "{path}");
        }
    }
    for path in ["/api/v1/jobs/ad-click/cancel", "/api/v1/jobs/ad-click/stop"] {
        let answer = post(&router, path, &[OURS[0], ("authorization", "Bearer let me see")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"insufficient_scope\"");
        assert!(answer.problem().detail.contains("the token is read-only"), "{}", answer.text);
    }
    for path in ["/", "/page/main.js", "/healthz", "/api/v1/openapi.json"] {
        assert_eq!(get(&router, path).await.status, StatusCode::OK, "{path}");
    }
}
