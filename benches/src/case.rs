//! What is counted: a job definition with its settings, and the same counts in SQL.

use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Case {
    /// Clicks per ad and minute, from Parquet
    Counting,
    /// Dedup by event id, then the same, from Parquet
    Dedup,
    /// The shipped job with its filters, top ads and raw store, from Parquet
    AdClick,
    /// Dedup by event id, then clicks per ad and minute, from JSON lines
    Json,
}

/// How the input is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// zstd, row groups of 2^20 clicks.
    Parquet,
    /// An object a line, all columns.
    Json,
}

impl InputFormat {
    /// As `weir generate` and job definitions call it.
    pub fn name(self) -> &'static str {
        match self {
            InputFormat::Parquet => "parquet",
            InputFormat::Json => "json",
        }
    }
}

impl Case {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Case::Counting => "counting",
            Case::Dedup => "dedup",
            Case::AdClick => "ad-click",
            Case::Json => "json",
        }
    }

    /// What it reads.
    pub fn format(self) -> InputFormat {
        match self {
            Case::Counting | Case::Dedup | Case::AdClick => InputFormat::Parquet,
            Case::Json => InputFormat::Json,
        }
    }

    /// Its job definition.
    pub fn definition(self) -> PathBuf {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
        match self {
            Case::Counting => benches.join("jobs/counting.toml"),
            Case::Dedup | Case::Json => benches.join("jobs/dedup.toml"),
            Case::AdClick => benches.join("../jobs/ad_click.toml"),
        }
    }

    /// What is set in the definition: the input, and a folder below `output` for each sink.
    pub fn settings(self, input: &Path, output: &Path) -> Vec<String> {
        let mut settings = vec![
            format!("source.clicks.path={}", input.display()),
            format!("source.clicks.format={}", self.format().name()),
        ];
        if self.format() == InputFormat::Json {
            let schema = r#"{ event_id = "string", ad_id = "string", click_timestamp = "timestamp" }"#;
            settings.push(format!("source.clicks.schema={schema}"));
        }
        let sinks: &[&str] = match self {
            Case::AdClick => &["counts", "top_ads", "late", "dead_letters", "raw"],
            Case::Counting | Case::Dedup | Case::Json => &["counts"],
        };
        settings.extend(sinks.iter().map(|sink| format!("sink.{sink}.path={}", output.join(sink).display())));
        settings
    }

    /// SQL for the same counts over the same files, with the columns `ad_id, minute, filter_id, n`.
    ///
    /// Minutes are divided out of the milliseconds, which DuckDB does faster than `date_trunc` on a time with a zone, and
    /// `distinct on` is the fastest of its ways to drop duplicates here.
    pub fn counts_in_sql(self, input: &Path) -> String {
        let clicks = self.clicks_in_sql(input);
        let minute = "epoch_ms(click_timestamp) // 60000 as minute";
        match self {
            Case::Counting => {
                format!("select ad_id, {minute}, '' as filter_id, count(*) as n from {clicks} group by all")
            }
            Case::Dedup | Case::Json => format!(
                "select ad_id, minute, '' as filter_id, count(*) as n \
                 from (select distinct on (event_id) ad_id, {minute} from {clicks}) group by all"
            ),
            Case::AdClick => format!(
                "with counted as materialized (\
                 select ad_id, minute, count(*) as n, count(*) filter (country = 'USA') as usa from (\
                 select distinct on (ad_id, click_timestamp, user_id, ip) ad_id, {minute}, country from {clicks} \
                 where ad_id <> '' and country is not null) group by all) \
                 select ad_id, minute, '0000' as filter_id, n from counted \
                 union all select ad_id, minute, '0012' as filter_id, usa as n from counted where usa > 0"
            ),
        }
    }

    fn clicks_in_sql(self, input: &Path) -> String {
        let input = quoted(&input.display().to_string());
        match self.format() {
            InputFormat::Parquet => format!("read_parquet({input} || '/*.parquet')"),
            InputFormat::Json => format!(
                "read_json({input} || '/*.jsonl', format = 'newline_delimited', columns = \
                 {{event_id: 'VARCHAR', ad_id: 'VARCHAR', click_timestamp: 'TIMESTAMP'}})"
            ),
        }
    }

    /// SQL for what Weir has written, with the same columns: the highest revision of each record.
    pub fn results_in_sql(self, output: &Path) -> String {
        let files = quoted(&format!("{}/*.parquet", output.join("counts").display()));
        let filter = if self == Case::AdClick { "filter_id" } else { "''" };
        format!(
            "select ad_id, epoch_ms(click_minute) // 60000 as minute, {filter} as filter_id, \
             arg_max(count, revision) as n from read_parquet({files}) group by record_id, 1, 2, 3"
        )
    }
}

/// Number of groups and sum of counts: so little that fetching it costs nothing, and nothing can be left out.
pub fn totals_of(counts: &str) -> String {
    format!("select count(*), sum(n)::bigint from ({counts})")
}

/// The totals, and a hash over all rows whatever their order: equal only for equal counts.
pub fn digest_of(counts: &str) -> String {
    format!(
        "select count(*), sum(n)::bigint, bit_xor(hash(ad_id::varchar, minute::bigint, filter_id::varchar, n::bigint)) \
         from ({counts})"
    )
}

/// A string in SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
