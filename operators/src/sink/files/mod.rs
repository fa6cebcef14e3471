//! Files of Parquet, JSON lines, CSV or Avro, exactly once: written out of sight while rows arrive, made durable with the checkpoint, and moved under
//! their final names once the checkpoint is complete.
//!
//! ```text
//! <path>/_staging/<job>/<attempt>/<sink>/<subtask>-<k>.parquet.staged       durable, not yet results
//! <path>/<job>-<sink>-<lineage>.<checkpoint>-<subtask>-<k>.parquet          results
//! <path>/hour=2022-03-04T00/<job>-<sink>-<lineage>.<checkpoint>-<subtask>-<k>.parquet   the same, partitioned by hour
//! <path>/_owner.json                                                        whose folder it is
//! ```
//!
//! (JSON lines end in `.jsonl` instead, CSV in `.csv`, compressed ones in `.gz` or `.zst` behind that; Avro in `.avro`.)
//!
//! Invariants: a file whose name ends so is whole, is committed, and never changes; a final name follows from
//! job, sink, lineage, checkpoint and part alone, so a commit that is repeated, by whomever, meets its own work and leaves it; what
//! is staged carries its attempt, so that a sweep removes only what the dead have left. A folder has one owner.
//!
//! Reading order: `settings` (what a definition says), [`config`] (what the node keeps of it), `connector` (what is wrong with
//! them, and what others ask), `here` (results on this machine), `naming` (paths), `sink` (the first phase), `open_file` (one file, written beside the
//! processing), `encoder`, `text_encoder` and `csv` (its bytes), [`committer`] (the second phase), `owner` (whose folder it is), `retention` (the end of results), [`storage`] (disk or object storage), `read_back` (results as rows again), `staged_files` (the phases as seen from
//! outside).

mod committable;
pub mod committer;
pub mod config;
mod connector;
mod csv;
mod encoder;
mod here;
mod naming;
mod open_file;
mod owner;
mod partition;
mod read_back;
mod retention;
mod settings;
mod sink;
mod staged_files;
pub mod storage;
mod text_encoder;

#[cfg(test)]
mod tests;

pub use committer::FilesCommitter;
pub use config::{Compression, FileFormat, FilesSinkConfig, PartitionBy};
pub use connector::KIND;
pub use read_back::rows_of_file;
pub use settings::{FilesSinkSettings, Roll};
pub use sink::FilesSink;
pub use staged_files::StagedFiles;
