//! Faults, and the oracle that checks what they leave behind.

pub mod check;
pub mod crash;
pub mod faults;
pub mod job;
pub mod oracle;
pub mod results;
pub mod workload;
