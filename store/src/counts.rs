//! How the tables that click queries are answered from are recognised: by their keys, so that a definition may call them as it
//! likes.

use crate::columns::{AD_ID, CLICK_MINUTE, FILTER_ID, RANK, WINDOW_END, WINDOW_START};

/// The key of a table of counts.
pub const COUNTS_KEY: [&str; 3] = [CLICK_MINUTE, FILTER_ID, AD_ID];

/// The key of a table of the most clicked ads of windows.
pub const TOP_KEY: [&str; 4] = [WINDOW_END, WINDOW_START, FILTER_ID, RANK];

/// The table of counts to use by default if there are several.
pub const USUAL_TABLE: &str = "ad_counts";
