//! The files source: line formats and how files are cut into splits, read whole or followed as they grow.

pub mod format;
