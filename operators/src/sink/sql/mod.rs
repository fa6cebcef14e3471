//! A table of a SQL database, exactly once: rows are staged with the checkpoint, and applied in one transaction together with
//! the row that says that this checkpoint is in.
//!
//! ```text
//! jobs/<job>/staged/<attempt>/<sink>/<subtask>-<k>.arrow    in the checkpoint storage: rows that are not visible yet
//! <table>                                                   the rows; of a key, the one with the highest revision
//! <table>_hours, <table>_days                               older ones, added up, if `retention` is set
//! <table>_withdrawn                                         keys and revisions of what was withdrawn, where anything may be
//! <table>_rejected                                          rows that the database has refused, once it has refused one
//! weir_sinks                                                a row a sink: which checkpoint is in, who may write
//! weir_commits                                              its last commits
//! ```
//!
//! Invariants: a transaction holds all rows of one checkpoint, or of several that follow each other, and the marker of the newest, or
//! nothing; the marker only rises, and only past whole checkpoints, so that a commit which is repeated changes nothing; a table is written by one sink of one job, whose checkpoints lie in one place;
//! of rows with the same key the one with the highest revision stays, in whatever order they come, and none if that one is
//! withdrawn.
//!
//! Reading order: `settings` (what a definition says), `check` and `table_key` (what is wrong with that), [`config`] (what the node
//! keeps of it), `connector` (what others ask), `shape` (what the columns are to readers), `table_rule` (what is never staged), `sink` (the first phase), `staged_rows` (what is between the phases), [`committer`] (the second
//! phase) with `marker` (who may commit what), `upsert`, `withdrawn` and `tables` (SQL), `rejected` (a row that the database refuses all
//! the same), `patience` (a database that is slow or down), `file` (one whose file is gone or another), `retention`, `write_ahead_log`, `read_back` (the table as rows again). What readers of the table rely on, how a
//! database is spoken to, and where databases differ is in [`weir_store`].

mod check;
mod committable;
pub mod committer;
pub mod config;
mod connector;
mod file;
pub(crate) mod location;
mod marker;
mod patience;
mod read_back;
mod rejected;
mod retention;
mod settings;
mod shape;
mod sink;
mod staged_rows;
mod table_key;
mod table_rule;
mod tables;
mod upsert;
mod withdrawn;
mod write_ahead_log;

#[cfg(test)]
mod tests;

pub use committer::SqlCommitter;
pub use config::{SqlColumn, SqlIndex, SqlSinkConfig};
pub use connector::KIND;
pub use settings::SqlSinkSettings;
pub use sink::SqlSink;
pub use table_rule::TableRule;
pub use weir_store::{
    Description, Dialect, Filter, Retention, SqlType, UrlMistake,
    tables::{OWN, check_name, of_sink},
};
