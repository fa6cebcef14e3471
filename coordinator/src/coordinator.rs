//! A whole coordinator: its ports, and, while it leads, a supervisor for every job that is not over.

use crate::{
    announce::{self, Caller},
    config::{CoordinatorComponents, CoordinatorSettings},
    door::{self, LetIn},
    http::{self, Action},
    job::{JobContext, LiveJobs, Waiting, savepoints::SavepointDesk, supervisor::Supervisor},
    leader::LeaderRoute,
    metadata::{Leadership, Metadata},
    publish::Publisher,
    rpc::{self, ClientService, WorkerService},
    status::StatusBoard,
    workers::Workers,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};
use tonic::{Code, Request, service::interceptor::InterceptedService};
use weir_engine::error::{EngineError, ErrorKind, Result};
use weir_http::{LimitedListener, Limits};
use weir_proto::{
    net::Listener,
    transport,
    v1::{
        JobRequest, StopRequest,
        client_server::{Client, ClientServer},
        worker_control_server::WorkerControlServer,
    },
};

/// Actions that wait to be served.
const WAITING_ACTIONS: usize = 64;

/// The delay before a failed supervisor is restarted.
const SUPERVISOR_PAUSE: Duration = Duration::from_secs(1);

/// A coordinator, not running yet. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    context: JobContext,
    leader: LeaderRoute,
    publisher: Publisher,
    savepoints: SavepointDesk,
    board: StatusBoard,
}

impl Coordinator {
    /// Over its replicated catalog, as node `node`.
    pub fn new(
        settings: CoordinatorSettings,
        components: CoordinatorComponents,
        metadata: Arc<Metadata>,
        node: u64,
    ) -> Self {
        let (env, live) = (components.env.clone(), LiveJobs::default());
        let workers = Workers::new(env.clone());
        let (network, secret) = (components.network.clone(), settings.secret.clone());
        let leader = LeaderRoute::new(metadata.clone(), network, secret, env.clone());
        let publisher = Publisher::new(metadata.clone(), workers.clone(), live.clone(), env, node);
        let context = JobContext { settings: Arc::new(settings), components, metadata, workers, live };
        let savepoints = SavepointDesk::new(context.clone());
        Coordinator { context, leader, publisher, savepoints, board: StatusBoard::default() }
    }

    /// Where workers come in.
    pub fn worker_service(&self) -> WorkerService {
        WorkerService {
            settings: self.context.settings.clone(),
            metadata: self.context.metadata.clone(),
            workers: self.context.workers.clone(),
        }
    }

    /// Where users come in.
    pub fn client_service(&self) -> ClientService {
        ClientService {
            metadata: self.context.metadata.clone(),
            leader: self.leader.clone(),
            publisher: self.publisher.clone(),
            context: self.context.clone(),
            savepoints: self.savepoints.clone(),
            env: self.context.components.env.clone(),
        }
    }

    /// Describes the current state.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// How the last failed attempt of a job failed, in more detail than the catalog's sentence. Known while this
    /// coordinator runs.
    pub fn failure(&self, job: &str) -> Option<EngineError> {
        self.context.live.of(job).failure
    }

    /// What a job waits for, if it waits.
    pub fn waiting(&self, job: &str) -> Option<Waiting> {
        self.context.live.of(job).waiting
    }

    /// Serves workers, users and other coordinators on `listener`, pages and REST on `http`, and drives jobs while it leads.
    ///
    /// # Errors
    /// When it cannot continue: a port is closed, or the catalog cannot be written any more.
    pub async fn run(self, listener: Box<dyn Listener>, http: Option<Box<dyn Listener>>) -> Result<()> {
        let (actions, asked) = mpsc::channel(WAITING_ACTIONS);
        let rpc = self.serve_rpc(listener);
        let pages = self.serve_http(http, actions);
        let caller = self.caller();
        tokio::select! {
            biased;
            done = rpc => done,
            done = pages => done,
            done = self.lead() => done,
            done = announce::announce(&caller, &self.context.metadata) => done,
            () = self.serve_actions(asked) => Err(EngineError::internal("nobody asks for actions any more")),
            () = self.publisher.publish(&self.board, &self.leader) => Ok(()),
            () = self.watch_workers() => Ok(()),
        }
    }

    fn caller(&self) -> Caller {
        let CoordinatorComponents { network, env, .. } = self.context.components.clone();
        let settings = &self.context.settings;
        Caller { network, secret: settings.secret.clone(), env, storage: settings.storage.clone() }
    }

    async fn serve_rpc(&self, listener: Box<dyn Listener>) -> Result<()> {
        let limit = transport::MAX_MESSAGE_BYTES;
        let workers = WorkerControlServer::new(self.worker_service()).max_decoding_message_size(limit);
        let clients = ClientServer::new(self.client_service()).max_decoding_message_size(limit);
        // Before anything of a message is read.
        let settings = &self.context.settings;
        let secret = LetIn::with(&settings.secret);
        let workers = InterceptedService::new(workers.max_encoding_message_size(limit), secret);
        let clients = InterceptedService::new(clients.max_encoding_message_size(limit), LetIn::users(&settings.keys()));
        let env = self.context.components.env.clone();
        let limits = Limits::of_callers(settings.descriptors, settings.heartbeat_interval);
        let listener = LimitedListener::new(listener, limits, env.clone());
        let dated = tower::util::MapResponseLayer::new(move |response| rpc::date(&env, response));
        let served = tonic::transport::Server::builder()
            .layer(dated)
            .layer(tower::util::MapRequestLayer::new(door::note_right))
            .add_service(workers)
            .add_service(clients)
            .add_service(self.context.metadata.raft_service())
            .serve_with_incoming(door::incoming(listener))
            .await;
        served.map_err(|error| EngineError::io(format!("the coordinator's port: {error}")))
    }

    async fn serve_http(&self, listener: Option<Box<dyn Listener>>, actions: mpsc::Sender<Action>) -> Result<()> {
        let Some(listener) = listener else { return std::future::pending().await };
        let router = http::router(self.board.clone(), actions, self.context.settings.access());
        let env = self.context.components.env.clone();
        let limits = Limits::of_pages(self.context.settings.descriptors);
        let served = weir_http::serve(listener, router, limits, env, std::future::pending()).await;
        served.map_err(|error| EngineError::io(format!("the coordinator's HTTP port: {error}")))
    }

    /// As a user's command would ask for it: the leader decides.
    async fn serve_actions(&self, mut asked: mpsc::Receiver<Action>) {
        let service = self.client_service();
        while let Some(action) = asked.recv().await {
            let (job, answer, reply) = match action {
                Action::Cancel { job, reply } => {
                    let answer = service.cancel(Request::new(JobRequest { job: job.clone() })).await;
                    (job, answer, reply)
                }
                Action::Stop { job, drain, reply } => {
                    let answer = service.stop(Request::new(StopRequest { job: job.clone(), drain })).await;
                    (job, answer, reply)
                }
            };
            let is_known = self.context.metadata.catalog().job(&job).is_some();
            let answer = answer.map(drop).map_err(|status| match status.code() {
                _ if !is_known => http::Refusal::UnknownJob,
                Code::InvalidArgument => http::Refusal::Conflict(status.message().into()),
                _ => http::Refusal::Unavailable(status.message().into()),
            });
            // The caller may be gone.
            let _ = reply.send(answer);
        }
    }

    /// What is looked at now and then.
    async fn watch_workers(&self) {
        let settings = &self.context.settings;
        loop {
            self.context.components.env.sleep(settings.heartbeat_interval).await;
            self.context.workers.give_up_silent(settings);
            self.context.workers.cancel_strays();
            let members = self.context.metadata.members();
            self.context.workers.tell_coordinators(members.into_iter().map(|member| member.address).collect());
        }
    }

    /// While it leads: a supervisor for every job that is not over.
    ///
    /// # Errors
    /// When a supervisor cannot continue.
    pub async fn lead(&self) -> Result<()> {
        let mut catalog = self.context.metadata.watch();
        let mut leadership = self.context.metadata.leadership();
        let mut supervisors: JoinSet<Result<()>> = JoinSet::new();
        let mut supervised: Vec<(Id, String)> = Vec::new();
        let mut leads = false;
        loop {
            catalog.mark_unchanged();
            leadership.mark_unchanged();
            if leadership.borrow().is_leader() {
                if !leads {
                    leads = true;
                    self.context.workers.expect(self.context.undriven(self.context.metadata.catalog().jobs()));
                }
                let running: BTreeSet<String> = supervised.iter().map(|(_, job)| job.clone()).collect();
                for job in self.jobs_to_supervise().difference(&running) {
                    let supervisor = supervise(self.context.clone(), job.clone());
                    supervised.push((supervisors.spawn(supervisor).id(), job.clone()));
                }
            } else {
                leads = false;
                supervisors.shutdown().await;
                supervised.clear();
                self.context.workers.clear();
            }
            tokio::select! {
                biased;
                Some(ended) = supervisors.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result),
                        Err(error) => (error.id(), Err(EngineError::internal(format!("a supervisor panicked: {error}")))),
                    };
                    supervised.retain(|(of, _)| *of != id);
                    result?;
                }
                changed = leadership.changed() => {
                    if changed.is_err() || matches!(*leadership.borrow(), Leadership::Stopped { .. }) {
                        return Err(self.context.metadata.why_stopped());
                    }
                }
                // It may end before leadership says so.
                changed = catalog.changed() => if changed.is_err() {
                    return Err(self.context.metadata.why_stopped());
                },
            }
        }
    }

    fn jobs_to_supervise(&self) -> BTreeSet<String> {
        let catalog = self.context.metadata.catalog();
        catalog.jobs().filter(|job| !job.status.is_terminal()).map(|job| job.name.clone()).collect()
    }
}

/// Supervises a job until it is over. One job's trouble (a decision that was not taken in time, say) is no other's: its
/// supervisor begins again, from what the catalog says.
async fn supervise(context: JobContext, job: String) -> Result<()> {
    let env = context.components.env.clone();
    loop {
        match Supervisor::new(context.clone(), &job).run().await {
            Err(error) if error.kind != ErrorKind::Crash => {
                // What it drove may still run.
                context.workers.expect(context.undriven(context.metadata.catalog().job(&job)));
                tracing::error!(job, %error, "the supervisor of a job failed; restarting it");
                env.sleep(SUPERVISOR_PAUSE).await;
            }
            ended => return ended,
        }
    }
}
