//! The client against a broker that speaks TLS, with certificates made for the test: `cargo test -p weir-kafka --features tls`.

use super::{PATIENCE, commit, connection, topic, values};
use std::{path::Path, process::Command, time::Instant};
use weir_kafka::{Connection, Isolation, KafkaErrorKind, connect};
use weir_test_support::{kafka_server::KafkaServer, needs, ports::free_port};

/// Makes a key and a certificate for this machine that vouches for itself; both in one file, as Kafka wants them.
fn make_certificate(openssl: &Path, folder: &Path, name: &str) {
    let (key, certificate) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    command.args(["-addext", "subjectAltName=IP:127.0.0.1"]).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let both = [key, certificate].map(|file| std::fs::read(file).unwrap()).concat();
    std::fs::write(folder.join(format!("{name}.both")), both).unwrap();
}

/// A broker with a TLS port, which only lets in who is `client`, and that port.
fn start(folder: &Path) -> Option<(KafkaServer, String)> {
    let [plain, tls, controller] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port().unwrap()));
    let file = |name: &str| folder.join(name).display().to_string();
    let listeners = format!("PLAIN://{plain},TLS://{tls}");
    let settings = [
        ("controller.quorum.bootstrap.servers", controller.clone()),
        ("listeners", format!("{listeners},CONTROLLER://{controller}")),
        ("advertised.listeners", format!("{listeners},CONTROLLER://{controller}")),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,TLS:SSL".into()),
        ("ssl.client.auth", "required".into()),
        ("ssl.keystore.type", "PEM".into()),
        ("ssl.keystore.location", file("broker.both")),
        ("ssl.truststore.type", "PEM".into()),
        ("ssl.truststore.location", file("client.pem")),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    KafkaServer::start_with(&settings).unwrap().map(|server| (server, tls))
}

/// A client that believes whoever has one certificate, and shows another.
fn client(brokers: &str, folder: &Path, believes: &str, shows: &str) -> Connection {
    let file = |name: &str, kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let properties = [
        ("security.protocol", "ssl".to_owned()),
        ("ssl.ca.location", file(believes, "pem")),
        ("ssl.certificate.location", file(shows, "pem")),
        ("ssl.key.location", file(shows, "key")),
    ];
    connection(brokers, &properties.each_ref().map(|(name, value)| (*name, value.as_str())))
}

#[tokio::test]
async fn records_come_through_tls_and_strangers_are_told() {
    let Some(openssl) = needs(&["openssl"], "apt-get install openssl") else { return };
    let folder = std::env::temp_dir().join(format!("weir-kafka-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    ["broker", "client", "stranger"].iter().for_each(|name| make_certificate(&openssl, &folder, name));
    let Some((_server, brokers)) = start(&folder) else { return };

    let cluster = connect(&client(&brokers, &folder, "broker", "client")).unwrap();
    let of = topic(cluster.as_ref(), "encrypted").await;
    commit(cluster.as_ref(), "id", &of, "secret").await.unwrap();
    let mut consumer = cluster.consumer(Isolation::Committed).unwrap();
    let mut reader = consumer.read(&of, 0).unwrap();
    assert_eq!(values(consumer.as_ref(), reader.as_mut(), 1).await, ["secret"]);

    // A broker that is not who it should be, a client whom the broker does not know, and one that speaks no TLS.
    let strange_broker = client(&brokers, &folder, "stranger", "client");
    let strange_client = client(&brokers, &folder, "broker", "stranger");
    for stranger in [strange_broker, strange_client, connection(&brokers, &[])] {
        let begun = Instant::now();
        let error = connect(&stranger).unwrap().topics().await.unwrap_err();
        assert!(begun.elapsed() < PATIENCE, "{error}");
        assert!(matches!(error.kind, KafkaErrorKind::Unavailable | KafkaErrorKind::Refused), "{error}");
        println!("{:?}: {error}", error.kind);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
