//! A model of Kafka's brokers in simulated time, for tests and simulations. Nothing of the product depends on it.
//!
//! [`brokers`] are a pure state machine, with the rules of Apache Kafka in the docs of [`brokers::log`] and
//! [`brokers::coordinator`]. [`network`] is the way to them: slow, losing, late, by chance from a seed, or as it is
//! [set](Model::set). [`client`] is what code under test sees: [`weir_kafka::Cluster`] and what belongs to it, to be
//! [provided](weir_kafka::provided::provide) under a name.
//!
//! [`conformance`] has scenarios that run on the model and on Apache Kafka alike.
//!
//! Invariant: everything follows from the seed, from the clock and from what is asked for when; no time but the clock's is read.

pub mod brokers;
pub mod caller;
pub mod client;
pub mod conditions;
pub mod conformance;
mod model;
pub mod network;

pub use caller::Caller;
pub use conditions::{Conditions, Patience};
pub use model::{Model, Written};
