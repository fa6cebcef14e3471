//! The control plane.

pub mod http;
pub mod status;
