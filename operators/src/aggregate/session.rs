//! Aggregates over sessions: per key, events that are less than the gap apart.
//!
//! A session is `[first event, last event + gap)`. A late event may extend a session or join two; they are held until no
//! accepted event can touch them, so that the final sessions are a function of the accepted rows alone. A record is
//! identified by its session's bounds. So when a session that had been emitted gets other bounds, its record is *withdrawn*:
//! emitted once more under the same id, with the next revision, as `withdrawn` and with nulls for values; and the session that
//! took its events is a new record.

use super::config::AggregateConfig;
use super::emission::{Emission, Partials, Results, outputs};
use super::groups::{GroupColumns, Scratch};
use super::session_state::SessionState;
use super::session_store::{Kind, Session, SessionStore};
use crate::ports;
use crate::table::{GroupTable, Rows};
use arrow::{array::UInt32Array, record_batch::RecordBatch};
use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port, WATERMARK_MIN},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Operator, OperatorContext},
    state::{Change, Segment, Snapshot, StateRows},
};

const SEGMENT: &str = "sessions";

/// The operator. Counts as [`GlobalAggregate`](super::GlobalAggregate) does, and sessions as `windows`; withdrawals are
/// corrections.
#[derive(Debug)]
pub struct SessionAggregate {
    config: AggregateConfig,
    context: OperatorContext,
    gap_ms: i64,
    hasher: KeyHasher,
    layout: Option<Layout>,
    keys: GroupTable,
    /// Shared with a snapshot that is being written; copied if it changes meanwhile.
    store: Arc<SessionStore>,
    /// The sessions of each key, in no particular order: hardly ever more than two.
    by_key: Vec<Vec<u32>>,
    /// When each session is next due, to be emitted or dropped. An entry that its session no longer agrees with is ignored.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    /// Emitted sessions that have changed since, and withdrawals.
    pending: Vec<u32>,
    emitted_until: i64,
    unsaved: bool,
    scratch: Scratch,
    opened: Vec<u32>,
    counters: SessionCounters,
}

#[derive(Debug)]
struct SessionCounters {
    events_counted: Counter,
    late: Counter,
    windows: Counter,
    groups_emitted: Counter,
    corrections: Counter,
}

#[derive(Debug)]
struct Layout {
    prototype: GroupColumns,
    emission: Emission,
    state: SessionState,
}

impl SessionAggregate {
    /// One instance.
    ///
    /// # Errors
    /// When the settings make no sense, or ask for windows that are not sessions.
    pub fn new(config: AggregateConfig, context: &OperatorContext) -> Result<Self> {
        config.validate().map_err(|error| error.context(&context.operator))?;
        let crate::window::WindowSpec::Session { gap_ms } = config.windows.window else {
            return Err(EngineError::internal(format!("'{}': the windows are not sessions", context.operator)));
        };
        let counter = |name| context.counters.counter(name);
        Ok(SessionAggregate {
            context: context.clone(),
            gap_ms,
            hasher: KeyHasher::new(config.key.clone()),
            layout: None,
            keys: GroupTable::with_capacity(0),
            store: Arc::new(SessionStore::default()),
            by_key: Vec::new(),
            due: BinaryHeap::new(),
            pending: Vec::new(),
            emitted_until: WATERMARK_MIN,
            unsaved: false,
            scratch: Scratch::default(),
            opened: Vec::new(),
            counters: SessionCounters {
                events_counted: counter("events_counted"),
                late: counter("late"),
                windows: counter("windows"),
                groups_emitted: counter("groups_emitted"),
                corrections: counter("corrections"),
            },
            config,
        })
    }

    fn lay_out(&mut self, prototype: GroupColumns) -> Result<()> {
        self.store = Arc::new(SessionStore::new(&prototype)?);
        self.layout = Some(Layout {
            emission: Emission::new(&self.config, &self.context, &prototype),
            state: SessionState::new(&self.config, &prototype, self.context.max_parallelism),
            prototype,
        });
        Ok(())
    }

    /// Finds or adds the key of each row; their numbers are in `scratch.groups` afterwards.
    fn assign_keys(&mut self, hashes: &[u128], keys: &[arrow::array::ArrayRef]) -> Result<()> {
        let assigned = self.keys.assign(hashes, &mut self.scratch.groups, &mut self.opened);
        assigned.map_err(|full| EngineError::internal(format!("'{}': {full}", self.context.operator)))?;
        if !self.opened.is_empty() {
            Arc::make_mut(&mut self.store).keys_mut().append(keys, Rows::Some(&self.opened))?;
            self.by_key.resize(self.keys.len(), Vec::new());
        }
        Ok(())
    }

    /// The session that an event of a key falls into, made or merged as needed.
    fn session_of(&mut self, key: u32, time: i64) -> u32 {
        let store = Arc::make_mut(&mut self.store);
        let (mut start, mut end) = (time, time.saturating_add(self.gap_ms));
        let of_key = &mut self.by_key[key as usize];
        let touching = |slot: &u32| {
            let session = store.session(*slot);
            session.start < end && time < session.end
        };
        let touched: Vec<u32> = of_key.iter().copied().filter(touching).collect();
        let Some(into) = touched.iter().copied().min_by_key(|slot| store.session(*slot).start) else {
            let slot = store.add(key, start, end, Kind::Open);
            of_key.push(slot);
            self.schedule(slot, end);
            return slot;
        };
        for slot in &touched {
            let session = store.session(*slot);
            (start, end) = (start.min(session.start), end.max(session.end));
        }
        for slot in touched.iter().filter(|slot| **slot != into) {
            of_key.retain(|held| held != slot);
            self.pending.extend(store.absorb(*slot, into));
        }
        let session = store.session(into);
        if (session.start, session.end) != (start, end) {
            self.pending.extend(store.move_bounds(into, start, end));
            self.schedule(into, end);
        } else if store.note_change(into) {
            self.pending.push(into);
        }
        into
    }

    /// Makes sure that the session is looked at when the watermark gets to `time`.
    fn schedule(&mut self, slot: u32, time: i64) {
        let session = Arc::make_mut(&mut self.store).session_mut(slot);
        // A session that is due earlier is rescheduled when it is looked at.
        if session.due.is_none_or(|due| due > time) {
            session.due = Some(time);
            self.due.push(Reverse((time, slot)));
        }
    }

    /// Takes what is due at a watermark out of the queue: sessions to emit for the first time.
    fn closed(&mut self, watermark: i64) -> Vec<u32> {
        let (mut closed, mut expired) = (Vec::new(), Vec::new());
        while let Some(Reverse((time, slot))) = self.due.peek().copied().filter(|due| due.0.0 <= watermark) {
            self.due.pop();
            let rule = self.config.windows;
            let session = Arc::make_mut(&mut self.store).session_mut(slot);
            if session.due != Some(time) {
                continue;
            }
            session.due = None;
            let (end, is_open) = (session.end, session.kind == Kind::Open);
            if is_open && end <= watermark {
                session.kind = Kind::Emitted;
                closed.push(slot);
            }
            match (end <= watermark, rule.expiry(end) <= watermark) {
                (_, true) => expired.push(slot),
                (true, false) => self.schedule(slot, rule.expiry(end)),
                (false, _) => self.schedule(slot, end),
            }
        }
        // They are emitted first, and dropped after that.
        expired.iter().for_each(|slot| Arc::make_mut(&mut self.store).session_mut(*slot).expired = true);
        self.pending.extend(expired);
        closed
    }

    fn emit(&self, slots: &[u32], layout: &Layout, out: &mut Collector) -> Result<()> {
        let store = &self.store;
        let sessions = || slots.iter().map(|slot| store.session(*slot));
        let is_withdrawn = |session: &Session| session.kind == Kind::Withdrawal;
        let keys: Vec<u32> = sessions().map(|session| session.key).collect();
        let (aggregates, mut unsayable) = outputs(store.accumulators(), Rows::Some(slots))?;
        // Of a session that is withdrawn nothing has to be said.
        unsayable.retain(|one| !is_withdrawn(store.session(slots[one.row])));
        layout.emission.emit(
            Port::MAIN,
            Results {
                hashes: Arc::new(keys.iter().map(|key| self.keys.hashes()[*key as usize]).collect()),
                keys: store.keys().arrays(Rows::Some(&keys))?,
                window_starts: sessions().map(|session| session.start).collect(),
                window_ends: sessions().map(|session| session.end).collect(),
                aggregates,
                revisions: sessions().map(|session| session.revision).collect(),
                withdrawn: sessions()
                    .any(is_withdrawn)
                    .then(|| sessions().map(|session| Some(is_withdrawn(session))).collect()),
                unsayable,
            },
            out,
        )
    }

    /// Forgets sessions and withdrawals that are done with.
    fn drop_done(&mut self, slots: &[u32]) {
        let store = Arc::make_mut(&mut self.store);
        for slot in slots {
            let session = store.session(*slot);
            let is_done = session.expired || session.kind == Kind::Withdrawal;
            if is_done && session.kind != Kind::Free {
                self.by_key[session.key as usize].retain(|held| held != slot);
                store.free(*slot);
            }
        }
    }

    /// Keys that have no session any more stay in the table until they are most of it.
    fn forget_idle_keys(&mut self) -> Result<()> {
        let held = self.store.held();
        if self.keys.len() < 1024 || self.keys.len() < 4 * held {
            return Ok(());
        }
        let Some(layout) = &self.layout else { return Ok(()) };
        let used: Vec<u32> = (0..self.keys.len() as u32).filter(|key| !self.by_key[*key as usize].is_empty()).collect();
        let hashes: Vec<u128> = used.iter().map(|key| self.keys.hashes()[*key as usize]).collect();
        let mut keys = layout.prototype.keys.empty()?;
        keys.append(&self.store.keys().arrays(Rows::Some(&used))?, Rows::All(used.len()))?;
        self.keys = GroupTable::with_capacity(used.len());
        let assigned = self.keys.assign(&hashes, &mut self.scratch.groups, &mut self.opened);
        assigned.map_err(|full| EngineError::internal(full.to_string()))?;
        Arc::make_mut(&mut self.store).renumber_keys(&used, keys);
        self.by_key = used.iter().map(|key| std::mem::take(&mut self.by_key[*key as usize])).collect();
        Ok(())
    }
}

impl Operator for SessionAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let partials =
            Partials::of(&self.config, &batch.columns).map_err(|error| error.context(&self.context.operator))?;
        let is_late = |time: i64| self.config.windows.is_late(time, self.emitted_until);
        if partials.starts.iter().any(|time| is_late(*time)) {
            let rows = |late: bool| {
                let of_class = partials.starts.iter().enumerate().filter(move |(_, time)| is_late(**time) == late);
                of_class.map(|(row, _)| row as u32).collect::<Vec<u32>>()
            };
            let (late, on_time) = (rows(true), rows(false));
            self.counters.late.add(partials.rows_represented(Rows::Some(&late)));
            out.emit(ports::LATE, batch.take(&UInt32Array::from(late))?);
            return self.process(0, batch.take(&UInt32Array::from(on_time))?, out);
        }
        let hashes = self.hasher.hashes_of(&batch)?;
        if self.layout.is_none() {
            self.lay_out(GroupColumns::for_states(&self.config, &partials.keys, &partials.states)?)?;
        }
        self.assign_keys(&hashes, &partials.keys)?;
        let keys = std::mem::take(&mut self.scratch.groups);
        for (row, (key, time)) in keys.iter().zip(partials.starts.iter()).enumerate() {
            let slot = self.session_of(*key, *time);
            // Row by row, as the next row may merge this very session away.
            Arc::make_mut(&mut self.store).merge(slot, row as u32, &partials.states)?;
        }
        self.scratch.groups = keys;
        self.unsaved = true;
        self.counters.events_counted.add(partials.rows_represented(Rows::All(batch.len())));
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        if watermark <= self.emitted_until {
            return Ok(());
        }
        self.emitted_until = watermark;
        let Some(layout) = self.layout.take() else { return Ok(()) };
        let mut pending = std::mem::take(&mut self.pending);
        let corrections: Vec<u32> =
            pending.iter().copied().filter(|slot| Arc::make_mut(&mut self.store).revise(*slot)).collect();
        let closed = self.closed(watermark);
        pending.append(&mut self.pending);
        for slots in [&corrections, &closed] {
            if !slots.is_empty() {
                self.emit(slots, &layout, out)?;
            }
        }
        self.unsaved |= !pending.is_empty() || !closed.is_empty();
        self.drop_done(&pending);
        self.layout = Some(layout);
        self.forget_idle_keys()?;
        self.counters.windows.add(closed.len() as u64);
        self.counters.corrections.add(corrections.len() as u64);
        self.counters.groups_emitted.add((closed.len() + corrections.len()) as u64);
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        let Some(layout) = &self.layout else { return Ok(Snapshot::default()) };
        if self.store.held() == 0 {
            return Ok(Snapshot::default());
        }
        let (state, store, hashes) = (layout.state.clone(), Arc::clone(&self.store), self.keys.shared_hashes());
        let change = match std::mem::take(&mut self.unsaved) {
            true => Change::Replace(StateRows::deferred(move || state.rows(&store, &hashes))),
            false => Change::Unchanged,
        };
        Ok(Snapshot { segments: vec![Segment { id: SEGMENT.into(), change }] })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        let restored = SessionState::restored(&self.config, segment, rows, key_groups, &self.context)
            .map_err(|error| error.context(&self.context.operator))?;
        if segment != SEGMENT || restored.rows.is_empty() {
            return Ok(());
        }
        if self.layout.is_none() {
            self.lay_out(GroupColumns::for_states(&self.config, &restored.keys, &restored.states)?)?;
        }
        let chosen = Rows::Some(&restored.rows);
        let hashes: Vec<u128> = restored.rows.iter().map(|row| restored.hashes[*row as usize]).collect();
        let mut keys = Arc::make_mut(&mut self.store).keys().empty()?;
        keys.append(&restored.keys, chosen)?;
        self.assign_keys(&hashes, &keys.arrays(Rows::All(hashes.len()))?)?;
        let groups = std::mem::take(&mut self.scratch.groups);
        for (row, key) in restored.rows.iter().zip(&groups) {
            let session = restored.session(*row as usize, *key);
            let (kind, end, is_pending) = (session.kind, session.end, session.changed);
            let store = Arc::make_mut(&mut self.store);
            let slot = store.put(session);
            store.merge(slot, *row, &restored.states)?;
            if kind == Kind::Withdrawal || is_pending {
                self.pending.push(slot);
            }
            if kind != Kind::Withdrawal {
                self.by_key[*key as usize].push(slot);
                self.schedule(slot, end);
            }
        }
        self.scratch.groups = groups;
        self.unsaved |= restored.is_partial;
        Ok(())
    }
}
