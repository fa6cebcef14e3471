//! The lives of all keys of a global window, in slots that are used again.
//!
//! A *life* of a key is from its first event to its last. An event that is less than the time to live away from a life belongs to
//! it; one that is further away begins another. Without a time to live a key has one life. The newest is what the key's result is
//! made of; earlier ones are held for as long as an accepted event may still join them to it.

use super::accumulator::Accumulator;
use super::groups::GroupColumns;
use crate::table::{ChangedGroups, GroupTable, KeyColumns, Rows};
use arrow::array::ArrayRef;
use hashbrown::HashMap;
use std::{cmp::Reverse, collections::BinaryHeap};
use weir_engine::{EngineError, Result};

/// No slot.
const NONE: u32 = u32::MAX;

/// One life.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) key: u32,
    pub(super) first: i64,
    pub(super) last: i64,
    /// The key's latest result has all of it.
    pub(super) emitted: bool,
    /// The checkpoint that it was last written with.
    pub(super) version: i64,
    /// No accepted event can join it any more.
    over: bool,
    /// When it is next looked at.
    due: Option<i64>,
}

impl Life {
    pub(super) fn of(key: u32, first: i64, last: i64) -> Self {
        Life { key, first, last, emitted: false, version: 0, over: false, due: None }
    }
}

/// All lives, with their keys and accumulators.
#[derive(Debug)]
pub(super) struct Lives {
    /// None: a key lives for ever.
    ttl_ms: Option<i64>,
    table: GroupTable,
    keys: KeyColumns,
    /// By key number: the slot of its newest life.
    newest: Vec<u32>,
    /// The other lives of keys that have several.
    older: HashMap<u32, Vec<u32>>,
    /// By slot; those that are free belong to no key.
    lives: Vec<Life>,
    accumulators: Vec<Accumulator>,
    free: Vec<u32>,
    /// When lives are next looked at. An entry that its life no longer agrees with is ignored.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    /// Slots that differ from what the last checkpoint holds.
    unsaved: ChangedGroups,
    /// Keys whose newest life has changed since it was emitted, or may have.
    unemitted: ChangedGroups,
    /// Slots that are over and emitted. They are held until a checkpoint says so of them.
    ended: Vec<u32>,
    assigned: Vec<u32>,
    opened: Vec<u32>,
}

impl Lives {
    pub(super) fn new(prototype: &GroupColumns, ttl_ms: Option<i64>) -> Result<Self> {
        Ok(Lives {
            ttl_ms,
            table: GroupTable::with_capacity(0),
            keys: prototype.keys.empty()?,
            newest: Vec::new(),
            older: HashMap::new(),
            lives: Vec::new(),
            accumulators: prototype.accumulators.clone(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            unsaved: ChangedGroups::default(),
            unemitted: ChangedGroups::default(),
            ended: Vec::new(),
            assigned: Vec::new(),
            opened: Vec::new(),
        })
    }

    /// Number of lives that are held.
    pub(super) fn held(&self) -> usize {
        self.lives.len() - self.free.len()
    }

    /// Number of lives that are held once those that have ended are dropped.
    pub(super) fn staying(&self) -> usize {
        self.held() - self.ended.len()
    }

    pub(super) fn life(&self, slot: u32) -> &Life {
        &self.lives[slot as usize]
    }

    pub(super) fn keys(&self) -> &KeyColumns {
        &self.keys
    }

    pub(super) fn accumulators(&self) -> &[Accumulator] {
        &self.accumulators
    }

    pub(super) fn hash_of(&self, slot: u32) -> u128 {
        self.table.hashes()[self.life(slot).key as usize]
    }

    /// The slots in use.
    pub(super) fn slots(&self) -> Vec<u32> {
        let newest = self.newest.iter().copied().filter(|slot| *slot != NONE);
        newest.chain(self.older.values().flatten().copied()).collect()
    }

    /// The number of the key of each row.
    pub(super) fn assign_keys(&mut self, hashes: &[u128], keys: &[ArrayRef]) -> Result<Vec<u32>> {
        let assigned = self.table.assign(hashes, &mut self.assigned, &mut self.opened);
        assigned.map_err(|full| EngineError::internal(full.to_string()))?;
        if !self.opened.is_empty() {
            self.keys.append(keys, Rows::Some(&self.opened))?;
            self.newest.resize(self.table.len(), NONE);
        }
        Ok(std::mem::take(&mut self.assigned))
    }

    /// Takes back the memory of [`assign_keys`](Self::assign_keys).
    pub(super) fn reuse(&mut self, assigned: Vec<u32>) {
        self.assigned = assigned;
    }

    /// Merges rows of partials, each into the life of its key that its time belongs to.
    pub(super) fn merge(&mut self, keys: &[u32], times: &[i64], states: &[Vec<ArrayRef>]) -> Result<()> {
        let (mut slots, mut rows) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for (row, (key, time)) in keys.iter().zip(times).enumerate() {
            let slot = match self.only_life(*key) {
                Some(only) if self.ttl_ms.is_none() => self.extend(only, i64::MIN, i64::MAX),
                None if self.ttl_ms.is_none() => self.add(Life::of(*key, i64::MIN, i64::MAX)),
                Some(only) if self.touches(only, *time, *time) => self.extend(only, *time, *time),
                _ => {
                    let touched = self.touched(*key, *time, *time);
                    if touched.len() > 1 {
                        // Lives become one: what waits to be merged may be of any of them.
                        self.merge_states(&slots, &rows, states)?;
                        slots.clear();
                        rows.clear();
                    }
                    self.unite(*key, &touched, *time)
                }
            };
            slots.push(slot);
            rows.push(row as u32);
        }
        self.merge_states(&slots, &rows, states)
    }

    fn merge_states(&mut self, slots: &[u32], rows: &[u32], states: &[Vec<ArrayRef>]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        for (accumulator, states) in self.accumulators.iter_mut().zip(states) {
            accumulator.merge(slots, Rows::Some(rows), states)?;
        }
        Ok(())
    }

    /// Merges one row of partials into a life.
    pub(super) fn merge_row(&mut self, slot: u32, row: u32, states: &[Vec<ArrayRef>]) -> Result<()> {
        self.merge_states(&[slot], &[row], states)
    }

    /// The lives of a key that something from `first` to `last` would belong to.
    fn touched(&self, key: u32, first: i64, last: i64) -> Vec<u32> {
        self.lives_of(key).filter(|slot| self.touches(*slot, first, last)).collect()
    }

    fn touches(&self, slot: u32, first: i64, last: i64) -> bool {
        let Some(ttl) = self.ttl_ms else { return true };
        let life = self.life(slot);
        first < life.last.saturating_add(ttl) && life.first < last.saturating_add(ttl)
    }

    fn lives_of(&self, key: u32) -> impl Iterator<Item = u32> {
        let newest = self.newest.get(key as usize).copied().filter(|slot| *slot != NONE);
        newest.into_iter().chain(self.older.get(&key).into_iter().flatten().copied())
    }

    /// The life of a key that has one only.
    fn only_life(&self, key: u32) -> Option<u32> {
        Some(self.newest[key as usize]).filter(|slot| *slot != NONE && !self.older.contains_key(&key))
    }

    /// Makes one life of those that a time touches, and a new one if it touches none.
    fn unite(&mut self, key: u32, touched: &[u32], time: i64) -> u32 {
        let Some((into, absorbed)) = touched.split_first() else { return self.add(Life::of(key, time, time)) };
        for slot in absorbed {
            let (first, last) = (self.life(*slot).first, self.life(*slot).last);
            self.accumulators.iter_mut().for_each(|one| one.move_group(*slot as usize, *into as usize));
            self.drop_life(*slot);
            self.extend(*into, first, last);
        }
        self.extend(*into, time, time)
    }

    /// Lets a life last from one time to another, too.
    fn extend(&mut self, slot: u32, first: i64, last: i64) -> u32 {
        let life = &mut self.lives[slot as usize];
        (life.first, life.last, life.emitted) = (life.first.min(first), life.last.max(last), false);
        let key = life.key;
        self.note(slot);
        self.settle_newest(key, slot);
        slot
    }

    /// Adds a life.
    pub(super) fn add(&mut self, life: Life) -> u32 {
        let key = life.key;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.lives[slot as usize] = life;
                slot
            }
            None => {
                self.lives.push(life);
                let slots = self.lives.len();
                self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(slots));
                slots as u32 - 1
            }
        };
        match self.newest[key as usize] {
            NONE => self.newest[key as usize] = slot,
            _ => self.older.entry(key).or_default().push(slot),
        }
        self.settle_newest(key, slot);
        self.note(slot);
        self.schedule(slot);
        slot
    }

    fn note(&mut self, slot: u32) {
        let key = self.life(slot).key;
        self.unsaved.note(&[slot], self.lives.len());
        self.unemitted.note(&[key], self.newest.len());
    }

    /// Lets the newest life of a key be where that is looked for, when one of them has moved.
    fn settle_newest(&mut self, key: u32, moved: u32) {
        let newest = self.newest[key as usize];
        if newest == moved || newest == NONE {
            return;
        }
        if self.lives[moved as usize].first > self.lives[newest as usize].first {
            self.newest[key as usize] = moved;
            if let Some(place) = self.older.get_mut(&key).and_then(|all| all.iter_mut().find(|slot| **slot == moved)) {
                *place = newest;
            }
        }
    }

    fn schedule(&mut self, slot: u32) {
        let Some(ttl) = self.ttl_ms else { return };
        let life = &mut self.lives[slot as usize];
        let time = expiry(life.last, ttl);
        // One that is due earlier is scheduled again when it is looked at.
        if life.due.is_none_or(|due| due > time) {
            life.due = Some(time);
            self.due.push(Reverse((time, slot)));
        }
    }

    /// Forgets lives that no accepted event can join any more, but for those whose result is still to be emitted.
    pub(super) fn expire(&mut self, watermark: i64) {
        let Some(ttl) = self.ttl_ms else { return };
        while let Some(Reverse((time, slot))) = self.due.peek().copied().filter(|due| due.0.0 <= watermark) {
            self.due.pop();
            let life = &mut self.lives[slot as usize];
            if life.due != Some(time) {
                continue;
            }
            life.due = None;
            if expiry(life.last, ttl) > watermark {
                self.schedule(slot);
            } else if self.newest[life.key as usize] == slot {
                self.end_newest(slot);
            } else {
                self.drop_life(slot);
            }
        }
    }

    /// Earlier lives have ended before the newest one, and must not come to be the key's result by its end.
    fn end_newest(&mut self, slot: u32) {
        let key = self.life(slot).key;
        for older in self.older.get(&key).cloned().unwrap_or_default() {
            self.drop_life(older);
        }
        match self.life(slot).emitted {
            true => self.drop_life(slot),
            false => self.lives[slot as usize].over = true,
        }
    }

    /// The newest lives that have changed since they were emitted. They count as emitted then; those that are over have ended, and
    /// are dropped by [`drop_ended`](Self::drop_ended).
    pub(super) fn take_unemitted(&mut self) -> Vec<u32> {
        let keys = self.unemitted.groups().iter().copied();
        let newest = keys.map(|key| self.newest[key as usize]).filter(|slot| *slot != NONE);
        let slots: Vec<u32> = newest.filter(|slot| !self.life(*slot).emitted).collect();
        self.unemitted.clear();
        for slot in &slots {
            self.lives[*slot as usize].emitted = true;
        }
        self.unsaved.note(&slots, self.lives.len());
        self.ended.extend(slots.iter().filter(|slot| self.lives[**slot as usize].over));
        slots
    }

    /// Drops the lives that are over and emitted: a checkpoint has that now.
    pub(super) fn drop_ended(&mut self) {
        for slot in std::mem::take(&mut self.ended) {
            self.drop_life(slot);
        }
    }

    fn drop_life(&mut self, slot: u32) {
        let key = self.life(slot).key;
        let older = self.older.remove(&key).unwrap_or_default();
        let mut left: Vec<u32> = older.into_iter().filter(|held| *held != slot).collect();
        if self.newest[key as usize] == slot {
            let next = left.iter().copied().max_by_key(|held| self.life(*held).first);
            left.retain(|held| Some(*held) != next);
            self.newest[key as usize] = next.unwrap_or(NONE);
        }
        if !left.is_empty() {
            self.older.insert(key, left);
        }
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.clear_group(slot as usize));
        self.lives[slot as usize].due = None;
        self.lives[slot as usize].over = false;
        self.free.push(slot);
    }

    /// Keys that have no life any more stay in the table until they are most of it.
    pub(super) fn forget_idle_keys(&mut self) -> Result<()> {
        if self.table.len() < 1024 || self.table.len() < 4 * self.held() {
            return Ok(());
        }
        let used: Vec<u32> = (0..self.table.len() as u32).filter(|key| self.newest[*key as usize] != NONE).collect();
        let hashes: Vec<u128> = used.iter().map(|key| self.table.hashes()[*key as usize]).collect();
        let mut keys = self.keys.empty()?;
        keys.append(&self.keys.arrays(Rows::Some(&used))?, Rows::All(used.len()))?;
        self.keys = keys;
        self.table = GroupTable::with_capacity(used.len());
        let assigned = self.table.assign(&hashes, &mut self.assigned, &mut self.opened);
        assigned.map_err(|full| EngineError::internal(full.to_string()))?;
        let mut older = HashMap::new();
        let mut unemitted = ChangedGroups::default();
        let mut newest = Vec::with_capacity(used.len());
        for (number, key) in used.iter().enumerate() {
            let number = number as u32;
            for slot in self.lives_of(*key).collect::<Vec<_>>() {
                self.lives[slot as usize].key = number;
            }
            newest.push(self.newest[*key as usize]);
            older.extend(self.older.remove(key).map(|slots| (number, slots)));
            if self.unemitted.flags().get(*key as usize).copied().unwrap_or(false) {
                unemitted.note(&[number], used.len());
            }
        }
        (self.newest, self.older, self.unemitted) = (newest, older, unemitted);
        Ok(())
    }

    /// What has changed since the last checkpoint, or all that there is; it counts as written with this one.
    pub(super) fn take_unsaved(&mut self, all: bool, version: i64) -> Vec<u32> {
        let slots = match all {
            true => self.slots(),
            // A slot may have become free since, or be another life's.
            false => self.unsaved.groups().iter().copied().filter(|slot| self.is_held(*slot)).collect(),
        };
        self.unsaved.clear();
        for slot in &slots {
            self.lives[*slot as usize].version = version;
        }
        slots
    }

    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    fn is_held(&self, slot: u32) -> bool {
        self.lives_of(self.life(slot).key).any(|held| held == slot)
    }

    /// Takes back a life that a checkpoint held, unless what it became later is there already; gives back its slot.
    pub(super) fn restore(&mut self, life: Life) -> Option<u32> {
        let touched = self.touched(life.key, life.first, life.last);
        if touched.iter().any(|slot| self.life(*slot).version > life.version) {
            return None;
        }
        touched.iter().for_each(|slot| self.drop_life(*slot));
        Some(self.add(life))
    }

    /// Nothing of what was restored differs from what the checkpoint holds.
    pub(super) fn settle_restored(&mut self) {
        self.unsaved.clear();
    }
}

/// The watermark at which a life is over: an accepted event may be behind by the time to live, and the life is kept so long after
/// its last event.
fn expiry(last: i64, ttl: i64) -> i64 {
    last.saturating_add(ttl).saturating_add(ttl)
}
