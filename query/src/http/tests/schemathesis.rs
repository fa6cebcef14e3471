//! The API under schemathesis, which makes requests from the OpenAPI document and holds the answers against it.
//!
//! Where no `st` is on the path (`pip install schemathesis`), nor one named by `WEIR_SCHEMATHESIS`, this says so and passes.

use super::{at, clicks};
use crate::store::tests::fixture::MARCH;
use std::{ffi::OsString, process::Stdio, time::Duration};
use tokio::process::Command;
use weir_http::testing::start;

/// A run that has not come to an end by then never will.
const PATIENCE: Duration = Duration::from_secs(300);

fn schemathesis() -> Option<OsString> {
    let named = std::env::var_os("WEIR_SCHEMATHESIS");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || std::env::split_paths(&path).map(|folder| folder.join("st")).find(|file| file.is_file());
    let program = named.or_else(|| found().map(Into::into));
    if program.is_none() {
        eprintln!("skipped: no schemathesis (`st`) is installed, and WEIR_SCHEMATHESIS names none");
    }
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says() {
    let Some(program) = schemathesis() else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, MARCH + 14 * 60_000)).await;
    let folder = tempfile::tempdir().unwrap();
    // Whether `from` comes before `to`, and which filters there are, no schema can say: 400 is an answer to what fits it.
    let settings = "[checks]\npositive_data_acceptance.expected-statuses = [200, 400]\n";
    std::fs::write(folder.path().join("schemathesis.toml"), settings).unwrap();
    let run = Command::new(program)
        .args(["run", &format!("http://{}/openapi.json", server.address), "--checks", "all", "--max-examples", "60"])
        .args(["--seed", "7", "--no-color", "--suppress-health-check", "all"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("schemathesis comes to an end").unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
}
