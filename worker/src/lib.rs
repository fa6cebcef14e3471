//! The data plane.

pub mod network;
