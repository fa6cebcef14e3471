//! Where the results go: files, always; a table or two, topics and a webhook, where a job has them.

use super::{JobConfig, campaigns, definition::toml_text, kafka, nodes, sources::read_and_unread, webhook};
use crate::table;
use std::path::Path;

/// The sinks of a store, as in the shipped job. Minutes stay minutes, so that every count can be compared.
const STORE: &str = r#"
[sink.store]
connector = "sql"
input = "clicks_per_minute"
url = URL
table = "ad_counts"
key = ["click_minute", "filter_id", "ad_id"]
select = ["window_start as click_minute", "filter_id", "ad_id", "count", "revision"]
indexes = [{ columns = ["click_minute", "filter_id", "count"], where = "count >= 32" }]
running = true

[sink.store_top]
connector = "sql"
input = "top_ads"
url = URL
table = "top_ads"
key = ["window_end", "window_start", "filter_id", "rank"]
select = ["window_end", "window_start", "filter_id", "rank", "ad_id", "count", "revision"]
"#;

/// The sinks of the store at this URL.
pub(crate) fn store_sinks(url: &str) -> String {
    STORE.replace("URL", &format!("{url:?}"))
}

/// Counts, running ones too, in a table of a database below the folder of outputs.
fn table_of_counts(output: &Path) -> String {
    let url = format!("sqlite:{}", table::database(output).display());
    format!(
        r#"[sink.store]
input = "clicks_per_minute"
connector = "sql"
url = {url:?}
table = "ad_counts"
key = ["click_minute", "filter_id", "ad_id"]
select = ["window_start as click_minute", "filter_id", "ad_id", "count", "revision"]
"#
    )
}

/// All sinks, and the nodes that only some jobs have, each before its own.
pub(super) fn sinks(config: &JobConfig, output: &Path) -> String {
    let files = Files { config, output };
    let store = config.store.as_deref().map_or(String::new(), store_sinks);
    let has_table = config.with_table && config.store.is_none();
    let table = if has_table { table_of_counts(output) } else { String::new() };
    [
        files.of_every_job(),
        store,
        if config.to_kafka { kafka::SINKS.to_owned() } else { String::new() },
        if config.to_webhook { webhook::SINK.to_owned() } else { String::new() },
        files.of_some_jobs(),
        format!("\n{table}"),
    ]
    .concat()
}

/// Writes sinks of files.
struct Files<'a> {
    config: &'a JobConfig,
    output: &'a Path,
}

impl Files<'_> {
    /// One sink; what else there is to say of it.
    fn sink(&self, name: &str, input: &str, more: &str) -> String {
        let path = toml_text(&self.output.join(name));
        // What is put out with every checkpoint shows what goes wrong in one.
        let roll = if more.contains("roll = ") { "" } else { "roll = \"checkpoint\"\n" };
        let format = match name {
            // A replay reads an archive of Parquet.
            "on_time" if self.config.archive_by_hour => "parquet",
            name if name.starts_with("pairs") => "parquet",
            name => self.config.outputs.format(name),
        };
        format!(
            "[sink.{name}]\ninput = [\"{input}\"]\nconnector = \"files\"\nformat = \"{format}\"\npath = {path}\n{roll}{more}\n"
        )
    }

    fn of_every_job(&self) -> String {
        let archive = if self.config.archive_by_hour { "\npartition_by = \"hour\"" } else { "" };
        let (read, unread) = read_and_unread(self.config);
        let columns = "select = [\"record_id\", \"ad_id\", \"window_start as click_minute\", \"filter_id\", \"count\", \"revision\"]";
        [
            self.sink("counts", "clicks_per_minute", columns),
            self.sink("live", "clicks_per_minute", &format!("{columns}\nrunning = true")),
            self.sink("top_ads", "top_ads", ""),
            self.sink("everybody", "everybody", ""),
            self.sink("shares", "shares", ""),
            self.sink("top_kept", "top_kept", ""),
            self.sink("blocks", "blocks", ""),
            self.sink("late", "clicks_per_minute.late", ""),
            // Held back over many checkpoints: a tenth of the event time that there is.
            self.sink("on_time", "clicks_per_minute.on_time", &format!("roll = {{ every = \"90s\" }}{archive}")),
            self.sink("dead_letters", unread, ""),
            self.sink("refused_by_map", "valid.dead_letters", ""),
            self.sink("refused_by_filters", "clicks_per_minute.dead_letters", ""),
            self.sink("raw", read, ""),
        ]
        .concat()
    }

    fn of_some_jobs(&self) -> String {
        let lateness = self.config.allowed_lateness_minutes;
        let mut text = String::new();
        if self.config.pairs {
            text += &nodes::pairs(lateness);
            text += &self.sink("pairs", "pairs", "");
            text += &self.sink("pairs_unmatched", "pairs.unmatched", "");
            text += &self.sink("pairs_late_orders", "pairs.late_left", "");
            text += &self.sink("pairs_late_clicks", "pairs.late_right", "");
        }
        if let Some(kind) = self.config.others {
            text += &nodes::others(kind, lateness);
            text += &self.sink("other_windows", "other_windows", "");
            text += &self.sink("other_windows_late", "other_windows.late", "");
        }
        if let Some(join) = self.config.window_join {
            text += &nodes::window_join(join, lateness);
            text += &self.sink("window_join", "window_join", "");
            text += &self.sink("window_join_late", "abroad_minutes.late", "");
        }
        if let Some(campaigns) = &self.config.campaigns {
            text += &campaigns.section();
            text += &self.sink(campaigns::LOOKED_UP, "campaigns", "");
        }
        text
    }
}
