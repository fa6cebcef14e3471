//! A cluster of real processes on this machine, and what is done to it: killed, frozen, started again.
//!
//! [`binary`] finds the `weir` to run, [`processes`] starts, kills and freezes it, [`rest`] asks its HTTP port, [`clicks`]
//! appends to click logs meanwhile, [`job`] is the job over them with its recount, and [`kill_run`] is the whole test: a seed
//! picks whom and when, and at the end the recount decides. With a store ([`serving`]) a [`reader`] asks the query service
//! all the while, and [`store_check`] looks into the tables at the end. In [`kafka`] the same is done to
//! a job from topics to topics, and to its broker, and in [`pipeline`] to all jobs of an ad business at once. In [`chaos`] each
//! process is in a network namespace of its own ([`namespaces`]), and can be cut off from any other.
//!
//! Invariant: whatever was started is ended when its [`processes::ClusterProcesses`] is dropped, frozen processes too.

pub mod beside;
pub mod binary;
pub mod chaos;
pub mod clicks;
pub mod job;
pub mod kafka;
pub mod kill_run;
pub mod namespaces;
pub mod pipeline;
pub mod processes;
pub mod reader;
pub mod rest;
pub mod serving;
pub mod store_check;
pub mod waiting;
