//! Workers that are leaving: they take no new subtasks, jobs move off them to free slots elsewhere, and when nothing is left for them
//! to do they are released.

use super::{State, Worker, Workers, give};
use std::collections::{BTreeMap, BTreeSet};
use weir_engine::wire::AttemptKey;
use weir_proto::v1::{self as pb, coordinator_message::Kind};

/// Whether a job that runs on a worker that is leaving can move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// It runs on no such worker.
    NotNeeded,
    /// Its slots elsewhere are reserved; it moves off these workers.
    Reserved(BTreeSet<String>),
    /// There is no room elsewhere: which workers it is to move off, and how many slots others have for it.
    NoRoom(BTreeSet<String>, usize),
}

impl Workers {
    /// Reserves slots for a job whose attempt runs on workers that are leaving, where there are enough: those that its attempt has on
    /// others, and free ones. `place` says which slots of those it takes. Nobody else takes them until its next attempt has its slots.
    pub fn reserve(
        &self,
        key: &AttemptKey,
        place: impl FnOnce(&BTreeMap<String, usize>) -> Option<BTreeMap<String, usize>>,
    ) -> Move {
        let mut state = self.lock();
        let Some(attempt) = state.attempts.get(key) else { return Move::NotNeeded };
        let is_leaving = |worker: &&String| state.workers.get(*worker).is_some_and(|there| there.leaving);
        let off: BTreeSet<String> = attempt.slots.keys().filter(is_leaving).cloned().collect();
        if off.is_empty() {
            return Move::NotNeeded;
        }
        let mut elsewhere = state.free(Some(&key.job));
        for (worker, slots) in &attempt.slots {
            if let Some(free) = elsewhere.get_mut(worker).filter(|_| !off.contains(worker)) {
                *free += slots;
            }
        }
        // Until it is known what becomes of attempts that may run, their slots are not free.
        match place(&elsewhere).filter(|_| state.expected.is_empty()) {
            Some(slots) => {
                state.reserved.insert(key.job.clone(), slots);
                drop(state);
                self.change();
                Move::Reserved(off)
            }
            None => Move::NoRoom(off, elsewhere.values().sum()),
        }
    }

    /// Those of some workers that are leaving.
    pub fn leaving_of(&self, workers: &BTreeSet<String>) -> BTreeSet<String> {
        let state = self.lock();
        let is_leaving = |worker: &&String| state.workers.get(*worker).is_some_and(|there| there.leaving);
        workers.iter().filter(is_leaving).cloned().collect()
    }

    /// A job moves no more.
    pub fn forget_reserved(&self, job: &str) {
        if self.lock().reserved.remove(job).is_some() {
            self.change();
        }
    }
}

impl Worker {
    /// Whether its newest heartbeat is the first to say that it is leaving.
    pub(super) fn begins_to_leave(&mut self) -> bool {
        let begins = self.heartbeat.leaving && !self.leaving;
        if begins {
            tracing::info!(
                worker = self.registration.worker,
                "worker is leaving: jobs move off it to free slots elsewhere"
            );
        }
        self.leaving |= begins;
        begins
    }
}

impl State {
    /// Workers that are not leaving.
    pub(super) fn staying(&self) -> impl Iterator<Item = &String> {
        self.workers.iter().filter(|(_, worker)| !worker.leaving).map(|(name, _)| name)
    }

    /// Slots on a worker that jobs other than this one are about to move to, besides those that they have there.
    pub(super) fn reserved_on(&self, worker: &str, but_of: Option<&str>) -> usize {
        let others = self.reserved.iter().filter(|(job, _)| Some(job.as_str()) != but_of);
        let more = others.filter_map(|(job, slots)| {
            let of_job = self.attempts.iter().filter(|(key, _)| key.job == *job);
            let has: usize = of_job.filter_map(|(_, attempt)| attempt.slots.get(worker)).sum();
            slots.get(worker).map(|reserved| reserved.saturating_sub(has))
        });
        more.sum()
    }

    /// Releases a worker that is leaving if nothing runs there, is to run there, or was asked of it, as it says itself, too.
    pub(super) fn release_if_idle(&mut self, name: &str) {
        let has_slots = self.attempts.values().any(|attempt| attempt.slots.contains_key(name));
        let is_asked = self.pending.values().any(|pending| pending.worker == name);
        let Some(worker) = self.workers.get_mut(name) else { return };
        let is_idle = worker.heartbeat.subtasks.is_empty() && !has_slots && !is_asked;
        if worker.leaving && !worker.released && is_idle {
            worker.released = true;
            give(&worker.orders, Kind::Released(pb::Nothing {}));
        }
    }
}

#[cfg(test)]
mod tests;
