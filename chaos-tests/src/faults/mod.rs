//! What can go wrong around a job: its storage, and its own parts built wrong on purpose.

pub mod disk;
pub mod lineages;
pub mod mutants;
pub mod store;
