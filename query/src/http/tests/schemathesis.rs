//! The API under schemathesis, which makes requests from the OpenAPI document and holds the answers against it.
//!
//! Where no `st` is on the path (`pip install schemathesis`), nor one named by `WEIR_SCHEMATHESIS`, this is skipped; in CI it fails.

use super::{at, clicks};
use crate::store::tests::fixture::MARCH;
use std::{process::Stdio, time::Duration};
use tokio::process::Command;
use weir_http::testing::start;
use weir_test_support::needs_named;

/// A run that has not come to an end by then never will.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_its_document_says() {
    let Some(program) = needs_named("WEIR_SCHEMATHESIS", &["st"], "pip install schemathesis") else { return };
    let fixture = clicks().await;
    let server = start(at(&fixture.store, MARCH + 14 * 60_000)).await;
    let folder = tempfile::tempdir().unwrap();
    // Whether `from` comes before `to`, and which filters and tables there are, no schema can say: 400 is an answer to what fits
    // it, and so is 404 where the document has it.
    let settings = "[checks]\npositive_data_acceptance.expected-statuses = [200, 400, 404]\n";
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
