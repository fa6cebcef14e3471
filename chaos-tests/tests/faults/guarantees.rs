//! The page of guarantees names tests: each of them is there.

use std::{collections::BTreeSet, fs, path::Path};

/// The names of all tests of the workspace.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                tests(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let function = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
                match function.and_then(|rest| rest.split('(').next()) {
                    Some(name) if is_test => {
                        found.insert(name.to_owned());
                        is_test = false;
                    }
                    Some(_) => is_test = false,
                    None => is_test |= line.starts_with("#[test") || line.starts_with("#[tokio::test"),
                }
            }
        }
    }
}

#[test]
fn the_page_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let mut known = BTreeSet::new();
    tests(&root, &mut known);
    // Names of tests are sentences; nothing else on the page is so long.
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 1 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_sentence).collect();
    let others = ["idle_after", "at_least_once"];
    let missing: Vec<&&str> = named.iter().filter(|name| !known.contains(**name) && !others.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that are not there: {missing:?}");
    assert!(named.len() > 40, "the page is read: {named:?}");
}
