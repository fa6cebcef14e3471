//! Rows that a server does not take: told of in the log, counted, and kept as JSON lines where the definition says so.

use super::batches::Row;
use crate::sink::files::storage::{self, Storage};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use weir_engine::{error::Result, ids::CheckpointId, operator::CommitterContext};

/// So many rows of a commit are told of in the log one by one.
const TOLD: usize = 10;
/// So many bytes of each.
const TOLD_BYTES: usize = 1_024;

/// Where refused rows of one sink go.
#[derive(Debug)]
pub(super) struct Rejects {
    storage: Option<Arc<dyn Storage>>,
    /// How many it were in this process.
    rows: AtomicU64,
}

/// A row that was refused, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub row: Row,
    pub reason: String,
}

impl Rejects {
    /// # Errors
    /// When the path names no storage.
    pub fn new(path: Option<&str>) -> Result<Self> {
        Ok(Rejects { storage: path.map(storage::open).transpose()?, rows: AtomicU64::new(0) })
    }

    /// Sets the refused rows of a checkpoint aside; done again, it changes nothing.
    ///
    /// # Errors
    /// When the storage refuses.
    pub async fn keep(&self, context: &CommitterContext, checkpoint: CheckpointId, refused: &[Refused]) -> Result<()> {
        if refused.is_empty() {
            return Ok(());
        }
        let CommitterContext { job, sink, waits, staging, .. } = context;
        for Refused { row, reason } in refused.iter().take(TOLD) {
            let object = String::from_utf8_lossy(&row.object[..row.object.len().min(TOLD_BYTES)]);
            tracing::warn!(job, sink, key = row.key, reason, %object, "the server refuses a row");
        }
        if refused.len() > TOLD {
            tracing::warn!(job, sink, rows = refused.len(), "so many rows of a checkpoint does the server refuse");
        }
        if let Some(storage) = &self.storage {
            let sink = sink.strip_prefix("sink.").unwrap_or(sink);
            let name = format!("{job}-{sink}-{}.{:08}.jsonl", staging.lineage(), checkpoint.0);
            let lines: String = refused.iter().map(Refused::as_line).collect();
            storage.create_new(&name, lines.into()).await?;
        }
        let rows = refused.len() as u64;
        waits.set_rejected(&context.sink, self.rows.fetch_add(rows, Ordering::Relaxed) + rows);
        Ok(())
    }
}

impl Refused {
    fn as_line(&self) -> String {
        let (key, reason) = (serde_json::json!(self.row.key), serde_json::json!(self.reason));
        let object = String::from_utf8_lossy(&self.row.object);
        format!("{{\"idempotency_key\":{key},\"reason\":{reason},\"row\":{object}}}\n")
    }
}
