//! What a source reads: files, or generated clicks.

use std::time::Duration;

use weir_operators::memory_stores::for_thread_beside;
use weir_operators::schema::ColumnSchema;
use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::files::{Copies, EventTimeRange, parquet_schema};
use weir_operators::source::generator::ClickStreamConfig;

use weir_operators::definition::Reader;

/// What a source reads.
#[derive(Debug, Clone)]
pub(crate) enum SourceConnector {
    Files(FilesSource),
    Generator { stream: Box<ClickStreamConfig>, clicks_per_second: Option<u64> },
}

/// Files in a folder.
#[derive(Debug, Clone)]
pub(crate) struct FilesSource {
    pub(crate) path: String,
    pub(crate) format: Format,
    /// The columns whose values are in the names of folders.
    pub(crate) partitions: DeclaredSchema,
    pub(crate) follow: bool,
    pub(crate) max_line_bytes: Option<u64>,
    pub(crate) batch_rows: Option<u64>,
    pub(crate) poll: Option<Duration>,
    pub(crate) discover: Option<Duration>,
    pub(crate) rotation_grace: Option<Duration>,
    pub(crate) copies: Option<Copies>,
    /// The folders say how old their rows can be, and time follows from that.
    pub(crate) by_partition: bool,
    /// A file that cannot be read ends the job.
    pub(crate) all_or_nothing: bool,
    pub(crate) range: Option<EventTimeRange>,
}

/// How the files of a source are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// `[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA`
    ClickLog,
    /// Values with a delimiter between them, the first line naming the columns.
    Csv {
        /// The columns to read.
        schema: DeclaredSchema,
        /// What stands between two values.
        delimiter: char,
    },
    /// One JSON object a line.
    Json {
        /// The columns to read.
        schema: DeclaredSchema,
    },
    /// Parquet.
    Parquet {
        /// The columns to read; none: those of all files, looked up when the job is checked.
        schema: Option<DeclaredSchema>,
    },
}

impl SourceConnector {
    /// Reads what it has to say of how time goes.
    pub(super) fn read_watermark(&mut self, watermark: &Reader<'_>) {
        if let SourceConnector::Files(files) = self {
            files.by_partition = watermark.flag("by_partition").unwrap_or(false);
        }
    }

    /// One of which nothing is known.
    pub(super) fn unknown() -> Self {
        SourceConnector::Files(FilesSource::at(String::new()))
    }

    /// Whether enough was written to say what it reads.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, SourceConnector::Files(files) if files.path.is_empty())
    }

    /// The columns of what it would read, where they are not declared.
    pub(super) fn look(&self) -> Option<Result<ColumnSchema, String>> {
        match self {
            SourceConnector::Files(files) if self.is_known() && files.format == (Format::Parquet { schema: None }) => {
                Some(columns_of_files(files))
            }
            SourceConnector::Files(_) | SourceConnector::Generator { .. } => None,
        }
    }

    /// Whether a split may be silent, so that time goes on without it.
    pub(super) fn may_be_silent(&self, idle_after: Option<Duration>) -> bool {
        match self {
            SourceConnector::Files(files) => files.follow,
            SourceConnector::Generator { clicks_per_second, .. } => clicks_per_second.is_some() && idle_after.is_some(),
        }
    }

    /// Whether time follows folders by hour, whatever rows say.
    pub(super) fn is_by_partition(&self) -> bool {
        matches!(self, SourceConnector::Files(files) if files.by_partition)
    }
}

/// The columns of the Parquet files that the source would read.
fn columns_of_files(files: &FilesSource) -> Result<ColumnSchema, String> {
    let look_up = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the files can't be looked at: {error}"))?;
        runtime.block_on(parquet_schema(&files.path, files.by_partition)).map_err(|error| error.message)
    };
    // On a thread of its own: the caller may be inside of a runtime already.
    let schema = std::thread::scope(|scope| scope.spawn(for_thread_beside(look_up)).join());
    let schema = schema.map_err(|_| "looking at the files failed".to_owned())??;
    Ok(ColumnSchema::from(schema.as_ref()))
}

impl FilesSource {
    /// Click logs at a path.
    pub(super) fn at(path: String) -> Self {
        FilesSource {
            path,
            format: Format::ClickLog,
            partitions: DeclaredSchema::default(),
            follow: false,
            max_line_bytes: None,
            batch_rows: None,
            poll: None,
            discover: None,
            rotation_grace: None,
            copies: None,
            by_partition: false,
            all_or_nothing: false,
            range: None,
        }
    }
}
