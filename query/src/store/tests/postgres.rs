//! The same questions on PostgreSQL. Where none is installed these tests say so and pass.

use super::{fixture::Fixture, model, questions};

fn server() -> Option<String> {
    let server = std::env::var("WEIR_TEST_POSTGRES").ok();
    if server.is_none() {
        eprintln!("skipped: no PostgreSQL");
    }
    server
}

#[test]
fn answers_are_exact_on_postgres() {
    let Some(server) = server() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::postgres(&server, "exact"));
    runtime.block_on(fixture.commit(1, 0));
    model::answers_are_exact(&runtime, &fixture, 24);
}

#[tokio::test]
async fn ranges_span_minutes_hours_and_days_on_postgres() {
    let Some(server) = server() else { return };
    let fixture = Fixture::postgres(&server, "rolled_up").await;
    fixture.commit(1, 0).await;
    model::rolled_up_ranges(&fixture).await;
}

#[tokio::test]
async fn questions_on_postgres() {
    let Some(server) = server() else { return };
    for question in 0..3 {
        let fixture = Fixture::postgres(&server, &format!("question_{question}")).await;
        fixture.commit(7, 1000).await;
        questions::ask(question, &fixture).await;
    }
}
