//! Counting again from the raw archive: replays that replace what is wrong in the store, and recounts that check it.
//!
//! Reading order: [`store`] (the database, opened for writing), [`closed`] (which windows are final), [`archived`] (whether the
//! archive holds what they were counted from), [`ground`] (which range is counted again), [`place`] (where all of that is for a
//! job), [`records`] (what is written down about replays and reconciliations), [`replay`] (its steps), [`replacement`] (how a
//! replay's counts replace the old ones), [`recount`] (the archive counted without the engine's operators),
//! [`reconcile`](mod@reconcile) (what differs).
//!
//! Invariants: a window's old rows go and its new ones come in one transaction; nothing that a live job may still correct is
//! touched; whatever is cut short is done again, and doing it twice is doing it once.

pub mod archived;
pub mod closed;
pub mod ground;
pub mod place;
pub mod reconcile;
pub mod records;
pub mod recount;
pub mod replacement;
pub mod replay;
pub mod store;
