//! Sources that take their time: so checkpoints are completed while rows are read, and a crash in the middle is gone on from.

use futures::{FutureExt, future::BoxFuture};
use std::{sync::Arc, time::Duration};
use weir_engine::{
    Result,
    env::Env,
    graph::Node,
    operator::{
        Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source, SourceEvent, SplitState,
    },
};

/// Between two batches.
const PAUSE: Duration = Duration::from_millis(2);

/// Builds the parts of another factory, with sources that pause before each batch.
pub(super) struct Paced(pub(super) Arc<dyn Factory>);

impl Factory for Paced {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        let env = context.env.clone();
        Ok(Box::new(PacedSource { inner: self.0.source(node, context)?, env }))
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        self.0.operator(node, context)
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        self.0.sink(node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        self.0.committer(node, context)
    }
}

struct PacedSource {
    inner: Box<dyn Source>,
    env: Env,
}

impl Source for PacedSource {
    fn restore(&mut self, splits: Vec<SplitState>) -> BoxFuture<'_, Result<()>> {
        self.inner.restore(splits)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<SourceEvent>> {
        async move {
            self.env.sleep(PAUSE).await;
            self.inner.next().await
        }
        .boxed()
    }

    fn drain(&mut self) -> Result<Option<SourceEvent>> {
        self.inner.drain()
    }

    fn snapshot(&mut self) -> Result<Vec<SplitState>> {
        self.inner.snapshot()
    }
}
