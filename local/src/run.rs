//! A job from its beginning to its end, in one call.

use crate::{Failed, OneProcess, Settings, Submission};
use tokio::{runtime::Builder, sync::oneshot};
use weir_engine::{
    error::EngineError,
    task::{RunOutcome, StopSignal},
};

/// Runs a job on the runtime that this is called on, from its newest checkpoint, until its input ends or it is asked to stop.
///
/// # Errors
/// The root cause of a failure. Run again, the job resumes from its newest checkpoint.
pub async fn run(settings: Settings, submission: Submission, stop: StopSignal) -> Result<RunOutcome, Failed> {
    let process = OneProcess::start(settings).await?;
    let stopper = process.stopper();
    let stopping = async {
        stop.asked_to_stop().await;
        stopper.stop().await;
        std::future::pending().await
    };
    tokio::select! {
        ended = process.run(submission) => ended,
        never = stopping => never,
    }
}

/// Runs a job as if in a process of its own: on a runtime with so many threads, which is gone when this returns, with
/// everything that ran on it.
///
/// # Errors
/// Those of [`run`].
pub async fn run_apart(
    threads: usize,
    settings: Settings,
    submission: Submission,
    stop: StopSignal,
) -> Result<RunOutcome, Failed> {
    let env = settings.env.clone();
    // Whoever does not wait any more wants it to end.
    let (waiting, gone) = oneshot::channel::<()>();
    let running = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        let runtime = runtime.map_err(|error| EngineError::io(format!("cannot start threads: {error}")))?;
        runtime.block_on(async {
            tokio::select! {
                done = run(settings, submission, stop) => done,
                _ = gone => Err(EngineError::internal("nobody waits for the run any more").into()),
            }
        })
    });
    let ended = running.await.map_err(|error| EngineError::internal(format!("the run panicked: {error}")))?;
    drop(waiting);
    match env.crash() {
        // While everything else came to its end.
        Some(crash) => Err(crash.into()),
        None => ended,
    }
}
