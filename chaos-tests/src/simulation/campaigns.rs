//! The campaigns that a lookup of the simulated job asks about: a table of real SQLite, behind a way that is slow, closed, or loses
//! answers. What it says of an ad is another thing each time that it is looked at, and of some ads it knows nothing at first.
//!
//! What must be there in the end: every click that the map lets through, once; and of an ad that was asked about one answer, however
//! often the job was restored. The cache never forgets here, so that another answer would come from having asked again about what
//! a completed checkpoint knows.

use crate::{
    check::compare_rows,
    job::campaigns::{Campaigns, LOOKED_UP},
    results::{Columns, clicks_of, read_folder},
    table::on_thread,
    workload::Click,
};
use anyhow::{Result, ensure};
use sqlx::Connection;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// So many changes later the table knows all ads.
const UNKNOWN_AT_FIRST: i64 = 40;

/// The table.
pub struct Table {
    database: PathBuf,
    changes: Cell<i64>,
}

impl Table {
    /// One that knows half of these ads.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(database: PathBuf, ads: usize) -> Result<Self> {
        let ads: Vec<String> = (0..ads).map(|ad| format!("('ad{ad:03}', 1, {})", ad % 2)).collect();
        std::fs::write(&database, "")?;
        let table = Table { database, changes: Cell::new(1) };
        let columns = "ad_id TEXT PRIMARY KEY, version BIGINT NOT NULL, is_known INTEGER NOT NULL";
        let made = table.run(format!("CREATE TABLE of_ads ({columns})"))?
            && table.run(format!("INSERT INTO of_ads VALUES {}", ads.join(", ")))?
            && table.run("CREATE VIEW campaigns AS SELECT ad_id, version FROM of_ads WHERE is_known = 1".into())?;
        ensure!(made, "somebody reads a table that is only being made");
        Ok(table)
    }

    /// Changes all of it, unless somebody looks at it just now.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn change(&self) -> Result<()> {
        let next = self.changes.get() + 1;
        let known = format!("is_known = CASE WHEN {next} > {UNKNOWN_AT_FIRST} THEN 1 ELSE is_known END");
        if self.run(format!("UPDATE of_ads SET version = {next}, {known}"))? {
            self.changes.set(next);
        }
        Ok(())
    }

    /// False: somebody reads it.
    fn run(&self, sql: String) -> Result<bool> {
        on_thread(&self.database, |mut connection| async move {
            sqlx::query("PRAGMA busy_timeout = 0").execute(&mut connection).await?;
            sqlx::query("PRAGMA synchronous = OFF").execute(&mut connection).await?;
            let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await;
            connection.close().await?;
            match done {
                Ok(_) => Ok(true),
                Err(error) if error.to_string().contains("locked") => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Compares what came of the lookup with the clicks that it was given, sorted.
    ///
    /// # Errors
    /// When the results cannot be read.
    pub fn check(
        &self,
        campaigns: &Campaigns,
        output: &Path,
        given: &[Click],
        differences: &mut Vec<String>,
    ) -> Result<()> {
        let mut clicks = Vec::new();
        let mut answers: BTreeMap<String, BTreeSet<Option<i64>>> = BTreeMap::new();
        for (_, batch) in read_folder(&output.join(LOOKED_UP))? {
            let rows = clicks_of(&batch)?;
            for (click, version) in rows.iter().zip(Columns(&batch).integers_or_null("version")?) {
                answers.entry(click.ad_id.clone()).or_default().insert(version);
            }
            clicks.extend(rows);
        }
        clicks.sort();
        compare_rows("clicks that were looked up", given, &clicks, differences);
        for (ad, mut answers) in answers {
            if !campaigns.waits {
                answers.remove(&None);
            }
            if answers.len() > 1 || answers.iter().flatten().any(|version| !(1..=self.changes.get()).contains(version))
            {
                differences.push(format!("of {ad} it was said {answers:?}, after {} changes", self.changes.get()));
            }
        }
        Ok(())
    }
}
