//! The store: tables of a SQL database that sinks fill, and that queries and recalculations read. What these three must agree on is
//! here and nowhere else.
//!
//! Reading order: [`columns`] (what the columns of results are called), [`tables`] (and the tables), [`grain`] (what counts are
//! rolled up to), [`counts`] (how a table of counts is recognised), [`description`] (what a sink says about its table), [`shape`]
//! (and about its columns);
//! then how a database is spoken to: [`dialect`] (where SQLite and PostgreSQL differ), [`role`] (what a connection is for),
//! [`address`], [`connection`], [`readers`] (many connections that only read), [`parameters`], [`row`], [`fault`] (what failed).

pub mod address;
pub mod columns;
pub mod connection;
pub mod counts;
pub mod description;
pub mod dialect;
pub mod fault;
pub mod grain;
pub mod parameters;
pub mod readers;
pub mod role;
pub mod row;
pub mod shape;
pub mod tables;

pub use address::UrlMistake;
pub use connection::{Connection, Database};
pub use description::{Description, Filter, Retention};
pub use dialect::{Dialect, SqlType, quoted, quoted_list};
pub use fault::{Fault, Tried};
pub use grain::{DAY_MS, Grain, HOUR_MS, MINUTE_MS};
pub use parameters::{Parameters, Value};
pub use readers::{Readers, Reading};
pub use role::Role;
pub use shape::Shape;
