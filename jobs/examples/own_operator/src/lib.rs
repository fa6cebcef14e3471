//! An operator, a source and a sink of one's own, each in a file: [`pauses`], [`readings`], [`lines`].

pub mod lines;
pub mod pauses;
pub mod readings;
