//! The files of this crate build on each other in one direction: none uses, over whatever others, one that uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Modules by path (`nodes::sink`, or nothing for the crate's root), each with its source.
fn modules(folder: &Path, path: &str, found: &mut BTreeMap<String, String>) {
    for entry in folder.read_dir().unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let below = if path.is_empty() { stem.clone() } else { format!("{path}::{stem}") };
        if file.is_dir() {
            modules(&file, &below, found);
        } else {
            let module = if stem == "lib" || stem == "mod" { path.to_owned() } else { below };
            found.insert(module, std::fs::read_to_string(&file).unwrap());
        }
    }
}

/// What a `use` names, braces written out.
fn written_out(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.trim().to_owned()] };
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for letter in rest.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                part.push(letter);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| written_out(&format!("{}{}", before.trim(), part.trim()))).collect()
}

/// All that a module uses; whether it hands it on.
fn uses(source: &str) -> Vec<(String, bool)> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    let statements = code.split(';').filter_map(|statement| {
        let line = statement.lines().position(|line| line.starts_with("use ") || line.starts_with("pub"))?;
        Some(statement.lines().skip(line).collect::<Vec<_>>().join(" "))
    });
    for statement in statements {
        let Some((before, path)) = statement.split_once("use ") else { continue };
        if matches!(before.trim(), "" | "pub" | "pub(crate)" | "pub(super)") {
            found.extend(written_out(path).into_iter().map(|path| (path, !before.is_empty())));
        }
    }
    found
}

/// The module that a path leads to, and the name in it.
fn target(modules: &BTreeMap<String, String>, from: &str, path: &str) -> Option<(String, Option<String>)> {
    let mut at: Vec<&str> = from.split("::").filter(|name| !name.is_empty()).collect();
    let mut names: Vec<&str> = path.split(" as ").next()?.split("::").map(str::trim).collect();
    match names[0] {
        "crate" => at.clear(),
        "super" => at.truncate(at.len().saturating_sub(1)),
        "self" => {}
        child if modules.contains_key(&[&at[..], &[child]].concat().join("::")) => names.insert(0, "self"),
        _ => return None, // Another crate's.
    }
    names.remove(0);
    while names.first() == Some(&"super") {
        at.pop();
        names.remove(0);
    }
    while let Some(name) = names.first() {
        if !modules.contains_key(&[&at[..], &[*name]].concat().join("::")) {
            break;
        }
        at.push(*name);
        names.remove(0);
    }
    Some((at.join("::"), names.first().map(|name| (*name).to_owned())))
}

/// For each module the others that it uses, as far as names that are handed on lead.
fn arrows(modules: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut handed_on = BTreeMap::new();
    for (module, source) in modules {
        for (path, is_handed_on) in uses(source) {
            if let (true, Some((owner, Some(name)))) = (is_handed_on, target(modules, module, &path)) {
                handed_on.insert((module.clone(), name), owner);
            }
        }
    }
    let used = |module: &String, path: &str| {
        let (mut owner, name) = target(modules, module, path)?;
        if let Some(name) = name {
            while let Some(next) = handed_on.get(&(owner.clone(), name.clone())) {
                owner.clone_from(next);
            }
        }
        Some(owner).filter(|owner| owner != module)
    };
    let of = |(module, source): (&String, &String)| {
        let used = uses(source).into_iter().filter_map(|(path, _)| used(module, &path));
        (module.clone(), used.collect())
    };
    modules.iter().map(of).collect()
}

/// A way from a module back to itself, if there is one.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let (mut seen, mut ways) = (BTreeSet::new(), vec![vec![start.to_owned()]]);
    while let Some(way) = ways.pop() {
        for next in &arrows[way.last()?] {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push(way.iter().cloned().chain([next.clone()]).collect());
            }
        }
    }
    None
}

#[test]
fn no_file_is_used_by_what_it_uses() {
    let mut found = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    let arrows = arrows(&found);
    let uses = |from: &str, to: &str| arrows[from].contains(to);
    assert!(uses("compile::plan", "nodes::planning") && uses("nodes::map", "nodes::check"), "{arrows:?}");
    assert!(uses("builder", "nodes::sink::definition"), "names that are handed on are followed");
    let circles: Vec<String> =
        arrows.keys().filter_map(|module| circle(&arrows, module)).map(|way| way.join(" → ")).collect();
    assert!(circles.is_empty(), "files that use each other:\n{}", circles.join("\n"));
}
