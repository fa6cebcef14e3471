//! Retries: how long they wait, on the environment's clock and with its dice, so that a simulation decides both. The loop is
//! `backon`'s.

use crate::env::Env;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{FutureExt, future::BoxFuture};
use std::time::Duration;

/// The first pause; each further one is twice as long, up to the longest. They do not end.
pub fn pauses(first: Duration, longest: Duration) -> impl Iterator<Item = Duration> + Send + Sync + Unpin {
    let growing = ExponentialBuilder::new().with_factor(2.0).with_min_delay(first).with_max_delay(longest);
    growing.without_max_times().build()
}

/// The same, each from half of it to all of it, so that those who were cut off together don't come back together.
pub fn jittered(
    env: &Env,
    first: Duration,
    longest: Duration,
) -> impl Iterator<Item = Duration> + Send + Sync + Unpin + use<> {
    let env = env.clone();
    pauses(first, longest).map(move |pause| pause.mul_f64(0.5 + share(&env) / 2.0))
}

/// A number from 0 to 1.
fn share(env: &Env) -> f64 {
    (env.nonce() % 1024) as f64 / 1024.0
}

/// Waits for a pause on the environment's clock.
pub fn sleeper(env: &Env) -> impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + use<> {
    let env = env.clone();
    move |pause| {
        let env = env.clone();
        async move { env.sleep(pause).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backon::Retryable;

    #[test]
    fn pauses_grow_to_the_longest() {
        let milliseconds = |pauses: &mut dyn Iterator<Item = Duration>| {
            pauses.take(6).map(|pause| pause.as_millis()).collect::<Vec<_>>()
        };
        let (first, longest) = (Duration::from_millis(50), Duration::from_millis(500));
        assert_eq!(milliseconds(&mut pauses(first, longest)), [50, 100, 200, 400, 500, 500]);
        let seeded = |seed| milliseconds(&mut jittered(&Env::seeded(seed), first, longest));
        assert_eq!(seeded(7), seeded(7), "a simulation can be repeated");
        assert_ne!(seeded(7), seeded(8));
        for (whole, some) in pauses(first, longest).zip(jittered(&Env::seeded(7), first, longest)).take(100) {
            assert!(some >= whole / 2 && some <= whole, "{some:?} of {whole:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_is_that_of_the_environment() {
        let env = Env::simulated(1, std::sync::Arc::new(|| 0));
        let (began, mut tries) = (env.now(), 0);
        let work = || {
            tries += 1;
            std::future::ready(if tries == 4 { Ok(tries) } else { Err("not yet") })
        };
        let pauses = pauses(Duration::from_secs(3_600), Duration::from_secs(86_400));
        assert_eq!(work.retry(pauses).sleep(sleeper(&env)).await, Ok(4));
        assert_eq!(env.now() - began, Duration::from_secs(7 * 3_600));
    }
}
