//! `weir`, and what this crate adds: `own-operator run pauses.toml` and all other commands.

use own_operator::{lines, pauses::Pauses, readings};
use std::process::ExitCode;
use weir::Extensions;

fn main() -> ExitCode {
    weir::main_with(Extensions::new().operator::<Pauses>().source(&readings::KIND).sink(&lines::KIND))
}
