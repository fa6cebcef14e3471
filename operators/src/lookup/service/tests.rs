//! URLs with values in them, and patience. What tables and servers really answer is tested with whole jobs.

use super::{
    http::HttpLookup,
    patience::{Patience, Trouble},
};
use crate::lookup::{LookupConfig, Missing, OnFailure, Retries, ServiceConfig};
use crate::{schema::ColumnSchema, source::column_type::DeclaredSchema};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::{cell::Cell, sync::Arc, time::Duration};
use weir_engine::{EngineError, ErrorKind, env::Env, operator::OperatorContext};

fn lookup(url: &str) -> HttpLookup {
    HttpLookup { url: url.to_owned().into(), headers: std::collections::BTreeMap::new() }
}

#[test]
fn values_stand_where_they_are_wanted_and_lead_nowhere_else() {
    let server = lookup("http://ads/of/{b}/{a}?country={a}");
    assert_eq!(server.key(), ["b", "a"]);
    let url = |a: &str, b: &str| {
        let column = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
        let keys = RecordBatch::try_from_iter([("b", column(b)), ("a", column(a))]).unwrap();
        server.url_of(&keys, 0).map(|url| url.to_string()).map_err(|trouble| format!("{trouble:?}"))
    };
    assert_eq!(url("x", "y").unwrap(), "http://ads/of/y/x?country=x");
    assert_eq!(url("a/b", "ü &?#%").unwrap(), "http://ads/of/%C3%BC%20%26%3F%23%25/a%2Fb?country=a%2Fb");
    assert_eq!(
        url("${env:HOME}", "{a}").unwrap(),
        "http://ads/of/%7Ba%7D/%24%7Benv%3AHOME%7D?country=%24%7Benv%3AHOME%7D"
    );
    for (a, b) in [("..", "y"), ("x", ".."), ("..", ".."), (".", "y"), ("", "y"), ("x", "")] {
        assert!(url(a, b).unwrap_err().contains("cannot stand in a URL"), "{a:?} {b:?}: {:?}", url(a, b));
    }
    // Together they are no more than they are alone.
    assert!(lookup("http://ads/{a}{b}").check_url().is_ok());
}

#[test]
fn a_url_is_judged_as_far_as_it_is_known() {
    for right in ["http://h/{a}", "https://h:8/x?y={a}&t=${env:T}", "${env:BASE}/x/{a}", "http://${env:HOST}/{a}"] {
        lookup(right).check_url().unwrap_or_else(|mistake| panic!("{right}: {mistake}"));
    }
    for wrong in [
        "http://h/all",
        "http://{a}/x",
        "http://h:{a}/x",
        "ftp://h/{a}",
        "{a}",
        "http://u:p@h/{a}",
        "http://h/{a}#{a}",
        "h/{a}",
    ] {
        assert!(lookup(wrong).check_url().is_err(), "{wrong}");
    }
}

fn config() -> LookupConfig {
    LookupConfig {
        service: ServiceConfig::Http(lookup("http://localhost/{a}")),
        input: ColumnSchema::default(),
        columns: DeclaredSchema::default(),
        output: None,
        in_flight: 1,
        timeout_ms: 1,
        retries: Retries::default(),
        cache: None,
        on_failure: OnFailure::DeadLetter,
        missing: Missing::Null,
    }
}

fn patience(on_failure: OnFailure) -> (Patience, OperatorContext) {
    let retries = Retries { times: 3, pause_ms: 100, longest_ms: 10_000 };
    let config = LookupConfig { timeout_ms: 500, retries, on_failure, ..config() };
    let env = Env::simulated(1, Arc::new(|| 0));
    let context = OperatorContext { env, ..OperatorContext::single("job", "lookup.ads") };
    (Patience::new(&config, &context), context)
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_so_often_and_ever_later() {
    let (patience, context) = patience(OnFailure::DeadLetter);
    let (began, tries) = (context.env.now(), Cell::new(0));
    let away = async || {
        tries.set(tries.get() + 1);
        Err::<(), _>(Trouble::passing("it is down"))
    };
    assert_eq!(patience.ask(away).await.unwrap(), Err("it is down (asked 4 times)".to_owned()));
    assert_eq!(tries.get(), 4);
    let waited = (context.env.now() - began).as_millis();
    assert!((350..=700).contains(&waited), "half of 100, 200 and 400 to all of it: {waited}");
    let began = context.env.now();
    let silent = async || patience.in_time(std::future::pending::<Result<(), Trouble>>()).await;
    assert!(patience.ask(silent).await.unwrap().unwrap_err().starts_with("no answer within 500ms"));
    assert!(context.env.now() - began >= Duration::from_millis(2_000));
    assert!(context.waits.now().is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_nothing_may_fail_it_is_asked_for_as_long_as_it_takes_and_said() {
    let (patience, context) = patience(OnFailure::Fail);
    let (began, tries) = (context.env.now(), Cell::new(0));
    let answer = patience.ask(async || {
        tries.set(tries.get() + 1);
        if tries.get() > 1 {
            assert_eq!(context.waits.now()["lookup.ads"].cause, "it is down");
        }
        match context.env.now() - began {
            passed if passed > Duration::from_secs(86_400) => Ok(7),
            _ => Err(Trouble::passing("it is down")),
        }
    });
    assert_eq!(answer.await.unwrap(), Ok(7));
    assert!(context.waits.now().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_lasts_ends_it_and_what_is_refused_is_not_asked_again() {
    for on_failure in [OnFailure::DeadLetter, OnFailure::Fail] {
        let (patience, context) = patience(on_failure);
        let began = context.env.now();
        let refused = async || Err::<(), _>(Trouble::Refused("no such ad".into()));
        assert_eq!(patience.ask(refused).await.unwrap(), Err("no such ad".to_owned()));
        let lasting = async || Err::<(), _>(Trouble::Lasting(EngineError::definition("no such table")));
        assert_eq!(patience.ask(lasting).await.unwrap_err().kind, ErrorKind::Definition);
        assert_eq!(context.env.now(), began);
    }
}
