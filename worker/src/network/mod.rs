//! The data plane: batches and signals between the subtasks of different workers.
//!
//! For every ordered pair of workers and every attempt of a job there is at most one TCP connection, which the producing side
//! dials ([`AttemptNetwork::connect`]) and the consuming side accepts. It carries all channels of that pair; credits flow back
//! on it. Reading order: [`frame`] is what the bytes are, [`codec`] how a batch becomes bytes, `handshake` who may connect,
//! `outbound` and `inbound` the two ends of a connection, `plane` what a worker holds.
//!
//! # What bounds the memory
//!
//! One setting: [`NetworkSettings::channel_bytes`]. The consumer grants each channel so many bytes, and gives them back as its
//! subtask takes batches out. A producer sends a batch while its channel has any credit left, so a channel has at most
//! `channel_bytes` and one batch in flight, wherever those are: in the producer's queue, in the sockets, or in front of the
//! consumer. Nothing on the way waits for a consumer, so a slow one blocks only its own channel, and what a connection
//! queues is bounded by the sum of its channels' credits.
//!
//! Beside that: signals, which wait for no credit, are a few dozen bytes each, and a connection from which nothing comes is
//! closed after the keepalive timeout. A batch that waits to be written shares its buffers with what it was cut from. The encoder of a
//! channel keeps the last dictionary of each dictionary column, the decoder the frame that brought it. A stranger costs a few
//! KiB and two buffers of 64 KiB, and there are at most [`NetworkSettings::max_strangers`] of them.
//!
//! # What fails, and how
//!
//! - A connection that breaks, or falls silent for longer than a worker may ([`DataPlane::set_keepalive`]), fails every channel on it: consumers
//!   get the failure from their gate, producers from their `send` (also those that wait for credit), and the callback given to
//!   [`DataPlane::open`] is called at once.
//! - A frame that is malformed, too long or of another attempt closes its connection, with the same consequences.
//! - A connection on which every channel has ended is closed by its producer and then by its consumer: no failure.
//! - Who cannot name an open attempt, its token and exactly the channels that are expected of them gets a refusal, and nothing
//!   of the attempt is touched.
//! - A subtask that goes before its channel has ended fails that channel alone, at the other end too.

pub mod codec;
mod flag;
pub mod frame;
mod handshake;
mod inbound;
mod link;
mod outbound;
mod plane;
mod rope;
mod settings;
mod traffic;

pub use handshake::Token;
pub use plane::{AttemptNetwork, ConnectionFailure, DataPlane, FailureCallback};
pub use rope::Rope;
pub use settings::{Compression, NetworkSettings};
pub use traffic::TrafficCounts;
pub use weir_engine::wire::AttemptKey;

#[cfg(test)]
mod tests;
