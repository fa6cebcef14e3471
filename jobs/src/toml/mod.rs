//! The TOML front end: text → tree with places → overrides → the builder.

mod overrides;
mod parse;
mod read_job;

pub(crate) use overrides::apply_overrides;
pub(crate) use parse::parse;
pub(crate) use read_job::read_job;
