//! The sessions of all keys, in slots that are used again.

use super::accumulator::Accumulator;
use super::groups::GroupColumns;
use crate::table::{KeyColumns, Rows};
use arrow::array::ArrayRef;
use weir_engine::Result;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A session that has not been emitted.
    Open,
    /// A session whose latest result has the session's bounds.
    Emitted,
    /// A record that is to be taken back.
    Withdrawal,
    /// Nothing.
    Free,
}

/// One session, or the withdrawal of one.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) key: u32,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) kind: Kind,
    /// Of its latest result.
    pub(super) revision: i32,
    /// It was emitted and has changed since.
    pub(super) changed: bool,
    /// No accepted event can touch it any more.
    pub(super) expired: bool,
    /// When it is next looked at.
    pub(super) due: Option<i64>,
}

/// Sessions with their keys and accumulators.
#[derive(Debug, Clone, Default)]
pub(super) struct SessionStore {
    keys: KeyColumns,
    /// By slot.
    accumulators: Vec<Accumulator>,
    sessions: Vec<Session>,
    free: Vec<u32>,
}

impl SessionStore {
    pub(super) fn new(prototype: &GroupColumns) -> Result<Self> {
        Ok(SessionStore {
            keys: prototype.keys.empty()?,
            accumulators: prototype.accumulators.clone(),
            ..SessionStore::default()
        })
    }

    pub(super) fn keys(&self) -> &KeyColumns {
        &self.keys
    }

    pub(super) fn keys_mut(&mut self) -> &mut KeyColumns {
        &mut self.keys
    }

    pub(super) fn accumulators(&self) -> &[Accumulator] {
        &self.accumulators
    }

    pub(super) fn session(&self, slot: u32) -> &Session {
        &self.sessions[slot as usize]
    }

    pub(super) fn session_mut(&mut self, slot: u32) -> &mut Session {
        &mut self.sessions[slot as usize]
    }

    /// Slots in use.
    pub(super) fn held(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// The slots in use, in order.
    pub(super) fn slots(&self) -> Vec<u32> {
        (0..self.sessions.len() as u32).filter(|slot| self.session(*slot).kind != Kind::Free).collect()
    }

    /// A new session with nothing in it.
    pub(super) fn add(&mut self, key: u32, start: i64, end: i64, kind: Kind) -> u32 {
        self.put(Session { key, start, end, kind, revision: 0, changed: false, expired: false, due: None })
    }

    pub(super) fn put(&mut self, session: Session) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.sessions[slot as usize] = session;
                slot
            }
            None => {
                self.sessions.push(session);
                let slots = self.sessions.len();
                self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(slots));
                slots as u32 - 1
            }
        }
    }

    pub(super) fn free(&mut self, slot: u32) {
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.clear_group(slot as usize));
        let session = self.session_mut(slot);
        (session.kind, session.due, session.expired, session.changed) = (Kind::Free, None, false, false);
        self.free.push(slot);
    }

    /// Merges one row of partials into a session.
    pub(super) fn merge(&mut self, slot: u32, row: u32, states: &[Vec<ArrayRef>]) -> Result<()> {
        for (accumulator, states) in self.accumulators.iter_mut().zip(states) {
            accumulator.merge(&[slot], Rows::Some(&[row]), states)?;
        }
        Ok(())
    }

    /// Moves all of one session into another. If it had been emitted, its slot is left as its withdrawal.
    pub(super) fn absorb(&mut self, slot: u32, into: u32) -> Option<u32> {
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.move_group(slot as usize, into as usize));
        let session = self.session_mut(slot);
        if session.kind == Kind::Emitted {
            (session.kind, session.changed, session.due) = (Kind::Withdrawal, true, None);
            session.revision += 1;
            return Some(slot);
        }
        self.free(slot);
        None
    }

    /// Gives a session other bounds. If it had been emitted, it is a new record now, and the old one's withdrawal is returned.
    pub(super) fn move_bounds(&mut self, slot: u32, start: i64, end: i64) -> Option<u32> {
        let session = self.session_mut(slot);
        let before = session.clone();
        (session.start, session.end) = (start, end);
        if before.kind != Kind::Emitted {
            return None;
        }
        (session.kind, session.changed, session.revision) = (Kind::Open, false, 0);
        let withdrawal = self.add(before.key, before.start, before.end, Kind::Withdrawal);
        let session = self.session_mut(withdrawal);
        (session.revision, session.changed) = (before.revision + 1, true);
        Some(withdrawal)
    }

    /// Notes that a session has changed; true if it had been emitted and this is the first change since.
    pub(super) fn note_change(&mut self, slot: u32) -> bool {
        let session = self.session_mut(slot);
        session.kind == Kind::Emitted && !std::mem::replace(&mut session.changed, true)
    }

    /// Whether there is a result to be emitted again, or taken back; its revision is then the next.
    pub(super) fn revise(&mut self, slot: u32) -> bool {
        let session = self.session_mut(slot);
        let is_due = session.changed && matches!(session.kind, Kind::Emitted | Kind::Withdrawal);
        if is_due {
            session.changed = false;
            session.revision += i32::from(session.kind == Kind::Emitted);
        }
        is_due
    }

    /// Keeps only the keys in `used`, which are renumbered in this order.
    pub(super) fn renumber_keys(&mut self, used: &[u32], keys: KeyColumns) {
        let mut numbers = vec![u32::MAX; self.keys.len()];
        for (number, key) in used.iter().enumerate() {
            numbers[*key as usize] = number as u32;
        }
        for session in self.sessions.iter_mut().filter(|session| session.kind != Kind::Free) {
            session.key = numbers[session.key as usize];
        }
        self.keys = keys;
    }
}
