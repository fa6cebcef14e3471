//! Doing again what a target did not do because it is away or busy: ever later, up to some seconds, and not in silence.

use backon::Retryable;
use std::time::Duration;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
    operator::CommitterContext,
    retry,
};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(50);

/// The longest pause.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// How long a target is waited for before a job starts. Then the attempt ends, and the job waits without one: it says what for.
pub(super) const AT_A_START: Duration = Duration::from_secs(15);

/// Why a target did not do a piece of work.
pub(super) trait Obstacle {
    /// What it said.
    fn message(&self) -> &str;

    /// The same for whoever does not try again.
    fn into_error(self) -> EngineError;
}

/// Pauses of one after another; they do not end.
pub(super) fn pauses(env: &Env) -> impl Iterator<Item = Duration> + Send + Sync + Unpin + use<> {
    retry::jittered(env, FIRST, LONGEST)
}

/// Does a piece of work, again and again, until it is done or fails in a way that waiting does not heal; with a limit, until it has
/// waited for so long. `target` is what is waited for, as the log has it: `the database`.
///
/// # Errors
/// With what waiting does not heal, or with what did not heal in time.
pub(super) async fn until_done<T, E, F>(
    context: &CommitterContext,
    target: &'static str,
    limit: Option<Duration>,
    heals: impl Fn(&E) -> bool,
    work: impl FnMut() -> F,
) -> Result<T>
where
    E: Obstacle,
    F: Future<Output = Result<T, E>>,
{
    let env = &context.env;
    let enough = limit.map(|limit| env.now() + limit);
    let mut wait = context.waiting(target);
    let done = work
        .retry(pauses(env))
        .sleep(retry::sleeper(env))
        .when(|obstacle| heals(obstacle) && enough.is_none_or(|enough| env.now() < enough))
        .notify(|obstacle, _| wait.goes_on(obstacle.message()))
        .await;
    match done {
        Ok(done) => {
            wait.is_over();
            Ok(done)
        }
        Err(obstacle) if heals(&obstacle) => {
            let waited_s = wait.seconds();
            Err(EngineError::unavailable(format!("{} (after {waited_s} s of trying)", obstacle.message())))
        }
        Err(obstacle) => Err(obstacle.into_error()),
    }
}
