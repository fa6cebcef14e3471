//! The REST interface, `/api/v1`, and its OpenAPI document, which is made from the handlers' own descriptions.

use super::{
    Action, Doors, Refusal,
    described::{Locked, NoJob, OfJob, Refused},
};
use crate::status::{CheckpointTotals, CheckpointView, ClusterStatus, JobStatus, JobSummary, Snapshot, WorkerStatus};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use weir_http::{JsonLine, Problem};

/// So many known jobs are named when an unknown one was asked for.
const NAMED_JOBS: usize = 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Jobs, workers and checkpoints of a cluster. Times are milliseconds since the epoch. Errors are problem \
                       details (RFC 9457). An action needs the header `X-Weir-Request: 1` or the content type \
                       `application/json`, so that no foreign web page can ask for it, and, if the cluster has a secret, \
                       the header `Authorization: Bearer SECRET`. Where reading is protected, too, everything here does."
    ),
    components(schemas(Problem))
)]
struct Document;

/// What shows something, with its description.
pub(super) fn reading() -> OpenApiRouter<Doors> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(cluster))
        .routes(routes!(workers))
        .routes(routes!(jobs))
        .routes(routes!(job))
        .routes(routes!(checkpoints))
}

/// What changes something, with its description.
pub(super) fn actions() -> OpenApiRouter<Doors> {
    OpenApiRouter::new().routes(routes!(cancel)).routes(routes!(stop))
}

/// All workers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Workers {
    /// By id.
    workers: Vec<WorkerStatus>,
}

/// All jobs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Jobs {
    /// By id.
    jobs: Vec<JobSummary>,
}

/// The checkpoints of a job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Checkpoints {
    /// The job's id.
    job: String,
    /// Its newest completed checkpoints, oldest first.
    checkpoints: Vec<CheckpointView>,
    /// What all of them have cost.
    totals: CheckpointTotals,
    /// The newest one whose results are visible.
    committed: Option<u64>,
}

/// An action that was accepted. How far it is, the job's state says.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Accepted {
    /// The job's id.
    job: String,
    /// `cancel` or `stop`.
    #[schema(example = "stop")]
    action: String,
}

/// The cluster: coordinator, workers, and each job in one line.
#[utoipa::path(get, path = "/api/v1/cluster", tag = "cluster", responses((status = 200, body = ClusterStatus), Locked))]
async fn cluster(State(doors): State<Doors>) -> Response {
    JsonLine(&doors.board.newest().cluster).into_response()
}

/// All workers that the coordinator knows.
#[utoipa::path(get, path = "/api/v1/workers", tag = "cluster", responses((status = 200, body = Workers), Locked))]
async fn workers(State(doors): State<Doors>) -> Response {
    JsonLine(Workers { workers: doors.board.newest().cluster.workers.clone() }).into_response()
}

/// All jobs, each in one line.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", responses((status = 200, body = Jobs), Locked))]
async fn jobs(State(doors): State<Doors>) -> Response {
    JsonLine(Jobs { jobs: doors.board.newest().cluster.jobs.clone() }).into_response()
}

/// Everything about a job.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    tag = "jobs",
    params(OfJob),
    responses((status = 200, body = JobStatus), NoJob)
)]
async fn job(State(doors): State<Doors>, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let id = job_id(id)?;
    let snapshot = doors.board.newest();
    Ok(JsonLine(find(&snapshot, &id)?).into_response())
}

/// The newest checkpoints of a job, with duration and size.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/checkpoints",
    tag = "jobs",
    params(OfJob),
    responses((status = 200, body = Checkpoints), NoJob)
)]
async fn checkpoints(State(doors): State<Doors>, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let id = job_id(id)?;
    let snapshot = doors.board.newest();
    let job = find(&snapshot, &id)?;
    let shown = Checkpoints {
        job: id,
        checkpoints: job.checkpoints.clone(),
        totals: job.checkpoint_totals,
        committed: job.committed,
    };
    Ok(JsonLine(shown).into_response())
}

/// Ends a job at once, as it stands: results after its last checkpoint are dropped.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/cancel",
    tag = "jobs",
    params(OfJob),
    responses((status = 202, body = Accepted, description = "It is being done"), Refused)
)]
async fn cancel(State(doors): State<Doors>, id: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let id = job_id(id)?;
    let job = id.clone();
    ask(&doors, id, "cancel", |reply| Action::Cancel { job, reply }).await
}

/// How a job is stopped.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct StopParameters {
    /// Advance event time to its end first: all open windows fire, and the job is finished. Without it the job can resume
    /// later from its last checkpoint.
    #[serde(default)]
    #[param(required = false, default = false)]
    drain: bool,
}

/// Ends a job with a last checkpoint, whose results become visible.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/stop",
    tag = "jobs",
    params(OfJob, StopParameters),
    responses((status = 202, body = Accepted, description = "It is being done"), Refused)
)]
async fn stop(
    State(doors): State<Doors>,
    id: Result<Path<String>, PathRejection>,
    parameters: Result<Query<StopParameters>, QueryRejection>,
) -> Result<Response, Problem> {
    let id = job_id(id)?;
    let Query(StopParameters { drain }) = parameters
        .map_err(|rejection| Problem::bad_request(format!("{}; `drain` is true or false", rejection.body_text())))?;
    let job = id.clone();
    ask(&doors, id, "stop", |reply| Action::Stop { job, drain, reply }).await
}

fn job_id(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(rejection) => {
            Err(Problem::bad_request(format!("the job's id cannot be decoded: {}", rejection.body_text())))
        }
    }
}

fn find<'a>(snapshot: &'a Snapshot, id: &str) -> Result<&'a JobStatus, Problem> {
    snapshot.jobs.get(id).ok_or_else(|| unknown_job(snapshot, id))
}

fn unknown_job(snapshot: &Snapshot, id: &str) -> Problem {
    let known: Vec<&str> = snapshot.jobs.keys().map(String::as_str).take(NAMED_JOBS).collect();
    let more = snapshot.jobs.len() - known.len();
    Problem::not_found(match (known.is_empty(), more) {
        (true, _) => format!("there is no job '{id}'; there are no jobs"),
        (false, 0) => format!("there is no job '{id}'; there are: {}", known.join(", ")),
        (false, more) => format!("there is no job '{id}'; there are: {} and {more} more", known.join(", ")),
    })
}

/// Sends an action out and waits for its answer. Whether the job exists is decided there: the board may be a moment behind.
async fn ask(
    doors: &Doors,
    job: String,
    name: &str,
    action: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Action,
) -> Result<Response, Problem> {
    let stopping = || Problem::unavailable("the coordinator is about to stop, or is not the leader; try again");
    let (reply, answer) = oneshot::channel();
    doors.actions.send(action(reply)).await.map_err(|_| stopping())?;
    match answer.await.map_err(|_| stopping())? {
        Ok(()) => Ok((StatusCode::ACCEPTED, JsonLine(Accepted { job, action: name.into() })).into_response()),
        Err(Refusal::UnknownJob) => Err(unknown_job(&doors.board.newest(), &job)),
        Err(Refusal::Conflict(why)) => Err(Problem::conflict(why)),
        Err(Refusal::Unavailable(why)) => Err(Problem::unavailable(why)),
    }
}
