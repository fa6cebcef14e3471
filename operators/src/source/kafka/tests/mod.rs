//! What the source makes of a cluster's answers, on topics in memory.

mod fake;
mod life;
mod model;
mod reading;

use super::*;
use crate::{
    dead_letters::dead_letter_schema,
    format::Format,
    ports,
    schema::ColumnSchema,
    source::{
        SourceConnector, SourceGiven, WatermarkSettings,
        column_type::{ColumnType, DeclaredSchema},
        settings::SourceSettings,
    },
};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int64Type,
};
use std::time::Duration;
use weir_engine::{
    env::Env,
    error::Result,
    operator::{OperatorContext, Source, SourceEvent, SplitState},
};

/// JSON with one number.
fn numbers() -> Format {
    Format::Json { schema: DeclaredSchema::new([("n", ColumnType::Integer)]) }
}

fn settings_of(config: &KafkaConfig) -> SourceSettings {
    let given = SourceGiven { has_event_time: false, watermark: &WatermarkSettings::default(), looked: None };
    let mut mistakes = Vec::new();
    let columns = config.columns(&given, &crate::definition::KeyPath::default(), &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let columns: ColumnSchema = columns.expect("columns");
    SourceSettings { columns, event_time: None, computed_time: None, watermark: WatermarkSettings::default() }
}

fn context(subtask: usize, parallelism: usize) -> OperatorContext {
    OperatorContext { subtask, parallelism, ..OperatorContext::single("job", "source.clicks") }
}

/// What has come out of a source.
#[derive(Debug, Default)]
struct Read {
    rows: Vec<RecordBatch>,
    dead_letters: Vec<(String, i64, String, String)>,
    ended: bool,
}

impl Read {
    fn numbers(&self) -> Vec<i64> {
        let of =
            |rows: &RecordBatch| rows.column_by_name("n").expect("n").as_primitive::<Int64Type>().values().to_vec();
        self.rows.iter().flat_map(of).collect()
    }

    fn take(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Rows(port, batch) if port == ports::DEAD_LETTERS => {
                let (rows, schema) = (&batch.columns, dead_letter_schema());
                assert_eq!(rows.schema(), schema);
                let text = |name: &str, row| {
                    rows.column_by_name(name).expect("a column").as_string::<i32>().value(row).to_owned()
                };
                let offsets = rows.column_by_name("offset").expect("a column").as_primitive::<Int64Type>();
                let letter = |row| (text("file", row), offsets.value(row), text("reason", row), text("raw", row));
                self.dead_letters.extend((0..rows.num_rows()).map(letter));
            }
            SourceEvent::Rows(_, batch) => self.rows.push(batch.columns),
            SourceEvent::EndOfInput => self.ended = true,
            SourceEvent::Watermark(_) | SourceEvent::Idle => {}
        }
    }
}

/// A source that runs.
struct Running {
    source: Box<dyn Source>,
    context: OperatorContext,
    read: Read,
}

impl Running {
    async fn begin(config: &KafkaConfig, context: OperatorContext, splits: Vec<SplitState>) -> Result<Self> {
        Running::with(config, &settings_of(config), context, splits).await
    }

    async fn with(
        config: &KafkaConfig,
        settings: &SourceSettings,
        context: OperatorContext,
        splits: Vec<SplitState>,
    ) -> Result<Self> {
        let mut source = config.build(settings, &context)?;
        source.restore(splits).await?;
        Ok(Running { source, context, read: Read::default() })
    }

    /// Reads until there is nothing to be had for some seconds, or to the end.
    async fn read_what_there_is(&mut self) -> Result<&Read> {
        while !self.read.ended {
            match tokio::time::timeout(Duration::from_secs(5), self.source.next()).await {
                Ok(event) => self.read.take(event?),
                Err(_) => break,
            }
        }
        Ok(&self.read)
    }

    async fn read_one(&mut self) -> Result<()> {
        let event = self.source.next().await?;
        self.read.take(event);
        Ok(())
    }

    fn positions(&mut self) -> Vec<SplitState> {
        self.source.snapshot().expect("positions")
    }
}
