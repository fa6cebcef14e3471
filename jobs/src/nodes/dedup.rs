//! `[dedup.NAME]`: drops rows whose key was seen before.

use std::time::Duration;

use serde_json::{Value, json};
use weir_engine::element::Port;
use weir_engine::graph::Remembers;
use weir_operators::dedup::{DedupConfig, NullKey};
use weir_operators::late_gate::LateRule;
use weir_operators::schema::ColumnSchema;

use super::check::Check;
use super::inputs::Inputs;
use super::node::Node;
use super::operator::{Configuration, Memory, Names, Note, Operator, StepColumns, copying, with};
use super::output::Output;
use super::planning::{Planning, StepOutput};
use super::types::Types;
use crate::builder::JobBuilder;
use crate::store_table::RecountStep;
use weir_operators::definition::Reader;
use weir_operators::definition::duration::{millis, show};
use weir_operators::ports;

/// Drops rows whose key was seen before.
#[derive(Debug, Clone)]
pub struct Dedup {
    pub(crate) input: Inputs,
    pub(crate) key: Vec<String>,
    pub(crate) ttl: Duration,
    pub(crate) same_event_time: bool,
    pub(crate) null_key: NullKey,
}

impl Dedup {
    /// Of rows that are equal in the key columns, the first is kept; a key is remembered for `ttl` of event time.
    pub fn over<S: Into<String>>(input: impl Into<Inputs>, key: impl IntoIterator<Item = S>, ttl: Duration) -> Self {
        let key = key.into_iter().map(Into::into).collect();
        Dedup { input: input.into(), key, ttl, same_event_time: false, null_key: NullKey::Pass }
    }

    /// Says that duplicates have the event time of their original although it is not in the key: state is then kept by
    /// time, which is faster and dropped whole.
    #[must_use]
    pub fn same_event_time(mut self, same: bool) -> Self {
        self.same_event_time = same;
        self
    }

    /// What happens to rows with a null in their key, which are never duplicates.
    #[must_use]
    pub fn null_key(mut self, null_key: NullKey) -> Self {
        self.null_key = null_key;
        self
    }

    pub(crate) fn read(node: Reader<'_>) -> Self {
        let input = Inputs::read(&node, "input", "the name of a node, in quotes");
        node.require("key", "[\"event_id\"]");
        node.require("ttl", "\"1h\"");
        let dedup = Dedup {
            input,
            key: node.texts("key").unwrap_or_default(),
            ttl: node.positive_duration("ttl").unwrap_or_default(),
            same_event_time: node.flag("same_event_time").unwrap_or(false),
            null_key: node
                .choice("null_key", &[("pass", NullKey::Pass), ("dead_letter", NullKey::DeadLetter)])
                .unwrap_or_default(),
        };
        node.finish();
        dedup
    }

    /// Whether duplicates have the event time of their original.
    fn by_time(&self, time: &str) -> bool {
        self.same_event_time || self.key.iter().any(|column| column == time)
    }
}

impl JobBuilder {
    /// Adds a dedup.
    #[must_use]
    pub fn dedup(self, name: impl Into<String>, dedup: Dedup) -> Self {
        self.node(name, Box::new(dedup))
    }
}

impl Node for Dedup {
    fn kind(&self) -> &'static str {
        "dedup"
    }

    fn inputs(&self) -> Vec<(&'static str, &Inputs)> {
        vec![("input", &self.input)]
    }

    fn read_from(&mut self, output: &str) {
        self.input = output.into();
    }

    fn outputs(&self) -> &'static [Output] {
        &[Output::OnTime, Output::Late, Output::DeadLetters]
    }

    fn check(&self, check: &mut Check<'_>) -> Option<Types> {
        let given = check.take_given()?;
        check.key(&self.key, &given.main);
        check.needs_event_time(&given);
        Some(Types { origin: self.kind().to_owned(), ..given.passed_on() })
    }

    fn plan(&self, planning: &mut Planning<'_>, from: Vec<Vec<StepOutput>>) {
        let time = planning.given.first().and_then(|given| given.event_time.clone()).unwrap_or_default();
        let operator = DedupOperator { dedup: self.clone(), time };
        let (id, from) = (planning.id.clone(), from.concat());
        let step = match planning.is_spread(0) {
            true => planning.forward(id, from, operator),
            false => planning.hashed(id, from, self.key.clone(), operator),
        };
        planning.output(Output::DeadLetters, vec![(step, ports::DEAD_LETTERS)]);
        planning.output(Output::Main, vec![(step, Port::MAIN)]);
    }

    fn late_rule(&self, _input: usize) -> Option<LateRule> {
        Some(LateRule::Ttl { ttl_ms: millis(self.ttl) })
    }

    fn spread_by(&self, _input: usize) -> Option<&[String]> {
        Some(&self.key)
    }

    fn recount_steps(&self, given: &Types, _own: &Types) -> Option<Vec<RecountStep>> {
        let same_event_time = self.by_time(given.event_time.as_deref().unwrap_or_default());
        Some(vec![RecountStep::Unique { key: self.key.clone(), same_event_time, null_key: self.null_key }])
    }
}

#[derive(Debug)]
struct DedupOperator {
    dedup: Dedup,
    time: String,
}

impl Operator for DedupOperator {
    fn needs(&self, output: &Names, _given: &ColumnSchema) -> Names {
        with(with(output.clone(), self.dedup.key.iter().cloned()), [self.time.clone()])
    }

    fn output(&self, given: &ColumnSchema) -> ColumnSchema {
        given.clone()
    }

    fn narrowed(&self, input: ColumnSchema, needed: &Names) -> StepColumns {
        copying(self, input, needed)
    }

    fn configuration(&self, columns: &StepColumns) -> Configuration {
        let config = DedupConfig {
            key: self.dedup.key.clone(),
            ttl_ms: millis(self.dedup.ttl),
            time_column: self.time.clone(),
            same_event_time: self.dedup.by_time(&self.time),
            output: columns.kept.clone(),
            null_key: self.dedup.null_key,
        };
        Configuration::operator("dedup", json!(config))
    }

    fn note(&self, _columns: &StepColumns) -> Note {
        let tables = if self.dedup.by_time(&self.time) { "a table per bucket of event time" } else { "one table" };
        let keyless = match self.dedup.null_key {
            NullKey::Pass => "",
            NullKey::DeadLetter => ", null is a dead letter",
        };
        let (key, ttl) = (self.dedup.key.join(", "), show(self.dedup.ttl));
        let does = format!("drops repeated {key}, remembered for {ttl}{keyless}");
        Note::of(does).with_state(format!("a 128-bit hash per id, {tables}"))
    }

    fn memory(&self, _config: &Value, _input: &ColumnSchema) -> Option<Memory> {
        Some(Memory::of(Remembers::State, &["key", "ttl_ms", "same_event_time"]).with_key())
    }
}
