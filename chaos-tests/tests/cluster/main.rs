//! Clusters of real processes: what a user does with them, and what happens to them.

mod kills;

use std::sync::Mutex;

/// Clusters one after the other: each has as many processes as a machine bears.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
