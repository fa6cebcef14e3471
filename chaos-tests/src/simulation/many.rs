//! Many simulations at once: each is single-threaded, so as many run side by side as there are processors.

use parking_lot::Mutex;
use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Does `work` for every item, on all processors; `done` hears of each as soon as it is done. Results are in the order of the
/// items.
pub fn for_each<I: Sync, R: Send>(items: &[I], work: impl Fn(&I) -> R + Sync, done: impl Fn(&I, &R) + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..processors.min(items.len()) {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(index)
                {
                    let result = work(item);
                    done(item, &result);
                    results.lock().push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
