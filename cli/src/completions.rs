//! `weir completions`: scripts that complete commands and options in a shell.

use crate::{failure::Failure, text};
use clap::{Args, Command};
use clap_complete::Shell;

/// Arguments of `weir completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell to complete in
    shell: Shell,
}

/// Prints the script for a shell.
pub fn completions(arguments: &CompletionsArguments, command: Command) -> Result<(), Failure> {
    text::print(&script(arguments.shell, command))
}

fn script(shell: Shell, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "weir", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, ValueEnum};

    #[test]
    fn every_shell_hears_of_every_command_and_its_options() {
        for shell in Shell::value_variants() {
            let script = script(*shell, crate::Arguments::command());
            for command in crate::Arguments::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell} does not know {}", command.get_name());
            }
            assert!(script.contains("data-dir"), "{shell} does not know --data-dir");
        }
    }
}
