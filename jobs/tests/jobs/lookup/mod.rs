//! `[lookup.NAME]` in whole jobs: tables and services that answer, are slow, fail and change their minds; runs that crash, stop and go
//! on at another parallelism.

mod crashes;
mod definitions;
mod services;
mod tables;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use weir_jobs::{CompileOptions, Job, parse};

/// A folder with an input and what comes of it.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// With a row for each of these ads, numbered from 0; none: a row without an ad.
    pub fn new<'a>(ads: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for (n, ad) in ads.into_iter().enumerate() {
            let ad = ad.map_or("null".to_owned(), |ad| format!("{ad:?}"));
            let _ =
                writeln!(lines, "{{\"n\": {n}, \"ad_id\": {ad}, \"at\": {}}}", 1_646_352_000_000_i64 + n as i64 * 500);
        }
        std::fs::write(folder.path().join("in.json"), lines).unwrap();
        Bench { folder }
    }

    /// A file or folder of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The job whose lookup has these keys, between the input and files for its rows and its dead letters.
    pub fn job(&self, lookup: &str, parallelism: usize) -> Job {
        self.job_with(lookup, parallelism, &[])
    }

    /// The same, with `--set`.
    pub fn job_with(&self, lookup: &str, parallelism: usize, set: &[&str]) -> Job {
        let text = format!(
            r#"
            [job]
            name = "looked-up"
            checkpoint = {{ interval = "20ms" }}

            [source.clicks]
            connector = "files"
            path = "{input}"
            format = "json"
            schema = {{ n = "int", ad_id = "string", at = "timestamp" }}
            event_time = "at"
            batch_rows = 16

            [lookup.ads]
            input = "clicks"
            {lookup}

            [sink.out]
            input = "ads"
            connector = "files"
            path = "{out}"
            roll = "checkpoint"

            [sink.refused]
            input = "ads.dead_letters"
            connector = "files"
            path = "{refused}"
            roll = "checkpoint"
            "#,
            input = self.path("in.json").display(),
            out = self.path("out").display(),
            refused = self.path("refused").display(),
        );
        let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
        let options = CompileOptions { parallelism: Some(parallelism), ..CompileOptions::default() };
        parse("job.toml", &text, &set, &options).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Where its checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path("checkpoints")
    }

    /// What was written, by the numbers of the rows; each of them once.
    pub fn out(&self) -> BTreeMap<i64, BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for batch in read(&self.path("out")) {
            let n = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
            for row in 0..batch.num_rows() {
                let before = all.insert(n.value(row), row_of(&batch, row));
                assert!(before.is_none(), "row {} came twice", n.value(row));
            }
        }
        all
    }

    /// The names of the columns of the files, in order.
    pub fn columns(&self) -> Vec<String> {
        let first = read(&self.path("out")).into_iter().next().unwrap();
        first.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The reasons of the dead letters, with what they are about.
    pub fn refused(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for batch in read(&self.path("refused")) {
            for row in 0..batch.num_rows() {
                let row = row_of(&batch, row);
                all.push((row["raw"].clone(), row["reason"].clone()));
            }
        }
        all.sort();
        all
    }
}

fn read(folder: &Path) -> Vec<RecordBatch> {
    if folder.exists() { crate::support::rows(folder) } else { Vec::new() }
}

/// A row as texts; what is null is left out.
fn row_of(batch: &RecordBatch, row: usize) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !column.is_null(row) {
            let value = arrow::util::display::array_value_to_string(column, row).unwrap();
            values.insert(field.name().clone(), value);
        }
    }
    values
}
