//! A click stream into files: at once, or paced and appended to as servers would.
//!
//! Invariant: a file made at once appears under its name only when it is whole; a paced file grows by whole lines.

use super::{
    ClickStream, ClickStreamConfig, LineFormat, MAX_BATCH_ROWS, PartitionClicks,
    click::{Click, Origin},
    parquet::click_writer,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

/// Clicks between two reports of progress.
const PROGRESS_CLICKS: usize = 32_768;
/// How often paced files grow.
const TICK: Duration = Duration::from_millis(50);

/// Format of the clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickFormat {
    /// A click a line.
    Lines(LineFormat),
    /// Parquet, zstd, row groups of 2^20 clicks. Knows no broken lines.
    Parquet,
}

impl ClickFormat {
    /// The ending of its files' names.
    pub fn extension(self) -> &'static str {
        match self {
            ClickFormat::Lines(LineFormat::ClickLog { .. }) => "log",
            ClickFormat::Lines(LineFormat::Json) => "jsonl",
            ClickFormat::Parquet => "parquet",
        }
    }
}

/// Where clicks go, and how.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Made if missing.
    pub folder: PathBuf,
    /// Of every file.
    pub format: ClickFormat,
    /// None: `part-0000.log` and so on, one a partition, at once. Some: that many clicks a second of real time appended to
    /// `server-0000.log` and so on; lines only.
    pub clicks_per_second: Option<u64>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerateReport {
    /// Clicks, duplicates and late ones included.
    pub clicks: u64,
    /// Of them, those that repeat an earlier one.
    pub duplicates: u64,
    /// Of them, those that are no duplicates and come much too late.
    pub late: u64,
    /// Lines beside the clicks that cannot be read.
    pub broken_lines: u64,
    /// Size of what was written.
    pub bytes: u64,
    /// The files, by partition.
    pub files: Vec<PathBuf>,
}

impl GenerateReport {
    fn count(&mut self, click: &Click) {
        self.clicks += 1;
        match click.origin {
            Origin::Fresh => {}
            Origin::Late => self.late += 1,
            Origin::Duplicate => self.duplicates += 1,
        }
    }

    fn add(&mut self, other: GenerateReport) {
        self.clicks += other.clicks;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.broken_lines += other.broken_lines;
        self.bytes += other.bytes;
        self.files.extend(other.files);
    }
}

/// Called with the number of clicks written so far, now and then and at the end; from several threads.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Writes the stream of `config` to `destination` and says what was written.
///
/// Paced, it may be dropped at any await and leaves whole lines behind; without an end (`events: None`) that is the only
/// way to stop it.
///
/// # Errors
/// When the configuration makes no stream, when it has no end and is not paced, when Parquet is to be paced, when a file
/// is there already (at once; paced files are appended to), or when the folder cannot be written.
pub async fn generate(
    config: &ClickStreamConfig,
    destination: &Destination,
    env: &Env,
    progress: Progress,
) -> Result<GenerateReport> {
    let stream = ClickStream::new(config.clone())?;
    fs::create_dir_all(&destination.folder).map_err(|error| {
        EngineError::io(format!("cannot create the folder {}: {error}", destination.folder.display()))
    })?;
    match (destination.clicks_per_second, destination.format) {
        (None, format) => generate_at_once(stream, &destination.folder, format, progress).await,
        (Some(pace), ClickFormat::Lines(format)) => {
            Paced::open(&stream, &destination.folder, format, pace)?.run(env, progress).await
        }
        (Some(_), ClickFormat::Parquet) => Err(EngineError::definition(
            "clicks cannot be appended to Parquet files at a pace: choose click-log or JSON lines, or no pace",
        )),
    }
}

/// One task a partition, as many at a time as there are processors.
async fn generate_at_once(
    stream: ClickStream,
    folder: &Path,
    format: ClickFormat,
    progress: Progress,
) -> Result<GenerateReport> {
    if stream.config().events.is_none() {
        return Err(EngineError::definition(
            "a click stream without an end (events unset) can only be written at a pace (clicks_per_second)",
        ));
    }
    let written = Arc::new(AtomicU64::new(0));
    let advance: Arc<dyn Fn(u64) + Send + Sync> =
        Arc::new(move |clicks| progress(written.fetch_add(clicks, Ordering::Relaxed) + clicks));
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
    let partitions = stream.config().partitions;
    let mut reports: Vec<GenerateReport> = vec![GenerateReport::default(); partitions as usize];
    let mut tasks = JoinSet::new();
    for partition in 0..partitions {
        if tasks.len() >= at_a_time {
            keep_report(tasks.join_next().await, &mut reports)?;
        }
        let clicks = stream.partition(partition)?;
        let path = folder.join(format!("part-{partition:04}.{}", format.extension()));
        let advance = advance.clone();
        tasks.spawn_blocking(move || Ok((partition as usize, write_part(clicks, &path, format, &*advance)?)));
    }
    while let Some(finished) = tasks.join_next().await {
        keep_report(Some(finished), &mut reports)?;
    }
    Ok(reports.into_iter().fold(GenerateReport::default(), |mut sum, report| {
        sum.add(report);
        sum
    }))
}

type Finished = std::result::Result<Result<(usize, GenerateReport)>, tokio::task::JoinError>;

fn keep_report(finished: Option<Finished>, reports: &mut [GenerateReport]) -> Result<()> {
    let Some(finished) = finished else {
        return Ok(());
    };
    let (partition, report) =
        finished.map_err(|error| EngineError::internal(format!("a task that writes clicks failed: {error}")))??;
    reports[partition] = report;
    Ok(())
}

/// One whole file, through a hidden name so that no reader sees half of it.
fn write_part(
    clicks: PartitionClicks,
    path: &Path,
    format: ClickFormat,
    advance: &dyn Fn(u64),
) -> Result<GenerateReport> {
    let cannot_write =
        |error: &dyn std::fmt::Display| EngineError::io(format!("cannot write {}: {error}", path.display()));
    if path.exists() {
        return Err(cannot_write(&"it is there already; choose another folder or remove it"));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("part");
    let unfinished = path.with_file_name(format!(".{name}.unfinished"));
    let file = File::create(&unfinished).map_err(|error| cannot_write(&error))?;
    let report = match format {
        ClickFormat::Lines(line) => write_lines(clicks, line, BufWriter::with_capacity(1 << 20, file), advance)
            .map_err(|error| cannot_write(&error)),
        ClickFormat::Parquet => write_parquet(clicks, file, advance).map_err(|error| cannot_write(&error)),
    };
    let finished = report.and_then(|report| {
        fs::rename(&unfinished, path).map_err(|error| cannot_write(&error))?;
        let bytes = fs::metadata(path).map_err(|error| cannot_write(&error))?.len();
        Ok(GenerateReport { bytes, files: vec![path.to_path_buf()], ..report })
    });
    if finished.is_err() {
        // Only tidying: the first error is the one to report.
        let _ = fs::remove_file(&unfinished);
    }
    finished
}

fn write_lines(
    mut clicks: PartitionClicks,
    format: LineFormat,
    mut output: impl Write,
    advance: &dyn Fn(u64),
) -> std::io::Result<GenerateReport> {
    let mut report = GenerateReport::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let before = report.clicks;
        clicks.next_lines(PROGRESS_CLICKS, format, &mut buffer, &mut report);
        if report.clicks == before {
            break;
        }
        output.write_all(&buffer)?;
        advance(report.clicks - before);
    }
    output.flush()?;
    Ok(report)
}

fn write_parquet(
    clicks: PartitionClicks,
    file: File,
    advance: &dyn Fn(u64),
) -> parquet::errors::Result<GenerateReport> {
    let mut report = GenerateReport::default();
    let mut writer = click_writer(file)?;
    let mut clicks = clicks.with_batch_rows(PROGRESS_CLICKS);
    loop {
        clicks.count_next(PROGRESS_CLICKS, &mut report);
        let Some(batch) = clicks.next() else { break };
        writer.write(&batch)?;
        advance(batch.num_rows() as u64);
    }
    writer.close()?;
    Ok(report)
}

impl PartitionClicks {
    /// Appends the lines of the next clicks, at most `rows` of them, and counts them.
    pub(super) fn next_lines(
        &mut self,
        rows: usize,
        format: LineFormat,
        out: &mut Vec<u8>,
        report: &mut GenerateReport,
    ) {
        let rows = self.remaining().min(rows.min(MAX_BATCH_ROWS) as u64);
        for place in self.place..self.place + rows {
            let click = self.law.click(self.partition, self.partition_key, place);
            report.count(&click);
            format.push(&click, &mut self.text, out);
            if let Some(bits) = self.law.broken_after(self.partition_key, place) {
                report.broken_lines += 1;
                format.push_broken(&click, bits, &mut self.text, out);
            }
        }
        self.place += rows;
    }

    /// Counts the next clicks, at most `rows` of them, and stays where it is.
    fn count_next(&self, rows: usize, report: &mut GenerateReport) {
        let rows = self.remaining().min(rows as u64);
        for place in self.place..self.place + rows {
            report.count(&self.law.click(self.partition, self.partition_key, place));
        }
    }
}

/// Servers that append to their logs.
struct Paced {
    servers: Vec<Server>,
    format: LineFormat,
    clicks_per_second: u64,
}

struct Server {
    clicks: PartitionClicks,
    log: File,
    path: PathBuf,
}

impl Paced {
    fn open(stream: &ClickStream, folder: &Path, format: LineFormat, clicks_per_second: u64) -> Result<Self> {
        if clicks_per_second == 0 {
            return Err(EngineError::definition("clicks_per_second = 0: must be at least 1"));
        }
        let extension = ClickFormat::Lines(format).extension();
        let mut servers = Vec::new();
        for partition in 0..stream.config().partitions {
            let path = folder.join(format!("server-{partition:04}.{extension}"));
            let log = OpenOptions::new().create(true).append(true).open(&path);
            let log = log.map_err(|error| EngineError::io(format!("cannot append to {}: {error}", path.display())))?;
            servers.push(Server { clicks: stream.partition(partition)?, log, path });
        }
        Ok(Paced { servers, format, clicks_per_second })
    }

    async fn run(mut self, env: &Env, progress: Progress) -> Result<GenerateReport> {
        let mut report = GenerateReport::default();
        let start = env.now();
        while self.servers.iter().any(|server| server.clicks.remaining() > 0) {
            env.sleep(TICK).await;
            let due = (env.now() - start).as_millis() * u128::from(self.clicks_per_second) / 1_000;
            self.append_until(u64::try_from(due).unwrap_or(u64::MAX), &mut report)?;
            progress(report.clicks);
        }
        report.files = self.servers.into_iter().map(|server| server.path).collect();
        Ok(report)
    }

    /// Appends what is due when `due` clicks of the whole stream are, each server's lines in one write.
    fn append_until(&mut self, due: u64, report: &mut GenerateReport) -> Result<()> {
        let partitions = self.servers.len() as u64;
        let mut buffer = Vec::new();
        for (partition, server) in self.servers.iter_mut().enumerate() {
            let due_here = (due + partitions - 1).saturating_sub(partition as u64) / partitions;
            let rows = due_here.saturating_sub(server.clicks.position());
            buffer.clear();
            server.clicks.next_lines(usize::try_from(rows).unwrap_or(usize::MAX), self.format, &mut buffer, report);
            server
                .log
                .write_all(&buffer)
                .map_err(|error| EngineError::io(format!("cannot append to {}: {error}", server.path.display())))?;
            report.bytes += buffer.len() as u64;
        }
        Ok(())
    }
}
