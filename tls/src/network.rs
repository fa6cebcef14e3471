//! A network whose connections are encrypted, over another one.

use crate::{
    accept::{Failures, Port},
    explain,
    reload::Tls,
    rewound::Rewound,
    stream::{Established, Stream},
};
use async_trait::async_trait;
use rustls::pki_types::ServerName;
use std::{future::poll_fn, io, pin::Pin, sync::Arc, task::Poll};
use tokio::io::AsyncBufRead;
use tokio_rustls::TlsConnector;
use weir_proto::net::{BoxConnection, Listener, Network, SharedNetwork};

/// Who must show a certificate at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Coordinators, workers and commands, which all have one.
    Members,
    /// Browsers and other programs, which need none.
    Anybody,
}

#[derive(Debug)]
struct TlsNetwork {
    inner: SharedNetwork,
    tls: Tls,
}

impl Tls {
    /// `inner` with TLS: connections show the certificate and verify the other side's, and so do the ports.
    pub fn network(&self, inner: SharedNetwork) -> SharedNetwork {
        Arc::new(TlsNetwork { inner, tls: self.clone() })
    }

    /// `inner` with TLS.
    pub fn listener(&self, inner: Box<dyn Listener>, callers: Callers) -> Box<dyn Listener> {
        let address = inner.address().into();
        let port = Port { tls: self.clone(), callers, address, failures: Arc::<Failures>::default() };
        Box::new(TlsListener { inner, port })
    }
}

#[async_trait]
impl Network for TlsNetwork {
    async fn connect(&self, address: &str) -> io::Result<BoxConnection> {
        let name = name_of(address)?;
        let connection = Rewound::new(Vec::new(), self.inner.connect(address).await?);
        let connector = TlsConnector::from(self.tls.now().client.clone());
        let shaken = async {
            let mut stream: Established = connector.connect(name, connection).await?.into();
            confirmed(&mut stream).await?;
            io::Result::Ok(stream)
        };
        let stream = shaken.await.map_err(|error| explain::called(address, &error))?;
        Ok(Box::new(Stream::open(stream)))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(self.tls.listener(self.inner.listen(address).await?, Callers::Members))
    }
}

/// The host of `host:port`, as certificates name it.
fn name_of(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("TLS: '{host}' is no name that a certificate can be for"))
    })
}

/// Waits until the server has accepted this side's certificate. The handshake of TLS 1.3 is over for the client before that; a
/// refusal would break the connection at its first use, where nobody expects it, or be lost. A server that has accepted the
/// certificate sends tickets at once.
async fn confirmed(stream: &mut Established) -> io::Result<()> {
    poll_fn(|context| {
        let polled = Pin::new(&mut *stream).poll_fill_buf(context).map_ok(<[u8]>::is_empty);
        let Established::Client(client) = &*stream else { return Poll::Ready(Ok(())) };
        match polled {
            Poll::Ready(Ok(true)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(false)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if client.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

struct TlsListener {
    inner: Box<dyn Listener>,
    port: Port,
}

#[async_trait]
impl Listener for TlsListener {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        Ok(Box::new(Stream::accepted(self.inner.accept().await?, self.port.clone())))
    }

    fn address(&self) -> String {
        self.inner.address()
    }
}
