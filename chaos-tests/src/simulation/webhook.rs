//! The simulation's webhook: a server that outlives all processes, takes whatever rows come, and remembers them in their order.
//!
//! What must be there in the end: each revision of each result, as often as it was posted the same; of one result the earlier
//! revisions before the later ones; and the highest revision of each says what the recount says.

use super::{link::Link, power::Power, trace::Trace};
use crate::{
    check,
    job::webhook::URL,
    oracle::{Block, CountKey},
    results::{Records, bytes_of_uuid},
};
use anyhow::{Context, Result, ensure};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};
use weir_operators::sink::http::provided::{Provided, provide};

/// The server, reached by all that runs on this thread.
pub struct Webhook {
    link: Link,
    posted: Arc<Mutex<Vec<Bytes>>>,
    _provided: Provided,
}

impl Webhook {
    /// One that has got nothing. `is_believed`: whoever posts takes what was not answered for taken, which is wrong.
    pub fn new(seed: u64, power: Power, trace: Trace, is_believed: bool) -> Self {
        let link = Link::new("webhook", seed ^ 0x686f_6f6b, trace);
        let posted: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let (way, all) = (link.clone(), posted.clone());
        let server = move |body: Bytes| {
            let (way, all, process) = (way.clone(), all.clone(), power.here());
            async move {
                let process = process.ok_or_else(|| io::Error::other("nobody posts outside of the hosts"))?;
                let answered = async {
                    way.request(&process, "rows").await?;
                    all.lock().push(body);
                    way.answer(&process, "rows").await
                };
                match answered.await {
                    Err(error) if !is_believed => Err(error),
                    _ => Ok(200),
                }
            }
            .boxed()
        };
        Webhook { link, posted, _provided: provide(URL, Arc::new(server)) }
    }

    /// The way to it.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Compares what was posted with what the recount says of the blocks.
    ///
    /// # Errors
    /// When somebody who reads the rows in the order in which they came could not trust them.
    pub fn check(&self, expected: &BTreeMap<CountKey, Block>, differences: &mut Vec<String>) -> Result<()> {
        let mut known: HashMap<(String, i64), Value> = HashMap::new();
        let mut newest: HashMap<String, i64> = HashMap::new();
        let mut records = Records::default();
        for body in self.posted.lock().iter() {
            let rows: Vec<Value> = serde_json::from_slice(body).context("what was posted is no array")?;
            for row in rows {
                let posted = Posted::of(&row).with_context(|| format!("posted: {row}"))?;
                let Posted { id, revision, key, block } = posted;
                if let Some(before) = known.get(&(id.clone(), revision)) {
                    ensure!(*before == row, "posted again as another: {before} and {row}");
                    continue;
                }
                let before = newest.insert(id.clone(), revision);
                ensure!(before.is_none_or(|before| before < revision), "posted after revision {before:?}: {row}");
                records.add("the webhook", (bytes_of_uuid(&id)?, revision), key, block)?;
                known.insert((id, revision), row);
            }
        }
        let holding = records.newest().context("at the webhook")?.into_iter();
        let holding = holding.filter_map(|(key, block)| Some((key, block?))).collect();
        check::compare_maps("blocks at the webhook", expected, &holding, differences);
        Ok(())
    }
}

/// A row that was posted.
struct Posted {
    id: String,
    revision: i64,
    key: CountKey,
    /// None: it is withdrawn.
    block: Option<Block>,
}

impl Posted {
    fn of(row: &Value) -> Result<Self> {
        let text = |name: &str| row[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        let (id, revision) = (text("record_id")?, row["revision"].as_i64().context("no revision")?);
        ensure!(row["idempotency_key"] == format!("{id}-{revision}").as_str(), "a key of another row");
        let begins = string_to_timestamp_nanos(&text("window_start")?)? / 1_000_000;
        let numbers = ["minutes", "clicks", "most"].map(|name| row[name].as_i64());
        let block = match (row["withdrawn"].as_bool(), numbers) {
            (Some(false), [Some(minutes), Some(clicks), Some(most)]) => Some(Block { minutes, clicks, most }),
            (Some(true), [None, None, None]) => None,
            _ => anyhow::bail!("neither a block nor that there is none"),
        };
        Ok(Posted { id, revision, key: (text("ad_id")?, begins, text("filter_id")?), block })
    }
}
