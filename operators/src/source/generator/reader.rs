//! The generator as a source: a split is a partition of the stream, its position the place of the next click.
//!
//! Invariant: pacing decides when a click comes and never which; a restart resumes at exactly the next click.

use super::{PartitionClicks, batch::click_schema};
use arrow::array::RecordBatch;
use std::time::Duration;
use weir_engine::{
    env::{Env, Moment},
    error::{EngineError, Result},
};

/// How often a paced partition has something to say.
const TICK: Duration = Duration::from_millis(10);

/// Reads one partition, as fast as it is asked for or at a pace.
pub struct GeneratorRows {
    clicks: PartitionClicks,
    /// Positions of the requested columns in [`click_schema`].
    columns: Vec<usize>,
    pace: Option<Pace>,
}

/// Clicks that are due follow from the time since the first call.
struct Pace {
    env: Env,
    clicks_per_second: f64,
    start: Option<(Moment, u64)>,
}

impl GeneratorRows {
    /// Reads `columns` of what `clicks` will give from its current position on.
    ///
    /// # Errors
    /// When a column is none of a click's.
    pub fn new(clicks: PartitionClicks, columns: &[String]) -> Result<Self> {
        let schema = click_schema();
        let find = |name: &String| {
            schema.index_of(name).map_err(|_| {
                let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                EngineError::definition(format!(
                    "the generator has no column '{name}'; the columns are: {}",
                    found.join(", ")
                ))
            })
        };
        let columns = columns.iter().map(find).collect::<Result<_>>()?;
        Ok(GeneratorRows { clicks, columns, pace: None })
    }

    /// Gives this many clicks a second of real time (above 0), counted from the first call of `next`.
    pub fn paced(mut self, env: Env, clicks_per_second: f64) -> Self {
        self.pace = Some(Pace { env, clicks_per_second, start: None });
        self
    }

    /// The place of the next click: where a restart resumes.
    pub fn position(&self) -> u64 {
        self.clicks.position()
    }

    /// The next clicks, at most `max_rows` (at least 1); none at the end. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// When the columns do not fit together, which would be a mistake of ours.
    pub async fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        let mut rows = max_rows.max(1);
        if let Some(pace) = &mut self.pace {
            rows = pace.wait_for_clicks(self.clicks.position()).await.min(rows);
        }
        let Some(batch) = self.clicks.next_rows(rows) else { return Ok(None) };
        Ok(Some(batch.project(&self.columns)?))
    }
}

impl Pace {
    /// Waits until a click is due; how many are.
    async fn wait_for_clicks(&mut self, position: u64) -> usize {
        let (start, first) = *self.start.get_or_insert_with(|| (self.env.now(), position));
        loop {
            let due = first.saturating_add(((self.env.now() - start).as_secs_f64() * self.clicks_per_second) as u64);
            if due > position {
                return usize::try_from(due - position).unwrap_or(usize::MAX);
            }
            self.env.sleep(TICK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ClickStream, ClickStreamConfig},
        *,
    };
    use arrow::compute::concat_batches;

    fn partition(place: u64) -> PartitionClicks {
        let config = ClickStreamConfig { events: Some(1_000), partitions: 2, ..ClickStreamConfig::default() };
        let mut clicks = ClickStream::new(config).unwrap().partition(1).unwrap();
        clicks.seek(place);
        clicks
    }

    fn names(columns: &[&str]) -> Vec<String> {
        columns.iter().map(|column| (*column).to_string()).collect()
    }

    async fn read_all(mut rows: GeneratorRows) -> RecordBatch {
        let mut batches = Vec::new();
        while let Some(batch) = rows.next(64).await.unwrap() {
            batches.push(batch);
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    #[tokio::test]
    async fn a_restart_goes_on_at_the_next_click_with_the_requested_columns() {
        let columns = names(&["event_id", "ad_id"]);
        let all = partition(0).with_batch_rows(500).next().unwrap().project(&[5, 0]).unwrap();
        for position in [0, 1, 123, 499] {
            let rows = GeneratorRows::new(partition(position), &columns).unwrap();
            assert_eq!(rows.position(), position);
            assert_eq!(read_all(rows).await, all.slice(position as usize, 500 - position as usize));
        }
        let mut ended = GeneratorRows::new(partition(500), &columns).unwrap();
        assert_eq!(ended.next(64).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_pace_changes_when_and_not_what() {
        let env = Env::default();
        let columns = names(&["ad_id", "click_timestamp"]);
        let begin = env.now();
        let paced = GeneratorRows::new(partition(200), &columns).unwrap().paced(env.clone(), 2_000.0);
        let clicks = read_all(paced).await;
        let took = (env.now() - begin).as_millis();
        assert!((150..5_000).contains(&took), "300 clicks at 2,000 a second took {took} ms");
        assert_eq!(clicks, read_all(GeneratorRows::new(partition(200), &columns).unwrap()).await);
    }

    #[test]
    fn columns_that_a_click_does_not_have_are_refused() {
        let error = GeneratorRows::new(partition(0), &names(&["ad"])).err().unwrap();
        assert!(error.message.contains("no column 'ad'; the columns are: ad_id, click_timestamp"), "{error}");
    }
}
