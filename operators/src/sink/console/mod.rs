//! Rows on standard output, once they are results: tables for people, or JSON lines for the next program.
//!
//! Rows are rendered when they come and staged with the checkpoint; they are printed at the commit. So nothing is printed that a
//! crash could take back, and nothing twice, with one exception: a process that dies after it has printed and before it is
//! recorded that the checkpoint is committed prints the same rows again when the job resumes. A terminal cannot be asked what
//! it shows.
//!
//! Reading order: [`connector`] (what a definition says), `render`, [`sink`] (the first phase), `committable`, [`committer`] (the
//! second one), `output` (standard output, of which each process has one).

mod committable;
mod committer;
mod connector;
mod output;
mod render;
mod sink;

#[cfg(test)]
mod tests;

pub use committer::ConsoleCommitter;
pub use connector::KIND;
pub use output::ConsoleOutput;
pub use render::ConsoleFormat;
pub use sink::ConsoleSink;

use serde::{Deserialize, Serialize};

/// Settings of a console sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSinkConfig {
    /// How rows are shown.
    #[serde(default, skip_serializing_if = "ConsoleFormat::is_default")]
    pub format: ConsoleFormat,
}
