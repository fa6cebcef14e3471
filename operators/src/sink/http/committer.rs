//! The second phase: staged rows are posted, again and again until each is taken or refused.

use super::{
    answer::Answer,
    batches::{Batches, Next, Row},
    client::Poster,
    committable::{Part, StagedRows},
    config::HttpSinkConfig,
    rejected::{Refused, Rejects},
};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::HashSet, time::Duration};
use weir_engine::{
    env::Env,
    error::Result,
    ids::{Attempt, CheckpointId, Lineage},
    operator::{CommitOutcome, Committable, Committer, CommitterContext, SweepScope},
    retry,
};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause, unless the server asks for a longer one.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a server may say, and nothing else, that it works on a request with the same key, before it is taken to refuse.
const IN_WORK: Duration = Duration::from_secs(60);

/// Posts the rows of one sink of one job.
#[derive(Debug)]
pub struct HttpCommitter {
    batch: usize,
    poster: Poster,
    rejects: Rejects,
    context: CommitterContext,
}

impl HttpCommitter {
    /// For a sink of a job.
    ///
    /// # Errors
    /// When a secret is not there, or the URL leads nowhere.
    pub fn new(config: HttpSinkConfig, context: CommitterContext) -> Result<Self> {
        let of_sink = |error: weir_engine::EngineError| error.context(&context.sink);
        let rejects = Rejects::new(config.rejected_path.as_deref()).map_err(of_sink)?;
        let batch = config.batch as usize;
        Ok(HttpCommitter { batch, poster: Poster::new(config).map_err(of_sink)?, rejects, context })
    }

    async fn commit_all(&self, checkpoint: CheckpointId, parts: &[Part]) -> Result<CommitOutcome> {
        let mut batches = Batches::new(&self.context, parts, self.batch);
        let mut refused = Vec::new();
        loop {
            match batches.next().await? {
                Next::Batch(rows) => self.deliver(rows, &mut refused).await?,
                Next::Gone => return Ok(CommitOutcome::AlreadyDone),
                Next::End => break,
            }
        }
        self.rejects.keep(&self.context, checkpoint, &refused).await?;
        self.context.env.crash_point("http_sink.sent")?;
        for part in parts {
            self.context.staging.remove(&part.file).await?;
        }
        self.context.env.crash_point("http_sink.cleared")?;
        Ok(CommitOutcome::Done)
    }

    /// Posts rows until the server has answered for each of them. Of rows that it refuses, smaller and smaller pieces are tried, down
    /// to single ones.
    async fn deliver(&self, rows: Vec<Row>, refused: &mut Vec<Refused>) -> Result<()> {
        // Pieces still to be posted, the first of them last.
        let mut pieces = vec![rows];
        while let Some(mut piece) = pieces.pop() {
            let refused_for = self.answer_to(&piece).await?;
            self.context.waits.step();
            let Some(reason) = refused_for else { continue };
            if piece.len() > 1 {
                let rest = piece.split_off(piece.len() / 2);
                pieces.push(rest);
                pieces.push(piece);
                continue;
            }
            refused.extend(piece.into_iter().map(|row| Refused { row, reason: reason.clone() }));
        }
        Ok(())
    }

    /// Posts rows until there is an answer that stays. None: they are taken; else why they are refused.
    async fn answer_to(&self, rows: &[Row]) -> Result<Option<String>> {
        let env = &self.context.env;
        let mut wait = self.context.waiting("the server");
        let mut pauses = pauses(env);
        let mut in_work = None;
        loop {
            let answer = self.poster.post(&self.context, rows).await;
            env.crash_point("http_sink.posted")?;
            let (cause, after) = match answer {
                Answer::Taken => {
                    wait.is_over();
                    return Ok(None);
                }
                Answer::Refused(reason) => {
                    wait.is_over();
                    return Ok(Some(reason));
                }
                Answer::InWork(cause) => {
                    if env.now() - *in_work.get_or_insert_with(|| env.now()) >= IN_WORK {
                        wait.is_over();
                        return Ok(Some(cause));
                    }
                    (cause, None)
                }
                Answer::Later { cause, after } => {
                    // What it works on while it cannot say so is not known: only a minute without a break counts.
                    in_work = None;
                    (cause, after)
                }
            };
            wait.goes_on(&cause);
            let pause = pauses.next().unwrap_or(LONGEST);
            env.sleep(after.map_or(pause, |after| after.max(pause))).await;
        }
    }

    async fn sweep_older(&self, scope: &SweepScope) -> Result<u64> {
        let keep = StagedRows::parts_of(&scope.keep)?.into_iter().map(|part| part.file.path).collect();
        self.context.staging.sweep(scope.attempt, &keep).await
    }
}

fn pauses(env: &Env) -> impl Iterator<Item = Duration> + Send + use<> {
    retry::jittered(env, FIRST, LONGEST)
}

impl Committer for HttpCommitter {
    fn commit<'a>(
        &'a self,
        checkpoint: CheckpointId,
        committables: &'a [Committable],
    ) -> BoxFuture<'a, Result<CommitOutcome>> {
        async move { self.commit_all(checkpoint, &StagedRows::parts_of(committables)?).await }.boxed()
    }

    fn sweep<'a>(&'a self, scope: &'a SweepScope) -> BoxFuture<'a, Result<u64>> {
        self.sweep_older(scope).boxed()
    }

    /// What was sent stays sent.
    fn reset(&self, lineage: Lineage) -> BoxFuture<'_, Result<u64>> {
        async move { self.context.staging.sweep(Attempt(lineage.0), &HashSet::new()).await }.boxed()
    }
}
