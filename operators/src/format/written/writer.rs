//! Rows become records.

use arrow::array::RecordBatch;
use weir_engine::{
    env::Env,
    error::{EngineError, Result},
};

use super::{WrittenFormat, WrittenRows};
use crate::format::{avro::AvroRows, protobuf::ProtobufRows};

/// Writes rows in a format, in one subtask.
pub struct RowWriter {
    format: WrittenFormat,
    env: Env,
    /// What writes them, once it is known how.
    rows: Option<Rows>,
}

enum Rows {
    Avro(AvroRows),
    Protobuf(ProtobufRows),
}

impl RowWriter {
    /// Nothing is asked yet.
    pub fn new(format: WrittenFormat, env: Env) -> Self {
        RowWriter { format, env, rows: None }
    }

    /// Learns what has to be known before rows can be written: the number that a registry has for the schema.
    ///
    /// # Errors
    /// When the registry does not answer, or has no such schema and takes none.
    pub async fn prepare(&mut self) -> Result<()> {
        if self.rows.is_none()
            && let WrittenFormat::Avro(settings) = &self.format
        {
            let id = settings.number(&self.env).await?;
            self.rows = Some(Rows::Avro(AvroRows::new(&settings.schema()?, id).map_err(refused)?));
        }
        Ok(())
    }

    /// A record for each row, after [`prepare`](Self::prepare). None: the format is JSON, which is written elsewhere.
    ///
    /// # Errors
    /// When the columns are not those that the job was checked with.
    pub fn encode(&mut self, rows: &RecordBatch) -> Result<Option<WrittenRows>> {
        if self.rows.is_none()
            && let WrittenFormat::Protobuf(settings) = &self.format
        {
            let message = settings.descriptor().map_err(refused)?;
            self.rows = Some(Rows::Protobuf(ProtobufRows::new(message, rows.schema_ref().fields()).map_err(refused)?));
        }
        match (&self.format, &mut self.rows) {
            (WrittenFormat::Json, _) => Ok(None),
            (_, Some(Rows::Avro(writer))) => writer.encode(rows).map(Some),
            (_, Some(Rows::Protobuf(writer))) => writer.encode(rows).map(Some),
            (_, None) => Err(EngineError::internal("rows are written before it is known how")),
        }
    }
}

fn refused(problem: String) -> EngineError {
    EngineError::definition(format!("rows can't be written: {problem}"))
}

impl std::fmt::Debug for RowWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowWriter").field("format", &self.format).finish_non_exhaustive()
    }
}
