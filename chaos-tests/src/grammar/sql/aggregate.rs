//! An aggregate: which rows are in which group, and what they come to.

use super::{Span, late_rows, read_by, windows};
use crate::grammar::job::{Body, Call, Job, Kind, Node, Window, Windows};

/// The tables of an aggregate of events or of results.
pub(super) fn tables(job: &Job, node: &Node, span: Span) -> Vec<String> {
    let Body::Aggregate { key, window, calls, .. } = &node.body else { return Vec::new() };
    let name = &node.name;
    let mut tables = Vec::new();
    let of_results = node.inputs.iter().any(|input| job.is_of_results(input));
    let is_gated = !of_results && !node.inputs.iter().any(|input| job.is_behind_dedup(input));
    let from = match (of_results, is_gated) {
        // A result counts at the last moment of its window.
        (true, _) => format!("(select *, _to - 1 as _ms from {} r)", read_by(node)),
        (false, false) => read_by(node),
        (false, true) => {
            tables
                .push(format!("create table {name}_judged as {}", late_rows(&read_by(node), Some(window), None, span)));
            for (output, late) in [("late", "_late"), ("on_time", "not _late")] {
                tables.push(format!(
                    "create table {name}_{output} as select * exclude (_late) from {name}_judged where {late}"
                ));
            }
            format!("{name}_on_time")
        }
    };
    // A row that an argument fails on is in no count.
    let failing: Vec<String> = calls.iter().filter_map(|call| call.fails.clone()).collect();
    let fails = if failing.is_empty() { "false".to_owned() } else { failing.join(" or ") };
    tables.push(format!("create table {name}_dead_letters as select * from {from} where {fails}"));
    let counted = format!("(select * from {from} where not ({fails}))");
    let is_filtered = !of_results && key.iter().any(|column| column == "filter_id");
    let counted = if is_filtered { filtered(job, &counted) } else { counted };
    tables.push(format!("create table {name} as {}", grouped(key, window, calls, &counted, of_results, span)));
    tables
}

/// Each row once for each filter that it matches.
fn filtered(job: &Job, from: &str) -> String {
    let of = |(id, condition): &(String, super::Expr)| {
        format!("select *, '{id}' as filter_id from {from} where {}", condition.duck)
    };
    format!("({})", job.filters.iter().map(of).collect::<Vec<_>>().join(" union all "))
}

fn grouped(key: &[String], window: &Window, calls: &[Call], from: &str, of_results: bool, span: Span) -> String {
    let in_windows = match window.windows {
        Windows::Session(gap) => sessions(key, gap, from),
        Windows::Global(None) => format!("(select *, 0 as _begin, 0 as _end from {from})"),
        Windows::Global(Some(ttl)) => last_life(key, ttl, from),
        _ => {
            // Results have the bounds of their own windows, too.
            let own = if of_results { "* exclude (_from, _to)" } else { "*" };
            let all = windows::table(window, span);
            format!(
                "(select r.*, w._from as _begin, w._to as _end from (select {own} from {from}) r \
                 join ({all}) w on r._ms >= w._from and r._ms < w._to)"
            )
        }
    };
    let computed = |call: &Call| match (&call.kind, may_overflow(call)) {
        (_, true) => format!("{} as {}", call.duck, call.name),
        (Kind::Int, _) => format!("cast({} as bigint) as {}", call.duck, call.name),
        _ => format!("{} as {}", call.duck, call.name),
    };
    let columns: Vec<String> = key.iter().cloned().chain(calls.iter().map(computed)).collect();
    let columns = columns.join(", ").replace("{time}", "_ms");
    let groups: Vec<&str> = key.iter().map(String::as_str).chain(["_begin", "_end"]).collect();
    let groups = groups.join(", ");
    let bounds = match window.has_bounds() {
        true => {
            ", _begin as _from, _end as _to, make_timestamp(_begin * 1000) as window_start, \
                 make_timestamp(_end * 1000) as window_end"
        }
        false => "",
    };
    let all = format!("select {columns}{bounds} from {in_windows} group by {groups}");
    fitting(calls, &all)
}

/// A sum that 64 bits do not hold is no result.
fn fitting(calls: &[Call], all: &str) -> String {
    let sums: Vec<&Call> = calls.iter().filter(|call| may_overflow(call)).collect();
    if sums.is_empty() {
        return all.to_owned();
    }
    let cast = sums.iter().map(|call| format!("cast({0} as bigint) as {0}", call.name)).collect::<Vec<_>>().join(", ");
    let fits = sums.iter().map(|call| {
        format!(
            "({0} is null or {0} between (-9223372036854775808)::hugeint and 9223372036854775807::hugeint)",
            call.name
        )
    });
    format!("select * replace ({cast}) from ({all}) where {}", fits.collect::<Vec<_>>().join(" and "))
}

fn may_overflow(call: &Call) -> bool {
    call.kind == Kind::Big && call.weir.starts_with("sum(")
}

/// Where rows of a key are at least so far apart, another run of them begins.
fn runs(key: &[String], gap: i64, from: &str) -> String {
    let by = if key.is_empty() { String::new() } else { format!("partition by {} ", key.join(", ")) };
    let breaks = format!(
        "select *, case when _ms - lag(_ms) over ({by}order by _ms) < {gap} then 0 else 1 end as _new from {from}"
    );
    // Of rows of one moment only one can begin a run.
    format!("select *, sum(_new) over ({by}order by _ms range unbounded preceding) as _run from ({breaks})")
}

fn sessions(key: &[String], gap: i64, from: &str) -> String {
    let by: Vec<&str> = key.iter().map(String::as_str).chain(["_run"]).collect();
    let by = by.join(", ");
    format!(
        "(select *, min(_ms) over (partition by {by}) as _begin, max(_ms) over (partition by {by}) + {gap} as _end from ({}))",
        runs(key, gap, from)
    )
}

/// The last run of each key; those before are forgotten.
fn last_life(key: &[String], ttl: i64, from: &str) -> String {
    let by = if key.is_empty() { String::new() } else { format!("partition by {}", key.join(", ")) };
    format!("(select *, 0 as _begin, 0 as _end from ({}) qualify _run = max(_run) over ({by}))", runs(key, ttl, from))
}
