//! Where records come from, one folder a connector, and what they share.
//!
//! Reading order: `split_reader` (what a connector does), `reader` (what is common to all of them: splits become one stream
//! with event time), `split_watermark`, `jump`, `head` and `event_times` (who is behind, who is too far ahead, where time
//! begins, and which times cannot be meant), then the connectors.

pub mod column_type;
mod event_times;
pub mod files;
pub mod generator;
mod head;
mod jump;
pub mod parquet;
pub mod reader;
pub mod settings;
pub mod split_reader;
pub mod split_watermark;

pub use event_times::PLAUSIBLE_EVENT_TIMES;
pub use jump::{JumpAfter, JumpRule};
