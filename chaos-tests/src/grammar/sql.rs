//! A job as a question to DuckDB, in words of its own: a table for each node, with what is in it in the end.
//!
//! Tables of events have `_ms`, the event time, and `_mark`, the watermark of the row's file just before the row: what is late
//! follows from these two. Tables of results of windows have `_from` and `_to`, the window. Revisions there are none: what holds
//! in the end is asked, and nothing on the way.

mod aggregate;
mod windows;

use super::job::{Body, Expr, Job, Kind, Node, Rank, Source, Windows};
use super::written::INPUT;
use std::path::Path;

/// The first and the last event time of an input, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first.
    pub from_ms: i64,
    /// The last.
    pub to_ms: i64,
}

impl Span {
    /// With room for windows of a job on both sides.
    fn around(self, job: &Job) -> Self {
        let mut room = 2 * 86_400_000;
        for node in &job.nodes {
            if let Body::Aggregate { window, .. } | Body::Reduce { window: Some(window), .. } = &node.body {
                room += window.size_ms() + window.offset_ms;
            }
        }
        Span { from_ms: self.from_ms - room, to_ms: self.to_ms + room }
    }
}

/// The statements that make the tables, in order. The rows of each source are in `NAME.jsonl` below `input`.
pub fn tables(job: &Job, input: &Path, span: Span) -> Vec<String> {
    let span = span.around(job);
    let mut statements = Vec::new();
    for source in &job.sources {
        statements.push(source_table(source, input));
    }
    for node in &job.nodes {
        match &node.body {
            Body::Map { condition, select } => statements.extend(map(node, condition.as_ref(), select.as_deref())),
            Body::Dedup { key, ttl_ms, null_is_dead, .. } => {
                statements.extend(dedup(job, node, key, *ttl_ms, *null_is_dead, span));
            }
            Body::Aggregate { .. } => statements.extend(aggregate::tables(job, node, span)),
            Body::Reduce { .. } => statements.extend(reduce(node, span)),
        }
    }
    statements
}

fn source_table(source: &Source, input: &Path) -> String {
    let of = |kind: &Kind| match kind {
        Kind::Text | Kind::Decimal | Kind::List(_) => "VARCHAR",
        Kind::Int | Kind::Big | Kind::Time => "BIGINT",
        Kind::Float | Kind::Odd => "DOUBLE",
        Kind::Bool => "BOOLEAN",
    };
    let read: Vec<String> = INPUT.iter().map(|(name, kind)| format!("{name}: '{}'", of(kind))).collect();
    let shown = INPUT.iter().map(|(name, kind)| match kind {
        Kind::Time => format!("make_timestamp({name} * 1000) as {name}"),
        Kind::Decimal => format!("cast({name} as decimal(12, 2)) as {name}"),
        _ => (*name).to_owned(),
    });
    let path = input.join(format!("{}.jsonl", source.name));
    // Time begins with the third row of a file.
    format!(
        "create table {name} as select {shown}, happened as _ms, \
         case when place >= 3 then max(happened) over (partition by file order by place rows between unbounded preceding \
         and 1 preceding) - {delay} end as _mark \
         from read_json('{path}', format = 'newline_delimited', columns = {{file: 'BIGINT', place: 'BIGINT', {read}}})",
        name = source.name,
        shown = shown.collect::<Vec<_>>().join(", "),
        delay = source.delay_ms,
        path = path.display(),
        read = read.join(", "),
    )
}

/// All rows that a node reads.
fn read_by(node: &Node) -> String {
    let all: Vec<String> = node.inputs.iter().map(|input| format!("select * from {input}")).collect();
    format!("({})", all.join(" union all by name "))
}

/// Whether one of these fails on a row.
fn fails<'a>(expressions: impl Iterator<Item = &'a Expr>) -> String {
    let all: Vec<String> = expressions.filter_map(|of| of.fails.clone()).map(|fails| format!("({fails})")).collect();
    if all.is_empty() { "false".to_owned() } else { all.join(" or ") }
}

/// What is not kept is not computed, so that it cannot fail.
fn map(node: &Node, condition: Option<&Expr>, select: Option<&[(String, Expr)]>) -> Vec<String> {
    let holds = condition.map_or_else(|| "true".to_owned(), |of| format!("coalesce({}, false)", of.duck));
    let undecided = fails(condition.into_iter());
    let uncomputed = fails(select.unwrap_or_default().iter().map(|(_, of)| of));
    let columns = match select {
        None => "*".to_owned(),
        Some(select) => {
            let computed = select.iter().map(|(name, of)| format!("{} as {name}", of.duck));
            computed.chain(hidden(node).iter().map(|name| (*name).to_owned())).collect::<Vec<_>>().join(", ")
        }
    };
    let (name, from) = (&node.name, read_by(node));
    vec![
        format!(
            "create table {name} as select {columns} from {from} where ({holds}) and not ({undecided}) and not ({uncomputed})"
        ),
        format!(
            "create table {name}_dead_letters as select * from {from} where ({undecided}) or (({holds}) and ({uncomputed}))"
        ),
    ]
}

/// Columns that only these tables have.
fn hidden(node: &Node) -> &'static [&'static str] {
    match &node.results {
        None => &["_ms", "_mark"],
        Some(results) if results.bounds => &["_from", "_to"],
        Some(_) => &[],
    }
}

/// What is late for windows, or for what is remembered where there are none.
fn late_rows(from: &str, rule: Option<&super::job::Window>, ttl_ms: Option<i64>, span: Span) -> String {
    let late = match rule {
        None => ttl_ms.map_or_else(|| "false".to_owned(), |ttl| format!("_ms + {ttl} <= _mark")),
        Some(window) => match window.windows {
            Windows::Session(gap) => format!("_ms + {} <= _mark", gap + window.lateness_ms),
            Windows::Global(None) => "false".to_owned(),
            Windows::Global(Some(ttl)) => format!("_ms + {ttl} <= _mark"),
            _ => {
                let all = windows::table(window, span);
                let last = format!("(select max(_to) from ({all}) w where e._ms >= w._from and e._ms < w._to)");
                format!("{last} + {} <= _mark", window.lateness_ms)
            }
        },
    };
    format!("select e.*, coalesce({late}, false) as _late from {from} e")
}

/// What is late, what is not, and each of these once.
fn dedup(job: &Job, node: &Node, key: &[String], ttl_ms: i64, null_is_dead: bool, span: Span) -> Vec<String> {
    let name = &node.name;
    let judged = late_rows(&read_by(node), job.windows_behind(name), Some(ttl_ms), span);
    let is_null = key.iter().map(|column| format!("{column} is null")).collect::<Vec<_>>().join(" or ");
    let keyless = if null_is_dead { "false" } else { "true" };
    vec![
        format!("create table {name}_judged as {judged}"),
        format!("create table {name}_late as select * exclude (_late) from {name}_judged where _late"),
        format!("create table {name}_on_time as select * exclude (_late) from {name}_judged where not _late"),
        format!(
            "create table {name} as select * from {name}_on_time where not ({is_null}) \
             qualify row_number() over (partition by {keys} order by _ms) = 1 \
             union all select * from {name}_on_time where ({is_null}) and {keyless}",
            keys = key.join(", "),
        ),
    ]
}

/// Lists of each window.
fn reduce(node: &Node, span: Span) -> Vec<String> {
    let Body::Reduce { n, by, per, rest, rank, window } = &node.body else { return Vec::new() };
    let key: Vec<String> = per.iter().chain(rest).cloned().collect();
    let with_key = |more: &[&str]| {
        let all: Vec<&str> = key.iter().map(String::as_str).chain(more.iter().copied()).collect();
        all.join(", ")
    };
    let from = read_by(node);
    let counted = match window {
        None => format!("select {}, coalesce({by}, 0) as {by} from {from}", with_key(&["_from", "_to"])),
        Some(window) => format!(
            "select {}, sum(coalesce({by}, 0)) as {by} from {from} r join ({}) w on r._from >= w._from and r._to <= w._to group by {}",
            with_key(&["w._from", "w._to"]),
            windows::table(window, span),
            with_key(&["w._from", "w._to"]),
        ),
    };
    let lists = ["_from", "_to"].into_iter().chain(per.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
    // Ties go by key only where each has a rank of its own.
    let ties: String = match rank {
        Rank::RowNumber => rest.iter().map(|column| format!(", {column} asc nulls last")).collect(),
        Rank::Rank | Rank::DenseRank => String::new(),
    };
    let ranked = format!(
        "select *, make_timestamp(_from * 1000) as window_start, make_timestamp(_to * 1000) as window_end, \
         {}() over (partition by {lists} order by {by} desc{ties}) as rank from ({counted})",
        rank.name()
    );
    vec![format!("create table {} as select * from ({ranked}) where rank <= {n}", node.name)]
}
