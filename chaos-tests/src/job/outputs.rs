//! In what format the sinks of files write.

/// The format of what sinks write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Parquet.
    Parquet,
    /// Counts CSV, all others JSON lines.
    Text,
    /// Avro.
    Avro,
}

impl Outputs {
    /// All of them.
    pub const ALL: [Outputs; 3] = [Outputs::Parquet, Outputs::Text, Outputs::Avro];

    pub(super) fn format(self, sink: &str) -> &'static str {
        match self {
            Outputs::Parquet => "parquet",
            Outputs::Avro => "avro",
            Outputs::Text if matches!(sink, "counts" | "live") => "csv",
            Outputs::Text => "json",
        }
    }
}
