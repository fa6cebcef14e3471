//! The loop of a subtask with a lookup at its head: asks what the lookup wants to know, and passes on in order what it releases.
//!
//! Rows, watermarks and silences leave in the order in which they came, so nothing overtakes the rows that wait for answers.
//! Barriers do: what waits is state. Watermarks that wait are not, for they come again after a restore.
//!
//! While the lookup is full, nothing is read, and whoever sends rows here has to wait. But when a checkpoint is on its way,
//! rows are read in spite of that until its barrier has come, for it stands behind them.

use super::{Body, SourceCommand};
use crate::{
    channel::{GateEvent, InputGate},
    element::{StreamElement, WATERMARK_MAX},
    error::{EngineError, Result},
    ids::CheckpointId,
    operator::{LookupService, Question},
    panics::caught,
};
use arrow::record_batch::RecordBatch;
use std::{collections::VecDeque, sync::Arc};
use tokio::{sync::mpsc, task::JoinSet};

/// From so many bytes on rows that wait hold a barrier up.
const MOST_BYTES: usize = 64 << 20;

/// What stands between rows.
#[derive(Clone, Copy, Debug)]
enum Signal {
    Watermark(i64),
    Idle,
    Active(i64),
}

/// What a lookup has in hand.
struct Desk {
    service: Arc<dyn LookupService>,
    asked: JoinSet<Result<(u64, RecordBatch)>>,
    /// Signals, each with the number of rows that came before it.
    signals: VecDeque<(u64, Signal)>,
    taken: u64,
    released: u64,
    /// The checkpoint that is on its way.
    announced: Option<CheckpointId>,
    /// The newest one whose barrier has come.
    newest: CheckpointId,
    /// The last barrier has passed: what waits is for the next attempt.
    is_over: bool,
}

pub(super) async fn run(
    mut gate: InputGate,
    mut commands: mpsc::UnboundedReceiver<SourceCommand>,
    mut body: Body,
) -> Result<()> {
    let lookup = body.chain.lookup()?;
    let mut desk = Desk::new(lookup.service(), lookup.waiting());
    loop {
        desk.ask(&mut body)?;
        desk.release(&mut body).await?;
        let reads = desk.reads(&mut body)?;
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(SourceCommand::Checkpoint { checkpoint, .. }) => desk.announce(checkpoint),
                Some(_) => {}
                None => return Err(EngineError::disconnected("nobody drives this attempt any more")),
            },
            event = gate.next(), if reads => {
                let event = event?;
                if matches!(event, GateEvent::EndOfInput) {
                    return body.finish().await;
                }
                desk.take(event, &mut body).await?;
            }
            Some(answer) = desk.asked.join_next(), if !desk.asked.is_empty() => {
                let answer = answer.map_err(|error| EngineError::internal(format!("asking failed: {error}")))?;
                let (question, answer) = answer?;
                body.services.env.crash_point("lookup.answered")?;
                body.chain.lookup()?.answer(question, &answer)?;
            }
        }
    }
}

impl Desk {
    fn new(service: Arc<dyn LookupService>, waiting: u64) -> Self {
        Desk {
            service,
            asked: JoinSet::new(),
            signals: VecDeque::new(),
            taken: waiting,
            released: 0,
            announced: None,
            newest: CheckpointId(0),
            is_over: false,
        }
    }

    /// A checkpoint is on its way, unless its barrier was faster, or a driver that has taken over says so once more.
    fn announce(&mut self, checkpoint: CheckpointId) {
        self.announced = Some(checkpoint).filter(|checkpoint| *checkpoint > self.newest);
    }

    fn reads(&self, body: &mut Body) -> Result<bool> {
        let lookup = body.chain.lookup()?;
        let is_awaited = self.announced.is_some() && lookup.waiting_bytes() < MOST_BYTES;
        Ok(self.is_over || is_awaited || !lookup.is_full())
    }

    fn ask(&mut self, body: &mut Body) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        let now_ms = body.services.env.cluster_clock_ms();
        let lookup = body.chain.lookup()?;
        lookup.set_time(now_ms);
        for Question { number, keys } in lookup.questions()? {
            let answer = self.service.ask(keys);
            self.asked.spawn(async move { Ok((number, caught("a lookup", answer).await?)) });
        }
        Ok(())
    }

    async fn take(&mut self, event: GateEvent, body: &mut Body) -> Result<()> {
        match event {
            GateEvent::Batch { input, batch } => {
                body.services.env.crash_point("subtask.batch")?;
                let step = body.services.start_step();
                body.gauges.processing(batch.origin.as_ref());
                self.taken += batch.len() as u64;
                body.chain.process(input, batch, &mut body.deliveries)?;
                body.end_step(step);
            }
            GateEvent::Watermark(watermark) => self.signals.push_back((self.taken, Signal::Watermark(watermark))),
            GateEvent::Idle => self.signals.push_back((self.taken, Signal::Idle)),
            GateEvent::Active(watermark) => self.signals.push_back((self.taken, Signal::Active(watermark))),
            GateEvent::Barrier(barrier) => {
                self.newest = barrier.checkpoint;
                self.announced = self.announced.filter(|checkpoint| *checkpoint > barrier.checkpoint);
                body.barrier(barrier, Vec::new()).await?;
                if barrier.last {
                    self.is_over = true;
                    self.asked.shutdown().await;
                }
            }
            GateEvent::EndOfInput => {}
        }
        Ok(())
    }

    /// Passes on what has nothing unanswered before it.
    async fn release(&mut self, body: &mut Body) -> Result<()> {
        while !self.is_over {
            let next = self.signals.front().copied();
            if let Some((_, signal)) = next.filter(|(after, _)| *after == self.released) {
                self.signals.pop_front();
                self.pass(signal, body).await?;
                continue;
            }
            let at_most = next.map_or(u64::MAX, |(after, _)| after - self.released);
            let step = body.services.start_step();
            let released = body.chain.release(at_most, &mut body.deliveries)?;
            body.end_step(step);
            if released == 0 {
                break;
            }
            self.released += released;
            body.deliver().await?;
            body.services.env.crash_point("lookup.released")?;
        }
        Ok(())
    }

    async fn pass(&mut self, signal: Signal, body: &mut Body) -> Result<()> {
        match signal {
            Signal::Watermark(watermark) => {
                body.watermark(watermark).await?;
                if watermark == WATERMARK_MAX {
                    body.services.report_exhausted(body.id);
                }
                Ok(())
            }
            Signal::Idle => body.signal(&StreamElement::Idle).await,
            Signal::Active(watermark) => body.signal(&StreamElement::Watermark(watermark)).await,
        }
    }
}
