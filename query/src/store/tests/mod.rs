//! The store's questions against a naive model, on SQLite, and on PostgreSQL where it is installed.

pub(crate) mod fixture;
mod model;
mod postgres;
mod questions;
mod states;
