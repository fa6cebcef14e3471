//! A job as written → a checked job: a look at what is outside of the definition, and then the compiler, which does no I/O.

use crate::builder::JobBuilder;
use crate::compile::replay::{self, Survey};
use crate::compile::{Findings, compile};
use crate::diagnose::{Refusal, without_file};
use crate::job::{CompileOptions, Job};
use crate::spec::JobSpec;
use weir_operators::definition::{Mistake, Severity};

/// Looks at files, then checks and compiles; the job is there only if there is no mistake but warnings.
pub(crate) fn build(spec: &JobSpec, options: &CompileOptions) -> (Option<Job>, Vec<Mistake>) {
    let with_tables = options.enable_tables.then(|| spec.clone().with_tables());
    let spec = with_tables.as_ref().unwrap_or(spec);
    compile(spec, &look(spec, options.runs_here), options)
}

/// Looks at a spec without mistakes: what replays and recounts go by.
pub(crate) fn survey(spec: &JobSpec) -> Result<Survey, Box<Mistake>> {
    replay::survey(spec, &look(spec, false))
}

impl JobBuilder {
    /// Checks everything and compiles the job to a graph.
    ///
    /// # Errors
    /// With every mistake that was found, not just the first.
    pub fn build(&self, options: &CompileOptions) -> Result<Job, Refusal> {
        let (job, mut mistakes) = build(&self.spec, options);
        if let Some(mut job) = job {
            job.warnings = without_file(mistakes);
            return Ok(job);
        }
        mistakes.retain(|mistake| mistake.severity == Severity::Error);
        Err(Refusal { diagnostics: without_file(mistakes) })
    }
}

/// What each node has found outside of the definition.
fn look(spec: &JobSpec, runs_here: bool) -> Findings {
    spec.nodes.iter().map(|node| node.body.look(&node.path(), runs_here)).collect()
}
