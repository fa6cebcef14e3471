//! Any table over HTTP: what it is, its newest rows, and its page.

use super::{at, clicks};
use crate::store::{
    Store,
    tests::fixture::{Fixture, MARCH},
};
use serde_json::{Value, json};
use weir_http::testing::{Browser, get, start};
use weir_test_support::postgres_server::PostgresServer;

const FROM: i64 = MARCH / 1000;
/// Heights of pictures, wide and narrow.
const PICTURE: (u32, u32) = (900, 1500);

/// Requests to a web site by path and status, as a sink with the usual key keeps them.
fn requests() -> Value {
    let column = |(name, of): (&str, &str)| json!({ "name": name, "type": of });
    let columns = [
        ("record_id", "bytes"),
        ("window_start", "big_int"),
        ("window_end", "big_int"),
        ("path", "text"),
        ("status", "big_int"),
        ("requests", "big_int"),
        ("seconds", "double"),
        ("bytes_sent", "numeric"),
        ("revision", "big_int"),
    ];
    let shape = json!({ "time": "window_start", "times": ["window_start", "window_end"],
        "series": ["path", "status"], "values": ["requests", "seconds", "bytes_sent"] });
    json!({ "table": "requests", "key": ["record_id"], "revision": "revision",
        "columns": columns.map(column),
        "description": { "key": ["record_id"], "window_ms": 60_000, "running": true, "shape": shape } })
}

/// Ten minutes of it, of which the last is not over. The n-th path has about 300/n requests a minute, one in five is not found.
async fn fill(fixture: &Fixture, blob: impl Fn(&str) -> String) {
    fixture.execute(&format!("UPDATE weir_sinks SET checkpoint = 7, staged_at_ms = {}", MARCH + 601_500)).await;
    let mut rows = Vec::new();
    for minute in 0..10 {
        for (place, path) in ["/", "/search", "/article/1", "/ä'b", "/cart"].iter().enumerate() {
            for status in [200, 404] {
                let share = if status == 200 { 4 } else { 1 };
                let requests = share * (60 / (place as i64 + 1) + minute * 3 % 7);
                let (start, revision) =
                    (MARCH + minute * 60_000, if minute == 9 { i64::from(i32::MIN) + 7 } else { 0 });
                let id = blob(&format!("{minute:016x}{place:08x}{status:08x}"));
                let seconds = if place == 4 { "NULL".to_owned() } else { format!("{}", requests as f64 / 8.0) };
                let path = path.replace('\'', "''");
                // SQLite keeps such a number as text.
                rows.push(format!(
                    "({id}, {start}, {}, '{path}', {status}, {requests}, {seconds}, '{requests}000000000000000000', {revision})",
                    start + 60_000
                ));
            }
        }
    }
    fixture.execute(&format!("INSERT INTO requests VALUES {}", rows.join(", "))).await;
}

async fn web_site() -> Fixture {
    let fixture = Fixture::with_table(requests()).await;
    fill(&fixture, |hex| format!("x'{hex}'")).await;
    fixture
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn check(fixture: &Fixture) {
    let router = at(&fixture.store, MARCH + 602_000);
    let tables = get(&router, "/v1/tables").await.json();
    let table = &tables["tables"][0];
    assert_eq!((&table["name"], &table["job"], &table["checkpoint"]), (&json!("requests"), &json!("web"), &json!(7)));
    assert_eq!((&table["series"], &table["time"]), (&json!(["path", "status"]), &json!("window_start")));
    assert_eq!(
        (&table["has_history"], &table["behind_seconds"], &table["window_seconds"]),
        (&json!(true), &json!(0.5), &json!(60.0))
    );
    let holds: Vec<&str> =
        table["columns"].as_array().unwrap().iter().map(|one| one["holds"].as_str().unwrap()).collect();
    assert_eq!(holds, ["bytes", "time", "time", "text", "integer", "integer", "number", "decimal", "integer"]);

    let rows = get(&router, "/v1/tables/requests?by=requests&limit=3").await;
    let first = "{\"record_id\":\"00000000-0000-0009-0000-0000000000c8\",\"window_start\":1646352540,\"window_end\":1646352600,\
                 \"path\":\"/\",\"status\":200,\"requests\":264,\"seconds\":33.0,\"bytes_sent\":\"264000000000000000000\",\
                 \"revision\":-2147483641}";
    assert!(rows.text.contains(first), "names and values in the table's order: {}", rows.text);
    let of = |rows: &Value, name: &str| {
        rows["rows"].as_array().unwrap().iter().map(|row| row[name].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&rows.json(), "requests"), [264, 144, 104]);
    let exact = get(&router, "/v1/tables/requests?by=bytes_sent&limit=3").await.json();
    assert_eq!(of(&exact, "requests"), [264, 144, 104], "numbers of any length are no texts");
    let absent = get(&router, "/v1/tables/requests?by=seconds&limit=10").await.json();
    assert_eq!(of(&absent, "seconds")[8..], [Value::Null, Value::Null], "what is absent comes last");
    assert_eq!(of(&absent, "path")[8], "/cart");

    let key = encoded(r#"["/ä'b", 404]"#);
    let path = format!("/v1/tables/requests?key={key}&from={}&to={}", FROM + 60, FROM + 240);
    let history = get(&router, &path).await.json();
    assert_eq!(of(&history, "window_start"), [FROM + 180, FROM + 120, FROM + 60]);
    assert_eq!(of(&history, "requests"), [17, 21, 18]);
    let nobody = get(&router, &format!("/v1/tables/requests?key={}", encoded(r#"["/nobody", 200]"#))).await.json();
    assert_eq!(nobody, json!({ "table": "requests", "rows": [] }));
}

#[tokio::test]
async fn a_table_is_described_and_its_newest_rows_are_told() {
    check(&web_site().await).await;
}

#[tokio::test]
async fn the_same_on_postgres() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let fixture = Fixture::with_table_in(&server, requests()).await;
    fill(&fixture, |hex| format!("decode('{hex}', 'hex')")).await;
    check(&fixture).await;
}

#[tokio::test]
async fn tables_of_clicks_are_tables_too() {
    let fixture = clicks().await;
    let router = at(&fixture.store, MARCH + 902_000);
    let tables = get(&router, "/v1/tables").await.json();
    assert_eq!((&tables["tables"][0]["name"], &tables["tables"][1]["name"]), (&json!("ad_counts"), &json!("top_ads")));
    assert_eq!(tables["tables"][0]["series"], json!(["filter_id", "ad_id"]));
    let key = encoded(r#"["0012","ad000003"]"#);
    let rows = get(&router, &format!("/v1/tables/ad_counts?key={key}&limit=2")).await.json();
    let minute = |minute: i64, count: i64, revision: i64| {
        json!({ "click_minute": FROM + minute * 60, "filter_id": "0012", "ad_id": "ad000003", "count": count,
            "revision": revision })
    };
    assert_eq!(rows["rows"], json!([minute(14, 13, i64::from(i32::MIN) + 120), minute(13, 14, 0)]));
    let before = get(&router, &format!("/v1/tables/ad_counts?key={key}&limit=2&to={}", FROM + 120)).await.json();
    assert_eq!(before["rows"], json!([minute(1, 14, 1), minute(0, 13, 0)]), "so many windows before that");
    let top = get(&router, "/v1/tables/top_ads").await.json();
    assert_eq!(top["rows"], json!([]));
}

#[tokio::test]
async fn what_makes_no_sense_for_a_table_is_refused_with_what_would() {
    let fixture = web_site().await;
    let router = at(&fixture.store, MARCH);
    for (path, status, text) in [
        ("/v1/tables/request", 404, "there is no table 'request'; there are: requests"),
        ("/v1/tables/requests?by=clicks", 400, "has no column 'clicks'; there are: record_id, window_start"),
        (
            "/v1/tables/requests?key=x",
            400,
            "a key of 'requests' is a JSON array of path, status: [\"a path\", \"a status\"]",
        ),
        ("/v1/tables/requests?limit=1001", 400, "'limit' is '1001'; it must be a whole number from 1 to 1000"),
        ("/v1/tables/requests?from=60&to=60", 400, "'from' must be before 'to'"),
        ("/v1/tables/requests?from=x", 400, "'from' is 'x'; it must be a whole number"),
        ("/v1/tables/requests?filter=0", 400, "there are: key, from, to, by, limit"),
        ("/v1/tables?limit=1", 400, "there is no parameter 'limit' here"),
        ("/v1/tables/%FF", 400, "the table's name cannot be decoded"),
        ("/v1/tables/weir_sinks", 404, "there is no table 'weir_sinks'"),
    ] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.problem().detail.contains(text), "{path}: {}", answer.text);
    }
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Store::open(&format!("sqlite:{}/store.sqlite", folder.path().display()), 1).unwrap();
    for path in ["/v1/tables", "/v1/tables/requests"] {
        let answer = get(&at(&nowhere, MARCH), path).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    }
}

#[tokio::test]
async fn the_front_page_is_that_of_what_the_store_is_about() {
    let (about_clicks, other) = (clicks().await, web_site().await);
    let title = async |store: &Store, path: &str| {
        let text = get(&at(store, MARCH), path).await.text;
        text.split_once("<title>").unwrap().1.split_once(" · Weir").unwrap().0.to_owned()
    };
    assert_eq!(title(&about_clicks.store, "/").await, "Clicks");
    assert_eq!(title(&other.store, "/").await, "Tables");
    assert_eq!(title(&about_clicks.store, "/tables").await, "Tables");
    assert_eq!(title(&other.store, "/clicks").await, "Clicks");
}

#[tokio::test]
async fn tables_are_measured() {
    let fixture = web_site().await;
    let text = get(&at(&fixture.store, MARCH + 602_000), "/metrics").await.text;
    for line in [
        "weir_store_up 1.0",
        "weir_table_freshness_seconds{job=\"web\",table=\"requests\"} 0.5",
        "weir_table_checkpoint{job=\"web\",table=\"requests\"} 7.0",
        "weir_table_job_ended{job=\"web\",table=\"requests\"} 0.0",
    ] {
        assert!(text.lines().any(|found| found == line), "no '{line}' in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_table_has_a_page() {
    let Some(browser) = Browser::find() else { return };
    let fixture = web_site().await;
    let server = start(at(&fixture.store, MARCH + 602_000)).await;
    let page = browser.show(&server, "").await;
    page.is_quiet();
    page.has(&[
        "<title>requests · Weir</title>",
        "window_start 2022-03-04 00:09 UTC",
        "It is not over.",
        "/search",
        "264",
    ]);
    page.has(&["web, checkpoint 7", "requests of [\"/\",200] from 2022-03-04 00:00 to 2022-03-04 00:09 UTC"]);
    assert_eq!(page.html.matches("class=\"bar\"").count(), 10 + 9, "ten rows, and nine minutes that are over");
    assert_eq!(page.html.matches("class=\"bar running\"").count(), 1, "and the one that runs");
    browser.picture(&server, "", "tables", PICTURE).await;

    let chosen = format!("#by=seconds&count=25&span=15&key={}", encoded(r#"["/search",404]"#));
    let page = browser.show(&server, &format!("tables{chosen}")).await;
    page.is_quiet();
    page.has(&["class=\"chosen\"", "seconds of [\"/search\",404]"]);
    browser.picture(&server, &format!("tables{chosen}"), "tables-chosen", PICTURE).await;
    browser.show(&server, "tables#table=nothing").await.has(&["there is no table 'nothing'; there are: requests"]);
    browser.show(&server, "#by=nothing").await.has(&["'requests' has no column 'nothing'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_clicks_gives_way_where_there_are_none() {
    let Some(browser) = Browser::find() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, MARCH + 902_000)).await;
    let page = browser.show(&server, "tables#table=ad_counts").await;
    page.is_quiet();
    page.has(&["count of [\"0000\",\"ad000001\"]", "clicks on ads"]);
    browser.picture(&server, "tables#table=ad_counts", "tables-of-clicks", PICTURE).await;

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/store.sqlite", folder.path().display()), 1).unwrap();
    let server = start(at(&store, MARCH)).await;
    browser.show(&server, "tables").await.has(&["nothing has been committed yet: there is no database file"]);
}
