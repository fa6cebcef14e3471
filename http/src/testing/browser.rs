//! Pages in headless Chromium.
//!
//! `WEIR_SCREENSHOTS=DIR` keeps pictures, light and dark, wide and narrow, for eyes to judge.

use super::Server;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::process::Command;

/// A browser that has not come to an end by then never will.
const PATIENCE: Duration = Duration::from_secs(90);

/// Chromium on this machine.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
}

/// What a page became.
#[derive(Debug)]
pub struct Shown {
    /// Its elements.
    pub html: String,
    /// What it said to the console: mistakes, and what its policy had to stop.
    pub console: Vec<String>,
}

impl Browser {
    /// `None`: no Chromium is installed, which has been said; in CI the test fails.
    pub fn find() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
        weir_test_support::needs(&names, "apt-get install chromium").map(|program| Browser { program })
    }

    /// A view of a page, three seconds of its time after it was opened.
    pub async fn show(&self, server: &Server, view: &str) -> Shown {
        self.run(server, view, &["--dump-dom".into(), "--virtual-time-budget=3000".into()]).await
    }

    /// Pictures of a view, when they are asked for: so high, 1440 wide and 500 wide.
    pub async fn picture(&self, server: &Server, view: &str, name: &str, heights: (u32, u32)) {
        let Some(folder) = std::env::var_os("WEIR_SCREENSHOTS") else { return };
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        for (looks, scheme) in [("light", 1), ("dark", 0)] {
            for (width, height) in [(1440, heights.0), (500, heights.1)] {
                let file = PathBuf::from(&folder).join(format!("{name}-{looks}-{width}.png"));
                let arguments = [
                    format!("--screenshot={}", file.display()),
                    format!("--window-size={width},{height}"),
                    format!("--blink-settings=preferredColorScheme={scheme}"),
                    "--virtual-time-budget=6000".into(),
                ];
                self.run(server, view, &arguments).await;
                assert!(file.is_file(), "no picture at {}", file.display());
            }
        }
    }

    async fn run(&self, server: &Server, view: &str, arguments: &[String]) -> Shown {
        let profile = tempfile::tempdir().expect("a folder for the browser");
        let browser = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"])
            .args(["--disable-sync", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"])
            // Whatever is not our server does not exist.
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments)
            .arg(format!("http://{}/{view}", server.address))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, browser).await.expect("Chromium comes to an end");
        let output = output.expect("Chromium runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let console = errors.lines().filter(|line| line.contains("CONSOLE")).map(Into::into).collect();
        Shown { html: String::from_utf8_lossy(&output.stdout).into_owned(), console }
    }
}

impl Shown {
    /// These texts are on the page.
    pub fn has(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.html.contains(text), "'{text}' is not on the page:\n{}", self.html);
        }
    }

    /// The console is empty.
    pub fn is_quiet(&self) {
        assert_eq!(self.console, Vec::<String>::new());
    }
}
