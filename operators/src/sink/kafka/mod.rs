//! A topic of Kafka, exactly once: rows are staged with the checkpoint, and written in a short transaction together with the record
//! that says that this checkpoint is in.
//!
//! ```text
//! jobs/<job>/staged/<attempt>/<sink>/<subtask>-<k>.arrow    in the checkpoint storage: records that are not visible yet
//! <topic>                                                   the records
//! weir-progress-<job>                                       compacted, one partition: of each sink, which checkpoint is in
//! ```
//!
//! Nothing is open between checkpoints, so that no time-out of a transaction loses anything and nobody who reads is held back by an
//! attempt that died. A commit goes: *fence* whoever wrote under the sink's transactional id before; then *read* the progress, up
//! to the end of its topic; then, where the checkpoint is not in, write its records and the progress in one transaction, several
//! where it is large, and one for several checkpoints where these have waited. After anything whose outcome is not known, and after a commit that the client may have asked for twice, it begins
//! again with the fence.
//!
//! Invariants: a transaction holds records and the progress that says so, or nothing; the progress is read after the fence, so that
//! nobody can add to it meanwhile; of one lineage it only rises; the transactional id is the same for ever, whatever the attempt
//! and the parallelism.
//!
//! Reading order: `settings` (what a definition says), `check` (what is wrong with that), [`config`] (what the node keeps of it),
//! `connector` (what others ask), `encoder` (a row as a record), `topic` (how many partitions there are), `spread` (which one a
//! record goes to), `sink` (the first phase), `records` and `committable` (what is between the phases), `progress` (what is in),
//! `protocol` (what a commit does next), [`committer`] (the second phase, which does it) with `progress_log` (the topic that it is
//! written to) and `transaction` (one of them), `unrepeated` (a commit without transactions), `patience` (brokers that are away),
//! `read_back` (what is committed, as rows again).

mod check;
mod committable;
pub mod committer;
pub mod config;
mod connector;
mod encoder;
mod patience;
mod progress;
mod progress_log;
mod protocol;
mod read_back;
mod records;
mod settings;
mod sink;
mod spread;
mod texts;
mod topic;
mod transaction;
mod unrepeated;

#[cfg(test)]
mod tests;

pub use committer::KafkaCommitter;
pub use config::{Delivery, KafkaSinkConfig};
pub use connector::KIND;
pub use settings::KafkaSinkSettings;
pub use sink::KafkaSink;
