//! The committed records of a topic again, as the columns of its sink: for whoever shows results.

use super::config::KafkaSinkConfig;
use crate::{
    definition::KeyPath,
    format::{FormatSettings, MessageDecoder, WrittenFormat},
    schema::ColumnSchema,
    sink::read_back::{ReadBack, ReadBackOf, fit, identity_of, of_json, shown_schema},
};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array},
    compute::concat_batches,
    datatypes::{Field, Schema, SchemaRef},
};
use futures::{FutureExt, future::BoxFuture};
use std::{io::Cursor, sync::Arc, time::Duration};
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};
use weir_kafka::{Cluster, Consumer, Isolation, KafkaError, PartitionReader, RecordRef, TopicPartition};

/// Records that are taken at once: as lines, and where they are decoded, which takes them all in memory.
const MOST: usize = 10_000;
const MOST_DECODED: usize = 100;
/// How long one waits for brokers before a look whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long brokers may say nothing, where there is more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the topic of one sink.
pub(super) struct KafkaReadBack {
    cluster: Arc<dyn Cluster>,
    topic: String,
    format: WrittenFormat,
    columns: ColumnSchema,
    env: Env,
    reading: Option<Reading>,
}

/// All partitions, from their beginnings.
struct Reading {
    consumer: Box<dyn Consumer>,
    partitions: Vec<(TopicPartition, Box<dyn PartitionReader>)>,
}

impl KafkaReadBack {
    pub fn new(config: &KafkaSinkConfig, of: &ReadBackOf<'_>) -> Result<Self> {
        Ok(KafkaReadBack {
            cluster: config.connection.connect()?,
            topic: config.topic.clone(),
            format: config.format.clone(),
            columns: of.columns.clone(),
            env: of.env.clone(),
            reading: None,
        })
    }

    /// All that is committed by now and was not given out.
    async fn read_new(&mut self) -> Result<Vec<RecordBatch>> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => open(self.cluster.as_ref(), &self.topic).await?,
        };
        let mut rows = ReadRows::of(&self.format, &self.columns, &self.env)?;
        let most = if self.format.is_json() { MOST } else { MOST_DECODED };
        for (partition, reader) in &mut reading.partitions {
            let end = self.cluster.bounds(&partition.topic, partition.partition).await?.stable_end;
            let mut heard = self.env.now();
            while reader.position() < end {
                let mut take = |record: RecordRef<'_>| {
                    // A tombstone is no row.
                    if let Some(value) = record.value {
                        rows.push(value);
                    }
                };
                let woken = reading.consumer.woken();
                if reader.take(most, &mut take)? > 0 {
                    heard = self.env.now();
                    rows.decode().await?;
                } else if reader.position() < end {
                    if self.env.now() - heard > PATIENCE {
                        return Err(EngineError::unavailable(format!(
                            "'{partition}' can be read to offset {} only, of {end}",
                            reader.position()
                        )));
                    }
                    tokio::select! {
                        () = woken.notified() => {}
                        () = self.env.sleep(LOOK_EVERY) => {}
                    }
                }
            }
        }
        self.reading = Some(reading);
        rows.finish()
    }
}

/// Values of records on their way to rows.
enum ReadRows {
    /// As lines.
    Json { lines: Vec<u8>, schema: SchemaRef },
    /// In a format of the sink.
    Decoded { decoder: Box<dyn MessageDecoder>, rows: Vec<RecordBatch>, left_out: usize, schema: SchemaRef },
}

impl ReadRows {
    fn of(format: &WrittenFormat, columns: &ColumnSchema, env: &Env) -> Result<Self> {
        let schema = shown_schema(columns);
        let Some(format) = format.as_read() else { return Ok(ReadRows::Json { lines: Vec::new(), schema }) };
        let known = format.columns(&KeyPath::default(), &mut Vec::new()).unwrap_or_default();
        // Columns that a definition has since are null.
        let names: Vec<String> =
            columns.names().filter(|name| known.column(name).is_some()).map(str::to_owned).collect();
        let decoder = FormatSettings::from(format).messages(&names, env)?.decoder()?;
        Ok(ReadRows::Decoded { decoder, rows: Vec::new(), left_out: 0, schema })
    }

    fn push(&mut self, value: &[u8]) {
        match self {
            ReadRows::Json { lines, .. } => {
                lines.extend_from_slice(value);
                lines.push(b'\n');
            }
            ReadRows::Decoded { decoder, .. } => decoder.push(value, 0),
        }
    }

    /// Decodes what was pushed.
    async fn decode(&mut self) -> Result<()> {
        if let ReadRows::Decoded { decoder, rows, left_out, schema } = self {
            let decoded = decoder.finish().await?;
            *left_out += decoded.bad_lines.len();
            rows.push(shown(&decoded.records, schema)?);
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<RecordBatch>> {
        match self {
            ReadRows::Json { lines, schema } => {
                let (rows, left_out) = of_json(Cursor::new(lines), &schema)?;
                say_left_out(left_out);
                Ok(rows)
            }
            ReadRows::Decoded { rows, left_out, .. } => {
                say_left_out(left_out as u64);
                Ok(rows)
            }
        }
    }
}

/// A topic may have records of others.
fn say_left_out(left_out: u64) {
    if left_out > 0 {
        tracing::warn!(left_out, "records that are no rows of the sink are left out");
    }
}

/// Decoded rows as they are shown. A list or the like was decoded to JSON.
fn shown(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let nested: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|field| field.data_type().is_nested())
        .map(|field| field.name().as_str())
        .collect();
    if nested.is_empty() {
        return fit(rows, schema);
    }
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let texts = column.as_string_opt::<i32>().filter(|_| nested.contains(&field.name().as_str()));
        let column = match (texts, schema.column_with_name(field.name())) {
            (Some(texts), Some((_, field))) => of_texts(texts, field)?,
            _ => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    fit(&RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?, schema)
}

/// Values of a field whose JSON these texts are.
fn of_texts(texts: &StringArray, field: &Field) -> Result<ArrayRef> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("v", field.data_type().clone(), true)]));
    let lines: String = texts.iter().map(|text| format!("{{\"v\":{}}}\n", text.unwrap_or("null"))).collect();
    let rows = concat_batches(&schema, &of_json(Cursor::new(lines), &schema)?.0)?;
    match rows.num_rows() == texts.len() {
        true => Ok(Arc::clone(rows.column(0))),
        false => Ok(new_null_array(field.data_type(), texts.len())),
    }
}

async fn open(cluster: &dyn Cluster, topic: &str) -> Result<Reading, KafkaError> {
    let mut consumer = cluster.consumer(Isolation::Committed)?;
    let count = cluster.describe(topic).await?.map_or(0, |topic| topic.partitions);
    let mut partitions = Vec::new();
    for partition in 0..count {
        let from = cluster.bounds(topic, partition).await?.beginning;
        let partition = TopicPartition { topic: topic.to_owned(), partition };
        let reader = consumer.read(&partition, from)?;
        partitions.push((partition, reader));
    }
    Ok(Reading { consumer, partitions })
}

impl ReadBack for KafkaReadBack {
    fn identity(&self) -> Vec<String> {
        identity_of(&self.columns)
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Vec<RecordBatch>>> {
        self.read_new().boxed()
    }
}
