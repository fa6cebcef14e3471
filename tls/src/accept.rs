//! The handshake of a connection that was accepted.

use crate::{explain, network::Callers, plain, reload::Tls, rewound::Rewound, stream::Established};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use weir_proto::net::BoxConnection;

/// What a client begins with is at most looked at so far.
const FIRST_BYTES: usize = 24;
/// How much a caller without TLS may still send while it is told.
const LAST_BYTES: u64 = 64 << 10;

/// Failed handshakes of a port, by their kind. Each kind is logged at its first, second, fourth, eighth time and so on: whoever
/// connects as often as he likes does not fill the log.
#[derive(Default)]
pub(crate) struct Failures(Mutex<BTreeMap<&'static str, u64>>);

impl Failures {
    fn tell(&self, address: &str, kind: &'static str, text: &str) {
        let mut times = self.0.lock();
        let times = times.entry(kind).or_default();
        *times += 1;
        if times.is_power_of_two() {
            tracing::warn!(port = address, times = *times, "TLS: {text}");
        }
    }
}

/// The port that a connection came to.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) tls: Tls,
    pub(crate) callers: Callers,
    pub(crate) address: Arc<str>,
    pub(crate) failures: Arc<Failures>,
}

/// The handshake. Its failure is logged, and told the caller as far as its protocol allows.
pub(crate) async fn accept(mut connection: BoxConnection, port: Port) -> io::Result<Established> {
    let mut first = Vec::with_capacity(FIRST_BYTES);
    if (&mut connection).take(FIRST_BYTES as u64).read_buf(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !plain::is_tls(&first) {
        let text = "a caller does not speak TLS: give it --tls-cert, --tls-key and --tls-ca, or https://";
        port.failures.tell(&port.address, "plain", text);
        refuse(connection, &plain::answer(&first)).await;
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let loaded = port.tls.now();
    let config = match port.callers {
        Callers::Members => loaded.members.clone(),
        Callers::Anybody => loaded.anybody.clone(),
    };
    match TlsAcceptor::from(config).accept(Rewound::new(first, connection)).await {
        Ok(stream) => Ok(stream.into()),
        Err(error) => {
            let (kind, text) = explain::answered(&error);
            port.failures.tell(&port.address, kind, &text);
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {text}")))
        }
    }
}

/// Says why, and closes. What still comes is read away: closing a connection with bytes unread would make the system drop the
/// answer. How long that may take is up to the port's own limits.
async fn refuse(mut connection: BoxConnection, answer: &[u8]) {
    let told = async {
        connection.write_all(answer).await?;
        connection.shutdown().await?;
        tokio::io::copy(&mut connection.take(LAST_BYTES), &mut tokio::io::sink()).await
    };
    // Whether it is heard changes nothing.
    let _ = told.await;
}
