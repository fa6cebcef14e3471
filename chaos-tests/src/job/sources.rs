//! Where the clicks come from.

use super::{DELAY_SECONDS, JobConfig, MAX_LINE_BYTES, definition::toml_text, kafka};
use crate::workload::InputFormat;
use std::path::Path;

/// The sources: one, or two that read other files.
pub(super) fn sources(config: &JobConfig, input: &Path) -> String {
    let (format, follow) = (config.format.name(), config.follow);
    let idle = config.idle_after_ms.map_or(String::new(), |after| format!(", idle_after = \"{after}ms\""));
    let drift = config.max_drift_ms.map_or(String::new(), |drift| format!(", max_drift = \"{drift}ms\""));
    let jump = match config.with_max_jump {
        true => ", max_jump = \"1h\", jump_after = { rows = 20, span = \"10s\" }",
        false => "",
    };
    let schema = match config.format {
        InputFormat::ClickLog => String::new(),
        _ => "schema = { ad_id = \"string\", click_timestamp = \"timestamp\", user_id = \"string\", ip = \"string\", \
              country = \"string\", event_id = \"string\" }"
            .to_owned(),
    };
    let line_bytes = match config.format {
        InputFormat::Parquet => String::new(),
        _ => format!("max_line_bytes = {MAX_LINE_BYTES}"),
    };
    let source = |name: &str, path: &Path| {
        format!(
            "[source.{name}]\nconnector = \"files\"\npath = {}\nformat = \"{format}\"\nfollow = {follow}\n\
             event_time = \"click_timestamp\"\nwatermark = {{ delay = \"{DELAY_SECONDS}s\"{idle}{drift}{jump} }}\n\
             {schema}\n{line_bytes}\n\n",
            toml_text(path)
        )
    };
    match config.two_sources {
        _ if config.from_kafka => kafka::source(&format!(
            "format = \"{format}\"\nevent_time = \"click_timestamp\"\n\
             watermark = {{ delay = \"{DELAY_SECONDS}s\"{idle}{jump} }}\n{schema}\n{line_bytes}"
        )),
        true => [source("clicks", &input.join("*[02468].*")), source("others", &input.join("*[13579].*"))].concat(),
        false => source("clicks", input),
    }
}

/// The outputs of the sources with what they have read, and those with what they could not read, as in a list.
pub(super) fn read_and_unread(config: &JobConfig) -> (&'static str, &'static str) {
    match config.two_sources {
        true => ("clicks\", \"others", "clicks.dead_letters\", \"others.dead_letters"),
        false => ("clicks", "clicks.dead_letters"),
    }
}
