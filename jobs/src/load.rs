//! A definition file → a checked job.

use std::path::Path;

use crate::build::build;
use crate::diagnose::{Diagnostic, Origins, Refusal, locate};
use crate::job::{CompileOptions, Job};
use crate::spec::JobSpec;
use crate::toml::{apply_overrides, read_job};
use weir_operators::definition::KeyPath;
use weir_operators::definition::{Mistake, Severity};

/// Reads a definition file, applies the overrides (`KEY=VALUE`), checks everything and compiles it.
///
/// # Errors
/// When the file can't be read, and with every mistake that is in it.
pub fn load(path: &Path, settings: &[String], options: &CompileOptions) -> Result<Job, Refusal> {
    load_both(path, settings, options).map(|(job, _)| job)
}

/// Like [`load`], but gives what is written and not what it was compiled to.
pub(crate) fn load_spec(path: &Path, settings: &[String], options: &CompileOptions) -> Result<JobSpec, Refusal> {
    load_both(path, settings, options).map(|(_, spec)| spec)
}

fn load_both(path: &Path, settings: &[String], options: &CompileOptions) -> Result<(Job, JobSpec), Refusal> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse_both(&name, &text, settings, options),
        Err(error) => {
            let origins = Origins { file: &name, text: "", settings: &[], tree: None };
            let mistake = Mistake::new(KeyPath::default(), format!("the file can't be read: {error}"));
            Err(Refusal { diagnostics: locate(vec![mistake], origins) })
        }
    }
}

/// Like [`load`], for a text that is already there; `name` stands for the file in messages.
///
/// # Errors
/// With every mistake that is in it.
pub fn parse(name: &str, text: &str, settings: &[String], options: &CompileOptions) -> Result<Job, Refusal> {
    parse_both(name, text, settings, options).map(|(job, _)| job)
}

fn parse_both(
    name: &str,
    text: &str,
    settings: &[String],
    options: &CompileOptions,
) -> Result<(Job, JobSpec), Refusal> {
    let origins = Origins { file: name, text, settings, tree: None };
    let mut tree = match crate::toml::parse(text) {
        Ok(tree) => tree,
        Err(mistake) => return Err(Refusal { diagnostics: locate(vec![*mistake], origins) }),
    };
    let mut mistakes = apply_overrides(&mut tree, settings);
    let (builder, unread) = read_job(&tree, &options.extensions);
    mistakes.extend(unread);
    let (job, wrong) = build(&builder.spec, options);
    // A value that could not be read is missing for the compiler too, which would say so once more.
    // So are nodes, and what is said of the whole job then says nothing new.
    let is_of_whole = |mistake: &Mistake| mistake.path == KeyPath::of(["job"]) && !mistakes.is_empty();
    let echo = |mistake: &Mistake| is_of_whole(mistake) || mistakes.iter().any(|known| is_echo(known, mistake));
    let news: Vec<Mistake> = wrong.into_iter().filter(|mistake| !echo(mistake)).collect();
    mistakes.extend(news);
    let refused = mistakes.iter().any(|mistake| mistake.severity == Severity::Error);
    if refused {
        // Where a name is misspelt, much seems to be unused.
        mistakes.retain(|mistake| mistake.severity == Severity::Error);
    }
    let diagnostics: Vec<Diagnostic> = locate(mistakes, Origins { tree: Some(&tree), ..origins });
    match job {
        Some(mut job) if !refused => {
            job.warnings = diagnostics;
            Ok((job, builder.spec))
        }
        _ => Err(Refusal { diagnostics }),
    }
}

/// Whether `later` is about the same key as `earlier`, about one inside it, or about the value around it. Nodes are
/// around their keys, but a node may have several mistakes.
fn is_echo(earlier: &Mistake, later: &Mistake) -> bool {
    let (earlier, later) = (&earlier.path.0, &later.path.0);
    const NODE: usize = 2;
    (!earlier.is_empty() && later.starts_with(earlier)) || (later.len() > NODE && earlier.starts_with(later))
}
