//! DuckDB as a contestant, and as the judge of results: one query in a process of its own, through its Python package.

use crate::child::{self, Usage};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A Python with the `duckdb` package.
#[derive(Clone, Debug)]
pub struct DuckDb {
    python: PathBuf,
    /// Its version.
    pub version: String,
    threads: usize,
    temp_directory: PathBuf,
}

/// What a query gave.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Of the query alone, without starting Python and loading DuckDB.
    pub seconds: f64,
    /// Its one row.
    pub row: Vec<String>,
}

impl DuckDb {
    /// None when this Python has no DuckDB, or there is no such Python.
    pub fn find(python: &Path, threads: usize, temp_directory: &Path) -> Option<Self> {
        let script = "import duckdb; print(duckdb.__version__)";
        let output = Command::new(python).args(["-c", script]).stderr(Stdio::null()).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_string();
        let (python, temp_directory) = (python.to_path_buf(), temp_directory.to_path_buf());
        output.status.success().then_some(DuckDb { python, version, threads, temp_directory })
    }

    /// Asks for one row.
    pub fn ask(&self, sql: &str) -> Result<(Usage, Answer)> {
        let request = serde_json::json!({ "sql": sql, "threads": self.threads, "temp_directory": self.temp_directory });
        let mut command = Command::new(&self.python);
        command.arg("-c").arg(include_str!("../peers/duckdb_query.py")).arg(request.to_string());
        let (usage, output) = child::measure(&mut command)?;
        let answer = serde_json::from_str(output.trim())
            .with_context(|| format!("DuckDB's script wrote something else than JSON: {output}"))?;
        Ok((usage, answer))
    }
}
