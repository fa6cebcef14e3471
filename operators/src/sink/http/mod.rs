//! A webhook: batches of rows are posted to a URL as JSON, at least once.
//!
//! ```text
//! jobs/<job>/staged/<attempt>/<sink>/<subtask>-<k>.arrow    in the checkpoint storage: rows that are not sent yet
//! <rejected_path>/<job>-<sink>-<lineage>.<checkpoint>.jsonl rows that the server has refused
//! ```
//!
//! A server cannot be asked what it has got, so that a batch whose answer was lost, or that was sent by a process that died before it
//! could note so, is sent again. What is sent again says so: each row and each batch has a key that follows from what is staged, and
//! stays the same over retries, restarts and workers.
//!
//! Invariants: nothing is sent before its checkpoint is complete; rows are sent in the order in which they were staged, one batch
//! after the other; a staged file is removed when all of its checkpoint's rows are taken or set aside, and not before. One that is gone
//! says that this was done.
//!
//! Reading order: `settings` (what a definition says), [`config`] (what the node keeps of it), `connector` (what is wrong with them,
//! and what others ask), `headers`, `row_keys` (what tells rows apart), `sink` (the first phase), `committable` (what is between the
//! phases), `batches` (how rows are cut), [`committer`] (the second phase) with `client` (a request) and `answer` (what an answer means),
//! `rejected` (rows that a server does not take), [`provided`] (servers of a simulation).

pub(crate) mod answer;
mod batches;
pub(crate) mod client;
mod committable;
pub mod committer;
pub mod config;
mod connector;
pub(crate) mod headers;
pub mod provided;
mod rejected;
mod row_keys;
mod settings;
mod sink;

#[cfg(test)]
mod tests;

pub use committer::HttpCommitter;
pub use config::{BodyFormat, HttpSinkConfig};
pub use connector::KIND;
pub use settings::HttpSinkSettings;
pub use sink::HttpSink;
