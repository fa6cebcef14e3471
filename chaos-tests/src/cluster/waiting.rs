//! Waiting in real time, for tests of real processes.

use anyhow::{Result, bail};
use std::time::Duration;
use weir_engine::env::{Env, Moment};

/// How long anything may take before a test gives up. Generous: test machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Now.
pub fn now() -> Moment {
    Env::default().now()
}

/// Does nothing for a while.
#[expect(clippy::disallowed_methods, reason = "other processes are waited for, which have clocks of their own")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks again and again until something is there.
///
/// # Errors
/// What `look` fails with, and when it finds nothing within [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let enough = now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if now() > enough {
            bail!("waited in vain for {what}");
        }
        pause(Duration::from_millis(25));
    }
}
