//! What grows from results: maps that keep or compute, aggregates of them, and lists.

use super::{Drawing, events::with_calls};
use crate::grammar::{
    expressions,
    job::{Body, Call, Column, Expr, How, Kind, Node, Rank, Results, Window, Windows},
};
use rand::RngExt;

/// How many aggregates of results there are one after the other, at most.
const DEEPEST: usize = 2;

impl Drawing {
    /// Adds what reads the results of a node.
    pub(super) fn grow(&mut self, from: &str, depth: usize) {
        let mut from = from.to_owned();
        if self.one_in(3) {
            from = self.map_of_results(&from);
        }
        let Some(results) = self.job.node(&from).and_then(|node| node.results.clone()) else { return };
        if results.groups && results.bounds && self.one_in(3) {
            self.list(&from, &results);
        }
        if results.groups && results.bounds && depth < DEEPEST && self.one_in(3) {
            let outer = self.aggregate_of_results(&from, &results);
            self.grow(&outer, depth + 1);
        }
    }

    /// Keeps some, and computes beside what there is.
    fn map_of_results(&mut self, from: &str) -> String {
        let columns = self.columns(from);
        let Some(results) = self.job.node(from).and_then(|node| node.results.clone()) else { return from.to_owned() };
        let condition = (!self.one_in(3)).then(|| self.condition(&columns)).flatten();
        let mut all = columns.clone();
        let select = (condition.is_none() || self.one_in(2)).then(|| {
            let mut select: Vec<(String, Expr)> = Vec::new();
            let bounds: &[&str] = if results.bounds { &["window_start", "window_end"] } else { &[] };
            let plain =
                bounds.iter().map(|name| (*name).to_owned()).chain(columns.iter().map(|column| column.name.clone()));
            select.extend(plain.map(|name| (name.clone(), expressions::same(name, Kind::Time))));
            let computed = match self.one_in(4) {
                true => expressions::failing(&mut self.dice, &columns),
                false => expressions::value(&mut self.dice, &columns),
            };
            let name = format!("y{}", self.job.nodes.len());
            if let Some(of) = computed {
                all.push(Column { name: name.clone(), kind: of.kind.clone(), how: How::Exact });
                select.push((name, of));
            }
            select
        });
        let name = self.name("having");
        let body = Body::Map { condition, select };
        self.add(Node { name, inputs: vec![from.to_owned()], body, columns: all, results: Some(results) })
    }

    /// The largest of each window, or of several put together.
    fn list(&mut self, from: &str, results: &Results) {
        let columns = self.columns(from);
        let Some(by) = self.ranked_by(from) else { return };
        let key: Vec<Column> = columns.iter().filter(|column| results.key.contains(&column.name)).cloned().collect();
        let number = if key.is_empty() { 0 } else { self.below(key.len()) };
        let (per, rest) = (key[..number].to_vec(), key[number..].to_vec());
        let window =
            results.pieces.as_ref().filter(|_| self.dice.random_range(0..2) == 0).map(|pieces| self.of_pieces(pieces));
        let rank = [Rank::RowNumber, Rank::Rank, Rank::DenseRank][self.below(3)];
        let column = |name: &str, kind| Column { name: name.to_owned(), kind, how: How::Exact };
        let mut all = per.clone();
        all.push(column("rank", Kind::Int));
        all.extend(rest.iter().cloned());
        all.push(column(&by, Kind::Int));
        let names = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let (per, rest) = (names(&per), names(&rest));
        let own = Results { groups: false, pieces: None, key: per.clone(), ..results.clone() };
        let body = Body::Reduce { n: self.dice.random_range(1..5), by, per, rest, rank, window };
        let name = self.name("top");
        self.add(Node { name: name.clone(), inputs: vec![from.to_owned()], body, columns: all, results: Some(own) });
        if self.one_in(3) {
            self.map_of_results(&name);
        }
    }

    /// A column that can be ranked by: a count, or a sum of whole numbers, of the aggregate itself.
    fn ranked_by(&mut self, from: &str) -> Option<String> {
        let node = self.job.node(from)?;
        match &node.body {
            Body::Map { .. } => {
                let input = node.inputs.first()?.clone();
                self.ranked_by(&input)
            }
            Body::Aggregate { calls, .. } => {
                let fit: Vec<&Call> = calls.iter().filter(|call| call.adds_up).collect();
                let at = self.dice.random_range(0..fit.len().max(1));
                fit.get(at).map(|call| call.name.clone())
            }
            Body::Dedup { .. } | Body::Reduce { .. } => None,
        }
    }

    /// Longer windows of whole tumbling ones.
    fn of_pieces(&mut self, pieces: &Window) -> Window {
        let piece = pieces.size_ms();
        let (slide, times) = (piece * self.dice.random_range(1..3), self.dice.random_range(1..4));
        let windows = match self.below(3) {
            0 => Windows::Tumbling(slide * times),
            1 => Windows::Hopping(slide * times, slide),
            _ => Windows::Cumulating(slide * times, slide),
        };
        let offset_ms = if self.one_in(2) { pieces.offset_ms % slide } else { pieces.offset_ms };
        Window { windows, offset_ms, zone: pieces.zone, lateness_ms: 0 }
    }

    /// An aggregate whose key no correction changes.
    fn aggregate_of_results(&mut self, from: &str, results: &Results) -> String {
        let columns = self.columns(from);
        let fixed: Vec<Column> = columns.iter().filter(|column| results.key.contains(&column.name)).cloned().collect();
        let number = self.below(fixed.len() + 1);
        let key = fixed[..number].to_vec();
        let window = Window { lateness_ms: 0, ..self.sliced(results.least_ms.max(self.unit)) };
        let conditions: Vec<Expr> = self.condition(&columns).into_iter().collect();
        let nodes = self.job.nodes.len();
        let calls = crate::grammar::calls::draw(&mut self.dice, &columns, &conditions, &format!("c{nodes}"));
        let names: Vec<String> = key.iter().map(|column| column.name.clone()).collect();
        let own = Results {
            bounds: true,
            key: names.clone(),
            least_ms: window.size_ms(),
            groups: true,
            pieces: matches!(window.windows, Windows::Tumbling(_)).then(|| window.clone()),
        };
        let columns = with_calls(key, &calls);
        let body = Body::Aggregate { key: names, window, calls, emit_ms: None };
        let name = self.name("of");
        self.add(Node { name, inputs: vec![from.to_owned()], body, columns, results: Some(own) })
    }
}
