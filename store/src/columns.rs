//! The columns that every result has, whatever it is a result of: their names live here and nowhere else.
//!
//! Invariant: of the rows with one [`RECORD_ID`] the one with the highest [`REVISION`] is true. If that one is
//! [`WITHDRAWN`], there is no such result any more: its values are null, and what identifies it is as it was.

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    datatypes::{DataType, Field},
};
use weir_engine::{EngineError, Result};

/// Identity of a result: the same in every attempt and in every replay.
pub const RECORD_ID: &str = "record_id";
/// First millisecond of the window.
pub const WINDOW_START: &str = "window_start";
/// First millisecond behind the window.
pub const WINDOW_END: &str = "window_end";
/// Which of several rows of a record is the newest.
pub const REVISION: &str = "revision";
/// Whether the record no longer applies.
pub const WITHDRAWN: &str = "withdrawn";
/// Place in a list of the largest.
pub const RANK: &str = "rank";
/// The filter that an event is counted under. It is text: a dictionary in batches, as any text may be, and plain in results.
pub const FILTER_ID: &str = "filter_id";

// The further columns of a table of counts that click queries are answered from. A definition gives them these names.

/// The minute that clicks are counted in, by its first millisecond.
pub const CLICK_MINUTE: &str = "click_minute";
/// The ad that was clicked.
pub const AD_ID: &str = "ad_id";
/// How often.
pub const COUNT: &str = "count";
/// How often the ad was shown, where a job counts that, too: then there is a click-through rate.
pub const IMPRESSIONS: &str = "impressions";

/// The field of [`REVISION`].
pub fn revision_field() -> Field {
    Field::new(REVISION, DataType::Int32, false)
}

/// The field of [`WITHDRAWN`].
pub fn withdrawn_field() -> Field {
    Field::new(WITHDRAWN, DataType::Boolean, false)
}

/// For each row of results, whether it withdraws its record.
///
/// # Errors
/// When the column is missing, which is a mistake of ours.
pub fn withdrawn(rows: &RecordBatch) -> Result<&BooleanArray> {
    let column = rows.column_by_name(WITHDRAWN).and_then(|column| column.as_boolean_opt());
    column
        .filter(|column| column.null_count() == 0)
        .ok_or_else(|| EngineError::internal(format!("results without a column '{WITHDRAWN}': {}", rows.schema_ref())))
}
