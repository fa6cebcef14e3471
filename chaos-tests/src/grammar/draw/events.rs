//! Streams of events: maps, unions, dedups, and the aggregates that end them.

use super::Drawing;
use crate::grammar::{
    calls, expressions,
    job::{Body, Call, Column, Expr, How, Kind, Node, Results, Window, Windows},
    written::TIME,
};
use rand::RngExt;

/// The column that tells which filter a row has matched.
const FILTER: &str = "filter_id";

impl Drawing {
    /// From the sources to aggregates, and on.
    pub(super) fn pipeline(&mut self, sources: &[String]) {
        let mut stream = vec![sources[self.below(sources.len())].clone()];
        if sources.len() > 1 && self.one_in(2) {
            stream = sources.to_vec();
        }
        // Copies of a row are equal as long as all come the same way.
        if self.one_in(2) {
            stream = vec![self.map(&stream)];
        }
        let dedup = self.one_in(2);
        let window = self.window();
        if dedup {
            stream = vec![self.dedup(&stream, &window)];
            if self.one_in(3) {
                stream = vec![self.map(&stream)];
            }
        } else if self.one_in(4) {
            // A union of a stream and what a map leaves of it.
            let columns = self.columns(&stream[0]);
            if let Some(kept) = self.keeping(&stream, &columns) {
                stream.push(kept);
            }
        }
        for _ in 0..self.dice.random_range(1..3) {
            // Behind a dedup all agree on what is late.
            let window = if dedup { window.clone() } else { self.window() };
            let aggregate = self.aggregate(&stream, window);
            self.grow(&aggregate, 0);
        }
    }

    fn keeping(&mut self, inputs: &[String], columns: &[Column]) -> Option<String> {
        let condition = Some(self.condition(columns)?);
        let body = Body::Map { condition, select: None };
        let (name, columns) = (self.name("kept"), columns.to_vec());
        Some(self.add(Node { name, inputs: inputs.to_vec(), body, columns, results: None }))
    }

    /// A map that keeps, computes or both.
    fn map(&mut self, inputs: &[String]) -> String {
        let columns = self.columns(&inputs[0]);
        let mut condition = self.one_in(2).then(|| self.condition(&columns)).flatten();
        if self.one_in(6)
            && let Some(of) = expressions::failing(&mut self.dice, &columns)
        {
            let (weir, duck) = (format!("{} >= 0", of.weir), format!("({}) >= 0", of.duck));
            condition = Some(Expr { weir, duck, kind: Kind::Bool, fails: of.fails });
        }
        let select = (condition.is_none() || self.one_in(2)).then(|| self.select(&columns));
        let columns = match &select {
            None => columns,
            Some(select) => {
                let column =
                    |(name, of): &(String, Expr)| Column { name: name.clone(), kind: of.kind.clone(), how: How::Exact };
                select.iter().map(column).collect()
            }
        };
        let name = self.name("map");
        self.add(Node { name, inputs: inputs.to_vec(), body: Body::Map { condition, select }, columns, results: None })
    }

    /// The id, the event time, most of the others, and some that are computed.
    fn select(&mut self, columns: &[Column]) -> Vec<(String, Expr)> {
        let mut select = Vec::new();
        for column in columns {
            let is_kept = ["id", TIME, "zone"].contains(&column.name.as_str()) || !self.one_in(6);
            if is_kept {
                select.push((column.name.clone(), expressions::same(column.name.clone(), column.kind.clone())));
            }
        }
        let number = self.job.nodes.len();
        for at in 0..self.dice.random_range(1..4) {
            let expression = match self.one_in(5) {
                true => expressions::failing(&mut self.dice, columns),
                false => expressions::value(&mut self.dice, columns),
            };
            select.extend(expression.map(|expression| (format!("x{number}_{at}"), expression)));
        }
        select
    }

    fn dedup(&mut self, inputs: &[String], window: &Window) -> String {
        let columns = self.columns(&inputs[0]);
        let mut key = vec!["id".to_owned()];
        if self.one_in(2) {
            key.push(["happened", "zone"][self.below(2)].to_owned());
        }
        key.retain(|name| columns.iter().any(|column| column.name == *name));
        let longest = window.size_ms() + window.lateness_ms;
        // Of days of 25 hours, too.
        let ttl_ms = longest + self.unit * self.dice.random_range(30..60);
        let same_event_time = self.one_in(2);
        let body = Body::Dedup { key, ttl_ms, same_event_time, null_is_dead: self.one_in(3) };
        let name = self.name("unique");
        self.add(Node { name, inputs: inputs.to_vec(), body, columns, results: None })
    }

    fn aggregate(&mut self, inputs: &[String], window: Window) -> String {
        let columns = self.columns(&inputs[0]);
        let mut key: Vec<Column> = Vec::new();
        for _ in 0..self.below(3) {
            let of = expressions::column(&mut self.dice, &columns, &[Kind::Text, Kind::Int, Kind::Bool]);
            let of = of.filter(|of| of.name != "id" && !key.contains(of)).cloned();
            key.extend(of);
        }
        if self.one_in(4) {
            if self.job.filters.is_empty() {
                self.filters();
            }
            key.push(Column { name: FILTER.into(), kind: Kind::Text, how: How::Exact });
        }
        let calls = self.calls(&columns);
        let is_session = matches!(window.windows, Windows::Session(_));
        let emit_ms = (!is_session && self.one_in(4)).then_some(self.job.checkpoint_ms as i64 * 2);
        let names: Vec<String> = key.iter().map(|column| column.name.clone()).collect();
        let results = Results {
            bounds: window.has_bounds(),
            key: names.clone(),
            least_ms: if is_session { 0 } else { window.size_ms() },
            groups: true,
            pieces: matches!(window.windows, Windows::Tumbling(_)).then(|| window.clone()),
        };
        let columns = with_calls(key, &calls);
        let body = Body::Aggregate { key: names, window, calls, emit_ms };
        let name = self.name("per");
        self.add(Node { name, inputs: inputs.to_vec(), body, columns, results: Some(results) })
    }

    /// Calls, with conditions of their own now and then, or one that fails on some rows.
    fn calls(&mut self, columns: &[Column]) -> Vec<Call> {
        let conditions: Vec<Expr> = (0..2).filter_map(|_| self.condition(columns)).collect();
        let number = self.job.nodes.len();
        let mut calls = calls::draw(&mut self.dice, columns, &conditions, &format!("c{number}"));
        if self.one_in(8) {
            calls.extend(calls::failing(&mut self.dice, columns, format!("c{number}_fails")));
        }
        calls
    }

    /// Filters over what every event has.
    fn filters(&mut self) {
        self.job.filters.push(("all".into(), expressions::same("true", Kind::Bool)));
        self.job.filters.push(("eastern".into(), expressions::same("zone = 'east'", Kind::Bool)));
    }
}

/// The columns of an aggregate.
pub(super) fn with_calls(mut key: Vec<Column>, calls: &[Call]) -> Vec<Column> {
    key.extend(calls.iter().map(|call| Column { name: call.name.clone(), kind: call.kind.clone(), how: call.how }));
    key
}
