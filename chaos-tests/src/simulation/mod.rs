//! The whole cluster in one thread, under a simulated network, clock, disk and storage: the same coordinator, workers and data
//! plane as everywhere, with the real operators, and whatever can go wrong.
//!
//! Everything follows from one number (a test runs it twice and compares the [`trace`]), but for one thing: tokio wakes those who
//! wait for the same watch channel in an order that dice of its own decide. With one coordinator nothing has been seen to depend on it;
//! of three, two that announce themselves at one moment may come in either order. A [`plan`] says what the
//! cluster is made of and what befalls it; [`run`] runs it on [`hosts`]; meanwhile [`invariants`] must hold, and at the end
//! [`verdict`] compares what is committed with a recount. After the last trouble is over the job must come to its end within
//! a bound. [`wrong`] are parts that are built wrong, which must be noticed.
//!
//! Below: [`network`] (turmoil behind the door of `weir_proto::net`), [`storage`] (object storage with weather), [`link`] (the way to a
//! server), [`database`] (SQLite under the SQL sinks), [`webhook`] (what the HTTP sink posts to), [`campaigns`] (a table that a lookup asks),
//! [`kafka`] (a model of its brokers under Kafka sources and sinks, seen wrongly through
//! [`wrong_kafka`]), [`logs`] (files that grow and are rotated), [`replays`] (users who
//! count again from the raw archive), [`power`] (a process that ends in the middle of
//! what it does, or stands still), [`job`] (input, graph, results).

pub mod campaigns;
pub mod database;
pub mod hosts;
pub mod invariants;
pub mod job;
pub mod kafka;
pub mod link;
pub mod logs;
pub mod many;
pub mod network;
pub mod plan;
pub mod power;
pub mod replays;
pub mod run;
pub mod storage;
pub mod trace;
pub mod verdict;
pub mod webhook;
pub mod wrong;
pub mod wrong_kafka;

pub use plan::{Plan, Points};
pub use run::{Outcome, crash_points, run, run_with};
pub use wrong::WrongPart;
pub use wrong_kafka::WrongKafka;
