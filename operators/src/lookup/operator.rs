//! The operator: rows in, questions out, answers in, rows out.

use super::{
    answer::{MOST_BYTES, Outcome, outcomes_of, runs, values_of},
    cache::{Cache, Remembered},
    config::{LookupConfig, Missing, OnFailure},
    questions::Questions,
    state::{LookupState, ORDER},
    waiting::{Piece, Settled, Stored, Waiting},
};
use crate::{dead_letters::RefusedRows, expression::RefusedRow, schema::project, table::plain_keys};
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::{concat, sort_to_indices, take_record_batch},
    datatypes::{Field, Int64Type, Schema, SchemaRef},
    util::display::array_value_to_string,
};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::{
    EngineError, Result,
    element::{Batch, Port},
    hash::KeyHasher,
    ids::CheckpointId,
    key_group::KeyGroupRange,
    operator::{Collector, Counter, Lookup, LookupService, Operator, OperatorContext, Question},
    state::{Change, Segment, Snapshot, StateRows},
};

/// With so many rows a lookup is full, or with a few for each key that it may ask about at once.
const FULL_ROWS: u64 = 16_384;
const FULL_ROWS_PER_KEY: u64 = 4;

const ROWS: &str = "rows-";
const ANSWERS: &str = "answers-";

/// One instance. Counts the keys that it was told about as `answers`, and of these those that nothing was `found_nothing` for; the
/// rows that the cache knew about as `cache_hits`; the keys without an answer as `failures`; and rows that are left out because
/// nothing is known about them as `filtered_out`.
pub struct LookupOperator {
    config: LookupConfig,
    service: Arc<dyn LookupService>,
    key: Vec<String>,
    added: SchemaRef,
    state: LookupState,
    hasher: KeyHasher,
    waiting: Waiting,
    questions: Questions,
    cache: Option<Cache>,
    now_ms: i64,
    /// What has been restored, and not been looked at: segments, and rows of them.
    restored: Vec<(String, RecordBatch)>,
    /// Bytes of the texts of answers in a batch that goes out, or is stored.
    most_bytes: usize,
    refused: RefusedRows,
    counters: LookupCounters,
}

struct LookupCounters {
    answers: Counter,
    found_nothing: Counter,
    cache_hits: Counter,
    failures: Counter,
    filtered_out: Counter,
}

impl LookupOperator {
    /// One instance, which asks this service.
    ///
    /// # Errors
    /// When the settings do not fit, or there is a column that state cannot have.
    pub fn new(config: LookupConfig, service: Arc<dyn LookupService>, context: &OperatorContext) -> Result<Self> {
        let (key, added) = (config.key(), config.columns.arrow_schema());
        let state = LookupState::new(&config.input, &added, &key, context.max_parallelism);
        let counter = |name| context.counters.counter(name);
        Ok(LookupOperator {
            state: state.map_err(|error| error.context(&context.operator))?,
            hasher: KeyHasher::new(key.clone()),
            waiting: Waiting::default(),
            questions: Questions::default(),
            cache: config.cache.map(Cache::new),
            now_ms: 0,
            restored: Vec::new(),
            most_bytes: MOST_BYTES,
            refused: RefusedRows::new(context),
            counters: LookupCounters {
                answers: counter("answers"),
                found_nothing: counter("found_nothing"),
                cache_hits: counter("cache_hits"),
                failures: counter("failures"),
                filtered_out: counter("filtered_out"),
            },
            key,
            added,
            service,
            config,
        })
    }

    /// What is known of each row at once.
    fn known(&self, rows: &RecordBatch, hashes: &[u128]) -> Result<Vec<Option<Outcome>>> {
        let keys = project(rows, &self.key)?;
        let nulls: Vec<_> = keys.columns().iter().filter_map(|column| column.logical_nulls()).collect();
        let known = |(row, hash): (usize, &u128)| {
            if nulls.iter().any(|nulls| nulls.is_null(row)) {
                return Some(Outcome::Missing);
            }
            let known = self.cache.as_ref()?.get(*hash, self.now_ms)?;
            self.counters.cache_hits.add(1);
            Some(known.clone())
        };
        Ok(hashes.iter().enumerate().map(known).collect())
    }

    /// The keys of some rows, as a question has them.
    fn keys_of(&self, places: &[(u128, super::waiting::Place)]) -> Result<RecordBatch> {
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(places.len()); self.key.len()];
        for (_, place) in places {
            let (piece, row) = self
                .waiting
                .find(*place)
                .ok_or_else(|| EngineError::internal("a row has left before its key was asked about"))?;
            let keys = project(&piece.batch.columns, &self.key)?.slice(row, 1);
            for (column, key) in columns.iter_mut().zip(plain_keys(keys.columns())?) {
                column.push(key);
            }
        }
        let all = |parts: &Vec<ArrayRef>| Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?);
        let columns = columns.iter().map(all).collect::<Result<Vec<_>>>()?;
        let field = |(name, column): (&String, &ArrayRef)| Field::new(name, column.data_type().clone(), true);
        let fields: Vec<Field> = self.key.iter().zip(&columns).map(field).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Notes what is known about a key now.
    fn learn(&mut self, hash: u128, outcome: Outcome, (keys, row): (&Arc<RecordBatch>, u32)) -> Result<()> {
        self.counters.answers.add(1);
        match &outcome {
            Outcome::Failed(reason) => {
                self.counters.failures.add(1);
                if self.config.on_failure == OnFailure::Fail {
                    return Err(EngineError::io(format!("no answer about {}: {reason}", shown(keys, row as usize))));
                }
            }
            Outcome::Missing => self.counters.found_nothing.add(1),
            Outcome::Found(..) => {}
        }
        if let Some(cache) = self.cache.as_mut().filter(|_| !matches!(outcome, Outcome::Failed(_))) {
            let answer = Remembered { outcome: outcome.clone(), keys: keys.clone(), row, at_ms: self.now_ms };
            cache.remember(hash, answer);
        }
        for place in self.questions.close(hash) {
            self.waiting.settle(place, outcome.clone());
        }
        Ok(())
    }

    /// Emits rows, in batches whose answers have room in a column.
    fn emit(&self, settled: &Settled, out: &mut Collector) -> Result<()> {
        let Settled { batch, outcomes } = settled;
        for run in runs(outcomes.iter().map(Some), self.most_bytes) {
            self.emit_run(&batch.slice(run.start, run.len()), &outcomes[run], out)?;
        }
        Ok(())
    }

    fn emit_run(&self, batch: &Batch, outcomes: &[Outcome], out: &mut Collector) -> Result<()> {
        let mut refused = Vec::new();
        let mut keep = Vec::with_capacity(outcomes.len());
        for (row, outcome) in outcomes.iter().enumerate() {
            let reason = match outcome {
                Outcome::Missing if self.config.missing == Missing::DeadLetter => {
                    Some(format!("nothing is known about {}", shown(&project(&batch.columns, &self.key)?, row)))
                }
                Outcome::Failed(reason) if self.config.on_failure != OnFailure::Null => Some(reason.to_string()),
                _ => None,
            };
            let is_left_out = matches!(outcome, Outcome::Missing) && self.config.missing == Missing::Drop;
            self.counters.filtered_out.add(u64::from(is_left_out));
            keep.push(reason.is_none() && !is_left_out);
            refused.extend(reason.map(|reason| RefusedRow { row, reason }));
        }
        self.refused.emit(&batch.columns, &refused, out)?;
        let kept = outcomes.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(outcome, _)| Some(outcome));
        let values = values_of(kept, &self.added)?;
        let rows = batch.filter(&BooleanArray::from(keep))?;
        out.emit(Port::MAIN, rows.with_columns(self.with(&rows.columns, values)?));
        Ok(())
    }

    /// Rows with the added columns.
    fn with(&self, rows: &RecordBatch, values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let fields = rows.schema_ref().fields().iter().chain(self.added.fields()).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = rows.columns().iter().cloned().chain(values).collect();
        let all = RecordBatch::try_new(schema, columns)?;
        self.config.output.as_ref().map_or(Ok(all.clone()), |output| project(&all, output))
    }

    /// Takes in what was restored, once all of it is there.
    fn take_restored(&mut self) -> Result<()> {
        if self.restored.is_empty() {
            return Ok(());
        }
        let mut rows: BTreeMap<u64, Vec<RecordBatch>> = BTreeMap::new();
        for (segment, stored) in std::mem::take(&mut self.restored) {
            match number_of(&segment)? {
                (ROWS, number) => rows.entry(number).or_default().push(stored),
                (_, number) => self.take_answers(number, &stored)?,
            }
        }
        self.cache.iter_mut().for_each(Cache::has_restored);
        for (number, stored) in rows {
            self.take_rows(number, &stored)?;
        }
        Ok(())
    }

    fn take_answers(&mut self, number: u64, stored: &RecordBatch) -> Result<()> {
        // A definition may have lost its cache.
        let Some(cache) = &mut self.cache else { return Ok(()) };
        let (keys, answers) = self.state.answers_back(stored)?;
        let hashes = KeyHasher::new(self.key.clone()).hash(&keys)?;
        cache.restore(number, hashes.into_iter().zip(answers).collect());
        Ok(())
    }

    /// Takes in the rows of a segment. They stay the pieces that they were stored as, since their answers may have no room in one
    /// column.
    fn take_rows(&mut self, number: u64, stored: &[RecordBatch]) -> Result<()> {
        let in_order = |rows: &RecordBatch| -> Result<RecordBatch> {
            Ok(take_record_batch(rows, &sort_to_indices(rows.column(ORDER), None, None)?)?)
        };
        let mut pieces = stored.iter().map(in_order).collect::<Result<Vec<_>>>()?;
        // Those of one subtask are in their order, and none is between those of another; of which subtask's come first nothing
        // depends.
        pieces.sort_by_key(first_in_order);
        let mut before = 0;
        for piece in pieces {
            let rows = self.state.rows_back(&piece)?;
            let hashes = KeyHasher::new(self.key.clone()).hash(&rows.batch.columns)?;
            for (hash, place) in self.waiting.restore((number, before), rows.batch, hashes, rows.outcomes) {
                match self.cache.as_ref().and_then(|cache| cache.get(hash, self.now_ms)).cloned() {
                    Some(known) => self.waiting.settle(place, known),
                    None => self.questions.want(hash, place),
                }
            }
            before += piece.num_rows();
        }
        Ok(())
    }
}

impl Operator for LookupOperator {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Collector) -> Result<()> {
        self.take_restored()?;
        let hashes = self.hasher.hashes_of(&batch)?;
        let known = self.known(&batch.columns, &hashes)?;
        for (hash, place) in self.waiting.push(&batch, &hashes, known) {
            self.questions.want(hash, place);
        }
        Ok(())
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Snapshot> {
        self.take_restored()?;
        let mut segments = Vec::new();
        for pieces in self.waiting.segments() {
            let Some(segment) = pieces.first().map(|piece| piece.segment) else { continue };
            let has = |stored| pieces.iter().any(|piece| piece.stored == stored);
            let (is_new, has_changed) = (!has(Stored::AsItIs) && !has(Stored::AsItWas), has(Stored::AsItWas));
            let is_wanted = |piece: &&Piece| is_new || has_changed || piece.stored == Stored::New;
            let rows = pieces.iter().filter(is_wanted).map(|piece| self.state.rows(piece, self.most_bytes));
            let rows: Vec<_> = rows.collect();
            let unchanged = rows.is_empty();
            let rows = StateRows::deferred(move || {
                let rows: Vec<Vec<RecordBatch>> = rows.into_iter().map(|rows| rows()).collect::<Result<_>>()?;
                Ok(rows.concat())
            });
            let change = match (unchanged, is_new || has_changed) {
                (true, _) => Change::Unchanged,
                (false, true) => Change::Replace(rows),
                (false, false) => Change::Append(rows),
            };
            pieces.iter_mut().for_each(|piece| piece.stored = Stored::AsItIs);
            segments.push(Segment { id: format!("{ROWS}{segment}"), change });
        }
        if let Some(cache) = &mut self.cache {
            cache.expire(self.now_ms);
            for (number, piece) in cache.pieces() {
                let fresh = std::mem::take(&mut piece.fresh);
                let is_new = !std::mem::replace(&mut piece.is_stored, true);
                let change = match fresh.is_empty() {
                    true => Change::Unchanged,
                    false => {
                        let answers = StateRows::deferred(self.state.answers(fresh, self.most_bytes));
                        if is_new { Change::Replace(answers) } else { Change::Append(answers) }
                    }
                };
                segments.push(Segment { id: format!("{ANSWERS}{number}"), change });
            }
        }
        Ok(Snapshot { segments })
    }

    fn restore(&mut self, segment: &str, rows: &RecordBatch, key_groups: KeyGroupRange) -> Result<()> {
        number_of(segment)?;
        let own = self.state.own(rows, key_groups)?;
        if own.num_rows() > 0 {
            self.restored.push((segment.to_owned(), own));
        }
        Ok(())
    }

    fn lookup(&mut self) -> Option<&mut dyn Lookup> {
        Some(self)
    }
}

impl Lookup for LookupOperator {
    fn service(&self) -> Arc<dyn LookupService> {
        self.service.clone()
    }

    fn set_time(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    fn questions(&mut self) -> Result<Vec<Question>> {
        self.take_restored()?;
        let (most, in_flight) = (self.config.service.keys_of_a_question(), self.config.in_flight as usize);
        let mut questions = Vec::new();
        loop {
            let places = self.questions.take(most, in_flight);
            if places.is_empty() {
                return Ok(questions);
            }
            let keys = self.keys_of(&places)?;
            let hashes = places.into_iter().map(|(hash, _)| hash).collect();
            let number = self.questions.ask(hashes, Arc::new(keys.clone()));
            questions.push(Question { number, keys });
        }
    }

    fn answer(&mut self, question: u64, answer: &RecordBatch) -> Result<()> {
        let asked = self.questions.answered(question);
        let asked = asked.ok_or_else(|| EngineError::internal(format!("nothing was asked with number {question}")))?;
        let outcomes = outcomes_of(answer, &self.added)?;
        if outcomes.len() != asked.hashes.len() {
            let (told, keys) = (outcomes.len(), asked.hashes.len());
            return Err(EngineError::internal(format!("a question about {keys} keys was answered about {told}")));
        }
        for (row, (hash, outcome)) in asked.hashes.into_iter().zip(outcomes).enumerate() {
            self.learn(hash, outcome, (&asked.keys, row as u32))?;
        }
        Ok(())
    }

    fn release(&mut self, at_most: u64, out: &mut Collector) -> Result<u64> {
        self.take_restored()?;
        let Some(settled) = self.waiting.release(at_most) else { return Ok(0) };
        let count = settled.outcomes.len() as u64;
        self.emit(&settled, out)?;
        Ok(count)
    }

    fn waiting(&self) -> u64 {
        let is_of_rows = |segment: &str| segment.starts_with(ROWS);
        let restored = self.restored.iter().filter(|(segment, _)| is_of_rows(segment));
        self.waiting.rows() + restored.map(|(_, rows)| rows.num_rows() as u64).sum::<u64>()
    }

    fn is_full(&self) -> bool {
        self.waiting.rows() >= FULL_ROWS.max(u64::from(self.config.in_flight) * FULL_ROWS_PER_KEY)
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }
}

/// Where the first of some rows was.
fn first_in_order(rows: &RecordBatch) -> Option<i64> {
    rows.column(ORDER).as_primitive_opt::<Int64Type>()?.iter().next().flatten()
}

/// What a segment holds, and its number.
fn number_of(segment: &str) -> Result<(&'static str, u64)> {
    let of = |prefix: &'static str| Some((prefix, segment.strip_prefix(prefix)?.parse().ok()?));
    of(ROWS)
        .or_else(|| of(ANSWERS))
        .ok_or_else(|| EngineError::corrupt(format!("segment '{segment}': not the state of a lookup")))
}

/// A key, for people: `ad_id = ad001`.
fn shown(keys: &RecordBatch, row: usize) -> String {
    let value = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let is_null = match column.as_any_dictionary_opt() {
            Some(dictionary) => dictionary.logical_nulls().is_some_and(|nulls| nulls.is_null(row)),
            None => column.is_null(row),
        };
        let value = array_value_to_string(column, row).unwrap_or_else(|error| format!("({error})"));
        format!("{} = {}", field.name(), if is_null { "null".to_owned() } else { value })
    };
    keys.schema_ref().fields().iter().zip(keys.columns()).map(value).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lookup::{CacheConfig, HttpLookup, Retries, ServiceConfig},
        schema::ColumnSchema,
        source::column_type::{ColumnType, DeclaredSchema},
    };
    use arrow::{
        array::{Int64Array, StringArray},
        datatypes::DataType,
    };
    use futures::future::BoxFuture;

    /// Nobody asks it: the test answers itself.
    struct Nobody;

    impl LookupService for Nobody {
        fn ask(&self, _keys: RecordBatch) -> BoxFuture<'static, Result<RecordBatch>> {
            Box::pin(std::future::pending())
        }
    }

    fn input() -> Schema {
        Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("ad", DataType::Utf8, true)])
    }

    /// One that lets a KiB of texts go out together.
    fn operator() -> LookupOperator {
        let (url, headers) = ("http://localhost/{ad}".to_owned().into(), BTreeMap::new());
        let config = LookupConfig {
            service: ServiceConfig::Http(HttpLookup { url, headers }),
            input: ColumnSchema::from(&input()),
            columns: DeclaredSchema::new([("text", ColumnType::String)]),
            output: None,
            in_flight: 10,
            timeout_ms: 1_000,
            retries: Retries::default(),
            cache: Some(CacheConfig { ttl_ms: 1_000_000, size: 100 }),
            on_failure: OnFailure::DeadLetter,
            missing: Missing::Null,
        };
        let context = OperatorContext::single("job", "lookup.ads");
        let mut operator = LookupOperator::new(config, Arc::new(Nobody), &context).unwrap();
        operator.most_bytes = 1 << 10;
        operator
    }

    /// What a service says about one key.
    fn answer(text: &str) -> RecordBatch {
        let columns: [(&str, ArrayRef, bool); 3] = [
            ("found", Arc::new(BooleanArray::from(vec![true])), false),
            ("failure", Arc::new(StringArray::new_null(1)), true),
            ("text", Arc::new(StringArray::from(vec![text])), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    /// The numbers of the rows of each batch that goes out. All have the same text.
    fn released(operator: &mut LookupOperator, text: &str) -> Vec<Vec<i64>> {
        let mut out = Collector::default();
        while operator.release(u64::MAX, &mut out).unwrap() > 0 {}
        let mut numbers = Vec::new();
        for (port, batch) in out.drain() {
            assert_eq!(port, Port::MAIN);
            let texts = batch.columns.column_by_name("text").unwrap().as_string::<i32>();
            assert!(texts.iter().all(|found| found == Some(text)));
            numbers.push(batch.columns.column(0).as_primitive::<Int64Type>().values().to_vec());
        }
        numbers
    }

    /// A column has no room for a long answer as often as rows may ask for it; neither has one of the state.
    #[test]
    fn rows_with_a_long_answer_go_out_and_are_stored_in_several_batches() {
        let text = "x".repeat(300);
        let mut alone = operator();
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["ad1"; 10]));
        let rows = Batch::new(RecordBatch::try_new(Arc::new(input()), vec![numbers, keys]).unwrap());
        alone.process(0, rows, &mut Collector::default()).unwrap();
        for question in alone.questions().unwrap() {
            Lookup::answer(&mut alone, question.number, &answer(&text)).unwrap();
        }
        let mut restored = operator();
        let key_groups = KeyGroupRange::all(OperatorContext::single("job", "lookup.ads").max_parallelism);
        for segment in alone.snapshot(CheckpointId(1)).unwrap().segments {
            let (Change::Append(rows) | Change::Replace(rows)) = segment.change else { panic!("all of it is new") };
            let batches = rows.into_batches().unwrap();
            let sizes: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
            let expected: &[usize] = if segment.id.starts_with(ROWS) { &[3, 3, 3, 1] } else { &[1] };
            assert_eq!(sizes, expected);
            // Whatever comes back first.
            for rows in batches.iter().rev() {
                restored.restore(&segment.id, rows, key_groups).unwrap();
            }
        }
        let expected: [Vec<i64>; 4] = [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8], vec![9]];
        assert_eq!(released(&mut alone, &text), expected);
        assert_eq!(released(&mut restored, &text), expected);
    }
}
