//! What definitions mean, from their text to committed rows: one program, since each would be linked with all of DataFusion.

mod ad_events;
mod aggregates;
mod avro_files;
mod circles;
mod compile;
mod custom;
mod documented;
mod drift;
mod few_files;
mod fuzz;
mod joins;
mod lookup;
mod mistakes;
mod odd_rows;
mod of_results;
mod over;
mod read_results;
mod recalculation;
mod run;
mod running;
mod shipped;
mod sources;
mod support;
mod tables;
mod talkingdata;
mod types;
mod union;
mod unusual_rows;
mod window_joins;
mod windows;
mod withdrawn;

use std::path::Path;

#[test]
fn every_file_here_is_part_of_this_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobs");
    weir_test_support::parts::assert_all_named(include_str!("main.rs"), &folder);
}
