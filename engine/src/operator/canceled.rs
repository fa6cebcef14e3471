//! Whether a subtask has been told to end. An operator waits for nothing, so it asks: between two windows, say, where one call
//! may emit many of them.

use crate::error::{EngineError, Result};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Said once, heard by all clones.
#[derive(Clone, Debug, Default)]
pub struct Canceled(Arc<AtomicBool>);

impl Canceled {
    /// Says it.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// When it has been said: then nothing that the operator does counts any more.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(EngineError::disconnected("canceled in the middle of a step")),
            false => Ok(()),
        }
    }
}
