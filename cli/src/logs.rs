//! Logs on standard error: the filter and the format.

use crate::failure::Failure;
use clap::Args;
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
    #[arg(long = "log-json", global = true)]
    json: bool,
}

impl LogArguments {
    /// Begins to log: what is asked for, or what is `usual`.
    pub fn start(&self, usual: &str) -> Result<(), Failure> {
        let given = self.filter.clone().or_else(|| std::env::var("WEIR_LOG").ok()).unwrap_or_else(|| usual.into());
        let filter = EnvFilter::try_new(own(&given)).map_err(|error| {
            Failure::refused(format!(
                "'{given}' is not a log filter ({error}); write a level such as 'info', or 'warn,weir_engine=debug'"
            ))
        })?;
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        if self.json {
            logs.json().init()
        } else {
            logs.with_target(false).init()
        }
        Ok(())
    }
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
}
