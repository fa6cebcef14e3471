//! What can be set about the data plane, in one place.

use parking_lot::Mutex;
use std::time::Duration;
use weir_engine::error::{EngineError, Result};

/// Settings of a worker's data plane.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Where to listen, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// This worker's id, which no other process has.
    pub worker: String,
    /// The longest body of a frame, before compression. A batch that would be longer is sent in parts. The same for all
    /// workers of a cluster.
    pub max_frame_bytes: usize,
    /// The credit of each inbound channel: what bounds the memory for data in flight.
    pub channel_bytes: usize,
    /// How batches are compressed that this worker sends.
    pub compression: Compression,
    /// How long a new connection has to say who it is, and an accepting worker has to answer.
    pub handshake_timeout: Duration,
    /// How long [`connect`](super::AttemptNetwork::connect) tries to reach a worker.
    pub connect_timeout: Duration,
    /// How often a connection with nothing to say says so, until a [coordinator](super::DataPlane::set_keepalive) knows better.
    pub keepalive_period: Duration,
    /// How long a silent connection is taken for alive, until then; a multiple of the period.
    pub keepalive_timeout: Duration,
    /// How many connections may be open that have not authenticated yet; a further one replaces the oldest.
    pub max_strangers: usize,
}

/// How the bodies of batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all: right within one machine or a fast network.
    #[default]
    None,
    /// LZ4, block format. Bodies that it would make longer are sent as they are.
    Lz4,
}

/// How often a connection with nothing to say says so, and how long a silent one is taken for alive. The same for all
/// connections, those that are open included.
#[derive(Debug)]
pub(super) struct KeepAlive(Mutex<(Duration, Duration)>);

impl KeepAlive {
    pub(super) fn new(period: Duration, timeout: Duration) -> Self {
        KeepAlive(Mutex::new((period, timeout)))
    }

    /// Period and timeout, as they are now.
    pub(super) fn now(&self) -> (Duration, Duration) {
        *self.0.lock()
    }

    pub(super) fn set(&self, period: Duration, timeout: Duration) {
        *self.0.lock() = (period, timeout);
    }
}

impl NetworkSettings {
    /// The usual settings.
    pub fn new(worker: impl Into<String>, listen: impl Into<String>) -> Self {
        NetworkSettings {
            listen: listen.into(),
            worker: worker.into(),
            max_frame_bytes: 64 << 20,
            channel_bytes: 1 << 20,
            compression: Compression::None,
            handshake_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            keepalive_period: Duration::from_millis(500),
            keepalive_timeout: Duration::from_secs(3),
            max_strangers: 64,
        }
    }

    /// # Errors
    /// When a setting makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(EngineError::definition(what));
        if self.worker.is_empty() {
            return wrong("the id of a worker must not be empty".into());
        }
        if self.max_frame_bytes < 4096 || u32::try_from(self.max_frame_bytes).is_err() {
            let found = self.max_frame_bytes;
            return wrong(format!("max_frame_bytes is {found}; it must be between 4096 and {}", u32::MAX));
        }
        if self.channel_bytes == 0 || self.max_strangers == 0 {
            return wrong("channel_bytes and max_strangers must be at least 1".into());
        }
        if self.keepalive_period.is_zero() || self.keepalive_timeout < self.keepalive_period * 2 {
            let (period, timeout) = (self.keepalive_period, self.keepalive_timeout);
            return wrong(format!(
                "a keepalive timeout of {timeout:?} must be at least twice the period of {period:?}"
            ));
        }
        Ok(())
    }
}
