//! What faults leave behind, each kind in a file of its own: one program, since each would be linked with the whole engine and its
//! simulation. `simulation`, `crashes` and `cluster`, which take the longest, are programs of their own.

mod arrows;
mod bad_input;
mod follow;
mod grammar;
mod guarantees;
mod joins;
mod kafka_simulation;
mod mutants;
mod poison;
mod power_cuts;
mod programs;
mod state_cache;
mod storage;
mod whole_jobs;
mod zombies;

use std::path::Path;

#[test]
fn every_file_here_is_part_of_this_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    weir_test_support::parts::assert_all_named(include_str!("main.rs"), &folder);
}
