//! The first phase: rows become text, which goes through the manifest, or into the staging area where it is long.

use super::{ConsoleSinkConfig, committable::Printout, render};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use weir_engine::{
    checkpoint::{Staging, manifest::FileRef},
    element::{Barrier, Batch},
    env::Env,
    error::Result,
    ids::Attempt,
    operator::{Committable, OperatorContext, Sink},
};

/// Text that is longer than this is staged before the barrier comes.
const PART_BYTES: usize = 4 << 20;

/// Text that is not longer than this goes through the manifest.
pub(super) const MANIFEST_BYTES: usize = 64 << 10;

/// Renders rows, in one subtask.
pub struct ConsoleSink {
    config: ConsoleSinkConfig,
    staging: Staging,
    env: Env,
    sink: String,
    subtask: usize,
    attempt: Attempt,
    /// Text that waits for the barrier.
    text: Vec<u8>,
    /// Files staged since the last barrier.
    parts: Vec<FileRef>,
    /// Number of the next file of this attempt.
    next: u64,
}

impl ConsoleSink {
    /// For one subtask.
    pub fn new(config: ConsoleSinkConfig, context: &OperatorContext) -> Self {
        ConsoleSink {
            config,
            staging: context.staging.clone(),
            env: context.env.clone(),
            sink: context.operator.clone(),
            subtask: context.subtask,
            attempt: context.attempt,
            text: Vec::new(),
            parts: Vec::new(),
            next: 0,
        }
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        render::render(self.config.format, &batch.columns, &mut self.text)?;
        if self.text.len() >= PART_BYTES {
            let part = self.part();
            self.parts.push(part.await?);
        }
        Ok(())
    }

    /// Stages the text as a file of its own.
    fn part(&mut self) -> BoxFuture<'static, Result<FileRef>> {
        let content = Bytes::from(std::mem::take(&mut self.text));
        let name = format!("{}-{}.txt", self.subtask, self.next);
        self.next += 1;
        let (staging, env, attempt) = (self.staging.clone(), self.env.clone(), self.attempt);
        async move { staging.put(&env, attempt, &name, content).await }.boxed()
    }
}

impl Sink for ConsoleSink {
    fn write(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        self.take(batch).boxed()
    }

    fn stage(&mut self, Barrier { checkpoint, .. }: Barrier) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let mut parts = std::mem::take(&mut self.parts);
        let last = (self.text.len() > MANIFEST_BYTES).then(|| self.part());
        let text = std::mem::take(&mut self.text);
        let (sink, subtask, attempt) = (self.sink.clone(), self.subtask, self.attempt);
        async move {
            if let Some(last) = last {
                parts.push(last.await?);
            }
            if parts.is_empty() && text.is_empty() {
                return Ok(Vec::new());
            }
            // It was made of texts.
            let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
            Ok(vec![Printout { attempt, subtask, parts, lines }.into_committable(&sink, checkpoint)?])
        }
        .boxed()
    }
}
