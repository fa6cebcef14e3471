//! A model of Kafka's brokers in simulated time, for tests and simulations. Nothing of the product depends on it.

pub mod conformance;
