//! A job as a user writes it: the TOML of its definition.

use super::job::{Body, Column, Format, Job, Kind, Node, Sink, Source, Target, Window, Windows};
use std::{fmt::Write as _, path::Path};

/// The columns of the input.
pub const INPUT: [(&str, Kind); 11] = [
    ("id", Kind::Text),
    ("happened", Kind::Time),
    ("who", Kind::Text),
    ("zone", Kind::Text),
    ("n", Kind::Int),
    ("big", Kind::Big),
    ("price", Kind::Float),
    ("odd", Kind::Odd),
    ("ok", Kind::Bool),
    ("code", Kind::Text),
    ("cost", Kind::Decimal),
];

/// The column with the event time.
pub const TIME: &str = "happened";

/// Name of the job.
pub const NAME: &str = "drawn";

/// The definition, of a job that reads and writes below these folders.
pub fn definition(job: &Job, input: &Path, output: &Path) -> String {
    let mut text = format!("[job]\nname = \"{NAME}\"\ncheckpoint = {{ interval = \"{}ms\" }}\n", job.checkpoint_ms);
    for source in &job.sources {
        text.push_str(&source_text(source, input));
    }
    if !job.filters.is_empty() {
        text.push_str("\n[filters]\n");
    }
    for (id, condition) in &job.filters {
        let _ = writeln!(text, "{} = {}", quoted(id), quoted(&condition.weir));
    }
    for node in &job.nodes {
        text.push_str(&node_text(node));
    }
    for sink in &job.sinks {
        text.push_str(&sink_text(sink, output));
    }
    text
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

/// One name alone, or a list.
fn input_of(names: &[String]) -> String {
    match names {
        [one] => quoted(one),
        several => list(several),
    }
}

/// A duration in its largest unit.
fn duration(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let (unit, name) = units.into_iter().find(|(unit, _)| ms != 0 && ms % unit == 0).unwrap_or((1_000, "s"));
    format!("\"{}{name}\"", ms / unit)
}

fn source_text(source: &Source, input: &Path) -> String {
    let kind = |kind: &Kind| match kind {
        Kind::Text | Kind::List(_) => "\"string\"",
        Kind::Int | Kind::Big => "\"int\"",
        Kind::Float | Kind::Odd => "\"float\"",
        Kind::Bool => "\"bool\"",
        Kind::Time => "{ type = \"timestamp\", unit = \"ms\" }",
        Kind::Decimal => "\"decimal(12, 2)\"",
    };
    let columns: Vec<String> = INPUT.iter().map(|(name, of)| format!("{name} = {}", kind(of))).collect();
    let schema = match source.format {
        Format::Parquet => String::new(),
        _ => format!("schema = {{ {} }}\n", columns.join(", ")),
    };
    let path = input.join(&source.name);
    format!(
        "\n[source.{}]\nconnector = \"files\"\npath = {}\nformat = \"{}\"\n{schema}event_time = \"{TIME}\"\n\
         watermark = {{ delay = {} }}\nbatch_rows = {}\n",
        source.name,
        quoted(&path.display().to_string()),
        source.format.name(),
        duration(source.delay_ms),
        source.batch_rows,
    )
}

fn window_text(window: &Window) -> String {
    let mut parts = match window.windows {
        Windows::Tumbling(size) => vec![format!("tumbling = {}", duration(size))],
        Windows::Hopping(size, slide) => vec![format!("hopping = {}, slide = {}", duration(size), duration(slide))],
        Windows::Cumulating(size, step) => {
            vec![format!("cumulating = {}, step = {}", duration(size), duration(step))]
        }
        Windows::Session(gap) => vec![format!("session = {}", duration(gap))],
        Windows::Global(None) => vec!["global = true".to_owned()],
        Windows::Global(Some(ttl)) => vec![format!("global = true, ttl = {}", duration(ttl))],
    };
    if window.offset_ms != 0 {
        parts.push(format!("offset = {}", duration(window.offset_ms)));
    }
    if let Some(zone) = window.zone {
        parts.push(format!("timezone = \"{zone}\""));
    }
    if window.lateness_ms != 0 {
        parts.push(format!("allowed_lateness = {}", duration(window.lateness_ms)));
    }
    format!("window = {{ {} }}\n", parts.join(", "))
}

fn node_text(node: &Node) -> String {
    let kind = match node.body {
        Body::Map { .. } => "map",
        Body::Dedup { .. } => "dedup",
        Body::Aggregate { .. } => "aggregate",
        Body::Reduce { .. } => "reduce",
    };
    let mut text = format!("\n[{kind}.{}]\ninput = {}\n", node.name, input_of(&node.inputs));
    match &node.body {
        Body::Map { condition, select } => {
            if let Some(condition) = condition {
                let _ = writeln!(text, "where = {}", quoted(&condition.weir));
            }
            if let Some(select) = select {
                let _ = writeln!(text, "[map.{}.select]", node.name);
                for (name, expression) in select {
                    let _ = writeln!(text, "{name} = {}", quoted(&expression.weir));
                }
            }
        }
        Body::Dedup { key, ttl_ms, same_event_time, null_is_dead } => {
            let _ = writeln!(text, "key = {}\nttl = {}", list(key), duration(*ttl_ms));
            if *same_event_time {
                text.push_str("same_event_time = true\n");
            }
            if *null_is_dead {
                text.push_str("null_key = \"dead_letter\"\n");
            }
        }
        Body::Aggregate { key, window, calls, emit_ms } => {
            let _ = write!(text, "key = {}\n{}", list(key), window_text(window));
            if let Some(every) = emit_ms {
                let _ = writeln!(text, "emit = {{ every = \"{every}ms\" }}");
            }
            let _ = writeln!(text, "[aggregate.{}.select]", node.name);
            for call in calls {
                let _ = writeln!(text, "{} = {}", call.name, quoted(&call.weir));
            }
        }
        Body::Reduce { n, by, per, rank, window, .. } => {
            if let Some(window) = window {
                text.push_str(&window_text(window));
            }
            let _ =
                writeln!(text, "top = {{ n = {n}, by = \"{by}\", per = {} }}\nrank = \"{}\"", list(per), rank.name());
        }
    }
    text
}

fn sink_text(sink: &Sink, output: &Path) -> String {
    let input = match sink.output {
        None => sink.node.clone(),
        Some(of) => format!("{}.{of}", sink.node),
    };
    let mut text = format!("\n[sink.{}]\ninput = \"{input}\"\n", sink.name);
    match sink.target {
        Target::Files { format, each_checkpoint } => {
            let path = quoted(&output.join(&sink.name).display().to_string());
            let _ = writeln!(text, "connector = \"files\"\nformat = \"{}\"\npath = {path}", format.name());
            if each_checkpoint {
                text.push_str("roll = \"checkpoint\"\n");
            }
        }
        Target::Table => {
            let url = quoted(&format!("sqlite:{}", output.join("store.sqlite").display()));
            let _ = writeln!(text, "connector = \"sql\"\nurl = {url}\ntable = \"{}\"", sink.name);
        }
    }
    text
}

/// The input's columns, as a stream has them.
pub fn input_columns() -> Vec<Column> {
    INPUT.map(|(name, kind)| Column { name: name.to_owned(), kind, how: super::job::How::Exact }).to_vec()
}
