//! What a subtask with several channels decides, whichever of its inputs they feed: when a barrier is complete, and what time
//! it is. Pure.

mod barrier_aligner;
mod watermark_merger;

pub use barrier_aligner::{Alignment, BarrierAligner};
pub use watermark_merger::{ChannelTime, MergedTime, WatermarkMerger};
