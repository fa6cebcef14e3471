//! The arrows between the rooms point down only, and every dependency is declared in one place.
//!
//! `cli → {coordinator, worker, query, recalculation} → jobs → operators → store → engine → proto`, with `http`, `tls`, `kafka` and
//! `expression` beside `store` and `local` above coordinator and worker; `chaos-tests` and `benches` look at everything, and nothing looks at them.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Height of each room: one may look at lower ones only.
const HEIGHTS: [(&str, u32); 19] = [
    ("test-support", 0),
    ("proto", 0),
    ("engine", 1),
    ("tls", 2),
    ("store", 2),
    ("http", 2),
    ("expression", 2),
    ("kafka", 2),
    ("kafka-model", 3),
    ("operators", 3),
    ("jobs", 4),
    ("coordinator", 5),
    ("worker", 5),
    ("query", 5),
    ("recalculation", 5),
    ("local", 6),
    ("cli", 7),
    ("chaos-tests", 8),
    ("benches", 8),
];

/// What tests of lower rooms may run on, too, as long as nothing of it looks back at their room.
const RIGS: [&str; 3] = ["local", "test-support", "kafka-model"];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata of this workspace")
}

/// The folder that a package lives in.
fn room(package: &Package) -> &str {
    package.manifest_path.parent().and_then(|folder| folder.file_name()).expect("a package has a folder")
}

fn height(room: &str) -> u32 {
    let known = HEIGHTS.iter().find(|(name, _)| *name == room);
    known.unwrap_or_else(|| panic!("the room '{room}' is not in the table of heights: give it its place")).1
}

/// Arrows between rooms, as (from, to), of dependencies of those kinds.
fn arrows(metadata: &Metadata, kinds: &[DependencyKind]) -> Vec<(String, String)> {
    let packages = metadata.workspace_packages();
    let mut arrows = Vec::new();
    for package in &packages {
        for dependency in package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind)) {
            let target = packages.iter().find(|other| other.name.as_str() == dependency.name);
            if let Some(target) = target {
                arrows.push((room(package).to_string(), room(target).to_string()));
            }
        }
    }
    arrows
}

/// The rooms that a room looks at, and those that they look at, where the product is built.
fn looked_at(arrows: &[(String, String)], room: &str) -> Vec<String> {
    let mut seen = vec![room.to_string()];
    let mut next = 0;
    while let Some(from) = seen.get(next).cloned() {
        let targets = arrows.iter().filter(|(other, _)| *other == from).map(|(_, to)| to);
        let fresh: Vec<String> = targets.filter(|to| !seen.contains(to)).cloned().collect();
        seen.extend(fresh);
        next += 1;
    }
    seen
}

#[test]
fn arrows_point_down_only() {
    let metadata = metadata();
    let product = arrows(&metadata, &[DependencyKind::Normal, DependencyKind::Build]);
    let of_tests = arrows(&metadata, &[DependencyKind::Development]);
    let is_of_rig =
        |(from, to): &(String, String)| RIGS.contains(&to.as_str()) && !looked_at(&product, to).contains(from);
    let arrows: Vec<_> = of_tests.into_iter().filter(|arrow| !is_of_rig(arrow)).chain(product.clone()).collect();
    assert!(arrows.contains(&("operators".into(), "engine".into())), "the test sees no arrows at all: {arrows:?}");
    let upward: Vec<String> = arrows
        .iter()
        .filter(|(from, to)| height(from) <= height(to))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    assert!(upward.is_empty(), "these arrows do not point down: {upward:?}");
}

/// What tests start for themselves is in nothing that ships.
#[test]
fn no_product_is_built_with_what_only_tests_need() {
    let arrows = arrows(&metadata(), &[DependencyKind::Normal, DependencyKind::Build]);
    let users: Vec<_> = arrows.iter().filter(|(_, to)| to == "test-support").map(|(from, _)| from.as_str()).collect();
    // That of `http` stands behind its feature `testing`, which only tests turn on.
    assert_eq!(users, ["http", "chaos-tests", "benches"]);
}

#[test]
fn an_upward_arrow_would_be_seen() {
    assert!(height("engine") < height("operators") && height("operators") < height("jobs"));
    assert!(height("jobs") < height("cli") && height("cli") < height("chaos-tests"));
    assert_eq!(height("worker"), height("coordinator"), "neither may look at the other");
    assert!(height("local") > height("worker") && height("local") < height("cli"));
}

/// The engine knows no connector and no SQL, and no room below the command line knows how a terminal works.
#[test]
fn rooms_do_not_reach_for_what_is_not_theirs() {
    let foreign: [(&str, &[&str]); 5] = [
        ("engine", &["datafusion", "sqlparser", "toml", "clap", "indicatif"]),
        ("store", &["datafusion", "toml", "clap", "indicatif"]),
        ("expression", &["toml", "clap", "indicatif", "comfy-table"]),
        ("operators", &["datafusion", "sqlparser", "toml", "clap", "indicatif", "comfy-table"]),
        ("jobs", &["clap", "indicatif", "comfy-table"]),
    ];
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let Some((name, foreign)) = foreign.iter().find(|(name, _)| *name == room(package)) else { continue };
        for dependency in package.dependencies.iter().filter(|one| one.kind == DependencyKind::Normal) {
            let reached = foreign.iter().find(|prefix| dependency.name.starts_with(**prefix));
            assert!(reached.is_none(), "the room '{name}' depends on '{}'", dependency.name);
        }
    }
}

/// Versions are chosen in the workspace's manifest and nowhere else.
#[test]
fn every_dependency_is_the_workspaces() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("the manifest of a package");
        let mut in_dependencies = false;
        for (number, line) in manifest.lines().enumerate() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') {
                let of_workspace = line.contains("workspace = true") || line.contains(".workspace=true");
                assert!(
                    of_workspace,
                    "{}:{}: '{line}' chooses a version of its own",
                    package.manifest_path,
                    number + 1
                );
            }
        }
    }
    assert!(std::path::Path::new(root).join("Cargo.lock").exists(), "the lock file is part of the repository");
}
