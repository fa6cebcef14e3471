//! Sources made in Rust: what their connectors read.

use weir_operators::source::column_type::DeclaredSchema;
use weir_operators::source::files::EventTimeRange;
use weir_operators::source::generator::ClickStreamConfig;

use super::connector::{FilesSource, Format, SourceConnector};
use super::definition::Source;

impl Source {
    /// Files below a folder, or at a URL; click logs, unless [`Source::format`] says otherwise.
    pub fn files(path: impl Into<String>) -> Self {
        Source::new(SourceConnector::Files(FilesSource::at(path.into())))
    }

    /// A reproducible stream of clicks: so many a second of real time, or as fast as they are taken.
    pub fn generator(stream: ClickStreamConfig, clicks_per_second: Option<u64>) -> Self {
        Source::new(SourceConnector::Generator { stream: Box::new(stream), clicks_per_second })
    }

    /// How the files are written. Without effect on a generator.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.format = format;
        }
        self
    }

    /// Columns whose values are in the names of folders, as in `country=US/clicks.log`. Without effect on a generator.
    #[must_use]
    pub fn partitions(mut self, columns: DeclaredSchema) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.partitions = columns;
        }
        self
    }

    /// Whether growing and new files are followed until the job is stopped. Without effect on a generator.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.follow = follow;
        }
        self
    }

    /// The files are an archive: Parquet in a folder for each hour, as [`Sink::partition_by_hour`](crate::Sink::partition_by_hour) writes it. They are read in the
    /// order of the hours, time follows the hours, and nothing is ever behind. Without effect on a generator.
    #[must_use]
    pub fn by_partition(mut self) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.by_partition = true;
        }
        self
    }

    /// A file of an archive that cannot be read ends the job, since what is counted from the others would be wrong. Otherwise it
    /// is a dead letter. Without effect on a generator.
    #[must_use]
    pub fn all_or_nothing(mut self) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.all_or_nothing = true;
        }
        self
    }

    /// Of an archive, only the events of this range. Without effect on a generator.
    #[must_use]
    pub fn range(mut self, range: EventTimeRange) -> Self {
        if let SourceConnector::Files(files) = &mut self.connector {
            files.range = Some(range);
        }
        self
    }
}
