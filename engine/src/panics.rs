//! Panics as errors: a bug in one operator ends its attempt, with its message, and not the process; and the code that waits for the
//! work learns of it.

use crate::error::{EngineError, Result};
use futures::FutureExt;
use std::{any::Any, panic::AssertUnwindSafe};

/// Does some work; its panic is an error that names `who` panicked.
///
/// # Errors
/// Its own, or that it panicked.
pub async fn caught<T>(who: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    // What the work had its hands on is given up with it.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(who, panic.as_ref())))
}

fn panicked(who: &str, panic: &(dyn Any + Send)) -> EngineError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into());
    EngineError::internal(format!("{who} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_words() {
        let number = 7;
        let error = caught::<()>("a subtask", async { panic!("found {number}") }).await.unwrap_err();
        assert_eq!(error.message, "a subtask panicked: found 7");
        assert_eq!(caught("a subtask", async { Ok(number) }).await.unwrap(), 7);
    }
}
