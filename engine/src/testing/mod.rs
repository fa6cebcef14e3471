//! Helpers for tests of operators, here and in other crates.

mod operator_harness;

pub use operator_harness::{OperatorHarness, StoredRows};
