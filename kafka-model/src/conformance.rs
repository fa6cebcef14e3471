//! What a cluster promises, as scenarios that run on any: on the model and on Apache Kafka itself, so that the one behaves as the
//! other. [`conformance_scenarios`](crate::conformance_scenarios) has the list of them.
//!
//! Each makes topics and ids of its own, and waits a bounded time for what has to come. A broken promise is a panic.
#![allow(clippy::missing_panics_doc, reason = "a scenario that fails panics")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod offsets;
mod reading;
mod rig;
mod topics;
mod transactions;

pub use offsets::*;
pub use reading::*;
pub use rig::{Delete, Read, Rig};
pub use topics::*;
pub use transactions::*;

/// Calls a macro with the names of all scenarios, each an `async fn(&Rig)`.
#[macro_export]
macro_rules! conformance_scenarios {
    ($each:ident) => {
        $each! {
            a_topic_is_described,
            a_topic_that_is_there_is_no_error,
            a_topic_made_anew_has_another_id,
            what_is_not_there_is_not_found,
            records_come_back_as_they_were_written,
            partitions_are_read_apart,
            a_reader_ends_when_it_is_dropped,
            whoever_waits_is_woken,
            an_offset_that_is_not_there_is_an_error,
            a_topic_that_is_not_there_cannot_be_read,
            positions_pass_markers_of_transactions,
            aborted_records_are_not_seen,
            an_open_transaction_hides_what_follows,
            a_newer_producer_fences_the_older,
            what_a_fenced_producer_left_open_is_aborted,
            a_transaction_that_timed_out_cannot_be_committed,
            an_id_is_used_again_after_an_abort,
            one_transaction_spans_partitions_and_topics,
            a_record_that_is_too_large_is_told,
            a_record_without_a_key_is_refused_where_keys_decide,
            a_transaction_to_nowhere_is_told,
            records_are_found_by_time,
            a_group_keeps_its_offsets,
            records_without_transactions_are_there_after_a_flush,
        }
    };
}
