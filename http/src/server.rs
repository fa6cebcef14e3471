//! Serves routes over the network, real or simulated, until it is told to stop.

use crate::limits::{Limited, LimitedListener, Limits, Visitor};
use axum::{
    Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    serve::IncomingStream,
};
use std::{future::Future, io, time::Duration};
use tokio::sync::oneshot;
use weir_engine::env::Env;
use weir_proto::net::Listener;

/// How long requests in progress may delay the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves `router` until `stop` is ready; then no connection is accepted any more, and requests in progress get a second.
///
/// # Errors
/// When serving fails for good; a connection's failure is none.
pub async fn serve(
    listener: Box<dyn Listener>,
    router: Router,
    limits: Limits,
    env: Env,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let door = Door(LimitedListener::new(listener, limits, env.clone()));
    let router = router.layer(middleware::from_fn(let_in)).into_make_service_with_connect_info::<Caller>();
    let serving = axum::serve(door, router).with_graceful_shutdown(async move {
        stop.await;
        // Nothing waits for it when serving has ended by itself.
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

/// A client that got an answer is no stranger any more, unless the answer is that the secret is missing.
async fn let_in(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<Caller>>();
    let Some(visitor) = caller.and_then(|ConnectInfo(Caller(visitor))| visitor.clone()) else {
        return next.run(request).await;
    };
    let asking = visitor.asks();
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED {
        visitor.let_in();
    }
    drop(asking);
    response
}

/// The listener as axum wants it.
struct Door(LimitedListener);

/// Who is at the other end.
#[derive(Clone, Debug)]
struct Caller(Option<Visitor>);

impl Connected<IncomingStream<'_, Door>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

impl axum::serve::Listener for Door {
    type Io = Limited;
    type Addr = Caller;

    async fn accept(&mut self) -> (Limited, Caller) {
        let connection = self.0.accept().await;
        let caller = Caller(Some(connection.visitor()));
        (connection, caller)
    }

    /// It is not requested.
    fn local_addr(&self) -> io::Result<Caller> {
        Ok(Caller(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use weir_proto::net::{Network, TcpNetwork};

    #[tokio::test]
    async fn serving_ends_when_it_is_told_even_with_a_silent_connection() {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, Router::new(), Limits::default(), Env::default(), async {
            let _ = stopped.await;
        }));
        let _silent = TcpNetwork.connect(&address).await.unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), serving).await.expect("it ends").unwrap().unwrap();
        assert!(TcpNetwork.connect(&address).await.is_err(), "nobody listens any more");
    }

    /// What is answered to a request for `/` on a connection that stays open, up to the end of the body.
    async fn ask(connection: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<String> {
        connection.write_all(b"GET / HTTP/1.1\r\nhost: weir\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"well") {
            if connection.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    #[tokio::test]
    async fn who_asks_is_answered_however_many_are_silent() {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let router = Router::new().route("/", get(|| async { "well" }));
        let limits = Limits { connections: 8, ..Limits::default() };
        tokio::spawn(serve(listener, router, limits, Env::default(), std::future::pending()));
        let mut early = TcpNetwork.connect(&address).await.unwrap();
        ask(&mut early).await.unwrap();
        let mut silent = Vec::new();
        for number in 0..40 {
            let mut stranger = TcpNetwork.connect(&address).await.unwrap();
            if number % 2 == 0 {
                stranger.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
            }
            silent.push(stranger);
        }
        assert!(ask(&mut early).await.unwrap().starts_with("HTTP/1.1 200"), "strangers go before guests");
        let mut late = TcpNetwork.connect(&address).await.unwrap();
        for _ in 0..3 {
            ask(&mut late).await.unwrap();
        }
    }
}
