//! The runtime under the Raft library: tokio's, with the dice of [`Env`] instead of the thread's.
//!
//! The library asks for dice through a function without an argument. So they travel with the task, and every task inherits
//! those of the one that spawned it: [`with_dice`] around the start of a group member is enough. One seed, one run.
//!
//! [`Env`]: weir_engine::env::Env

use openraft::{AsyncRuntime, OptionalSend, TokioInstant, TokioRuntime, async_runtime::TokioOneShotSender};
use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use std::{future::Future, sync::Arc, time::Duration};

tokio::task_local! {
    static DICE: Dice;
}

/// Runs `future`, and all that it spawns through [`SeededRuntime`], with these dice.
pub(crate) async fn with_dice<F: Future>(dice: StdRng, future: F) -> F::Output {
    DICE.scope(Dice(Arc::new(Mutex::new(dice))), future).await
}

/// Tokio, with dice that were handed in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SeededRuntime;

/// Dice that tasks share, in the form that the Raft library wants.
#[derive(Clone, Debug)]
pub struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    fn roll<T>(&self, roll: impl FnOnce(&mut StdRng) -> T) -> T {
        // The dice stay intact even if a holder of the lock panicked.
        roll(&mut self.0.lock())
    }
}

impl rand_core::RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        self.roll(Rng::next_u32)
    }

    fn next_u64(&mut self) -> u64 {
        self.roll(Rng::next_u64)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.roll(|dice| dice.fill_bytes(bytes));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl AsyncRuntime for SeededRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Dice;
    type OneshotSender<T: OptionalSend> = TokioOneShotSender<T>;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match DICE.try_with(Dice::clone) {
            Ok(dice) => TokioRuntime::spawn(DICE.scope(dice, future)),
            Err(_) => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        DICE.try_with(Dice::clone).expect("every member of the group is started within `with_dice`")
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::RngCore;
    use weir_engine::env::Env;

    #[tokio::test]
    async fn what_is_spawned_throws_the_same_dice() {
        let throw = |seed| async move {
            let first = || async { SeededRuntime::thread_rng().next_u64() };
            let spawned = || SeededRuntime::spawn(async { SeededRuntime::thread_rng().next_u64() });
            with_dice(Env::seeded(seed).rng("test"), async { [first().await, spawned().await.unwrap()] }).await
        };
        assert_eq!(throw(1).await, throw(1).await);
        assert_ne!(throw(1).await, throw(2).await);
        let [first, second] = throw(1).await;
        assert_ne!(first, second, "they are not copied, they are shared");
    }
}
