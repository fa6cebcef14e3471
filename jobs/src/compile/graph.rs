//! The plan → the engine's job graph: kinds and configurations that the operators' factory understands, edges with
//! partitioners, and a note on every node for people.

use serde_json::{Value, json};
use weir_engine::graph::{CheckpointSettings, Edge, JobGraph, Node, NodeRole, Partitioner};
use weir_operators::dedup::{DedupConfig, NullKey};
use weir_operators::filters::{FilterConfig, FiltersConfig};
use weir_operators::late_gate::{LateGateConfig, LateRule};
use weir_operators::map::{MapConfig, SelectItem};
use weir_operators::source::JumpAfter;
use weir_operators::window_count::WindowCountConfig;

use super::aggregate_step::AggregateStep;
use super::event_time::SourceTime;
use super::plan::{Operator, Step};
use super::prune::StepColumns;
use super::reduce_step::ReduceStep;
use super::types::partition_column;
use crate::job::NodeNote;
use crate::spec::{Dedup, Format, JobSpec, Sink, SinkConnector, Source, SourceConnector, Window};
use weir_operators::definition::duration::{millis, show};

/// Makes the graph and the notes of its nodes.
pub(super) fn graph(
    spec: &JobSpec,
    steps: &[Step<'_>],
    columns: &[StepColumns],
    parallelism: usize,
) -> (JobGraph, Vec<NodeNote>) {
    let mut graph = JobGraph::new(&spec.name);
    graph.identity = spec.identity.clone();
    graph.max_parallelism = spec.max_parallelism;
    graph.checkpoint = CheckpointSettings {
        interval_ms: u64::try_from(spec.checkpoint.interval.as_millis()).unwrap_or(u64::MAX),
        retain: spec.checkpoint.retain,
    };
    let mut notes = Vec::with_capacity(steps.len());
    for (step, columns) in steps.iter().zip(columns) {
        let (role, kind, config) = configuration(spec, &step.operator, columns);
        // A window is a row there: one subtask has time for all of them.
        let parallelism = if matches!(step.operator, Operator::WindowCount(_)) { 1 } else { parallelism };
        let to = graph.add_node(Node { id: step.id.clone(), kind: kind.into(), role, parallelism, config });
        notes.push(note(&step.operator, columns));
        for input in &step.inputs {
            let partitioner = match &input.hash {
                None => Partitioner::Forward,
                Some(key) => Partitioner::Hash { key: key.clone() },
            };
            graph.edges.push(Edge {
                from: input.from,
                port: input.port,
                to,
                input: 0,
                partitioner,
                columns: columns.carried.clone(),
            });
        }
    }
    (graph, notes)
}

/// Role, kind and configuration of a node.
fn configuration(spec: &JobSpec, operator: &Operator<'_>, columns: &StepColumns) -> (NodeRole, &'static str, Value) {
    let input = || columns.input.clone();
    match operator {
        Operator::Source { source, time, .. } => source_configuration(source, time.as_ref(), columns),
        Operator::Map { condition, results, table, .. } => {
            let config = MapConfig {
                input: input(),
                condition: condition.map(str::to_owned),
                select: columns.select.clone(),
                results: results.clone(),
                table: table.clone(),
            };
            (NodeRole::Operator, "map", json!(config))
        }
        Operator::LateGate { rule, time, merged } => {
            let config = LateGateConfig { rule: *rule, time_column: time.clone() };
            let kind = if *merged { "merged_late_gate" } else { "late_gate" };
            (NodeRole::Operator, kind, json!(config))
        }
        Operator::Dedup { dedup, time } => {
            let config = DedupConfig {
                key: dedup.key.clone(),
                ttl_ms: millis(dedup.ttl),
                time_column: time.clone(),
                same_event_time: dedup.same_event_time || dedup.key.contains(time),
                output: columns.kept.clone(),
                null_key: dedup.null_key,
            };
            (NodeRole::Operator, "dedup", json!(config))
        }
        Operator::Filters(filters) => {
            let filter =
                |(id, condition): &(String, String)| FilterConfig { id: id.clone(), condition: condition.clone() };
            let config = FiltersConfig {
                input: input(),
                filters: filters.iter().map(filter).collect(),
                output: columns.kept.clone(),
            };
            (NodeRole::Operator, "filters", json!(config))
        }
        Operator::LocalAggregate(step) => (NodeRole::Operator, "local_aggregate", json!(step.config())),
        Operator::GlobalAggregate(step) => {
            let session = matches!(step.aggregate.window, Window::Session { .. });
            let kind = if session { "session_aggregate" } else { "global_aggregate" };
            (NodeRole::Operator, kind, json!(step.config()))
        }
        Operator::WindowMarks => (NodeRole::Operator, "window_marks", json!({})),
        Operator::WindowCount(windows) => {
            (NodeRole::Operator, "window_count", json!(WindowCountConfig { windows: *windows }))
        }
        Operator::LocalTop(step) => (NodeRole::Operator, "local_top", json!(step.config())),
        Operator::GlobalTop(step) => (NodeRole::Operator, "global_top", json!(step.config())),
        Operator::Hold(held) => (NodeRole::Operator, "hold", json!(held.config(input()))),
        Operator::Sink { sink, written } => sink_configuration(spec, sink, written),
    }
}

fn source_configuration(
    source: &Source,
    time: Option<&SourceTime>,
    columns: &StepColumns,
) -> (NodeRole, &'static str, Value) {
    let (kind, mut config) = match &source.connector {
        SourceConnector::Generator { stream, clicks_per_second } => {
            ("generator", json!({ "stream": stream, "clicks_per_second": clicks_per_second }))
        }
        SourceConnector::Files(files) => {
            let mut config = json!({ "path": files.path, "follow": files.follow });
            let optional = [
                ("max_line_bytes", files.max_line_bytes),
                ("batch_rows", files.batch_rows),
                ("poll_ms", files.poll.map(unsigned_millis)),
                ("discover_ms", files.discover.map(unsigned_millis)),
                ("rotation_grace_ms", files.rotation_grace.map(unsigned_millis)),
            ];
            for (key, value) in optional.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                config[key] = value.into();
            }
            if let Some(copies) = files.copies {
                config["copies"] = json!(copies);
            }
            if files.by_partition {
                config["by_partition"] = true.into();
            }
            if files.all_or_nothing {
                config["all_or_nothing"] = true.into();
            }
            if !files.partitions.columns.is_empty() {
                config["partitions"] = json!(files.partitions);
            }
            if let Some(range) = &files.range {
                config["range"] = json!(range);
            }
            match &files.format {
                Format::ClickLog => config["format"] = "click_log".into(),
                Format::Csv { schema, delimiter } => {
                    config["format"] = "csv".into();
                    config["schema"] = json!(schema);
                    config["delimiter"] = json!(delimiter);
                }
                Format::Json { schema } => {
                    config["format"] = "json".into();
                    config["schema"] = json!(schema);
                }
                Format::Parquet { schema } => {
                    config["format"] = "parquet".into();
                    if let Some(schema) = schema {
                        config["schema"] = json!(schema);
                    }
                }
            }
            ("files", config)
        }
    };
    config["columns"] = json!(columns.output);
    config["event_time"] = json!(time.map(|time| &time.name));
    if let Some(computed) = &columns.computed {
        config["computed_time"] = json!(computed);
    }
    let milliseconds = |duration: Option<std::time::Duration>| duration.map(millis);
    config["watermark"] = json!({
        "delay_ms": millis(source.delay),
        "idle_after_ms": milliseconds(source.idle_after),
        "max_jump_ms": milliseconds(source.max_jump),
        "jump_after": source.jump_after,
        "max_ahead_ms": milliseconds(source.max_ahead),
    });
    (NodeRole::Source, kind, config)
}

fn unsigned_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn sink_configuration(spec: &JobSpec, sink: &Sink, written: &super::types::Types) -> (NodeRole, &'static str, Value) {
    match &sink.connector {
        SinkConnector::Console => (NodeRole::Sink, "console", json!({})),
        SinkConnector::Sql(sql) => (NodeRole::Sink, "sql", super::sql_sink::configuration(spec, sink, sql, written)),
        SinkConnector::Files(files) => {
            let mut config = json!({ "path": files.path, "format": "parquet", "compression": files.compression });
            if files.hourly {
                let column = files.partition_column.as_deref().or_else(|| partition_column(written));
                config["partition_by"] = "hour".into();
                config["partition_column"] = json!(column);
            }
            if let Some(retention) = files.retention {
                config["retention_ms"] = millis(retention).into();
            }
            (NodeRole::Sink, "files", config)
        }
    }
}

/// What a node does, in the words of the definition.
fn note(operator: &Operator<'_>, columns: &StepColumns) -> NodeNote {
    let (does, state) = match operator {
        Operator::Source { source, .. } => (source_note(source), None),
        Operator::Map { table: Some(rule), .. } => (format!("keeps what the table {} can take", rule.table), None),
        Operator::Map { condition, select, results, .. } => {
            let mut does = map_note(*condition, select.is_some(), columns);
            if results.is_some() {
                does.push_str("; withdraws results that it keeps no more");
            }
            (does, None)
        }
        Operator::LateGate { rule, merged: false, .. } => (gate_note(*rule), None),
        Operator::LateGate { rule, merged: true, .. } => {
            (format!("{}, of files that were silent", gate_note(*rule)), Some("how far time has come".into()))
        }
        Operator::Dedup { dedup, time } => dedup_note(dedup, time),
        Operator::Filters(filters) => (format!("{} filters: {}", filters.len(), ids(filters)), None),
        Operator::LocalAggregate(step) => (format!("partial {}", calls(step)), None),
        Operator::GlobalAggregate(step) => {
            let aggregate = step.aggregate;
            let lateness = show(aggregate.allowed_lateness);
            let mut does = format!(
                "{} per {}, {}, allowed lateness {lateness}",
                calls(step),
                list(&aggregate.key),
                window_note(aggregate.window)
            );
            if let (Some(_), Some(every)) = (step.running, aggregate.emit) {
                does.push_str(&format!(", running counts every {}", show(every)));
            }
            let kept = match aggregate.window {
                Window::Session { .. } => "open sessions",
                _ => "open slices of windows",
            };
            (does, Some(format!("{kept} per key, until {lateness} after their end")))
        }
        Operator::WindowMarks => ("a row for each window of a batch".into(), None),
        Operator::WindowCount(_) => ("counts windows for the closing table".into(), Some("open windows".into())),
        Operator::LocalTop(step) => {
            (format!("own top {} by {}", step.reduce.n, step.reduce.by), Some("open windows".into()))
        }
        Operator::GlobalTop(step) => (top_note(*step), Some("the best of open windows".into())),
        Operator::Hold(held) => (held.note(), Some("the rows that it holds".into())),
        Operator::Sink { sink, .. } => (sink_note(sink), None),
    };
    // The columns of partial results are the operators' own affair.
    let partial = matches!(operator, Operator::LocalAggregate(_) | Operator::LocalTop(_));
    let shown = columns.output.names().filter(|_| !partial);
    NodeNote { does, state, columns: shown.map(str::to_owned).collect() }
}

fn source_note(source: &Source) -> String {
    let what = match &source.connector {
        SourceConnector::Generator { .. } => "generated clicks".to_owned(),
        SourceConnector::Files(files) => {
            let format = match &files.format {
                Format::ClickLog => "click logs",
                Format::Csv { .. } => "CSV files",
                Format::Json { .. } => "JSON lines",
                Format::Parquet { .. } => "Parquet files",
            };
            let follow = if files.follow { ", followed" } else { "" };
            let by_hour = if files.by_partition { ", an archive by hour" } else { "" };
            let folders: Vec<&str> = files.partitions.columns.iter().map(|column| column.name.as_str()).collect();
            let folders =
                if folders.is_empty() { String::new() } else { format!(", {} from folders", folders.join(", ")) };
            format!("{format} at {}{follow}{by_hour}{folders}", files.path)
        }
    };
    let by_partition = matches!(&source.connector, SourceConnector::Files(files) if files.by_partition);
    match &source.event_time {
        Some(column) if by_partition => format!("{what}, event time {column}"),
        Some(column) => {
            let delay = show(source.delay);
            format!("{what}, event time {column}, watermark {delay} behind, {}", ahead_note(source))
        }
        None => what,
    }
}

/// What protects a source's time from wrong clocks.
fn ahead_note(source: &Source) -> String {
    let Some(max_jump) = source.max_jump else {
        return "no max_jump: a date up to a day ahead is believed".into();
    };
    let JumpAfter { rows, span_ms } = source.jump_after.unwrap_or_default();
    let span = show(std::time::Duration::from_millis(span_ms.unsigned_abs()));
    let clock = source.max_ahead.map_or(String::new(), |ahead| format!(", max_ahead {}", show(ahead)));
    format!("max_jump {} until {rows} agree over {span}{clock}", show(max_jump))
}

fn map_note(condition: Option<&str>, selects: bool, columns: &StepColumns) -> String {
    let mut parts: Vec<String> = condition.iter().map(|condition| format!("where {condition}")).collect();
    if let (true, Some(items)) = (selects, &columns.select) {
        let item = |item: &SelectItem| {
            let plain = item.expression.trim_matches('"') == item.name;
            if plain { item.name.clone() } else { format!("{} as {}", item.expression, item.name) }
        };
        parts.push(format!("select {}", items.iter().map(item).collect::<Vec<_>>().join(", ")));
    }
    parts.join("; ")
}

fn gate_note(rule: LateRule) -> String {
    let span = |ms: i64| show(std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    match rule {
        LateRule::Window(rule) => {
            format!("late: {} or more behind the end of its last window", span(rule.allowed_lateness_ms))
        }
        LateRule::Ttl { ttl_ms } => format!("late: {} or more behind", span(ttl_ms)),
    }
}

fn dedup_note(dedup: &Dedup, time: &str) -> (String, Option<String>) {
    let by_time = dedup.same_event_time || dedup.key.iter().any(|column| column == time);
    let tables = if by_time { "a table per bucket of event time" } else { "one table" };
    let keyless = match dedup.null_key {
        NullKey::Pass => "",
        NullKey::DeadLetter => ", null is a dead letter",
    };
    let does = format!("drops repeated {}, remembered for {}{keyless}", list(&dedup.key), show(dedup.ttl));
    (does, Some(format!("a 128-bit hash per id, {tables}")))
}

fn top_note(step: ReduceStep<'_>) -> String {
    let per = if step.reduce.per.is_empty() { String::new() } else { format!(" per {}", list(&step.reduce.per)) };
    let window = step.reduce.window.unwrap_or(step.aggregate.window);
    format!("top {} by {}{per}, {}", step.reduce.n, step.reduce.by, window_note(window))
}

fn sink_note(sink: &Sink) -> String {
    match &sink.connector {
        SinkConnector::Console => "lines on standard output".into(),
        SinkConnector::Sql(sql) => super::sql_sink::note(sql),
        SinkConnector::Files(files) => {
            let hourly = if files.hourly { ", a folder an hour" } else { "" };
            let kept = files.retention.map_or(String::new(), |kept| format!(", kept for {}", show(kept)));
            format!("Parquet files at {}{hourly}{kept}", files.path)
        }
    }
}

fn window_note(window: Window) -> String {
    match window {
        Window::Tumbling { size } => format!("tumbling {}", show(size)),
        Window::Hopping { size, slide } => format!("hopping {} by {}", show(size), show(slide)),
        Window::Session { gap } => format!("sessions with a gap of {}", show(gap)),
    }
}

fn calls(step: &AggregateStep<'_>) -> String {
    step.aggregate.select.iter().map(|(name, call)| format!("{name} = {call}")).collect::<Vec<_>>().join(", ")
}

fn ids(filters: &[(String, String)]) -> String {
    filters.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
}

fn list(names: &[String]) -> String {
    names.join(", ")
}
