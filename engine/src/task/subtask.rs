//! The loop of one subtask: takes elements from its source or gate, runs them through its chain, delivers what comes out.
//!
//! It is the only one to call its chain. It waits for input, for credit, and for sinks; never for an upload, which runs
//! beside it.

mod lookup;

use super::{
    chain::{Chain, Delivery},
    checkpointing::{self, Report, TaskServices},
    observer::SubtaskGauges,
};
use crate::{
    channel::{GateEvent, InputGate, ResultPartition},
    element::{Barrier, StreamElement, WATERMARK_MAX},
    env::Moment,
    error::{EngineError, Result},
    ids::{CheckpointId, SubtaskId},
    operator::{Pace, Slowest, Source, SourceEvent, SplitState},
    panics::caught,
};
use std::{convert::Infallible, sync::Arc};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// One subtask, ready to run.
pub(crate) struct Subtask {
    pub(crate) id: SubtaskId,
    pub(crate) head: Head,
    pub(crate) body: Body,
}

/// Where a subtask's elements come from.
pub(crate) enum Head {
    Source {
        source: Box<dyn Source>,
        commands: mpsc::UnboundedReceiver<SourceCommand>,
        pace: Pace,
    },
    Gate(InputGate),
    /// A lookup hears the commands for sources: it must know when a checkpoint is on its way.
    Lookup {
        gate: InputGate,
        commands: mpsc::UnboundedReceiver<SourceCommand>,
    },
}

/// Commands to a source's subtask from the driver of its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceCommand {
    /// Let barrier *n* flow. After the last one nothing more is read.
    Checkpoint {
        /// Its number.
        checkpoint: CheckpointId,
        /// After it nothing more is read.
        last: bool,
    },
    /// Read nothing more and let event time go to its end, as if the input had ended.
    Drain,
    /// Read nothing for now: what is read cannot become visible soon enough.
    Hold,
    /// Read on.
    GoOn,
    /// The last checkpoint is complete: end the stream.
    Finish,
    /// The slowest subtasks of a source are here; none: there are none to wait for.
    Pace {
        /// The source's task.
        task: usize,
        /// How far they are.
        slowest: Option<Slowest>,
    },
}

/// A subtask without its head.
pub(crate) struct Body {
    pub(crate) id: SubtaskId,
    pub(crate) chain: Chain,
    pub(crate) outputs: Vec<ResultPartition>,
    pub(crate) services: TaskServices,
    /// Uploads of snapshots; they die with the subtask.
    pub(crate) uploads: JoinSet<()>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) gauges: Arc<SubtaskGauges>,
}

impl Subtask {
    /// Runs until the input ends or something fails, and reports which.
    pub(crate) async fn run(self) {
        let Subtask { id, head, body } = self;
        let (services, gauges) = (body.services.clone(), body.gauges.clone());
        let running = async {
            match head {
                Head::Source { source, commands, pace } => {
                    let reporting = report_pace(id, pace.said(), &services);
                    tokio::select! {
                        biased;
                        ended = run_source(source, commands, body) => ended,
                        never = reporting => match never {},
                    }
                }
                Head::Gate(gate) => run_behind_gate(gate, body).await,
                Head::Lookup { gate, commands } => lookup::run(gate, commands, body).await,
            }
        };
        let result = caught("a subtask", running).await.map_err(|error| gauges.about(error));
        services.report_end(id, result);
    }
}

async fn run_behind_gate(mut gate: InputGate, mut body: Body) -> Result<()> {
    loop {
        match gate.next().await? {
            GateEvent::Batch { input, batch } => {
                body.services.env.crash_point("subtask.batch")?;
                let step = body.services.start_step();
                body.gauges.processing(batch.origin.as_ref());
                body.chain.process(input, batch, &mut body.deliveries)?;
                body.end_step(step);
                body.deliver().await?;
            }
            GateEvent::Watermark(watermark) => body.watermark(watermark).await?,
            // No operator hears of silence: those after an exchange do, which may have another input to go by.
            GateEvent::Idle => body.signal(&StreamElement::Idle).await?,
            GateEvent::Active(watermark) => body.signal_watermark(watermark).await?,
            GateEvent::Barrier(barrier) => body.barrier(barrier, Vec::new()).await?,
            GateEvent::EndOfInput => return body.finish().await,
        }
    }
}

async fn run_source(
    mut source: Box<dyn Source>,
    mut commands: mpsc::UnboundedReceiver<SourceCommand>,
    mut body: Body,
) -> Result<()> {
    let (mut reading, mut held, mut newest) = (true, false, CheckpointId(0));
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                // A driver that has taken over says once more what its predecessor may have said to some.
                Some(SourceCommand::Checkpoint { checkpoint, .. }) if checkpoint <= newest => {}
                Some(SourceCommand::Checkpoint { checkpoint, last }) => {
                    reading &= !last;
                    newest = checkpoint;
                    let splits = source.snapshot()?;
                    body.barrier(Barrier { checkpoint, last }, splits).await?;
                }
                Some(SourceCommand::Drain) => {
                    if reading {
                        while let Some(event) = source.drain()? {
                            body.source_event(event).await?;
                        }
                        reading = body.source_event(SourceEvent::EndOfInput).await?;
                    }
                }
                Some(SourceCommand::Hold) => held = true,
                Some(SourceCommand::GoOn) => held = false,
                Some(SourceCommand::Finish) => return body.finish().await,
                // Heard beside this loop, which may wait for room downstream.
                Some(SourceCommand::Pace { .. }) => {}
                None => return Err(EngineError::disconnected("nobody drives this attempt any more")),
            },
            event = source.next(), if reading && !held => {
                body.services.env.crash_point("source.batch")?;
                // What the source says itself is not about the rows that came before.
                let event = event.inspect_err(|_| body.gauges.processing(None))?;
                reading &= body.source_event(event).await?;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Reports how far a source is, if it says so.
async fn report_pace(id: SubtaskId, mut said: watch::Receiver<Option<i64>>, services: &TaskServices) -> Infallible {
    let mut reported = None;
    loop {
        let event_time = *said.borrow_and_update();
        if event_time != reported {
            services.report(Report::Paced(id, event_time));
            reported = event_time;
            services.env.sleep(Pace::INTERVAL).await;
        }
        if said.changed().await.is_err() {
            // Whoever could say more is gone.
            std::future::pending::<()>().await;
        }
    }
}

impl Body {
    /// `false`: the source has ended.
    async fn source_event(&mut self, event: SourceEvent) -> Result<bool> {
        match event {
            SourceEvent::Rows(port, batch) => {
                let step = self.services.start_step();
                self.gauges.processing(batch.origin.as_ref());
                self.chain.emit_from_source(port, batch, &mut self.deliveries)?;
                self.end_step(step);
                self.deliver().await?;
            }
            SourceEvent::Watermark(watermark) => self.watermark(watermark).await?,
            SourceEvent::Idle => self.signal(&StreamElement::Idle).await?,
            SourceEvent::EndOfInput => {
                self.watermark(WATERMARK_MAX).await?;
                self.services.report_exhausted(self.id);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end_step(&self, started: Moment) {
        let took = self.services.env.now() - started;
        self.services.observer.saw_step(took);
        self.gauges.busy(took);
    }

    async fn watermark(&mut self, watermark: i64) -> Result<()> {
        self.gauges.watermark(watermark);
        self.gauges.processing(None);
        let step = self.services.start_step();
        self.chain.watermark(watermark, &mut self.deliveries)?;
        self.end_step(step);
        self.deliver().await?;
        self.signal_watermark(watermark).await
    }

    async fn barrier(&mut self, barrier: Barrier, splits: Vec<SplitState>) -> Result<()> {
        self.services.env.crash_point("subtask.barrier_arrived")?;
        self.gauges.processing(None);
        let step = self.services.start_step();
        self.chain.prepare_snapshot(barrier, &mut self.deliveries)?;
        self.end_step(step);
        self.deliver().await?;
        let step = self.services.start_step();
        let captured = self.chain.capture(barrier)?;
        self.end_step(step);
        self.services.env.crash_point("subtask.captured")?;
        self.signal(&StreamElement::Barrier(barrier)).await?;
        self.services.env.crash_point("subtask.barrier_forwarded")?;
        while self.uploads.try_join_next().is_some() {}
        let upload = checkpointing::upload(self.services.clone(), self.id, barrier, captured, splits);
        self.uploads.spawn(upload);
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        self.signal(&StreamElement::EndOfInput).await
    }

    async fn deliver(&mut self) -> Result<()> {
        if self.deliveries.is_empty() {
            return Ok(());
        }
        let started = self.services.start_step();
        for delivery in self.deliveries.drain(..) {
            match delivery {
                Delivery::Output(output, batch) => self.outputs[output].emit(batch).await?,
                Delivery::Sink(link, batch) => self.chain.sink(link)?.write(batch).await?,
            }
        }
        self.gauges.delivering(self.services.env.now() - started);
        Ok(())
    }

    /// Tells every output its event time.
    async fn signal_watermark(&mut self, watermark: i64) -> Result<()> {
        let times = self.chain.times_of_outputs(watermark);
        for (output, time) in self.outputs.iter_mut().zip(times) {
            output.signal(&StreamElement::Watermark(time)).await?;
        }
        Ok(())
    }

    async fn signal(&mut self, signal: &StreamElement) -> Result<()> {
        for output in &mut self.outputs {
            output.signal(signal).await?;
        }
        Ok(())
    }
}
