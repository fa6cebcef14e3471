//! The TOML front end: text → tree with places → overrides → the builder.

mod overrides;
mod read_job;
mod read_schema;
mod read_sql_sink;
mod reader;
pub(crate) mod tree;

pub(crate) use overrides::apply_overrides;
pub(crate) use read_job::read_job;
