//! The wire: messages between coordinators, workers and commands, and the connections that carry them.
//!
//! [`v1`] is generated from `proto/weir/v1/*.proto`; nothing there has a meaning of its own, each room converts at its door.
//! [`net`] is the network, real or simulated, [`transport`] runs gRPC over it, and [`secret`] is what strangers don't know. Data between workers has frames of its
//! own (the worker's data plane).

mod hidden;
pub mod net;
pub mod secret;
pub mod transport;

/// Version 1 of all services.
pub mod v1 {
    #![allow(
        clippy::all,
        missing_docs,
        unused_qualifications,
        reason = "generated; the .proto files say what each part is"
    )]
    tonic::include_proto!("weir.v1");
}

/// The version that a worker and its coordinator must share.
pub const PROTOCOL_VERSION: u32 = 5;

/// In the head of a coordinator's refusal, because it does not lead: the address of the one that does.
pub const LEADER_HEADER: &str = "weir-leader";
