//! The client on librdkafka, which is compiled in.
//!
//! Reading order: [`configuration`] (what is set for each role), [`native`] (a handle of librdkafka, and what it tells), [`failure`]
//! (what an error of its means), [`ask`] (one request to the brokers and its answer), [`topics`], [`offsets`] and [`groups`] (the
//! requests),
//! [`cluster`] (all of it behind [`Cluster`](crate::Cluster)), [`consumer`], [`reader`], [`sending`], [`transactional`],
//! [`producer`].
//!
//! Invariants: a call that waits runs on a thread for blocking calls, never on the runtime's, and ends after a bounded time. A handle
//! outlives everything that was made with it.

mod ask;
mod cluster;
mod configuration;
mod consumer;
mod failure;
mod groups;
mod native;
mod offsets;
mod producer;
mod reader;
mod sending;
mod topics;
mod transactional;

pub(crate) use cluster::Librdkafka;
