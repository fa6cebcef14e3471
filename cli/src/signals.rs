//! Ctrl-C and SIGTERM: the first asks the job to stop with a last checkpoint, the second ends the process at once. So does a
//! last checkpoint that takes too long: a step that puts out millions of windows, or storage that is away, must not hold up
//! whoever wants the process to end. A worker is asked to leave in the same way.

use crate::failure::{EXIT_ABORTED, Failure};
use std::{convert::Infallible, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_engine::env::Env;
use weir_jobs::duration;

/// Signals so close to each other are one wish: `timeout` sends its signal to a process and then to its group, so twice.
const ONE_WISH: Duration = Duration::from_millis(200);

/// How long a job that is asked to stop may take for its last checkpoint, unless it is told otherwise.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said on the way to an end.
#[derive(Clone, Copy, Debug)]
pub struct Farewell<'a> {
    /// At the first signal.
    pub begun: Option<&'a str>,
    /// When it has taken too long: what has not come.
    pub undone: &'a str,
    /// And what was done instead.
    pub instead: &'a str,
}

impl Farewell<'_> {
    /// Of a job that runs in this process.
    pub fn of_job(quiet: bool) -> Self {
        let begun = "stopping with a last checkpoint; press Ctrl-C again to abort at once (nothing is lost either way)";
        Farewell {
            begun: Some(begun).filter(|_| !quiet),
            undone: "no last checkpoint",
            instead: "stopped without one; started again, the job resumes from the one before",
        }
    }
}

/// Both signals that ask a process to end.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Catches them from now on. Call it within a runtime.
    pub fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot catch signals: {error}")));
        Ok(EndSignals { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Does something that can be cut short anywhere: the next signal ends the process.
    pub async fn or_abort<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.next() => std::process::exit(EXIT_ABORTED),
            done = work => done,
        }
    }

    /// Asks the job to `stop` at the first signal, ends the process at the second, or when the job has not ended within
    /// `patience`. Never returns.
    pub async fn stop_then_abort(
        &mut self,
        stop: impl Future<Output = ()>,
        patience: Duration,
        env: &Env,
        farewell: Farewell<'_>,
    ) -> Infallible {
        self.next().await;
        if let Some(begun) = farewell.begun {
            eprintln!("\n{begun}");
        }
        let second = async {
            let enough = env.now() + ONE_WISH;
            loop {
                tokio::select! {
                    () = self.next() => {}
                    () = env.sleep_until(enough) => break,
                }
            }
            self.next().await;
            std::process::exit(EXIT_ABORTED)
        };
        let too_late = async {
            env.sleep(patience).await;
            let Farewell { undone, instead, .. } = farewell;
            eprintln!("error: {undone} within {}: {instead}", duration::show(patience));
            std::process::exit(EXIT_ABORTED)
        };
        tokio::join!(stop, second, too_late).1
    }
}

/// Waits until the process is asked to end.
pub async fn ended() -> Result<(), Failure> {
    EndSignals::catch()?.next().await;
    Ok(())
}
