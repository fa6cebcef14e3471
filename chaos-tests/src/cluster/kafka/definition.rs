//! The job: clicks from a topic; counts, running counts, late clicks, dead letters and the raw clicks to topics. With a store, its tables are filled, too.

use crate::job::{JobConfig, store_sinks};

/// The topic that clicks are in.
pub const CLICKS: &str = "clicks";
/// Counts of minutes that are over.
pub const COUNTS: &str = "counts";
/// Counts of all minutes, as they rise.
pub const RUNNING: &str = "running";
/// Clicks that came too late.
pub const LATE: &str = "late";
/// Records that could not be read.
pub const DEAD_LETTERS: &str = "dead-letters";
/// All clicks that could be read.
pub const RAW: &str = "raw";
/// What the job writes.
pub const OUTPUTS: [&str; 5] = [COUNTS, RUNNING, LATE, DEAD_LETTERS, RAW];

/// The definition, with those of the [outputs](OUTPUTS); what it counts is what [`JobConfig::rules`] say.
pub fn definition(config: &JobConfig, brokers: &str, outputs: &[&str]) -> String {
    let (interval, lateness) = (config.checkpoint_interval_ms, config.allowed_lateness_minutes);
    let sink = |topic: &str, input: &str, more: &str| {
        if !outputs.contains(&topic) {
            return String::new();
        }
        let name = topic.replace('-', "_");
        format!(
            "[sink.{name}]\nconnector = \"kafka\"\ninput = \"{input}\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\"\n\
             transaction_timeout = \"10s\"\n{more}\n"
        )
    };
    let sinks = [
        sink(COUNTS, "clicks_per_minute", "key = [\"ad_id\"]\n"),
        sink(RUNNING, "clicks_per_minute", "running = true\nkey = [\"record_id\"]\n"),
        sink(LATE, "clicks_per_minute.late", ""),
        sink(DEAD_LETTERS, "clicks.dead_letters", ""),
        sink(RAW, "clicks", ""),
    ]
    .concat();
    let store = config.store.as_deref().map_or(String::new(), |url| [top_ads(config), store_sinks(url)].concat());
    format!(
        r#"
[job]
name = "{job}"
checkpoint = {{ interval = "{interval}ms" }}

[source.clicks]
connector = "kafka"
brokers = "{brokers}"
topics = ["{CLICKS}"]
start = "earliest"
format = "click_log"
event_time = "click_timestamp"
watermark = {{ delay = "15s" }}

[map.valid]
input = "clicks"
where = """case when ad_id <> '' and country is not null
    then 100 / (cast(substr(user_id, 6) as bigint) - 7) < 1000 else false end"""

[dedup.unique]
input = "valid"
key = ["ad_id", "click_timestamp", "user_id", "ip"]
ttl = "2h"

[filters]
usa = "country = 'USA' and 1 / (cast(substr(user_id, 6) as bigint) - 9) >= -1"
first = "ip like '%.1' or user_id = 'user 3'"
all = "true"

[aggregate.clicks_per_minute]
input = "unique"
key = ["ad_id", "filter_id"]
window = {{ tumbling = "1m", allowed_lateness = "{lateness}m" }}
select = {{ count = "count(*)" }}
emit = {{ every = "{emit}ms" }}

{sinks}
{store}
"#,
        job = crate::job::JOB,
        // A store is looked into, as it grows.
        emit = if config.store.is_some() { interval } else { 2 * interval },
    )
}

fn top_ads(config: &JobConfig) -> String {
    let rules = config.rules();
    format!(
        "[reduce.top_ads]\ninput = \"clicks_per_minute\"\nwindow = {{ hopping = \"{}m\", slide = \"1m\" }}\n\
         top = {{ n = {}, by = \"count\", per = [\"filter_id\"] }}\n",
        rules.top_minutes, rules.top_n
    )
}
