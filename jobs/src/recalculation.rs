//! What a definition keeps in a store, and how that follows from the raw archive: what replays and recounts go by.

use std::path::Path;
use std::time::Duration;

use weir_operators::source::files::EventTimeRange;

use crate::build::{build, survey};
use crate::compile::replay::{Graft, Survey, graft};
use crate::diagnose::{Refusal, without_file};
use crate::job::{CompileOptions, Job};
use crate::load::load_spec;
use crate::spec::JobSpec;
use weir_operators::definition::Severity;
use weir_operators::sink::Shadow;

pub use crate::store_table::{CountedTable, LeftOut, RecountStep, StoreTable, TableWindows, WhyLeftOut};

/// A definition whose counts can be recalculated from its raw archive.
#[derive(Debug, Clone)]
pub struct Recalculation {
    spec: JobSpec,
    survey: Survey,
    options: CompileOptions,
}

/// What a replay's job is beside its definition.
#[derive(Debug, Clone, Copy)]
pub struct ReplaySettings<'a> {
    /// Its own name, which keeps its checkpoints and commit marks apart from those of the job that it repeats.
    pub name: &'a str,
    /// Where the archive is: a folder or a URL.
    pub archive: &'a str,
    /// What of it is counted again.
    pub range: EventTimeRange,
    /// Where the store is, whatever the definition says.
    pub store: Option<&'a str>,
}

impl Recalculation {
    /// Reads a definition file, applies the overrides (`KEY=VALUE`), checks everything and looks where its archive comes in.
    ///
    /// # Errors
    /// With every mistake that is in it, or why nothing of it can be recalculated.
    pub fn load(path: &Path, settings: &[String], options: &CompileOptions) -> Result<Self, Refusal> {
        let spec = load_spec(path, settings, options)?;
        let survey = survey(&spec).map_err(|mistake| Refusal { diagnostics: without_file(vec![*mistake]) })?;
        Ok(Recalculation { spec, survey, options: options.clone() })
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.spec.settings.name
    }

    /// Where the definition's own sink writes the archive.
    pub fn archive(&self) -> Option<&str> {
        self.survey.archive.as_deref()
    }

    /// Whether files of an archive are removed when they are old.
    pub fn archive_expires(&self) -> bool {
        let archives = self.spec.nodes.iter().filter_map(|node| node.body.archive(&self.spec.settings));
        archives.into_iter().any(|archive| archive.expires)
    }

    /// Where checkpoints go, when the definition says so.
    pub fn checkpoint_storage(&self) -> Option<&str> {
        self.spec.settings.checkpoint.storage.as_deref()
    }

    /// How often the job makes checkpoints.
    pub fn checkpoint_interval(&self) -> Duration {
        self.spec.settings.checkpoint.interval
    }

    /// The tables that the job keeps in a store.
    pub fn tables(&self) -> &[StoreTable] {
        &self.survey.tables
    }

    /// Tables of results that are neither replayed nor compared.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.survey.left_out
    }

    /// The same job over the archive, with the tables that `shadow` names instead of its own.
    ///
    /// # Errors
    /// When the archive is none, or has not the columns that the job needs.
    pub fn replay(&self, settings: &ReplaySettings<'_>, shadow: &dyn Fn(&str) -> String) -> Result<Job, Refusal> {
        let ReplaySettings { name, archive, range, store } = *settings;
        let spec =
            graft(&self.spec, &self.survey, &Graft { name, archive, range, shadow: Shadow { store, table: shadow } });
        let (job, mut mistakes) = build(&spec, &self.options);
        job.ok_or_else(|| {
            mistakes.retain(|mistake| mistake.severity == Severity::Error);
            Refusal { diagnostics: without_file(mistakes) }
        })
    }
}
