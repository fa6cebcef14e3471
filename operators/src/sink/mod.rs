//! Where rows go out. One folder a connector; all of them fulfil the two-phase contract of
//! [`weir_engine::operator::Sink`] and [`Committer`](weir_engine::operator::Committer), which one suite checks.

#[cfg(test)]
mod conformance;
pub mod console;
pub mod files;
pub mod sql;
