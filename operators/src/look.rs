//! A look outside of a definition, before it is checked: waited for by someone who is in no runtime, or in one.

use futures::future::BoxFuture;
use weir_engine::error::Result;

/// What a look finds; or why it finds nothing, in words.
///
/// # Errors
/// In words, when it fails.
pub(crate) fn wait_for<T: Send>(look: BoxFuture<'_, Result<T>>) -> std::result::Result<T, String> {
    let wait = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("nothing can be inspected: {error}"))?;
        runtime.block_on(look).map_err(|error| error.message)
    };
    // On a thread of its own: the caller may be inside of a runtime already.
    let looked = std::thread::scope(|scope| scope.spawn(crate::memory_stores::for_thread_beside(wait)).join());
    looked.unwrap_or_else(|_| Err("inspecting what is outside failed".to_owned()))
}
