//! A registry over a socket: what it is asked, and what its answers mean.

use super::{testing::TestRegistry, *};

const SCHEMA: &str = r#"{"type":"record","name":"A","fields":[]}"#;

fn client(url: &str) -> SchemaRegistry {
    let settings = RegistrySettings { url: url.to_owned(), user: None, password: None, token: None };
    SchemaRegistry::new(&settings, Env::seeded(1)).unwrap()
}

#[tokio::test]
async fn a_schema_is_fetched_once() {
    let registry = TestRegistry::start().await;
    registry.add(7, "clicks-value", SCHEMA);
    let client = client(&registry.url);
    for _ in 0..3 {
        assert_eq!(client.schema(7).await.unwrap(), Known::Schema(SCHEMA.into()));
    }
    assert_eq!(&*client.latest("clicks-value").await.unwrap(), SCHEMA);
    let asked: Vec<String> = registry.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["/schemas/ids/7", "/subjects/clicks-value/versions/latest"]);
}

#[tokio::test]
async fn what_it_does_not_know_is_no_failure() {
    let registry = TestRegistry::start().await;
    registry.set("/schemas/ids/2", 200, r#"{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}"#);
    registry.set("/schemas/ids/3", 200, r#"{"schema":"{}","references":[{"name":"a","subject":"b","version":1}]}"#);
    let client = client(&registry.url);
    for (id, part) in [(1, "knows no schema 1"), (2, "is one of PROTOBUF"), (3, "refers to schemas of other subjects")]
    {
        let Known::None(why) = client.schema(id).await.unwrap() else { panic!("schema {id}") };
        assert!(why.contains(part), "{why}");
    }
    let error = client.latest("a/b c").await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("no such subject"), "{error:?}");
    assert_eq!(registry.asked().last().unwrap().0, "/subjects/a%2Fb%20c/versions/latest");
    registry.add(1, "a", SCHEMA);
    assert_eq!(client.schema(1).await.unwrap(), Known::Schema(SCHEMA.into()), "it is asked again");
}

#[tokio::test]
async fn one_that_is_away_or_overloaded_is_waited_for() {
    let registry = TestRegistry::start().await;
    registry.add(7, "a", SCHEMA);
    let away = client(&registry.url);
    for status in [500, 503, 429] {
        registry.fail(Some(status));
        let error = away.schema(7).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
        assert!(error.message.contains(&status.to_string()) && error.message.contains(&registry.url), "{error:?}");
    }
    assert_eq!(registry.asked().len(), 3 * (1 + RETRIES));
    registry.fail(None);
    assert!(away.schema(7).await.is_ok());
    let gone = {
        let registry = TestRegistry::start().await;
        registry.url.clone()
    };
    let error = client(&gone).schema(7).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn other_answers_end_the_job() {
    let registry = TestRegistry::start().await;
    let client = client(&registry.url);
    registry.set("/schemas/ids/1", 200, "<html>");
    for (status, kind) in [(None, ErrorKind::Io), (Some(401), ErrorKind::Definition), (Some(301), ErrorKind::Io)] {
        registry.fail(status);
        let error = client.schema(1).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
    }
}

#[tokio::test]
async fn it_is_shown_who_asks() {
    let registry = TestRegistry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "pass\n").unwrap();
    let secret: Hidden<String> = format!("${{file:{}}}", secret.display()).into();
    let open = RegistrySettings { url: registry.url.clone(), user: None, password: None, token: None };
    let basic = RegistrySettings { user: Some("me".into()), password: Some(secret.clone()), ..open.clone() };
    let bearer = RegistrySettings { token: Some(secret), ..open };
    for settings in [basic, bearer] {
        SchemaRegistry::new(&settings, Env::seeded(1)).unwrap().schema(1).await.unwrap();
    }
    let access: Vec<Option<String>> = registry.asked().into_iter().map(|(_, access)| access).collect();
    assert_eq!(access, [Some("Basic bWU6cGFzcw==".to_owned()), Some("Bearer pass".to_owned())]);
}
