//! The shipped job's table of counts, written through both phases of the SQL sink as the job writes it.

use anyhow::{Result, anyhow};
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use weir_engine::{
    EngineError,
    checkpoint::{CheckpointStore, Staging},
    element::{Barrier, Batch},
    env::Env,
    graph::{Node, NodeRole},
    ids::{CheckpointId, Lineage},
    operator::{Committer, CommitterContext, Factory, OperatorContext, Sink, Waits},
};
use weir_operators::Registry;

/// The job that the table belongs to, and its sink.
const JOB: &str = "ad-click";
const SINK: &str = "sink.store";

/// From which count on the shipped job has an index of the most clicked ads.
pub const LEAST_LISTED: u32 = 8;

/// A table that is open for writing.
pub struct CountsTable {
    sink: Box<dyn Sink>,
    committer: Arc<dyn Committer>,
    staging: Staging,
    env: Env,
}

/// What the two phases of a checkpoint took.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// Until the rows were durable.
    pub stage: Duration,
    /// Until they were visible.
    pub commit: Duration,
}

impl CountsTable {
    /// Of the database at `url`, with an index of counts from `least_listed` on; rows are staged in `folder`. The sink describes
    /// itself by `description`.
    pub async fn open(url: &str, folder: &Path, least_listed: u32, description: Value) -> Result<Self> {
        let env = Env::from_entropy();
        let store = CheckpointStore::open(&format!("file://{}/checkpoints", folder.display()), JOB).map_err(failed)?;
        store.claim_attempt(&env).await.map_err(failed)?;
        let staging = Staging::new(store, SINK);
        let config = table(url, least_listed, description);
        let node = Node { id: SINK.into(), kind: "sql".into(), role: NodeRole::Sink, parallelism: 1, config };
        let context =
            OperatorContext { staging: staging.clone(), env: env.clone(), ..OperatorContext::single(JOB, SINK) };
        let sink = Registry.sink(&node, context).map_err(failed)?;
        let context = CommitterContext {
            job: JOB.into(),
            sink: SINK.into(),
            env: env.clone(),
            staging: staging.clone(),
            waits: Waits::default(),
        };
        let committer = Registry.committer(&node, context).map_err(failed)?;
        Ok(CountsTable { sink, committer, staging, env })
    }

    /// Empties the table.
    pub async fn begin_anew(&self) -> Result<()> {
        self.committer.reset(Lineage(1)).await.map(drop).map_err(failed)
    }

    /// Goes on with the table as it is, whose owner must be [`CountsTable::owner`].
    pub async fn prepare(&self) -> Result<()> {
        self.committer.prepare().await.map_err(failed)
    }

    /// Who must own the sink's row in `weir_sinks`.
    pub async fn owner(&self) -> Result<String> {
        self.staging.identity().await.map_err(failed)
    }

    /// The rows of a checkpoint, made durable and then visible.
    pub async fn commit(&mut self, checkpoint: u64, rows: Batch) -> Result<Committed> {
        let begun = self.env.now();
        self.sink.write(rows).await.map_err(failed)?;
        let staged = self.sink.stage(Barrier::new(CheckpointId(checkpoint))).await.map_err(failed)?;
        let durable = self.env.now();
        self.committer.commit(CheckpointId(checkpoint), &staged).await.map_err(failed)?;
        Ok(Committed { stage: durable - begun, commit: self.env.now() - durable })
    }
}

/// The revision of the running counts that go out with a checkpoint.
pub fn running_revision(checkpoint: u64) -> i32 {
    i32::MIN.saturating_add(i32::try_from(checkpoint).unwrap_or(i32::MAX))
}

/// Counts of one minute: filter, ad, count.
pub fn counts_batch<'a>(
    minute_ms: i64,
    revision: i32,
    rows: impl Iterator<Item = (&'a str, String, i64)>,
) -> Result<Batch> {
    let (mut filters, mut ads, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (filter, ad, count) in rows {
        filters.push(filter);
        ads.push(ad);
        counts.push(count);
    }
    let rows = counts.len();
    let columns: [(&str, ArrayRef); 5] = [
        ("click_minute", Arc::new(TimestampMillisecondArray::from(vec![minute_ms; rows]).with_timezone("UTC"))),
        ("filter_id", Arc::new(StringArray::from(filters))),
        ("ad_id", Arc::new(StringArray::from(ads))),
        ("count", Arc::new(Int64Array::from(counts))),
        ("revision", Arc::new(Int32Array::from(vec![revision; rows]))),
    ];
    Ok(Batch::new(RecordBatch::try_from_iter(columns)?))
}

fn table(url: &str, least_listed: u32, description: Value) -> Value {
    let column = |name: &str, of: &str| json!({ "name": name, "type": of });
    json!({
        "url": url,
        "table": "ad_counts",
        "columns": [
            column("click_minute", "big_int"), column("filter_id", "text"), column("ad_id", "text"),
            column("count", "big_int"), column("revision", "big_int"),
        ],
        "key": ["click_minute", "filter_id", "ad_id"],
        "revision": "revision",
        "indexes": [{ "columns": ["click_minute", "filter_id", "count"], "where": format!("count >= {least_listed}") }],
        "description": description,
    })
}

fn failed(error: EngineError) -> anyhow::Error {
    anyhow!("{error}")
}
