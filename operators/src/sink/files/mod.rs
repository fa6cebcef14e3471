//! Parquet files, exactly once: written out of sight while rows arrive, made durable with the checkpoint, and moved under
//! their final names once the checkpoint is complete.
//!
//! ```text
//! <path>/_staging/<job>/<attempt>/<sink>/<subtask>-<k>.parquet.staged       durable, not yet results
//! <path>/<job>-<sink>-<lineage>.<checkpoint>-<subtask>-<k>.parquet          results
//! <path>/hour=2022-03-04T00/<job>-<sink>-<lineage>.<checkpoint>-<subtask>-<k>.parquet   the same, partitioned by hour
//! <path>/_owner.json                                                        whose folder it is
//! ```
//!
//! Invariants: a file whose name ends in `.parquet` is whole, is committed, and never changes; a final name follows from
//! job, sink, lineage, checkpoint and part alone, so a commit that is repeated, by whomever, meets its own work and leaves it; what
//! is staged bears its attempt, so that a sweep removes only what the dead have left. A folder has one owner.
//!
//! Reading order: [`config`], `naming` (paths), `sink` (the first phase), `open_file` (one file, written beside the
//! processing), [`committer`] (the second phase), `owner` (whose folder it is), [`storage`] (disk or object storage), `staged_files` (the phases as seen from
//! outside).

mod committable;
pub mod committer;
pub mod config;
mod encoder;
mod naming;
mod open_file;
mod owner;
mod partition;
mod sink;
mod staged_files;
pub mod storage;

#[cfg(test)]
mod tests;

pub use committer::FilesCommitter;
pub use config::FilesSinkConfig;
pub use encoder::can_be_written;
pub use sink::FilesSink;
pub use staged_files::StagedFiles;

use std::sync::Arc;
use weir_engine::{
    error::Result,
    operator::{Committer, CommitterContext, OperatorContext, Sink},
};

/// A subtask's instance of a files sink, from the settings of its node.
///
/// # Errors
/// When the settings don't fit or the target cannot be opened.
pub fn sink(config: &serde_json::Value, context: &OperatorContext) -> Result<Box<dyn Sink>> {
    let config = FilesSinkConfig::from_json(config).map_err(|error| error.context(&context.operator))?;
    let storage = storage::open(&config.path).map_err(|error| error.context(&context.operator))?;
    Ok(Box::new(FilesSink::new(config, storage, context)))
}

/// What commits the files of a sink of a job, from anywhere.
///
/// # Errors
/// When the settings don't fit or the target cannot be opened.
pub fn committer(config: &serde_json::Value, context: &CommitterContext) -> Result<Arc<dyn Committer>> {
    let config = FilesSinkConfig::from_json(config).map_err(|error| error.context(&context.sink))?;
    let storage = storage::open(&config.path).map_err(|error| error.context(&context.sink))?;
    Ok(Arc::new(FilesCommitter::new(storage, context)))
}
