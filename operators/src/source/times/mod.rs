//! Times as texts and numbers: one owner for what a source takes for a time, whatever its format.
//!
//! Reading order: `form` (what a definition can say about how times are written), `reader` (what is done with it), `iso` (the
//! usual form, fast), `variants` (what others make of it), `number` (times as numbers), `pattern` (times by a format).

mod error;
mod form;
mod iso;
mod number;
mod pattern;
mod reader;
mod variants;

#[cfg(test)]
mod tests;

pub use error::TimeError;
pub use form::{EpochUnit, FormMistake, TimeForm};
pub use number::Decimal;
pub use reader::TimeReader;
