//! The control plane.
//!
//! [`metadata`] holds what was decided, replicated and durable; [`status`] is what can be seen of it, and [`http`] shows it.

pub mod http;
pub mod metadata;
pub mod status;
