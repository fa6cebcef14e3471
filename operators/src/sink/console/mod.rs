//! Rows for people to read, on standard output, once they are results.
//!
//! Rows are rendered when they come and carried in the checkpoint's manifest; they are printed at the commit. So nothing is
//! printed that a crash could take back, and nothing twice, with one exception: a process that dies after it has printed and
//! before it is recorded that the checkpoint is committed prints the same rows again when the job resumes. A terminal cannot
//! be asked what it shows.
//!
//! For a few rows a second. More than [`MAX_BYTES`] between two checkpoints are refused, since they would go through the
//! manifest.

mod connector;
mod output;
mod render;

#[cfg(test)]
mod tests;

pub use connector::KIND;
pub use output::ConsoleOutput;
pub use render::ConsoleFormat;

use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use weir_engine::{
    element::{Barrier, Batch},
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, OperatorContext, Sink, SweepScope},
};

/// What a subtask may print for one checkpoint, in bytes of text.
pub const MAX_BYTES: usize = 16 << 20;

/// Settings of a console sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSinkConfig {
    /// How rows are shown.
    #[serde(default, skip_serializing_if = "ConsoleFormat::is_default")]
    pub format: ConsoleFormat,
}

/// What a committable of this sink consists of.
#[derive(Debug, Serialize, Deserialize)]
struct Printout {
    attempt: Attempt,
    subtask: usize,
    lines: Vec<String>,
}

/// Renders rows, in one subtask.
pub struct ConsoleSink {
    config: ConsoleSinkConfig,
    sink: String,
    subtask: usize,
    attempt: Attempt,
    lines: Vec<String>,
    bytes: usize,
}

impl ConsoleSink {
    /// For one subtask.
    pub fn new(config: ConsoleSinkConfig, context: &OperatorContext) -> Self {
        ConsoleSink {
            config,
            sink: context.operator.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            lines: Vec::new(),
            bytes: 0,
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<()> {
        let lines = render::lines(self.config.format, &batch.columns)?;
        self.bytes += lines.iter().map(String::len).sum::<usize>();
        self.lines.extend(lines);
        if self.bytes > MAX_BYTES {
            return Err(EngineError::definition(format!(
                "'{}': more than {} MiB to print between two checkpoints; write that many rows to files",
                self.sink,
                MAX_BYTES >> 20
            )));
        }
        Ok(())
    }

    fn staged(&mut self, checkpoint: CheckpointId) -> Result<Vec<Committable>> {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let payload = serde_json::to_value(Printout { attempt: self.attempt, subtask: self.subtask, lines })
            .map_err(|error| EngineError::internal(format!("lines cannot be written as JSON: {error}")))?;
        Ok(vec![Committable::new(&self.sink, checkpoint, payload)])
    }
}

impl Sink for ConsoleSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        futures::future::ready(self.take(&batch)).boxed()
    }

    fn stage(&mut self, Barrier { checkpoint, .. }: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        // The manifest makes it durable.
        futures::future::ready(self.staged(checkpoint)).boxed()
    }
}

/// Prints what is committed.
#[derive(Debug)]
pub struct ConsoleCommitter {
    output: ConsoleOutput,
    identity: String,
}

impl ConsoleCommitter {
    /// For the node `sink` of a job.
    pub fn new(output: ConsoleOutput, job: &str, sink: &str) -> Self {
        ConsoleCommitter { output, identity: format!("{job}/{sink}") }
    }

    fn print_all(&self, committables: &[Committable]) -> Result<CommitOutcome> {
        let mut outcome = CommitOutcome::AlreadyDone;
        for committable in committables {
            if self.print(committable)? == CommitOutcome::Done {
                outcome = CommitOutcome::Done;
            }
        }
        Ok(outcome)
    }

    fn print(&self, committable: &Committable) -> Result<CommitOutcome> {
        let printout = Printout::deserialize(&committable.payload).map_err(|error| {
            EngineError::corrupt(format!(
                "checkpoint {} contains something other than lines to print for '{}': {error}",
                committable.checkpoint, committable.sink
            ))
        })?;
        let part = (committable.checkpoint, printout.attempt, printout.subtask);
        match self.output.print_once(&self.identity, part, &printout.lines) {
            Ok(true) => Ok(CommitOutcome::Done),
            Ok(false) => Ok(CommitOutcome::AlreadyDone),
            Err(error) => {
                Err(EngineError::io(format!("'{}' cannot print to standard output: {error}", committable.sink)))
            }
        }
    }
}

impl Committer for ConsoleCommitter {
    fn commit<'a>(
        &'a self,
        _checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        futures::future::ready(self.print_all(committables)).boxed()
    }

    fn sweep<'a>(&'a self, _scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        // What is staged is in manifests alone.
        futures::future::ready(Ok(0)).boxed()
    }

    fn reset(&self, _lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        self.output.forget(&self.identity);
        futures::future::ready(Ok(0)).boxed()
    }
}
