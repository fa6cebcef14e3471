//! Serves the routes on a socket.

use axum::Router;
use std::{future::Future, io, time::Duration};
use tokio::{net::TcpListener, sync::oneshot};
use weir_engine::env::Env;

/// How long requests in progress may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves `router` until `stop` is ready; then no connection is accepted any more, and requests in progress get a second.
///
/// # Errors
/// When serving fails for good; a connection's failure is none.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    env: Env,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        // Nobody waits for it when serving has ended by itself.
        let _ = stopping.send(());
    });
    let out_of_patience = async move {
        match stopped.await {
            Ok(()) => env.sleep(LAST_WORDS).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = serving.into_future() => done,
        () = out_of_patience => Ok(()),
    }
}
