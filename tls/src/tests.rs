//! Handshakes over real connections: who is let in, and what who is not is told.

use crate::{
    Callers, Tls, TlsFiles,
    issue::{Authority, Issued},
};
use std::{io, ops::Range, path::PathBuf, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_engine::env::Env;
use weir_proto::net::{Listener, SharedNetwork, TcpNetwork};

const DAY: i64 = 86_400;

fn now() -> i64 {
    Env::default().wall_clock_ms() / 1000
}

fn today() -> Range<i64> {
    now() - DAY..now() + 30 * DAY
}

fn own(authority: &Authority) -> Issued {
    authority.issue(&["localhost".into(), "127.0.0.1".into()]).unwrap()
}

/// A folder for sets of files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, set: &str, ca: &str, issued: &Issued) -> TlsFiles {
        let file = |name: &str, text: &str| {
            let path = self.path(&format!("{set}-{name}"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles { cert: file("cert", &issued.cert), key: file("key", &issued.key), ca: file("ca", ca) }
    }

    fn load(&self, set: &str, ca: &str, issued: &Issued) -> Tls {
        Tls::load(self.write(set, ca, issued)).unwrap()
    }
}

fn plain() -> SharedNetwork {
    Arc::new(TcpNetwork)
}

/// Answers every connection with what it is sent, for as long as its runtime lives.
async fn echo(mut listener: Box<dyn Listener>) -> String {
    let address = listener.address();
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            // Both halves in tasks of their own, and the writer first: each may be the one that begins the handshake.
            let (mut read, mut write) = tokio::io::split(connection);
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
            tokio::spawn(async move {
                if write.flush().await.is_ok() {
                    while let Some(bytes) = told.recv().await {
                        if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                            return;
                        }
                    }
                }
            });
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(read @ 1..) = read.read(&mut bytes).await {
                    if tell.send(bytes[..read].to_vec()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn members(tls: &Tls) -> String {
    echo(tls.network(plain()).listen("127.0.0.1:0").await.unwrap()).await
}

/// Sends something and takes it back.
async fn speak(network: &SharedNetwork, address: &str) -> io::Result<()> {
    let mut connection = network.connect(address).await?;
    connection.write_all(b"hello").await?;
    connection.flush().await?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

async fn refusal(client: &Tls, address: &str) -> String {
    speak(&client.network(plain()), address).await.unwrap_err().to_string()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_with_certificates_of_one_ca_speak_both_ways() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let tls = folder.load("all", authority.cert(), &own(&authority));
    let address = members(&tls).await;
    let network = tls.network(plain());
    let by_name = address.replace("127.0.0.1", "localhost");
    for _ in 0..20 {
        speak(&network, &address).await.unwrap();
        speak(&network, &by_name).await.unwrap();
    }
    // More than fits into any buffer, both ways at once.
    let connection = network.connect(&address).await.unwrap();
    let (mut read, mut write) = tokio::io::split(connection);
    let sent: Vec<u8> = (0..4_u32 << 20).map(|number| (number % 251) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
        write
    });
    let mut received = vec![0; expected.len()];
    read.read_exact(&mut received).await.unwrap();
    assert!(received == expected);
    writing.await.unwrap();
}

#[tokio::test]
async fn a_wrong_certificate_is_refused_and_both_sides_are_told_why() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let good = folder.load("good", authority.cert(), &own(&authority));
    let address = members(&good).await;

    // Of another CA: who calls notices first, since the server is none of its own.
    let stranger = Authority::new(today()).unwrap();
    let foreign = folder.load("foreign", stranger.cert(), &own(&stranger));
    assert_says(&refusal(&foreign, &address).await, &[&address, "was not issued by the CA in --tls-ca"]);

    // One that trusts the server, with a certificate that the server does not trust.
    let both = format!("{}{}", authority.cert(), stranger.cert());
    let uninvited = folder.load("uninvited", &both, &own(&stranger));
    let told = refusal(&uninvited, &address).await;
    assert_says(&told, &["refuses this process", "--tls-cert", "was not issued by the CA that the other side trusts"]);

    // The server's is for another host.
    let elsewhere = authority.issue(&["db.example".into()]).unwrap();
    let elsewhere = members(&folder.load("elsewhere", authority.cert(), &elsewhere)).await;
    assert_says(
        &refusal(&good, &elsewhere).await,
        &["is not for '127.0.0.1', only for db.example", "issue a certificate"],
    );
}

/// A process whose certificate expires while it runs: it cannot be started with such a one.
#[tokio::test]
async fn an_expired_certificate_is_refused_and_both_sides_are_told_why() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let hosts = ["127.0.0.1".to_string()];
    let good = folder.load("good", authority.cert(), &own(&authority));
    let end = now() + 5;
    let short = authority.issue_for(&hosts, now() - DAY..end).unwrap();
    let short = folder.load("short", authority.cert(), &short);
    let (of_good, of_short) = (members(&good).await, members(&short).await);
    while now() <= end + 1 {
        Env::default().sleep(Duration::from_millis(100)).await;
    }
    assert_says(&refusal(&good, &of_short).await, &[&of_short, "expired", "s ago: replace it"]);
    assert_says(&refusal(&short, &of_good).await, &["refuses this process", "has expired"]);
}

#[test]
fn files_that_cannot_work_are_refused_with_what_is_wrong() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let issued = own(&authority);
    let good = folder.write("good", authority.cert(), &issued);
    assert!(Tls::load(good.clone()).is_ok());
    let told = |files: &TlsFiles, parts: &[&str]| assert_says(&Tls::load(files.clone()).unwrap_err(), parts);
    let other = folder.write("other", Authority::new(today()).unwrap().cert(), &own(&authority));
    told(&TlsFiles { key: other.key.clone(), ..good.clone() }, &["--tls-key", "does not belong", "--tls-cert"]);
    told(&TlsFiles { ca: other.ca.clone(), ..good.clone() }, &["--tls-cert", "was not issued by the CA", "other-ca"]);
    told(&TlsFiles { cert: good.key.clone(), ..good.clone() }, &["--tls-cert", "has no certificate"]);
    told(&TlsFiles { key: good.cert.clone(), ..good.clone() }, &["--tls-key", "has no private key"]);
    let missing = folder.path("missing");
    told(&TlsFiles { ca: missing.clone(), ..good.clone() }, &["--tls-ca", "missing", "cannot be read"]);
    let hosts = ["localhost".to_string()];
    let expired = authority.issue_for(&hosts, now() - 5 * DAY..now() - 3 * DAY).unwrap();
    told(&folder.write("expired", authority.cert(), &expired), &["--tls-cert", "expired 3 days ago: replace it"]);
    let future = authority.issue_for(&hosts, now() + 3 * DAY + 60..now() + 5 * DAY).unwrap();
    told(&folder.write("future", authority.cert(), &future), &["--tls-cert", "is valid only in 3 days"]);
    let printed = format!("{:?} {:?}", good, Tls::load(good.clone()));
    assert!(!printed.contains("PRIVATE") && printed.contains("good-key"), "{printed}");
}

#[tokio::test]
async fn new_files_are_used_by_new_connections_and_broken_ones_change_nothing() {
    let (folder, old) = (Folder::new(), Authority::new(today()).unwrap());
    let files = folder.write("server", old.cert(), &own(&old));
    let server = Tls::load(files.clone()).unwrap();
    let address = members(&server).await;
    let of_old = folder.load("old", old.cert(), &own(&old));
    let mut open = of_old.network(plain()).connect(&address).await.unwrap();
    assert!(!server.look(), "nothing has changed");

    // A key without its certificate, as in the middle of a replacement; then something that is no key at all.
    let new = Authority::new(today()).unwrap();
    let issued = own(&new);
    for broken in [issued.key.as_str(), "nonsense"] {
        std::fs::write(&files.key, broken).unwrap();
        assert!(!server.look());
        speak(&of_old.network(plain()), &address).await.unwrap();
    }
    std::fs::remove_file(&files.cert).unwrap();
    assert!(!server.look());
    speak(&of_old.network(plain()), &address).await.unwrap();

    folder.write("server", new.cert(), &issued);
    assert!(server.look());
    let of_new = folder.load("new", new.cert(), &own(&new));
    speak(&of_new.network(plain()), &address).await.unwrap();
    refusal(&of_old, &address).await;
    // What is open stays open.
    open.write_all(b"still").await.unwrap();
    open.flush().await.unwrap();
    let mut answer = [0; 5];
    open.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"still");
}

/// Everything that comes on a connection after this was sent.
async fn answer_to(address: &str, question: &[u8]) -> String {
    let mut connection = plain().connect(address).await.unwrap();
    connection.write_all(question).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut answer)).await;
    read.expect("it is closed").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn callers_without_tls_are_told_so_in_their_own_words() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let tls = folder.load("all", authority.cert(), &own(&authority));
    let address = members(&tls).await;
    let told = answer_to(&address, b"GET / HTTP/1.1\r\nhost: weir\r\n\r\n").await;
    assert_says(&told, &["HTTP/1.1 400", "this port speaks TLS: use https://"]);
    assert_eq!(answer_to(&address, b"something else").await, "");
    let client = weir_proto::transport::connect(plain(), &address, Duration::from_secs(5)).await;
    let client = weir_proto::v1::client_client::ClientClient::new(client.unwrap());
    let told = { client }.list(weir_proto::v1::ListRequest {}).await.unwrap_err();
    let chain = std::iter::successors(Some(&told as &dyn std::error::Error), |error| error.source());
    let root = chain.last().map(ToString::to_string).unwrap_or_default();
    assert_says(&root, &["this port speaks TLS: pass --tls-cert, --tls-key and --tls-ca"]);
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let tls = folder.load("all", authority.cert(), &own(&authority));
    // One that begins as HTTP/2 does, one that closes.
    for first in [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[]] {
        let mut listener = plain().listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        tokio::spawn(async move {
            let mut connection = listener.accept().await.unwrap();
            connection.write_all(first).await.unwrap();
            let _ = connection.read(&mut [0; 1 << 10]).await;
        });
        let told = refusal(&tls, &address).await;
        assert_says(&told, &["TLS", &address, "start both sides with --tls-cert", "or none of them"]);
    }
}

#[tokio::test]
async fn pages_ask_nobody_for_a_certificate_and_cluster_ports_do() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let tls = folder.load("all", authority.cert(), &own(&authority));
    let pages = echo(tls.listener(plain().listen("127.0.0.1:0").await.unwrap(), Callers::Anybody)).await;
    let members = members(&tls).await;
    let roots = authority.cert().to_owned();
    assert!(browse(&roots, &pages).await.is_ok());
    assert!(browse(&roots, &members).await.is_err(), "who shows no certificate is no member");
}

/// As a browser does: verifies the server, and shows no certificate.
async fn browse(ca: &str, address: &str) -> io::Result<()> {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, connection).await?;
    stream.write_all(b"hello").await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; 5]).await.map(drop)
}

/// A caller that never finishes its handshake holds up nobody, since accepting does not wait for it.
#[tokio::test]
async fn silent_callers_hold_up_nobody() {
    let (folder, authority) = (Folder::new(), Authority::new(today()).unwrap());
    let tls = folder.load("all", authority.cert(), &own(&authority));
    let address = members(&tls).await;
    let mut silent = Vec::new();
    for number in 0..50 {
        let mut connection = plain().connect(&address).await.unwrap();
        if number % 2 == 0 {
            connection.write_all(&[0x16, 3, 1]).await.unwrap();
        }
        silent.push(connection);
    }
    let spoken = tokio::time::timeout(Duration::from_secs(20), speak(&tls.network(plain()), &address)).await;
    spoken.expect("it is not held up").unwrap();
    drop(silent);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let authority = Authority::new(today()).unwrap();
    assert!(authority.issue(&["söme where".into()]).is_err());
}
