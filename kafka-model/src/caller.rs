//! Who asks: a client within a process, which may be frozen or have ended.

use futures::future::BoxFuture;
use std::{fmt, sync::Arc};
use weir_engine::env::Door;

/// A client.
#[derive(Clone)]
pub struct Caller {
    /// The process it is part of.
    pub name: String,
    /// What leads out of that process, if that may be shut.
    pub door: Option<Arc<dyn Door>>,
    /// Over which connection it asks.
    pub(crate) connection: u64,
}

/// Says who asks, wherever it is called.
pub type WhoAsks = Arc<dyn Fn() -> Caller + Send + Sync>;

impl Caller {
    /// Part of a process of that name, which always runs.
    pub fn named(name: &str) -> Self {
        Caller { name: name.into(), door: None, connection: 0 }
    }

    /// Part of a process behind a door.
    pub fn behind(name: &str, door: Arc<dyn Door>) -> Self {
        Caller { name: name.into(), door: Some(door), connection: 0 }
    }

    /// Goes on while the process runs; if it has ended, never.
    pub(crate) fn pass(&self) -> BoxFuture<'static, ()> {
        match &self.door {
            Some(door) => door.pass(),
            None => Box::pin(std::future::ready(())),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).finish_non_exhaustive()
    }
}
