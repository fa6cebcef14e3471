//! Logs: what the parts of weir tell, on standard error.

use crate::failure::Failure;
use clap::Args;
use tracing_subscriber::EnvFilter;

/// What is logged unless somebody asks for more.
pub const USUAL: &str = "warn";

/// How much is logged, and how.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// What to log: error, warn, info, debug, trace, or per part as in `warn,weir_engine=debug` [default: $WEIR_LOG, or warn]
    #[arg(long = "log", global = true, value_name = "FILTER")]
    filter: Option<String>,
    /// Log as JSON, one object a line
    #[arg(long = "log-json", global = true)]
    json: bool,
}

impl LogArguments {
    /// Begins to log: what is asked for, or what is `usual`.
    pub fn start(&self, usual: &str) -> Result<(), Failure> {
        let given = self.filter.clone().or_else(|| std::env::var("WEIR_LOG").ok()).unwrap_or_else(|| usual.into());
        let filter = EnvFilter::try_new(&given).map_err(|error| {
            Failure::refused(format!(
                "'{given}' is not a filter for logs ({error}); write a level, as in 'info', or 'warn,weir_engine=debug'"
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
