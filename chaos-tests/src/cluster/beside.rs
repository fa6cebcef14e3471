//! Work on a thread of its own, beside the test, until it is told to finish.

use anyhow::{Context, Result, anyhow};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A thread that works. Dropped, it is told to finish and waited for.
#[derive(Debug)]
pub struct Beside {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Beside {
    /// Begins. The work is over soon after it is told to stop.
    pub fn begin(work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        Beside { stop, thread: Some(std::thread::spawn(move || work(&stopped))) }
    }

    /// Has it finish, and waits for that.
    ///
    /// # Errors
    /// When the work failed.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it was finished before")?;
        thread.join().map_err(|_| anyhow!("the thread panicked"))?
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _ = thread.join();
        }
    }
}
