//! What each role may do with a database file, and what a fault is told as.

use std::sync::Arc;
use weir_engine::env::Env;
use weir_store::{Connection, Database, Dialect, Fault, Parameters, Readers, Role, Value, fault, row};

/// A place for a file that is not there yet.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("new/store.sqlite")
    }

    async fn connect(&self, role: Role, env: &Env) -> weir_store::Tried<Connection> {
        Database::new(&self.url(), role, env).unwrap().connect().await
    }
}

async fn numbers(place: &Place) -> Connection {
    let mut sink = place.connect(Role::Sink, &Env::default()).await.unwrap();
    sink.run("make a table", "CREATE TABLE numbers (n BIGINT, name TEXT)").await.unwrap();
    let values = [Value::from(7), Value::from("seven")];
    let written = sink.execute("write", "INSERT INTO numbers VALUES ($1, $2)", Parameters::of(&values).into()).await;
    assert_eq!(written.unwrap(), 1);
    sink
}

#[tokio::test]
async fn only_a_sink_makes_a_store() {
    let place = Place::new();
    let refused = place.connect(Role::Recalculation, &Env::default()).await.unwrap_err();
    assert!(!refused.passes() && refused.message().contains("SQLite at 'sqlite:"), "{refused:?}");
    let missing = Readers::open(&place.url(), 1).unwrap().begin().await.err().unwrap();
    assert_eq!(fault::missing(Dialect::Sqlite, &missing), Some(fault::Missing::File));
    assert!(!place.path().parent().unwrap().exists());
    place.connect(Role::Sink, &Env::default()).await.unwrap();
    place.connect(Role::Recalculation, &Env::default()).await.unwrap();
}

#[tokio::test]
async fn a_reader_sees_one_state_and_writes_nothing() {
    let place = Place::new();
    let mut sink = numbers(&place).await;
    let readers = Readers::open(&place.url(), 2).unwrap();
    let count = "SELECT count(*) FROM numbers";
    let mut reading = readers.begin().await.unwrap();
    assert_eq!(row::integer(&reading.row(count, &[]).await.unwrap(), 0).unwrap(), 1);
    sink.run("write", "INSERT INTO numbers VALUES (8, 'eight')").await.unwrap();
    assert_eq!(row::integer(&reading.row(count, &[]).await.unwrap(), 0).unwrap(), 1, "it began before");
    let refused = reading.rows("DELETE FROM numbers", &[]).await.err().unwrap();
    assert!(refused.to_string().contains("readonly"), "{refused}");
    let mut after = readers.begin().await.unwrap();
    let rows = after.rows("SELECT name, n FROM numbers WHERE n > $1", &[7.into()]).await.unwrap();
    assert_eq!((row::text(&rows[0], 0).unwrap().as_str(), row::integer(&rows[0], 1).unwrap()), ("eight", 8));
    assert_eq!(row::text_of(&rows[0], 1).unwrap().as_deref(), Some("8"));
    let unreadable = row::integer(&rows[0], 0).unwrap_err();
    assert!(unreadable.to_string().contains("no whole number"), "{unreadable}");
    let missing = after.rows("SELECT 1 FROM another", &[]).await.err().unwrap();
    assert_eq!(fault::missing(Dialect::Sqlite, &missing), Some(fault::Missing::PerhapsTable));
}

#[tokio::test]
async fn a_lock_is_told_from_other_faults() {
    let place = Place::new();
    let mut sink = numbers(&place).await;
    sink.begin().await.unwrap();
    // Where time is simulated nobody waits for a lock in real time.
    let env = Env::simulated(1, Arc::new(|| 0));
    let mut other = place.connect(Role::Recalculation, &env).await.unwrap();
    let locked = other.begin().await.unwrap_err();
    assert!(matches!(locked, Fault::Locked(_)) && locked.passes(), "{locked:?}");
    sink.roll_back().await.unwrap();
    other.begin().await.unwrap();
    let wrong = other.run("write", "INSERT INTO another VALUES (1)").await.unwrap_err();
    assert!(!wrong.passes() && wrong.message().contains("cannot write: no such table"), "{wrong:?}");
}

#[tokio::test]
async fn rows_are_handed_on_one_by_one_until_somebody_has_enough() {
    let place = Place::new();
    let mut sink = numbers(&place).await;
    let mut seen = Vec::new();
    let all = "SELECT n FROM numbers UNION ALL SELECT n + 1 FROM numbers";
    let each = sink.each("look", all, Parameters::default().into(), |one| {
        seen.push(row::integer(one, 0)?);
        Ok(())
    });
    each.await.unwrap();
    assert_eq!(seen, [7, 8]);
    let enough = |_: &_| Err(weir_engine::EngineError::internal("enough"));
    let stopped = sink.each("look", all, Parameters::default().into(), enough).await.unwrap_err();
    assert_eq!(stopped.into_error().message, "enough");
}
