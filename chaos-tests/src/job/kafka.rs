//! The topics: where the clicks come from, and where counts and top ads go to.

/// The brokers, as a definition names them.
pub const BROKERS: &str = "simulation:9092";
/// The topic of the clicks.
pub const CLICKS: &str = "clicks";
/// The topic of the counts.
pub const COUNTS: &str = "counts";
/// The topic of the job's progress, as the sink makes it.
pub const PROGRESS: &str = "weir-progress-ad-click";
/// The topic of the top ads.
pub const TOP_ADS: &str = "top-ads";

/// The source, with what else is to be said of it.
pub(crate) fn source(more: &str) -> String {
    format!(
        "[source.clicks]\nconnector = \"kafka\"\nbrokers = \"{BROKERS}\"\ntopics = [\"{CLICKS}\"]\nend = \"latest\"\n{more}\n\n"
    )
}

/// The sinks.
pub(crate) const SINKS: &str = r#"
[sink.topic_counts]
connector = "kafka"
input = "clicks_per_minute"
brokers = "simulation:9092"
topic = "counts"
key = ["ad_id"]
select = ["record_id", "ad_id", "window_start as click_minute", "filter_id", "count", "revision"]
transaction_timeout = "5s"

[sink.topic_top_ads]
connector = "kafka"
input = "top_ads"
brokers = "simulation:9092"
topic = "top-ads"
transaction_timeout = "5s"
"#;
