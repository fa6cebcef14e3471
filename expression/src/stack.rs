//! Room for the parser and the planner, which recurse.

use super::error::ExpressionError;

/// Parser and planner take up to 40 KiB a level where they are not optimised; the deepest expression that
/// [`super::parse`] lets through needs a quarter of this. Only what is touched becomes memory.
const PLANNER_STACK: usize = 32 << 20;

/// Runs `work` on a thread whose stack suffices for the deepest expression. This happens once for an expression and
/// each kind of batch that comes, not once a batch.
pub(super) fn on_planner_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ExpressionError> + Send,
) -> Result<T, ExpressionError> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("planner".into()).stack_size(PLANNER_STACK).spawn_scoped(scope, work);
        match thread.map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed("the planner failed on this expression".into())),
            Err(error) => Err(failed(format!("no thread could be started to plan this expression: {error}"))),
        }
    })
}

fn failed(message: String) -> ExpressionError {
    ExpressionError::Type { message }
}
