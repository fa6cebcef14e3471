//! What a job definition says, key by key, and what is wrong with it.
//!
//! A front end turns a definition into a tree of [`Value`]s, each with the place that it came from. Nodes and connectors read
//! their own keys through a [`Reader`], which notes unknown keys and wrong types, and collect further [`Mistake`]s at a
//! [`KeyPath`]; the code that has the text adds file and line.

pub mod duration;
mod key_path;
mod mistake;
mod reader;
#[cfg(test)]
pub(crate) mod testing;
mod tree;

pub use key_path::{KeyPath, Segment};
pub use mistake::{Mistake, Severity, did_you_mean};
pub use reader::{Mistakes, Reader};
pub use tree::{Entry, Kind, Located, Origin, Value};
