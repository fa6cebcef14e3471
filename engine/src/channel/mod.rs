//! Between subtasks: a result partition splits batches over channels, an input gate merges the channels
//! of all inputs into one stream.
//!
//! Channels within a process are bounded queues of batches that are handed over without a copy; one to another process is a
//! [`RemoteSender`] at the producer and, at the consumer, a queue that the network delivers to. Credit is counted in bytes and
//! per channel; barriers and watermarks never wait for it. Only [`StreamElement::EndOfInput`] ends a channel: one whose
//! sender is gone without it is a failure.
//!
//! [`StreamElement::EndOfInput`]: crate::element::StreamElement::EndOfInput

mod input_gate;
mod local;
mod partitioner;
mod result_partition;
mod sender;

pub use input_gate::{GateChannel, GateEvent, InputGate};
pub use local::{ChannelReceiver, LocalSender, TakenCallback, local_channels};
pub use partitioner::{RowPartitioner, Split};
pub use result_partition::ResultPartition;
pub use sender::{ChannelSender, RemoteSender};
