//! Reads the store that the SQL sink fills: SQLite or PostgreSQL, one code path.
//!
//! Invariant: each answer is read in one transaction that sees one state of the store. A store that does not exist yet, or
//! whose database is down, is an error that says so; the next question finds out for itself whether that is over.

mod catalog;
mod counts;
mod coverage;
mod error;
mod popular;
mod range;
mod snapshot;
mod table;
mod tables;
mod threshold;

#[cfg(test)]
pub(crate) mod tests;

pub use catalog::{Freshness, Reconciliation};
pub use counts::Counted;
pub use error::StoreError;
pub use popular::{AdCount, Source, TopAds};
pub use range::Range;
pub use table::{Cell, Holds, RowsQuestion, Table, TableColumn, TableRows};
pub use weir_store::{
    DAY_MS, Filter, HOUR_MS, MINUTE_MS,
    counts::{COUNTS_KEY, USUAL_TABLE},
};

use snapshot::Snapshot;
use std::sync::Arc;
use weir_store::Readers;

/// A store of aggregated clicks, opened for reading. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    readers: Readers,
    table: Option<Arc<str>>,
}

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…` for reading, with at most so many connections. Nothing is connected to before
    /// the first question, so a store need not exist yet. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Address`] when the address is neither.
    pub fn open(url: &str, most_connections: u32) -> Result<Self, StoreError> {
        Ok(Store { readers: Readers::open(url, most_connections)?, table: None })
    }

    /// The same store, answering from that table of counts. Otherwise it is [`USUAL_TABLE`], or the only one that there is.
    #[must_use]
    pub fn of_table(self, table: &str) -> Self {
        Store { table: Some(table.into()), ..self }
    }

    /// The filters that clicks are counted under, by id. Empty when the job that fills the store names none.
    ///
    /// # Errors
    /// When the store cannot be read, or nothing has been committed yet.
    pub async fn filters(&self) -> Result<Vec<Filter>, StoreError> {
        catalog::filters(&self.snapshot().await?)
    }

    /// How far the store has come.
    ///
    /// # Errors
    /// When the store cannot be read, or nothing has been committed yet.
    pub async fn freshness(&self) -> Result<Freshness, StoreError> {
        let mut snapshot = self.snapshot().await?;
        catalog::freshness(&mut snapshot).await
    }

    /// What the newest reconciliation of each job with its raw archive has found.
    ///
    /// # Errors
    /// When the store cannot be read, or nothing has been committed yet.
    pub async fn reconciliations(&self) -> Result<Vec<Reconciliation>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        catalog::reconciliations(&mut snapshot).await
    }

    /// How many counts in the store are corrections (their revision is above 0); `None` where no index makes that cheap to
    /// know.
    ///
    /// # Errors
    /// When the store cannot be read, or nothing has been committed yet.
    pub async fn corrections(&self) -> Result<Option<i64>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        catalog::corrections(&mut snapshot).await
    }

    /// Clicks on an ad in a range, under a filter, and its impressions. An ad that nobody clicked has 0.
    ///
    /// # Errors
    /// When there is no such filter, the range cuts through an hour or a day that is kept as one sum, or the store cannot
    /// be read.
    pub async fn ad_count(&self, ad_id: &str, filter_id: &str, range: Range) -> Result<Counted<i64>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        catalog::check_filter(&snapshot, filter_id)?;
        counts::ad_count(&mut snapshot, ad_id, filter_id, range).await
    }

    /// Clicks on an ad in each minute of a range, under a filter, and its impressions.
    ///
    /// # Errors
    /// As [`Store::ad_count`], and when minutes of the range are kept as hours or days only.
    pub async fn minute_counts(
        &self,
        ad_id: &str,
        filter_id: &str,
        range: Range,
    ) -> Result<Counted<Vec<i64>>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        catalog::check_filter(&snapshot, filter_id)?;
        counts::minute_counts(&mut snapshot, ad_id, filter_id, range).await
    }

    /// The `n` most clicked ads of a range under a filter, most clicked first, ties by ad id, ascending. Exact.
    ///
    /// # Errors
    /// As [`Store::ad_count`].
    pub async fn top_ads(&self, filter_id: &str, range: Range, n: usize) -> Result<TopAds, StoreError> {
        let mut snapshot = self.snapshot().await?;
        catalog::check_filter(&snapshot, filter_id)?;
        let top = popular::top_ads(&mut snapshot, filter_id, range, n).await?;
        let ad_ids: Vec<String> = top.ads.iter().map(|ad| ad.ad_id.clone()).collect();
        let impressions = counts::impressions(&mut snapshot, &ad_ids, filter_id, range).await?;
        Ok(TopAds { impressions, ..top })
    }

    /// All tables that sinks fill, by name, whatever they are about.
    ///
    /// # Errors
    /// When the store cannot be read, or there is no table yet.
    pub async fn tables(&self) -> Result<Vec<Table>, StoreError> {
        table::tables(&mut Snapshot::of_any_table(&self.readers).await?).await
    }

    /// The newest rows of a table, the newest first.
    ///
    /// # Errors
    /// When there is no such table or column, the key is none of the table's, or the store cannot be read.
    pub async fn rows(&self, question: &RowsQuestion) -> Result<TableRows, StoreError> {
        table::rows(&mut Snapshot::of_any_table(&self.readers).await?, question).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::begin(&self.readers, self.table.as_deref()).await
    }
}
