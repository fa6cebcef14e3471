//! Sources: one folder per connector, and what they share.
//!
//! Reading order: `connector` (what a connector is to those that check, compile, show and confine jobs), `split_reader` (what
//! it does), `reader` (what is common to all of them: splits become one stream
//! with event time), `turns`, `gathered` and `packs` (so that many splits cost little), `computed_time` and `first_look` (what stands between the two), `split_watermark`, `jump`, `head` and
//! `event_times` (who is behind, who is too far ahead, where time begins, and which times cannot be meant), `column_type` and
//! `times` (what a definition can say of columns), then the connectors.

pub mod column_type;
pub mod computed_time;
pub mod connector;
mod event_times;
pub mod field_path;
pub mod files;
mod first_look;
mod gathered;
pub mod generator;
mod head;
mod jump;
pub mod kafka;
pub mod packs;
pub mod parquet;
pub mod reader;
pub mod settings;
pub mod split_reader;
pub mod split_watermark;
pub mod times;
mod turns;

pub use connector::{Looked, SourceConnector, SourceGiven, SourceKind, Total, look};
pub use event_times::PLAUSIBLE_EVENT_TIMES;
pub use jump::{JumpAfter, JumpRule};
pub use settings::WatermarkSettings;
pub use split_reader::Nature;
