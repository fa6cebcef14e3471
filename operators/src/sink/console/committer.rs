//! The second phase: what is committed is printed, once in this process.

use super::{ConsoleOutput, committable::Printout, output::Part};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::collections::HashSet;
use weir_engine::{
    error::{EngineError, Result},
    ids::{Attempt, CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, CommitterContext, SweepScope},
};

/// Prints what is committed.
#[derive(Debug)]
pub struct ConsoleCommitter {
    output: ConsoleOutput,
    context: CommitterContext,
    identity: String,
}

impl ConsoleCommitter {
    /// For a sink of a job.
    pub fn new(output: ConsoleOutput, context: CommitterContext) -> Self {
        let identity = format!("{}/{}", context.job, context.sink);
        ConsoleCommitter { output, context, identity }
    }

    async fn print_all(&self, committables: &[Committable]) -> Result<CommitOutcome> {
        let mut outcome = CommitOutcome::AlreadyDone;
        for committable in committables {
            let printout = Printout::from_committable(committable)?;
            if self.print(committable.checkpoint, &printout).await? == CommitOutcome::Done {
                outcome = CommitOutcome::Done;
            }
            for part in &printout.parts {
                self.context.staging.remove(part).await?;
            }
        }
        Ok(outcome)
    }

    async fn print(&self, checkpoint: CheckpointId, printout: &Printout) -> Result<CommitOutcome> {
        let part: Part = (checkpoint, printout.attempt, printout.subtask);
        if self.output.has_printed(&self.identity, part) {
            return Ok(CommitOutcome::AlreadyDone);
        }
        let Some(texts) = self.texts(printout).await? else { return Ok(CommitOutcome::AlreadyDone) };
        match self.output.print_once(&self.identity, part, &texts) {
            Ok(true) => Ok(CommitOutcome::Done),
            Ok(false) => Ok(CommitOutcome::AlreadyDone),
            Err(error) => {
                Err(EngineError::io(format!("'{}' cannot print to standard output: {error}", self.context.sink)))
            }
        }
    }

    /// All of a printout. None: a file is gone, which it is once it was printed.
    async fn texts(&self, printout: &Printout) -> Result<Option<Vec<Bytes>>> {
        let mut texts = Vec::with_capacity(printout.parts.len() + 1);
        for part in &printout.parts {
            let Some(text) = self.context.staging.get(part).await? else { return Ok(None) };
            texts.push(text);
        }
        let lines = printout.lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
        texts.push(lines.into());
        Ok(Some(texts))
    }
}

impl Committer for ConsoleCommitter {
    fn commit<'a>(
        &'a self,
        _checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        self.print_all(committables).boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        async move {
            let printouts = scope.keep.iter().map(Printout::from_committable).collect::<Result<Vec<_>>>()?;
            let keep = printouts.into_iter().flat_map(|printout| printout.parts).map(|part| part.path).collect();
            self.context.staging.sweep(scope.attempt, &keep).await
        }
        .boxed()
    }

    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        self.output.forget(&self.identity);
        async move { self.context.staging.sweep(Attempt(lineage.0), &HashSet::new()).await }.boxed()
    }
}
