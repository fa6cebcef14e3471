//! The metadata as a whole, on disks in memory and in files, alone and in a group.

mod determinism;
mod durability;
mod group;
mod membership;
mod storage_suite;
mod support;
