//! Tables: SQLite and PostgreSQL.

use super::Bench;
use crate::support::execute;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use weir_test_support::postgres_server::PostgresServer;

/// Executes statements, one after the other.
fn prepare(url: &str, statements: &[&str]) {
    sqlx::any::install_default_drivers();
    let url = if url.starts_with("sqlite:") { format!("{url}?mode=rwc") } else { url.to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        for statement in statements {
            sqlx::query(AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    });
}

const SCHEMA: &str = r#"{ budget = "int", price = "float", owner = { type = "string", path = "owner_name" }, active = "bool",
    started = "timestamp", day = "date", spent = "decimal(12, 2)" }"#;

fn check_types(url: &str, statements: &[&str]) {
    prepare(url, statements);
    let ads = ["a", "b", "a", "nobody", "a'; drop table ads; --", "b"];
    let bench = Bench::new(ads.map(Some).into_iter().chain([None]));
    let lookup = format!(
        "connector = \"sql\"\nurl = \"{url}\"\ntable = \"ads\"\non = {{ ad_id = \"id\" }}\nschema = {}",
        SCHEMA.replace('\n', " ")
    );
    execute(bench.job(&lookup, 2), &bench.checkpoints());
    let out = bench.out();
    assert_eq!(out.len(), 7, "{:?}", bench.refused());
    let of = |n: i64, name: &str| out[&n].get(name).map(String::as_str);
    for n in [0, 2] {
        assert_eq!(of(n, "budget"), Some("9007199254740993"));
        assert_eq!(of(n, "price"), Some("0.30000000000000004"), "to the last digit");
        assert_eq!(of(n, "owner"), Some("Zoë's"));
        assert_eq!(of(n, "active"), Some("true"));
        assert_eq!(of(n, "started"), Some("2022-03-04T00:00:01Z"));
        assert_eq!(of(n, "day"), Some("2022-03-04"));
        assert_eq!(of(n, "spent"), Some("1234567890.10"));
    }
    for n in [1, 5] {
        assert_eq!(of(n, "budget"), Some("-1"));
        assert_eq!(of(n, "active"), Some("false"));
        assert_eq!((of(n, "price"), of(n, "owner")), (None, None), "null stays null");
    }
    for n in [3, 4, 6] {
        assert_eq!(of(n, "budget"), None, "nothing is known about it");
    }
    assert_eq!(of(4, "ad_id"), Some("a'; drop table ads; --"));
}

#[test]
fn values_of_sqlite_are_read_by_their_declared_types() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/ads.sqlite", folder.path().display());
    check_types(
        &url,
        &[
            "CREATE TABLE ads (id TEXT PRIMARY KEY, budget BIGINT, price DOUBLE PRECISION, owner_name TEXT, active BIGINT, \
             started BIGINT, day TEXT, spent TEXT)",
            "INSERT INTO ads VALUES ('a', 9007199254740993, 0.1 + 0.2, 'Zoë''s', 1, 1646352001000, '2022-03-04', \
             '1234567890.10'), ('b', -1, NULL, NULL, 0, NULL, NULL, NULL)",
        ],
    );
}

#[test]
fn values_of_postgres_are_read_by_their_declared_types() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    let url = server.new_database().unwrap();
    check_types(
        &url,
        &[
            "CREATE TABLE ads (id VARCHAR(40) PRIMARY KEY, budget BIGINT, price DOUBLE PRECISION, owner_name TEXT, \
             active BOOLEAN, started TIMESTAMPTZ, day DATE, spent NUMERIC)",
            "INSERT INTO ads VALUES ('a', 9007199254740993, 0.1::float8 + 0.2::float8, 'Zoë''s', true, \
             '2022-03-04 01:00:01+01', '2022-03-04', 1234567890.10), ('b', -1, NULL, NULL, false, NULL, NULL, NULL)",
        ],
    );
}

/// The files sink writes all columns, by their places.
#[test]
fn added_columns_are_in_the_order_of_the_definition() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/ads.sqlite", folder.path().display());
    prepare(&url, &["CREATE TABLE ads (ad_id TEXT, v BIGINT, w BIGINT)", "INSERT INTO ads VALUES ('a', 1, 100)"]);
    for behind in ["", "\n[map.all]\ninput = \"ads\"\nwhere = \"n >= 0\"\n"] {
        let bench = Bench::new(["a"].map(Some));
        let lookup = format!(
            "connector = \"sql\"\nurl = \"{url}\"\ntable = \"ads\"\non = [\"ad_id\"]\nschema = {{ w = \"int\", v = \"int\" }}\n{behind}"
        );
        let more: &[&str] = if behind.is_empty() { &[] } else { &["sink.out.input=all"] };
        execute(bench.job_with(&lookup, 1, more), &bench.checkpoints());
        let out = bench.out();
        assert_eq!((out[&0]["w"].as_str(), out[&0]["v"].as_str()), ("100", "1"), "{behind}");
        assert_eq!(bench.columns(), ["n", "ad_id", "at", "w", "v"], "{behind}");
    }
}

fn check_keys(url: &str) {
    prepare(
        url,
        &[
            "CREATE TABLE prices (ad TEXT, n BIGINT, price BIGINT, note TEXT)",
            "INSERT INTO prices SELECT 'ad' || (n % 3), n, n * 10, 'x' FROM (WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 \
             FROM c WHERE n < 998) SELECT n FROM c) AS numbers",
            "INSERT INTO prices VALUES ('ad0', 30, 7, 'twice'), ('ad1', 1000, 5, 'no number')",
        ],
    );
    let names: Vec<String> = (0..1_100).map(|n| format!("ad{}", n % 3)).collect();
    let bench = Bench::new(names.iter().map(|name| Some(name.as_str())));
    let lookup = format!(
        "connector = \"sql\"\nurl = \"{url}\"\ntable = \"prices\"\non = {{ ad_id = \"ad\", n = \"n\" }}\n\
         schema = {{ price = \"int\" }}\nin_flight = 700\nmissing = \"drop\""
    );
    execute(bench.job(&lookup, 2), &bench.checkpoints());
    let out = bench.out();
    // Row 1000 is of `ad1`, and is there; all after 998 are not.
    let expected: Vec<i64> = (0..999).filter(|n| *n != 30).chain([1_000]).collect();
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), expected);
    for n in 0..999 {
        if n != 30 {
            assert_eq!(out[&n]["price"], (n * 10).to_string());
        }
    }
    assert_eq!(out[&1_000]["price"], "5");
    let refused = bench.refused();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].0.contains("\"n\":30") && refused[0].1.contains("several such rows"), "{refused:?}");
}

#[test]
fn many_keys_of_two_columns_are_asked_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    check_keys(&format!("sqlite:{}/prices.sqlite", folder.path().display()));
}

#[test]
fn many_keys_of_two_columns_are_asked_of_postgres() {
    let Some(server) = PostgresServer::shared().unwrap() else { return };
    check_keys(&server.new_database().unwrap());
}

#[test]
fn a_value_that_is_not_of_its_type_is_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/ads.sqlite", folder.path().display());
    prepare(&url, &["CREATE TABLE ads (ad_id TEXT, budget)", "INSERT INTO ads VALUES ('a', 'much'), ('b', 5)"]);
    let bench = Bench::new(["a", "b"].map(Some));
    let lookup = format!(
        "connector = \"sql\"\nurl = \"{url}\"\ntable = \"ads\"\non = [\"ad_id\"]\nschema = {{ budget = \"int\" }}"
    );
    execute(bench.job(&lookup, 1), &bench.checkpoints());
    assert_eq!(bench.out()[&1]["budget"], "5");
    let refused = bench.refused();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].1.contains("`budget`, which is \"much\", is not an int"), "{refused:?}");
}

/// No row is to blame for it, so none is a dead letter.
#[test]
fn a_table_that_is_not_there_ends_the_job_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/ads.sqlite", folder.path().display());
    prepare(&url, &["CREATE TABLE ads (ad_id TEXT)"]);
    let bench = Bench::new(["a"].map(Some));
    let lookup = format!(
        "connector = \"sql\"\nurl = \"{url}\"\ntable = \"adds\"\non = [\"ad_id\"]\nschema = {{ budget = \"int\" }}"
    );
    let ended = std::panic::catch_unwind(|| execute(bench.job(&lookup, 1), &bench.checkpoints()));
    let told = ended.err().and_then(|told| told.downcast::<String>().ok()).expect("the job does not end well");
    assert!(told.contains("no such table: adds"), "{told}");
    assert_eq!((bench.out().len(), bench.refused().len()), (0, 0));
}
