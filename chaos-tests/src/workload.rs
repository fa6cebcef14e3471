//! Clicks made for the tests: few ads, so that windows fill; duplicates, also in other files; late ones, just in time and too
//! late; clicks without a country or an ad; users that the job's expressions fail on; broken lines. All of it follows from
//! one seed.
//!
//! Invariant: rows that are equal in the dedup key are equal in every column, so that it does not matter which of them is
//! taken for the original.

use anyhow::{Context, Result};
use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

const TWO_HOURS_MS: i64 = 7_200_000;
/// 2022-03-04 00:00:00 UTC.
const START_MS: i64 = 1_646_352_000_000;

/// One click.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Click {
    /// May be empty, which the job filters out.
    pub ad_id: String,
    /// Event time in milliseconds since the epoch.
    pub click_timestamp: i64,
    /// Who clicked.
    pub user_id: String,
    /// From where.
    pub ip: String,
    /// Missing ones are filtered out by the job.
    pub country: Option<String>,
    /// Identity, unique but for duplicates.
    pub event_id: Option<String>,
}

/// A line of a file.
#[derive(Clone, Debug)]
pub enum Line {
    /// A click.
    Click(Click),
    /// Something else, without its line break.
    Broken(Vec<u8>),
}

/// What a workload consists of.
#[derive(Clone, Debug)]
pub struct WorkloadConfig {
    /// Everything follows from it.
    pub seed: u64,
    /// Files, one a server.
    pub files: usize,
    /// Lines of a file, about.
    pub lines_per_file: usize,
    /// Different ads.
    pub ads: usize,
    /// Event time that a file covers, in minutes.
    pub minutes: i64,
    /// Minutes after midnight when that begins.
    pub begins_at_minute: i64,
    /// Out of so many lines one is late enough to be refused.
    pub one_late_in: usize,
    /// Out of so many lines one is broken; 0: none.
    pub one_broken_in: usize,
    /// Out of so many lines one, with some that follow it, has a wrong clock; 0: none.
    pub one_wrong_in: usize,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        WorkloadConfig {
            seed: 1,
            files: 4,
            lines_per_file: 150,
            ads: 9,
            minutes: 14,
            begins_at_minute: 0,
            one_late_in: 25,
            one_broken_in: 40,
            one_wrong_in: 0,
        }
    }
}

impl WorkloadConfig {
    /// Event time of the first click, in milliseconds since the epoch.
    pub fn begin_ms(&self) -> i64 {
        START_MS + self.begins_at_minute * 60_000
    }
}

/// Lines by file.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Name without ending, and lines.
    pub files: Vec<(String, Vec<Line>)>,
}

/// How the clicks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputFormat {
    /// `[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA, event 7`
    ClickLog,
    /// An object a line.
    Json,
    /// Parquet, without the broken lines.
    Parquet,
}

impl InputFormat {
    /// All of them.
    pub const ALL: [InputFormat; 3] = [InputFormat::ClickLog, InputFormat::Json, InputFormat::Parquet];

    /// As a definition calls it.
    pub fn name(self) -> &'static str {
        match self {
            InputFormat::ClickLog => "click_log",
            InputFormat::Json => "json",
            InputFormat::Parquet => "parquet",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            InputFormat::ClickLog => "log",
            InputFormat::Json => "jsonl",
            InputFormat::Parquet => "parquet",
        }
    }
}

impl Workload {
    /// The workload of a configuration.
    pub fn generate(config: &WorkloadConfig) -> Self {
        let mut dice = StdRng::seed_from_u64(config.seed);
        let mut all: Vec<Click> = Vec::new();
        let files = (0..config.files)
            .map(|file| (format!("server-{file}"), file_lines(config, file, &mut dice, &mut all)))
            .collect();
        Workload { files }
    }

    /// All lines of all files.
    pub fn line_count(&self) -> usize {
        self.files.iter().map(|(_, lines)| lines.len()).sum()
    }

    /// Writes every file into `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path, format: InputFormat) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)?;
        let mut paths = Vec::new();
        for (index, (name, lines)) in self.files.iter().enumerate() {
            let path = folder.join(format!("{name}.{}", format.extension()));
            match format {
                InputFormat::Parquet => write_parquet(&path, lines)?,
                _ => {
                    let mut bytes: Vec<u8> = lines.iter().flat_map(|line| line_bytes(line, format)).collect();
                    if index % 2 == 1 {
                        // Every other file lacks its last line break, as a server leaves it that is shut down.
                        bytes.pop();
                    }
                    fs::write(&path, bytes)?;
                }
            }
            paths.push(path);
        }
        Ok(paths)
    }
}

fn file_lines(config: &WorkloadConfig, file: usize, dice: &mut StdRng, all: &mut Vec<Click>) -> Vec<Line> {
    let span = config.minutes * 60_000;
    let mut lines = Vec::new();
    let mut earlier: Vec<Click> = Vec::new();
    // How many more lines have a wrong clock, and by how much.
    let (mut wrong, mut wrong_by) = (0, 0);
    for place in 0..config.lines_per_file {
        if config.one_broken_in > 0 && dice.random_range(0..config.one_broken_in) == 0 {
            lines.push(Line::Broken(broken_line(dice)));
        }
        if wrong == 0 && config.one_wrong_in > 0 && dice.random_range(0..config.one_wrong_in) == 0 {
            wrong = [1, 3, 10, 30][dice.random_range(0..4)];
            wrong_by = [TWO_HOURS_MS, 128 * 365 * 12 * TWO_HOURS_MS, -START_MS][dice.random_range(0..3)];
        }
        let now = config.begin_ms() + span * place as i64 / config.lines_per_file as i64;
        // Between the wrong ones there is a right one now and then.
        let now = if wrong > 0 && dice.random_range(0..8) > 0 { now + wrong_by } else { now };
        wrong = wrong.max(1) - 1;
        let known = if dice.random_range(0..3) == 0 { &*all } else { &earlier };
        let click = if !known.is_empty() && dice.random_range(0..8) == 0 {
            known[dice.random_range(0..known.len())].clone()
        } else {
            fresh_click(config, file, place, now, dice)
        };
        earlier.push(click.clone());
        all.push(click.clone());
        lines.push(Line::Click(click));
    }
    lines
}

fn fresh_click(config: &WorkloadConfig, file: usize, place: usize, now: i64, dice: &mut StdRng) -> Click {
    let late = config.one_late_in > 0 && dice.random_range(0..config.one_late_in) == 0;
    let behind = match dice.random_range(0..10) {
        _ if late => dice.random_range(0..10 * 60_000),
        0 => dice.random_range(0..150_000),
        1..4 => dice.random_range(0..20_000),
        _ => 0,
    };
    let user = dice.random_range(0..40);
    // A few ads get most of the clicks.
    let ad = dice.random_range(0..config.ads).min(dice.random_range(0..config.ads));
    let country = match user % 8 {
        0 => None,
        1..4 => Some("USA".to_owned()),
        4 | 5 => Some("Côte d'Ivoire".to_owned()),
        _ => Some("Japan".to_owned()),
    };
    Click {
        ad_id: if dice.random_range(0..50) == 0 { String::new() } else { format!("ad{ad:03}") },
        click_timestamp: (now - behind) / 250 * 250,
        user_id: if user == 13 { "guest".into() } else { format!("user {user}") },
        ip: format!("207.148.{file}.{}", place % 250),
        country,
        event_id: Some(format!("event {file}-{place}")),
    }
}

fn broken_line(dice: &mut StdRng) -> Vec<u8> {
    let lines: [&[u8]; 9] = [
        b"",
        b"[AdClickEvent] ad001, 2022-03-04 00:00:61, user 1, 207.148.22.22, USA",
        b"[AdClickEvent] ad001, 2022-02-30 00:00:01, user 1, 207.148.22.22, USA",
        b"[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1",
        b"[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA, a, b",
        b"{\"ad_id\": \"ad001\", \"click_timestamp\":",
        b"[AdClickEvent] ad\x00001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA",
        b"[AdClickEvent] ad\xff\xfe, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA",
        b"[AdClickEvent] ad001, , user 1, 207.148.22.22, USA",
    ];
    lines[dice.random_range(0..lines.len())].to_vec()
}

/// A line with its line break.
pub fn line_bytes(line: &Line, format: InputFormat) -> Vec<u8> {
    let mut bytes = match (line, format) {
        (Line::Broken(bytes), _) => bytes.clone(),
        (Line::Click(click), InputFormat::Json) => json_line(click).into_bytes(),
        (Line::Click(click), _) => log_line(click).into_bytes(),
    };
    bytes.push(b'\n');
    bytes
}

fn log_line(click: &Click) -> String {
    let Click { ad_id, click_timestamp, user_id, ip, country, event_id } = click;
    let (time, country) = (timestamp_text(*click_timestamp), country.as_deref().unwrap_or(""));
    match event_id {
        Some(event_id) => format!("[AdClickEvent] {ad_id}, {time}, {user_id}, {ip}, {country}, {event_id}"),
        None => format!("[AdClickEvent] {ad_id}, {time}, {user_id}, {ip}, {country}"),
    }
}

fn json_line(click: &Click) -> String {
    serde_json::json!({
        "ad_id": click.ad_id,
        "click_timestamp": timestamp_text(click.click_timestamp),
        "user_id": click.user_id,
        "ip": click.ip,
        "country": click.country,
        "event_id": click.event_id,
        "unknown": { "to": ["the", "job"] },
    })
    .to_string()
}

/// `2022-03-04 00:00:01` or, with a fraction, `2022-03-04 00:00:01.250`.
pub fn timestamp_text(milliseconds: i64) -> String {
    let (days, within) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (within / 3_600_000, within / 60_000 % 60, within / 1_000 % 60);
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    match within % 1_000 {
        0 => text,
        fraction => format!("{text}.{fraction:03}"),
    }
}

/// Year, month and day of a number of days since 1970, by counting.
fn civil_from_days(mut days: i64) -> (i64, i64, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += if is_leap(year) { 366 } else { 365 };
    }
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The columns of clicks in Parquet.
pub fn click_schema() -> Arc<Schema> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        text("ad_id", true),
        Field::new("click_timestamp", time, true),
        text("user_id", true),
        text("ip", true),
        text("country", true),
        text("event_id", true),
    ]))
}

/// Row groups of a Parquet file: each is a split, so a file has several.
const ROWS_PER_GROUP: usize = 60;

fn write_parquet(path: &Path, lines: &[Line]) -> Result<()> {
    let clicks: Vec<&Click> = lines.iter().filter_map(Line::click).collect();
    let text = |of: fn(&Click) -> Option<&str>| -> ArrayRef {
        Arc::new(clicks.iter().map(|click| of(click)).collect::<StringArray>())
    };
    let times = TimestampMillisecondArray::from_iter_values(clicks.iter().map(|click| click.click_timestamp));
    let columns = vec![
        text(|click| Some(&click.ad_id)),
        Arc::new(times.with_timezone("UTC")),
        text(|click| Some(&click.user_id)),
        text(|click| Some(&click.ip)),
        text(|click| click.country.as_deref()),
        text(|click| click.event_id.as_deref()),
    ];
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROWS_PER_GROUP)).build();
    let file = fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, click_schema(), Some(properties))?;
    writer.write(&RecordBatch::try_new(click_schema(), columns)?)?;
    writer.close()?;
    Ok(())
}

impl Line {
    /// The click, if it is one.
    pub fn click(&self) -> Option<&Click> {
        match self {
            Line::Click(click) => Some(click),
            Line::Broken(_) => None,
        }
    }
}
