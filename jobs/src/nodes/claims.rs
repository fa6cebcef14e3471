//! What a sink writes to, and no other sink of the job may: two would sweep each other's files away, or take each other's rows
//! for their own.

use weir_operators::sink::sql::{REJECTED, WITHDRAWN};

use weir_operators::definition::{KeyPath, Mistake};

/// What a sink writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// All that is in a folder.
    Folder(String),
    /// Tables of a database, the first of which is named.
    Tables { url: String, names: Vec<String> },
}

impl Claim {
    /// A folder; none, where the path names none.
    pub(crate) fn folder(path: &str) -> Option<Self> {
        Some(Claim::Folder(folder(path))).filter(|claim| *claim != Claim::Folder(String::new()))
    }

    /// A table, with those of hours and days and of what was withdrawn.
    pub(crate) fn tables(url: &str, table: &str, is_retained: bool) -> Self {
        let endings: &[&str] =
            if is_retained { &["", WITHDRAWN, REJECTED, "_hours", "_days"] } else { &["", WITHDRAWN, REJECTED] };
        let table = table.to_lowercase();
        Claim::Tables { url: url.to_owned(), names: endings.iter().map(|ending| format!("{table}{ending}")).collect() }
    }

    fn meets(&self, other: &Claim) -> bool {
        match (self, other) {
            (Claim::Folder(one), Claim::Folder(other)) => one == other || inside(one, other) || inside(other, one),
            (Claim::Tables { url, names }, Claim::Tables { url: other_url, names: others }) => {
                url == other_url && names.iter().any(|name| others.contains(name))
            }
            _ => false,
        }
    }

    /// What is wrong with it where another sink, of this name, has it.
    fn taken(&self, path: &KeyPath, twin: &str) -> Mistake {
        let (key, found, expected) = match self {
            Claim::Folder(folder) => ("path", folder.clone(), "a folder of its own"),
            Claim::Tables { names, .. } => ("table", names.first().cloned().unwrap_or_default(), "a table of its own"),
        };
        let mistake = Mistake::new(path.key(key), format!("the sink `{twin}` writes there too"));
        mistake.found(found).expected(expected)
    }
}

/// Notes claims that meet one before.
pub(crate) fn check(claims: &[(KeyPath, &str, Claim)], mistakes: &mut Vec<Mistake>) {
    for (index, (path, _, claim)) in claims.iter().enumerate() {
        if let Some((_, twin, _)) = claims[..index].iter().find(|(_, _, other)| claim.meets(other)) {
            mistakes.push(claim.taken(path, twin));
        }
    }
}

fn folder(path: &str) -> String {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn inside(inner: &str, outer: &str) -> bool {
    !outer.is_empty() && inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
