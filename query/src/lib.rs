//! The query service: any table of a store, the two click queries over the aggregated one, and the pages that show them.
//!
//! Reading order: [`store`] (what is asked of the database, and how the most clicked ads are found exactly; what any table is, and its newest rows), then [`http`]
//! (the API, its OpenAPI document, metrics and the pages).
//!
//! Invariants: nothing here ever writes to a store, so there may be as many copies as one likes; each answer comes from one
//! snapshot of the store, so it never shows half of a commit; each answer is exact.

pub mod http;
pub mod store;
