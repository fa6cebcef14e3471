//! The commands of `weir` as users give them, each on the real binary in a folder of its own: one program, since each would be linked
//! with all that reads results back.

mod archive_behind;
mod checkpoints;
mod doors;
mod generate;
mod one_process;
mod own_operator;
mod replay;
mod results;
mod run;
mod savepoints;
mod serve;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::path::Path;

#[test]
fn every_file_here_is_part_of_this_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands");
    weir_test_support::parts::assert_all_named(include_str!("main.rs"), &folder);
}
