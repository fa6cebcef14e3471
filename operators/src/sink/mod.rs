//! Where rows go out. One folder a connector: what it is to those that check, compile, show and confine jobs says [`connector`];
//! in the engine all of them fulfil the two-phase contract of [`weir_engine::operator::Sink`] and
//! [`Committer`](weir_engine::operator::Committer), which one suite checks.

#[cfg(test)]
mod conformance;
pub mod connector;
pub mod console;
pub mod files;
pub mod http;
mod json_rows;
pub mod kafka;
mod patience;
pub mod read_back;
mod results;
pub mod sql;
mod staged_batches;
mod staging_buffer;

pub use connector::{
    Archive, FilesHere, KeptTable, Owned, Shadow, SinkConnector, SinkGiven, SinkJob, SinkKind, SinkRhythm, StoredSink,
    WrittenTable, look,
};
pub use json_rows::json_lines;
pub use results::{SinkResults, SinkWindows};
