//! Arguments that measurements have in common.

use crate::weir;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// What every measurement of whole `weir` processes takes.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// Where inputs are kept, and logs and results are written [default: target/bench-data]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The `weir` to measure [default: the one beside this program, built first when cargo runs it]
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// The folder of what lasts from one measurement to the next, which is there then.
    pub fn cache(&self) -> Result<PathBuf> {
        let cache = self.cache.clone().unwrap_or_else(|| weir::workspace().join("target/bench-data"));
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot make '{}'", cache.display()))?;
        cache.canonicalize().with_context(|| format!("cannot find '{}'", cache.display()))
    }

    /// The folder of what belongs to one measurement, whether it is there or not.
    pub fn work(&self) -> Result<PathBuf> {
        Ok(self.cache()?.join("work"))
    }

    /// The program to measure.
    pub fn binary(&self) -> Result<PathBuf> {
        weir::binary(self.weir.as_deref())
    }
}

/// What a `weir run` that is measured can be told.
#[derive(Debug, Default, Args)]
pub struct RunSettings {
    /// What else `weir run` is told: NAME=VALUE, as behind its --set
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}
