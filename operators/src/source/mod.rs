//! Where records come from, one folder a connector.

pub mod generator;
pub mod parquet;
