//! `weir generate`: a reproducible stream of clicks, at once or as servers would append it, to files or to Kafka.

mod kafka;

use crate::{failure::Failure, runtime, signals::EndSignals, text};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use weir_engine::env::Env;
use weir_jobs::duration;
use weir_operators::source::generator::{
    ClickFormat, ClickStreamConfig, Destination, GenerateReport, LineFormat, WrongSetting, generate as write_clicks,
};

/// Arguments of `weir generate`. What is not given comes from [`ClickStreamConfig`]'s defaults, the only copy of them.
#[derive(Debug, Args)]
pub struct GenerateArguments {
    /// The folder to write to; it is created if missing
    #[arg(value_name = "FOLDER", required_unless_present = "kafka", conflicts_with = "kafka")]
    folder: Option<PathBuf>,
    /// Write to a topic of these Kafka brokers (HOST:PORT, ...) instead of a folder
    #[arg(long, value_name = "BROKERS", requires = "topic")]
    kafka: Option<String>,
    /// With --kafka: the topic; it is created if missing
    #[arg(long, requires = "kafka")]
    topic: Option<String>,
    /// With --kafka: a property of the client, by librdkafka's names; a secret as ${env:NAME} or ${file:PATH}
    #[arg(long, value_name = "NAME=VALUE", requires = "kafka")]
    property: Vec<String>,
    /// Format of the clicks
    #[arg(long, value_enum, default_value = "click_log")]
    format: Format,
    /// Write the event id as a sixth field of each click-log line
    #[arg(long)]
    event_id: bool,
    /// Append N clicks per second of real time, as servers would, instead of writing all at once (0: all at once)
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// With --rate: run until Ctrl-C
    #[arg(long, requires = "rate", conflicts_with = "events")]
    endless: bool,
    /// Start from the benchmark settings: 20 million clicks on 2 million ads
    #[arg(long)]
    benchmark: bool,
    /// Seed of all random choices: the same seed gives the same clicks [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Total number of clicks, duplicates included [default: 100000]
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Number of servers, each with its own file; with --kafka also of the topic's partitions, if it is created [default: 2]
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Number of ads [default: 10000]
    #[arg(long, value_name = "N")]
    ads: Option<u32>,
    /// Exponent of Zipf's law over the ads; 0: all equally likely [default: 1.1]
    #[arg(long, value_name = "S")]
    skew: Option<f64>,
    /// Number of users [default: 20000]
    #[arg(long, value_name = "N")]
    users: Option<u32>,
    /// When the clicks start, as 2022-03-04 or 2022-03-04T00:00:00Z, or `now` [default: 2022-03-04]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Clicks per second of event time [default: 1000, or --rate]
    #[arg(long, value_name = "N")]
    event_rate: Option<u64>,
    /// Clicks come out of order by up to this much, as in 10s [default: 10s]
    #[arg(long, value_name = "SPAN")]
    out_of_orderness: Option<String>,
    /// Share of clicks that come much too late [default: 0.002]
    #[arg(long, value_name = "SHARE")]
    late_share: Option<f64>,
    /// Late clicks are late by at least this much [default: 1m]
    #[arg(long, value_name = "SPAN")]
    late_from: Option<String>,
    /// Late clicks are late by less than this much [default: 20m]
    #[arg(long, value_name = "SPAN")]
    late_to: Option<String>,
    /// Share of clicks that repeat an earlier one [default: 0.005]
    #[arg(long, value_name = "SHARE")]
    duplicate_share: Option<f64>,
    /// A duplicate follows its original by at most this many clicks of the same server [default: 1000]
    #[arg(long, value_name = "N")]
    duplicate_within: Option<u64>,
    /// Broken lines, as a share of the clicks [default: 0]
    #[arg(long, value_name = "SHARE")]
    broken_share: Option<f64>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Format {
    ClickLog,
    Json,
    Parquet,
}

/// Writes a stream of clicks.
pub fn generate(arguments: &GenerateArguments) -> Result<(), Failure> {
    arguments.check_kafka()?;
    let env = Env::from_entropy();
    let config = arguments.config(&env)?;
    if let (Some(brokers), Some(topic)) = (&arguments.kafka, &arguments.topic) {
        return kafka::generate(arguments, &config, brokers, topic, &env);
    }
    let destination = arguments.destination()?;
    let bar = arguments.bar(&config);
    let written = Arc::new(AtomicU64::new(0));
    let report = runtime()?.block_on(async {
        let progress = {
            let (bar, written) = (bar.clone(), written.clone());
            Arc::new(move |clicks| {
                written.fetch_max(clicks, Ordering::Relaxed);
                bar.set_position(clicks);
            })
        };
        let mut signals = EndSignals::catch()?;
        tokio::select! {
            report = write_clicks(&config, &destination, &env, progress) => report.map(Some).map_err(Failure::from),
            () = signals.next() => Ok(None),
        }
    })?;
    bar.finish_and_clear();
    match report {
        Some(report) => arguments.show(&report)?,
        None => {
            let clicks = text::count_of(written.load(Ordering::Relaxed), "click");
            match arguments.pace() {
                Some(_) => eprintln!("stopped after {clicks}; all lines are complete"),
                None => return Err(Failure::failed(format!("stopped after {clicks}: the files are incomplete"))),
            }
        }
    }
    Ok(())
}

impl GenerateArguments {
    /// Clap does not look for what an option needs where that contradicts another argument, as --kafka does FOLDER.
    fn check_kafka(&self) -> Result<(), Failure> {
        let given = [("--topic", self.topic.is_some()), ("--property", !self.property.is_empty())];
        match given.into_iter().find(|(_, is_given)| *is_given && self.kafka.is_none()) {
            Some((option, _)) => Err(Failure::refused(format!(
                "{option} is for --kafka BROKERS, which is written to instead of a FOLDER; give one or the other"
            ))),
            None => Ok(()),
        }
    }

    fn config(&self, env: &Env) -> Result<ClickStreamConfig, Failure> {
        let base = if self.benchmark { ClickStreamConfig::benchmark() } else { ClickStreamConfig::default() };
        let span = |name: &str, given: &Option<String>, base: u64| match given {
            None => Ok(base),
            Some(text) => match duration::parse(text) {
                Some(span) => Ok(span.as_millis() as u64),
                None => {
                    Err(Failure::refused(format!("{name} '{text}' is not a duration: write {}", duration::EXAMPLES)))
                }
            },
        };
        let config = ClickStreamConfig {
            seed: self.seed.unwrap_or(base.seed),
            events: if self.endless { None } else { self.events.or(base.events) },
            partitions: self.partitions.unwrap_or(base.partitions),
            ads: self.ads.unwrap_or(base.ads),
            skew: self.skew.unwrap_or(base.skew),
            users: self.users.unwrap_or(base.users),
            start_ms: self.start.as_ref().map_or(Ok(base.start_ms), |start| start_ms(start, env))?,
            rate: self.event_rate.or(self.pace()).unwrap_or(base.rate),
            out_of_orderness_ms: span("--out-of-orderness", &self.out_of_orderness, base.out_of_orderness_ms)?,
            late_share: self.late_share.unwrap_or(base.late_share),
            late_from_ms: span("--late-from", &self.late_from, base.late_from_ms)?,
            late_to_ms: span("--late-to", &self.late_to, base.late_to_ms)?,
            duplicate_share: self.duplicate_share.unwrap_or(base.duplicate_share),
            duplicate_within: self.duplicate_within.unwrap_or(base.duplicate_within),
            broken_share: self.broken_share.unwrap_or(base.broken_share),
        };
        match config.check_settings() {
            Ok(()) => Ok(config),
            Err(wrong) => Err(Failure::refused(Self::by_option(&config, &wrong))),
        }
    }

    /// What is wrong, by the names of the options.
    fn by_option(config: &ClickStreamConfig, wrong: &WrongSetting) -> String {
        let WrongSetting { setting, found, right } = wrong;
        let span = |ms| duration::show(Duration::from_millis(ms));
        match *setting {
            "late_to_ms" => {
                let (from, to) = (span(config.late_from_ms), span(config.late_to_ms));
                format!("--late-to {to}: must be above --late-from, which is {from}")
            }
            "rate" => format!("--event-rate {found}: must be {right}"),
            other => format!("--{} {found}: must be {right}", other.replace('_', "-")),
        }
    }

    /// Clicks per second of real time; none: all at once.
    fn pace(&self) -> Option<u64> {
        self.rate.filter(|rate| *rate > 0)
    }

    fn destination(&self) -> Result<Destination, Failure> {
        let format = match self.format {
            Format::ClickLog => ClickFormat::Lines(LineFormat::ClickLog { event_id: self.event_id }),
            Format::Json => ClickFormat::Lines(LineFormat::Json),
            Format::Parquet => ClickFormat::Parquet,
        };
        if self.event_id && !matches!(self.format, Format::ClickLog) {
            return Err(Self::event_id_refused());
        }
        let folder = self.folder.clone().unwrap_or_default();
        Ok(Destination { folder, format, clicks_per_second: self.pace() })
    }

    fn event_id_refused() -> Failure {
        Failure::refused("--event-id is for --format click_log: the other formats always include it")
    }

    fn bar(&self, config: &ClickStreamConfig) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(config.events, ProgressDrawTarget::stderr());
        let template = match config.events {
            Some(_) => "{bar:24} {percent:>3} %  {human_pos} of {human_len} clicks, {per_sec}",
            None => "{spinner} {human_pos} clicks, {per_sec}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }

    fn show(&self, report: &GenerateReport) -> Result<(), Failure> {
        if self.json {
            let report = json!({
                "clicks": report.clicks,
                "duplicates": report.duplicates,
                "late": report.late,
                "broken_lines": report.broken_lines,
                "bytes": report.bytes,
                "files": report.files,
            });
            return text::print(&format!("{report}\n"));
        }
        text::print(&clicks_in(report))?;
        text::print(&format!(
            "{} in {} in {}\n",
            text::bytes(report.bytes),
            text::count_of(report.files.len() as u64, "file"),
            self.folder.as_deref().unwrap_or(Path::new(".")).display()
        ))
    }
}

/// What was written, in a line.
fn clicks_in(report: &GenerateReport) -> String {
    format!(
        "{}, of them {} and {}; {}\n",
        text::count_of(report.clicks, "click"),
        text::count_of(report.duplicates, "duplicate"),
        format_args!("{} late", text::number(report.late)),
        text::count_of(report.broken_lines, "broken line"),
    )
}

/// `now`, or a moment in ISO 8601, in milliseconds since the epoch.
fn start_ms(text: &str, env: &Env) -> Result<i64, Failure> {
    if text == "now" {
        return Ok(env.wall_clock_ms());
    }
    let nanoseconds = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
    nanoseconds.map(|nanoseconds| nanoseconds / 1_000_000).map_err(|_| {
        Failure::refused(format!("--start '{text}' is not a time: give 2022-03-04, 2022-03-04T00:00:00Z or now"))
    })
}
