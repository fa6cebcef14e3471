//! Clicks as Parquet, laid out for replays.
//!
//! Columns that repeat stay dictionary-encoded throughout a row group, so that a reader hashes an ad once and not once a
//! click; ids and addresses hardly repeat and are plain. Only the event time has statistics: they tell a reader how far
//! time has come without reading the rows.

use super::batch::click_schema;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::Result,
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use std::io::Write;

/// Clicks of a row group: enough for dictionaries to pay, few enough for a handful of splits a file.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Room for the dictionary of a million different ads or users, of some fifteen bytes each.
const DICTIONARY_BYTES: usize = 32 << 20;

/// A writer of batches of [`click_schema`].
pub(super) fn click_writer<W: Write + Send>(output: W) -> Result<ArrowWriter<W>> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled(ColumnPath::from("click_timestamp"), EnabledStatistics::Chunk);
    for column in ["event_id", "ip"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    ArrowWriter::try_new(output, click_schema(), Some(properties.build()))
}
