//! The definition's tree → the builder. Knows the section of the whole job; nodes read their own keys, and what values mean is
//! checked when the builder compiles.

use crate::builder::JobBuilder;
use crate::nodes::{KINDS, filters};
use crate::settings::{Checkpoint, LONGEST_NAME};
use weir_operators::Extensions;
use weir_operators::definition::{KeyPath, Mistake, Mistakes, Reader, Value};

/// Reads all sections. The builder holds whatever could be read; it is to be built only if there are no mistakes.
pub(crate) fn read_job(tree: &Value, extensions: &Extensions) -> (JobBuilder, Vec<Mistake>) {
    let mistakes = Mistakes::default();
    let root = Reader::new(tree, KeyPath::default(), &mistakes);
    let mut builder = read_job_section(&root);
    for kind in KINDS {
        let Some(section) = root.table(kind.section) else { continue };
        for (name, node) in section.children() {
            check_name(name, &node, &mistakes);
            builder = builder.node(name, (kind.read)(node, extensions));
        }
    }
    if let Some(section) = root.table(filters::SECTION) {
        for (id, condition) in filters::read(&section) {
            builder = builder.filter(id, condition);
        }
    }
    root.finish();
    (builder, mistakes.into_vec())
}

fn check_name(name: &str, node: &Reader<'_>, mistakes: &Mistakes) {
    let right = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(right) {
        let mistake = Mistake::on_key(node.path.clone(), format!("`{name}` can't be the name of a node"));
        mistakes.add(mistake.expected("letters, digits, `_` and `-`"));
    } else if name.len() > LONGEST_NAME {
        let mistake = Mistake::on_key(node.path.clone(), "the name is too long: it is part of file and table names");
        let expected = format!("{LONGEST_NAME} characters at most");
        mistakes.add(mistake.found(format!("{} characters", name.len())).expected(expected));
    }
}

fn read_job_section(root: &Reader<'_>) -> JobBuilder {
    let Some(job) = root.table("job") else {
        root.missing("job", "{ name = \"ad-click\" }");
        return JobBuilder::new("");
    };
    let mut builder = JobBuilder::new(job.required_text("name", "\"ad-click\""));
    if let Some(section) = job.table("checkpoint") {
        let standard = Checkpoint::default();
        let retain = section.integer("retain", 1..=1_000_000).and_then(|retain| usize::try_from(retain).ok());
        builder = builder.checkpoint(Checkpoint {
            interval: section.positive_duration("interval").unwrap_or(standard.interval),
            storage: read_storage(&section),
            retain: retain.unwrap_or(standard.retain),
        });
        section.finish();
    }
    if let Some(parallelism) = job.integer("parallelism", 1..=i64::from(u16::MAX)) {
        builder = builder.parallelism(usize::try_from(parallelism).unwrap_or(1));
    }
    if let Some(groups) = job.integer("max_parallelism", 1..=i64::from(u16::MAX)) {
        builder = builder.max_parallelism(u16::try_from(groups).unwrap_or(u16::MAX));
    }
    job.finish();
    builder
}

/// Where checkpoints go. What is no URL is a folder.
fn read_storage(section: &Reader<'_>) -> Option<String> {
    let storage = section.text("storage")?;
    let scheme = storage.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if let Some(scheme) = scheme.filter(|scheme| !["file", "s3", "memory"].contains(&scheme.as_str())) {
        section.refuse(
            "storage",
            format!("there is no '{scheme}://'"),
            "a folder, or a URL with file://, s3:// or memory://",
        );
    }
    Some(storage)
}
