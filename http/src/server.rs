//! Serves routes over the door to the network, real or simulated, until it is told to end.

use axum::Router;
use std::{future::Future, io, time::Duration};
use tokio::sync::oneshot;
use weir_engine::env::Env;
use weir_proto::net::{BoxConnection, Listener};

/// How long a failed accept is waited out: when no descriptors are left, asking again at once changes nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long requests in progress may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves `router` until `stop` is ready; then no connection is accepted any more, and requests in progress get a second.
///
/// # Errors
/// When serving fails for good; a connection's failure is none.
pub async fn serve(
    listener: Box<dyn Listener>,
    router: Router,
    env: Env,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let door = Door { listener, env: env.clone() };
    let serving = axum::serve(door, router).with_graceful_shutdown(async move {
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

/// The listener as axum wants it.
struct Door {
    listener: Box<dyn Listener>,
    env: Env,
}

impl axum::serve::Listener for Door {
    type Io = BoxConnection;
    /// Nobody asks where a connection comes from.
    type Addr = String;

    async fn accept(&mut self) -> (BoxConnection, String) {
        loop {
            match self.listener.accept().await {
                Ok(connection) => return (connection, String::new()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    self.env.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<String> {
        Ok(self.listener.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::net::{Network, TcpNetwork};

    #[tokio::test]
    async fn serving_ends_when_it_is_told_even_with_a_silent_connection() {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, Router::new(), Env::default(), async {
            let _ = stopped.await;
        }));
        let _silent = TcpNetwork.connect(&address).await.unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), serving).await.expect("it ends").unwrap().unwrap();
        assert!(TcpNetwork.connect(&address).await.is_err(), "nobody listens any more");
    }
}
