//! Weir.
pub mod table;
