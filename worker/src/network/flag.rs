//! A flag that is set once, and those who wait for it.
//!
//! They are woken in the order in which they came. Those who wait at a watch channel are woken in an order that is thrown by
//! dice which cannot be seeded, and a simulation must be the same every time.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Not set, at first.
#[derive(Debug, Default)]
pub(super) struct Flag {
    set: AtomicBool,
    changed: Notify,
}

impl Flag {
    pub(super) fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until it is set.
    pub(super) async fn wait(&self) {
        // Made before the look: what is set after the look wakes it.
        let changed = self.changed.notified();
        if !self.is_set() {
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[tokio::test]
    async fn whoever_waits_is_woken_in_order_and_whoever_comes_later_does_not_wait() {
        let (flag, woken) = (Arc::new(Flag::default()), Arc::new(Mutex::new(Vec::new())));
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (flag, woken) = (flag.clone(), woken.clone());
            waiting.spawn(async move {
                flag.wait().await;
                woken.lock().push(number);
            });
        }
        tokio::task::yield_now().await;
        assert!(!flag.is_set() && woken.lock().is_empty());
        flag.set();
        waiting.join_all().await;
        assert!(woken.lock().is_sorted());
        flag.wait().await;
    }
}
