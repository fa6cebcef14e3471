//! TLS as a user sets it up: `weir certs`, the flags, and a port that speaks it.

use crate::support::{Workplace, wait_until};
use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    sync::Arc,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_proto::net::{SharedNetwork, TcpNetwork};
use weir_tls::{Tls, TlsFiles};

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mode(place: &Workplace, path: &str) -> u32 {
    std::fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o777
}

fn flags(folder: &str) -> Vec<String> {
    ["cert", "key", "ca"]
        .into_iter()
        .flat_map(|name| [format!("--tls-{name}"), format!("{folder}/{name}.pem")])
        .collect()
}

fn files(place: &Workplace, folder: &str) -> TlsFiles {
    let file = |name: &str| place.path(&format!("{folder}/{name}.pem"));
    TlsFiles { cert: file("cert"), key: file("key"), ca: file("ca") }
}

/// What a server answers with TLS, as status and body.
fn ask(files: &TlsFiles, address: &str, path: &str, token: &str) -> Option<(u16, String)> {
    let plain: SharedNetwork = Arc::new(TcpNetwork);
    let network = Tls::load(files.clone()).unwrap().network(plain);
    let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let asked = async {
        let mut connection = network.connect(address).await?;
        connection.write_all(question.as_bytes()).await?;
        connection.flush().await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(asked).ok()?;
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

#[test]
fn certs_makes_a_set_that_works_and_overwrites_nothing() {
    let place = Workplace::new();
    let told = place.done(&["certs", "certs", "--host", "weir.example", "--host", "10.1.2.3"]);
    for part in ["localhost, 127.0.0.1, ::1, weir.example, 10.1.2.3", "WEIR_TLS_CA='certs/ca.pem'", "WEIR_TLS_KEY="] {
        assert!(told.contains(part), "no '{part}' in {told}");
    }
    let modes = ["certs", "certs/key.pem", "certs/cert.pem", "certs/ca.pem"].map(|path| mode(&place, path));
    assert_eq!(modes, [0o700, 0o600, 0o644, 0o644]);
    let before = std::fs::read(place.path("certs/key.pem")).unwrap();
    assert!(place.refused(&["certs", "certs"], 2).contains("is not overwritten"));
    assert_eq!(std::fs::read(place.path("certs/key.pem")).unwrap(), before);
    assert!(Tls::load(files(&place, "certs")).is_ok());
    assert!(place.refused(&["certs", "others", "--host", "söme where"], 2).contains("a host name or an address"));
    assert!(!place.path("others/key.pem").exists());
}

#[test]
fn half_a_set_is_refused_with_what_is_missing() {
    let place = Workplace::new();
    place.done(&["certs", "certs"]);
    let told = place.refused(&["list", "--tls-cert", "certs/cert.pem", "--tls-ca", "certs/ca.pem"], 2);
    for part in [
        "needs all three",
        "--tls-cert (WEIR_TLS_CERT) and --tls-ca (WEIR_TLS_CA) given",
        "--tls-key (WEIR_TLS_KEY) missing",
    ] {
        assert!(told.contains(part), "no '{part}' in {told}");
    }
    place.done(&["certs", "others"]);
    let mixed = ["--tls-cert", "certs/cert.pem", "--tls-key", "others/key.pem", "--tls-ca", "certs/ca.pem"];
    for command in [&["worker"][..], &["coordinator"], &["serve", "--store", "sqlite:none"], &["list"]] {
        let told = place.refused(&[command, &mixed].concat(), 2);
        assert!(told.contains("does not belong to the certificate"), "{command:?}: {told}");
    }
}

#[test]
fn queries_are_answered_with_tls_to_whoever_has_the_token_and_new_files_are_used() {
    let place = Workplace::new();
    place.done(&["certs", "certs"]);
    std::fs::write(place.path("token"), "let me see\n").unwrap();
    let tls = flags("certs");
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let serve = ["serve", "--store", "sqlite:none.sqlite", "--listen", "127.0.0.1:0", "--read-token-file", "token"];
    let mut command = place.weir(&[&serve[..], &tls].concat());
    let mut server = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address =
        line.strip_prefix("page at https://").and_then(|rest| rest.split('/').next()).expect(&line).to_owned();
    assert!(lines.next().unwrap().unwrap().contains("reached from this machine alone"));

    let first = files(&place, "certs");
    let status =
        |files: &TlsFiles, path: &str, token: &str| ask(files, &address, path, token).map(|(status, _)| status);
    assert_eq!(status(&first, "/healthz", ""), Some(200));
    assert_eq!(status(&first, "/v1/tables", ""), Some(401));
    assert_eq!(status(&first, "/v1/tables", "let me in"), Some(401));
    // There is no store, which is said to those who may know.
    assert_eq!(status(&first, "/v1/tables", "let me see"), Some(503));

    // Other files in the place of those: who trusts them is served, without a restart.
    place.done(&["certs", "next"]);
    for name in ["key.pem", "cert.pem", "ca.pem"] {
        std::fs::copy(place.path(&format!("next/{name}")), place.path(&format!("certs/{name}"))).unwrap();
    }
    let next = files(&place, "next");
    wait_until("the new files to be used", || status(&next, "/healthz", "") == Some(200));
    assert!(server.0.try_wait().unwrap().is_none());
}
