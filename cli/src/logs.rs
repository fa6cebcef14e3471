//! Logs on standard error: the filter and the format.

use crate::failure::Failure;
use clap::Args;
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The default log filter.
pub const USUAL: &str = "warn";

/// How much is logged, and how.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// What to log: error, warn, info, debug, trace, or per module as in `warn,weir_engine=debug`. A level alone applies to Weir's
    /// own modules; libraries stay at warn unless they are named, as in `info,openraft=info`, and openraft at off, which logs an
    /// error for every message to a coordinator that is down [default: $WEIR_LOG, or warn]
    #[arg(long = "log", global = true, value_name = "FILTER")]
    filter: Option<String>,
    /// Log as JSON, one object per line
    // A field's name is what clap knows an argument by, in every command: several have a `json` of their own.
    #[arg(long = "log-json", global = true)]
    log_json: bool,
}

impl LogArguments {
    /// Begins to log: what is asked for, or what is `usual`.
    pub fn start(&self, usual: &str) -> Result<(), Failure> {
        let given = self.filter.clone().or_else(|| std::env::var("WEIR_LOG").ok()).unwrap_or_else(|| usual.into());
        if let Some(part) = no_level(&given) {
            return Err(Failure::refused(format!(
                "{}: '{part}' is no log level; write error, warn, info, debug, trace or off, for one module as in \
                 weir_engine=debug",
                if self.filter.is_some() { "--log" } else { "WEIR_LOG" }
            )));
        }
        let filter = EnvFilter::try_new(own(&given)).map_err(|error| {
            Failure::refused(format!(
                "'{given}' is not a log filter ({error}); write a level such as 'info', or 'warn,weir_engine=debug'"
            ))
        })?;
        // An empty NO_COLOR is as good as none: https://no-color.org
        let is_colourless = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal() && !is_colourless)
            .with_writer(std::io::stderr);
        if self.log_json {
            logs.json().init()
        } else {
            logs.with_target(false).init()
        }
        Ok(())
    }
}

/// The first part of a filter that is neither a level nor says of what it is one. It would be taken for a module's name, so that a
/// misspelt level would turn all logs off.
fn no_level(filter: &str) -> Option<&str> {
    let is_directive = |part: &str| part.contains(['=', '[', ']', '}']);
    filter.split(',').map(str::trim).find(|part| !is_directive(part) && part.parse::<LevelFilter>().is_err())
}

/// The same filter, in which a level alone is that of our own parts: libraries say more than warnings only where they are named, and
/// the Raft library anything at all.
fn own(filter: &str) -> String {
    let one = |part: &str| match part.trim().parse::<LevelFilter>() {
        Ok(level) => format!("{},openraft=off,weir={level}", level.min(LevelFilter::WARN)),
        Err(_) => part.to_owned(),
    };
    // An empty part is an error, which is reported for the filter as given; so is a number as a level.
    filter.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;
    use clap::{ArgMatches, Command, CommandFactory};

    /// The commands below this one that have `--json`, each with the words that lead to it.
    fn with_json(command: &Command, words: &[String]) -> Vec<Vec<String>> {
        let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        let mut found: Vec<Vec<String>> = if has_json { vec![words.to_vec()] } else { Vec::new() };
        for below in command.get_subcommands() {
            found.extend(with_json(below, &[words, &[below.get_name().to_owned()]].concat()));
        }
        found
    }

    /// Whether `--log-json` and `--json` are on; whatever else the command needs is not given.
    fn given(words: &[String], options: &[&str]) -> (bool, bool) {
        let command = Arguments::command().ignore_errors(true);
        let words = words.iter().map(String::as_str).chain(options.iter().copied());
        let mut matches: ArgMatches = command.try_get_matches_from(std::iter::once("weir").chain(words)).unwrap();
        while let Some((_, below)) = matches.remove_subcommand() {
            matches = below;
        }
        (matches.get_flag("log_json"), matches.get_flag("json"))
    }

    #[test]
    fn json_logs_and_json_results_are_asked_for_apart_in_every_command() {
        let commands = with_json(&Arguments::command(), &[]);
        assert!(commands.len() >= 11, "{commands:?}");
        for words in commands {
            assert_eq!(given(&words, &["--log-json"]), (true, false), "{words:?}");
            assert_eq!(given(&words, &["--json"]), (false, true), "{words:?}");
            assert_eq!(given(&words, &["--json", "--log-json"]), (true, true), "{words:?}");
        }
    }

    #[test]
    fn a_level_alone_is_that_of_our_own_parts() {
        assert_eq!(own("info"), "warn,openraft=off,weir=info");
        assert_eq!(own("trace"), "warn,openraft=off,weir=trace");
        assert_eq!(own("error"), "error,openraft=off,weir=error");
        assert_eq!(own("off"), "off,openraft=off,weir=off");
        assert_eq!(own("info,openraft=info"), "warn,openraft=off,weir=info,openraft=info");
        assert_eq!(own("warn,weir_engine=debug"), "warn,openraft=off,weir=warn,weir_engine=debug");
        assert_eq!(own("weir_worker=off"), "weir_worker=off");
    }

    #[test]
    fn a_name_alone_is_no_level() {
        for filter in ["info", "OFF", "warn,weir_engine=debug", "info, openraft=info", "[task{job=a,node=b}]=trace"] {
            assert_eq!(no_level(filter), None, "{filter}");
        }
        for (filter, part) in [("inof", "inof"), ("weir_engine=debug, wran", "wran")] {
            assert_eq!(no_level(filter), Some(part), "{filter}");
        }
    }
}
