//! The control plane.

pub mod status;
