//! Test programs of many files.

use std::{fs, path::Path};

/// Fails where a file beside a program's `main.rs` is none of its modules: its tests would not run, and nobody would know.
///
/// # Panics
/// Then, and where the folder cannot be read.
pub fn assert_all_named(main: &str, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else { continue };
        let named = main.lines().any(|line| line == format!("mod {module};"));
        assert!(named, "{}/main.rs does not name `{module}`, so its tests do not run", folder.display());
    }
}
