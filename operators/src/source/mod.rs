//! Where records come from, one folder a connector, and what they share.

pub mod column_type;
pub mod files;
pub mod generator;
pub mod parquet;
