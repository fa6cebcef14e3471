//! The same questions on PostgreSQL. Where none is installed these tests are skipped; in CI they fail.

use super::{fixture::Fixture, model, questions};
use crate::store::StoreError;
use std::{sync::Arc, time::Duration};
use weir_test_support::postgres_server::PostgresServer;

fn server() -> Option<Arc<PostgresServer>> {
    PostgresServer::shared().unwrap()
}

#[tokio::test]
async fn a_server_that_was_down_is_found_again() {
    let Some(mut server) = PostgresServer::start().unwrap() else { return };
    let fixture = Fixture::postgres(&server).await;
    fixture.commit(1, 1000).await;
    assert_eq!(fixture.store.freshness().await.unwrap().checkpoint, 1);
    server.kill().unwrap();
    let down = fixture.store.freshness().await.unwrap_err();
    assert!(matches!(down, StoreError::Unavailable(_)), "{down:?}");
    server.restart().unwrap();
    let back = async {
        while fixture.store.freshness().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it is found again");
}

#[test]
fn answers_are_exact_on_postgres() {
    let Some(server) = server() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::postgres(&server));
    runtime.block_on(fixture.commit(1, 0));
    model::answers_are_exact(&runtime, &fixture, 24);
}

#[tokio::test]
async fn ranges_span_minutes_hours_and_days_on_postgres() {
    let Some(server) = server() else { return };
    let fixture = Fixture::postgres(&server).await;
    fixture.commit(1, 0).await;
    model::rolled_up_ranges(&fixture).await;
}

#[tokio::test]
async fn questions_on_postgres() {
    let Some(server) = server() else { return };
    for question in 0..questions::QUESTIONS {
        let fixture = Fixture::postgres(&server).await;
        fixture.commit(7, 1000).await;
        questions::ask(question, &fixture).await;
    }
}
