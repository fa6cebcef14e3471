//! Savepoints that users ask for: each request is worked on here until its savepoint is there, and whoever has asked asks again
//! until then. A request that is lost with its coordinator is made anew by asking the next one.

use super::JobContext;
use crate::metadata::{Catalog, Leadership};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::watch;
use weir_engine::{
    checkpoint::{CheckpointStore, export, pins, savepoint},
    error::{EngineError, ErrorKind, Result},
    ids::CheckpointId,
};
use weir_proto::v1 as pb;

/// How long one call is held open.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Requests that are remembered.
const REMEMBERED: usize = 64;

/// The pause before a savepoint is asked of the next attempt.
const NEXT_ATTEMPT: Duration = Duration::from_millis(50);

type Outcome = Option<Result<pb::SavepointReply>>;

/// What was asked, and what comes of it; the newest last.
type Requests = VecDeque<(pb::SavepointRequest, watch::Receiver<Outcome>)>;

/// All requests. Cheap to clone.
#[derive(Clone)]
pub struct SavepointDesk {
    context: JobContext,
    requests: Arc<Mutex<Requests>>,
}

impl SavepointDesk {
    /// Without requests.
    pub fn new(context: JobContext) -> Self {
        SavepointDesk { context, requests: Arc::default() }
    }

    /// Begins a request, or finds it, and waits for a moment whether it is done.
    ///
    /// # Errors
    /// When the job runs no more, or storage refuses.
    pub async fn serve(&self, request: pb::SavepointRequest) -> Result<pb::SavepointReply> {
        let mut outcome = self.find_or_begin(request);
        let env = &self.context.components.env;
        let done = tokio::select! {
            biased;
            done = outcome.wait_for(Option::is_some) => done.map(|done| done.clone()),
            () = env.sleep(ANSWER_WITHIN) => return Ok(pb::SavepointReply { pending: true, ..pb::SavepointReply::default() }),
        };
        done.ok().flatten().unwrap_or_else(|| Err(EngineError::internal("a savepoint was not worked on")))
    }

    fn find_or_begin(&self, request: pb::SavepointRequest) -> watch::Receiver<Outcome> {
        let mut requests = self.requests.lock();
        // Whoever asks again wants it tried again.
        requests.retain(|(_, outcome)| !has_to_wait(&outcome.borrow()));
        if let Some((_, known)) = requests.iter().find(|(known, _)| *known == request) {
            return known.clone();
        }
        let (tell, outcome) = watch::channel(None);
        requests.push_back((request.clone(), outcome.clone()));
        if requests.len() > REMEMBERED {
            requests.pop_front();
        }
        let context = self.context.clone();
        tokio::spawn(async move {
            let made = make(&context, &request).await;
            tell.send_replace(Some(made));
        });
        outcome
    }

    /// Makes an ordinary checkpoint of a savepoint, which is named by its URL or its number.
    ///
    /// # Errors
    /// When there is none, or storage refuses.
    pub async fn release(&self, job: &str, named: &str) -> Result<CheckpointId> {
        let store = open(&self.context, job)?.current().await?;
        let own = store.layout().lineage();
        let named_by_url = savepoint::named(named, job);
        let by_number = || named.parse().ok().map(|number| (own, CheckpointId(number)));
        let Some((lineage, checkpoint)) = named_by_url.or_else(by_number) else {
            return Err(EngineError::definition(format!(
                "'{named}' is no savepoint of job '{job}': give its URL, or its number, as `weir checkpoint list` shows them"
            )));
        };
        if !pins::unpin(&store.in_lineage(lineage), checkpoint).await? {
            return Err(EngineError::definition(format!("checkpoint {checkpoint} of job '{job}' is no savepoint")));
        }
        if lineage == own {
            self.context.live.savepoints(job).release(checkpoint);
        }
        Ok(checkpoint)
    }
}

/// Whether it was not done for want of something that comes back.
fn has_to_wait(outcome: &Outcome) -> bool {
    matches!(outcome, Some(Err(error)) if error.kind == ErrorKind::Unavailable)
}

fn open(context: &JobContext, job: &str) -> Result<CheckpointStore> {
    (context.components.open_store)(&context.settings.storage, job)
}

async fn make(context: &JobContext, request: &pb::SavepointRequest) -> Result<pb::SavepointReply> {
    let (job, env) = (request.job.as_str(), &context.components.env);
    let to = match request.to.is_empty() {
        true => None,
        // Before anything is taken.
        false => Some(copied_to(&request.to, job).await?),
    };
    let checkpoint = taken(context, job, context.metadata.leadership()).await?;
    let store = open(context, job)?.current().await?;
    let manifest = store.manifest(checkpoint).await?;
    let (mut url, lineage) = (savepoint::url_of(&store, manifest.lineage, checkpoint), manifest.lineage);
    if let Some(to) = to {
        let copied =
            export::export_pinned(&store, &to, env, checkpoint).await.map_err(|error| not_there(&request.to, error));
        // It was pinned for the copy, and for nobody else.
        pins::unpin(&store, checkpoint).await?;
        context.live.savepoints(job).release(checkpoint);
        copied?;
        url = savepoint::url_of(&to, lineage, checkpoint);
    }
    let files: std::collections::BTreeSet<_> = manifest.files().collect();
    Ok(pb::SavepointReply {
        pending: false,
        url,
        checkpoint: checkpoint.0,
        completed_at_ms: manifest.completed_at_ms,
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.bytes).sum(),
    })
}

/// The place of a copy, where there must be nothing of the job yet.
async fn copied_to(url: &str, job: &str) -> Result<CheckpointStore> {
    if url.starts_with("memory:") {
        return Err(EngineError::definition(format!(
            "a savepoint in '{url}' would be gone with the process: name a folder, file:// or s3://"
        )));
    }
    let to = CheckpointStore::open(url, job).map_err(|error| not_there(url, error))?;
    export::refuse_other(&to).await.map_err(|error| not_there(url, error))?;
    Ok(to)
}

/// For whoever has asked: that a place refuses is no trouble of the coordinator's, which would be asked again.
fn not_there(url: &str, error: EngineError) -> EngineError {
    EngineError::definition(format!("no savepoint can be written to '{url}': {}", error.message))
}

/// A checkpoint that was taken after this was called, is committed, and pinned. An attempt that ends before it is leaves that to the
/// next one. Once this coordinator leads no more it is asked of nobody: whoever wanted it asks the next one, and a savepoint that is
/// taken when this one leads again would be nobody's.
async fn taken(context: &JobContext, job: &str, mut leadership: watch::Receiver<Leadership>) -> Result<CheckpointId> {
    let gone = || EngineError::unavailable("this coordinator does not lead any more; ask again");
    let (mut catalog, led) = (context.metadata.watch(), leadership.borrow_and_update().clone());
    loop {
        check_runs(&context.metadata.catalog(), job)?;
        let answer = context.live.savepoints(job).ask();
        tokio::select! {
            biased;
            taken = answer => if let Ok(checkpoint) = taken {
                return Ok(checkpoint);
            },
            ended = catalog.wait_for(|catalog| check_runs(catalog, job).is_err()) => if ended.is_err() {
                return Err(gone());
            },
            // It may lead again before this is seen, in another term.
            _ = leadership.wait_for(|now| !now.is_leader() || *now != led) => return Err(gone()),
        }
        context.components.env.sleep(NEXT_ATTEMPT).await;
    }
}

fn check_runs(catalog: &Catalog, job: &str) -> Result<()> {
    match catalog.job(job).map(|job| job.status) {
        Some(status) if !status.is_terminal() => Ok(()),
        Some(status) => Err(EngineError::definition(format!(
            "job '{job}' is {status}: a savepoint is taken of a job that runs. `weir checkpoint export {job} --to PLACE` copies its newest \
             checkpoint"
        ))),
        None => Err(EngineError::definition(format!("there is no job '{job}'; `weir list` shows all jobs"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::supervisor::tests::{Bench, HOUR, JOB};

    /// Of a job whose storage is away, so that nothing is taken.
    async fn waiting() -> Bench {
        Bench::new(Arc::new(|| Err(EngineError::unavailable("away"))), || Ok(())).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_no_more_asks_for_no_savepoint_and_not_when_it_leads_again_either() {
        for next in [Leadership::Follower { leader: None }, Leadership::Leader { term: 2 }] {
            let bench = waiting().await;
            let (tell, leadership) = watch::channel(Leadership::Leader { term: 1 });
            let context = bench.context.clone();
            let taking = tokio::spawn(async move { taken(&context, JOB, leadership).await });
            bench.passes(HOUR).await;
            assert!(!taking.is_finished());
            tell.send_replace(next);
            let error = tokio::time::timeout(HOUR, taking).await.expect("it gives up").unwrap().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_that_has_stopped_takes_no_savepoints() {
        let bench = waiting().await;
        let desk = SavepointDesk::new(bench.context.clone());
        let request = pb::SavepointRequest { job: JOB.into(), ..pb::SavepointRequest::default() };
        assert!(desk.serve(request.clone()).await.unwrap().pending);
        bench.context.metadata.shutdown().await.unwrap();
        bench.passes(HOUR).await;
        assert_eq!(desk.serve(request).await.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(desk.requests.lock().len(), 1, "what has to wait is begun anew");
    }
}
