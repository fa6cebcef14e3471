//! The simulation's database: real SQLite under the real sink, behind a [`Link`] that is slow, refuses or loses answers.
//!
//! SQLite's own threads do the work, and the simulation stands still meanwhile. Nobody waits for a lock in real time: who finds
//! one comes again in virtual time. A process that is frozen within a transaction keeps the lock until it thaws or ends.

use super::{link::Link, power::Process};
use futures::{FutureExt, future::BoxFuture};
use std::{io, sync::Arc};
use weir_engine::env::Door;

/// What leads out of a process to the database.
pub fn door(link: &Link, process: Process) -> Arc<dyn Door> {
    Arc::new(ProcessDoor { process, link: link.clone() })
}

struct ProcessDoor {
    process: Process,
    link: Link,
}

impl Door for ProcessDoor {
    fn pass(&self) -> BoxFuture<'static, ()> {
        self.process.runs()
    }

    fn request<'a>(&'a self, what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.link.request(&self.process, what).boxed()
    }

    fn answer<'a>(&'a self, what: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.link.answer(&self.process, what).boxed()
    }
}
