//! Jobs drawn at random from a grammar of all nodes, and DuckDB's opinion of what they must write.
//!
//! One seed gives a [case](draw): a [job], as [TOML](written), and an [input]. It is [run](trial) at parallelisms from 1 to 8,
//! crashed and stopped on the way, and what its sinks have made visible is [compared](judge) with what DuckDB says of the same
//! rows, asked in [SQL](sql) that shares nothing with the definition but the expressions that both dialects know. What fails is
//! made [smaller](shrink) before it is shown. A share of the definitions is [broken](broken): these are refused, with a place.

pub mod broken;
mod calls;
pub mod draw;
mod expressions;
pub mod input;
pub mod job;
pub mod judge;
pub mod sequence;
pub mod shrink;
pub mod sql;
pub mod trial;
pub mod window;
pub mod written;
