//! What jobs may read and write outside of the cluster: all of it, or what an operator of the cluster names.
//!
//! Every source and sink says itself [where](Extensions::locations) it reads and writes, as it understands its own
//! settings. [`Confined`] compares that with what is allowed before it builds anything.
//!
//! Paths are compared component by component, after links and `..` were followed; URLs by scheme, host and port, and then
//! component by component. Storage of checkpoints is no location: jobs do not name it.

use crate::extension::Extensions;
use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};
use url::Url;
use weir_engine::{
    EngineError, Result,
    graph::{JobGraph, Node, NodeRole},
    operator::{Committer, CommitterContext, Factory, Operator, OperatorContext, Sink, Source},
};

/// Where a node reads or writes, and which of its settings says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The key in the definition.
    pub key: &'static str,
    /// The place.
    pub place: Place,
}

/// A place outside of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or folder of this machine.
    Path(PathBuf),
    /// Elsewhere. User, password and parameters are no part of it.
    Url {
        /// What stands before `://`.
        scheme: String,
        /// The host with its port, or the bucket.
        host: String,
        /// The parts of the path.
        path: Vec<String>,
    },
}

impl Location {
    /// A file or folder of this machine.
    pub fn path(key: &'static str, path: impl Into<PathBuf>) -> Self {
        Location { key, place: Place::Path(path.into()) }
    }
}

impl Place {
    /// Where a URL leads.
    pub fn of_url(url: &Url) -> Self {
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        let (scheme, host) = match scheme {
            "postgres" | "postgresql" => ("postgres", host.to_ascii_lowercase()),
            _ => (scheme, host.to_owned()),
        };
        let usual = match scheme {
            "postgres" => Some(5432),
            "kafka" => Some(9092),
            _ => None,
        };
        let port = url.port_or_known_default().or(usual);
        let host = port.map_or(host.clone(), |port| format!("{host}:{port}"));
        let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
        let path = url.path().split('/').map(decoded).collect::<Vec<_>>().join("/");
        Place::url(scheme, host, &path)
    }

    /// Elsewhere, of its parts.
    pub fn url(scheme: &str, host: impl Into<String>, path: &str) -> Self {
        let path = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Place::Url { scheme: scheme.into(), host: host.into(), path }
    }

    /// Whether it is what another one allows, or below it. Both are URLs.
    fn is_below(&self, allowed: &Place) -> bool {
        match (self, allowed) {
            (
                Place::Url { scheme, host, path },
                Place::Url { scheme: allowed_scheme, host: allowed_host, path: allowed_path },
            ) => {
                let is_plain = !path.iter().any(|part| part == "." || part == "..");
                is_plain && (scheme, host) == (allowed_scheme, allowed_host) && path.starts_with(allowed_path)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Path(path) => write!(f, "{}", path.display()),
            Place::Url { scheme, host, path } => {
                write!(f, "{scheme}://{host}")?;
                path.iter().try_for_each(|part| write!(f, "/{part}"))
            }
        }
    }
}

/// What jobs may read and write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Confinement {
    /// Whatever the process may.
    #[default]
    None,
    /// Only this.
    To {
        /// Files and folders, with all that is in them.
        paths: Vec<PathBuf>,
        /// URLs, with all that is below them; `*`: any.
        urls: Vec<String>,
    },
}

impl Confinement {
    /// Whether a job may be built here from what its nodes say.
    ///
    /// # Errors
    /// When a node reads or writes what is not allowed; the text names it, and what would allow it.
    pub fn check(&self, graph: &JobGraph) -> Result<()> {
        graph.nodes.iter().try_for_each(|node| self.check_node(node))
    }

    /// The same before it is known which machine a job will run on: what is relative there, or a link, its worker judges. Sources
    /// and sinks may be those of other crates.
    ///
    /// # Errors
    /// As [`Confinement::check`].
    pub fn check_submitted(&self, graph: &JobGraph, extensions: &Extensions) -> Result<()> {
        for node in &graph.nodes {
            for location in self.locations(node.role, node, extensions)? {
                let is_elsewhere =
                    matches!(&location.place, Place::Path(path) if path.is_relative() || self.may_be(path));
                if !is_elsewhere {
                    self.check_location(&node.id, &location)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a node may be built here.
    ///
    /// # Errors
    /// As [`Confinement::check`].
    pub fn check_node(&self, node: &Node) -> Result<()> {
        self.check_as(node.role, node, &Extensions::new())
    }

    /// Whether a user may have a checkpoint read from or copied to a URL.
    ///
    /// # Errors
    /// When it is not allowed, or is no URL.
    pub fn check_url(&self, url: &str) -> Result<()> {
        let parsed =
            Url::parse(url).map_err(|error| EngineError::definition(format!("'{url}' is no URL ({error})")))?;
        let place = match parsed.to_file_path() {
            Ok(path) if parsed.scheme() == "file" => Place::Path(path),
            _ => Place::of_url(&parsed),
        };
        self.check_location("savepoint", &Location { key: "url", place })
    }

    /// Whatever the node says that it is.
    fn check_as(&self, role: NodeRole, node: &Node, extensions: &Extensions) -> Result<()> {
        self.locations(role, node, extensions)?.iter().try_for_each(|location| self.check_location(&node.id, location))
    }

    fn locations(&self, role: NodeRole, node: &Node, extensions: &Extensions) -> Result<Vec<Location>> {
        match self {
            Confinement::None => Ok(Vec::new()),
            Confinement::To { .. } => extensions.locations(role, node),
        }
    }

    /// Whether a path is one of those that are allowed, as it is written.
    fn may_be(&self, path: &Path) -> bool {
        let plain = !path.components().any(|component| component == Component::ParentDir);
        matches!(self, Confinement::To { paths, .. } if plain && paths.iter().any(|allowed| path.starts_with(allowed)))
    }

    fn check_location(&self, node: &str, Location { key, place }: &Location) -> Result<()> {
        let Confinement::To { paths, urls } = self else { return Ok(()) };
        let (allowed, flag) = match place {
            Place::Path(path) => {
                let path = real(path).map_err(|error| refused(node, key, place, &error.to_string()))?;
                let within = |allowed: &PathBuf| real(allowed).is_ok_and(|allowed| path.starts_with(allowed));
                (paths.iter().any(within), format!("--allow-path {}", path.display()))
            }
            Place::Url { .. } => {
                let of_url = |allowed: &String| Url::parse(allowed).ok().map(|allowed| Place::of_url(&allowed));
                let within =
                    |allowed| allowed == "*" || of_url(allowed).is_some_and(|allowed| place.is_below(&allowed));
                (urls.iter().any(within), format!("--allow-url {place}"))
            }
        };
        if allowed {
            return Ok(());
        }
        if matches!(place, Place::Url { host, .. } if host.starts_with('?')) {
            let why = "this parameter can lead elsewhere: leave it out, or start the coordinator and the workers with --allow-url '*'";
            return Err(refused(node, key, place, why));
        }
        let shown: Vec<String> =
            paths.iter().map(|path| path.display().to_string()).chain(urls.iter().cloned()).collect();
        let shown = if shown.is_empty() { "nothing".to_owned() } else { format!("only {}", shown.join(", ")) };
        let why = format!(
            "jobs of this cluster may read and write {shown}. To allow it, start the coordinator and the workers with {flag}"
        );
        Err(refused(node, key, place, &why))
    }
}

fn refused(node: &str, key: &str, place: &Place, why: &str) -> EngineError {
    EngineError::definition(format!("'{node}' may not use `{key}` = '{place}': {why}"))
}

/// A path from the root, without `.` and `..`, by its words alone: links are not followed, and nothing is looked at.
pub(crate) fn from_root(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// A path from the root, with every link and `..` in it followed; what is not there yet follows as it is written.
fn real(path: &Path) -> io::Result<PathBuf> {
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let mut real = PathBuf::new();
    let mut is_there = true;
    for component in std::path::absolute(path)?.components() {
        match component {
            Component::ParentDir if is_there => {
                real.pop();
            }
            Component::ParentDir => {
                return Err(refused(format!("it goes back with '..' from '{}', which does not exist", real.display())));
            }
            Component::CurDir => {}
            other => {
                real.push(other);
                if !is_there {
                    continue;
                }
                match std::fs::canonicalize(&real) {
                    Ok(followed) => real = followed,
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    // A link to what is not there leads there as soon as it is.
                    Err(_) if std::fs::symlink_metadata(&real).is_ok() => {
                        return Err(refused(format!("'{}' is a broken link", real.display())));
                    }
                    Err(_) => is_there = false,
                }
            }
        }
    }
    Ok(real)
}

/// Builds what there is, as far as that is allowed.
#[derive(Clone, Debug)]
pub struct Confined {
    confinement: Arc<Confinement>,
    extensions: Extensions,
}

impl Confined {
    /// Within this.
    pub fn to(confinement: Confinement) -> Self {
        Confined { confinement: Arc::new(confinement), extensions: Extensions::new() }
    }

    /// With what other crates have added.
    #[must_use]
    pub fn with(self, extensions: Extensions) -> Self {
        Confined { extensions, ..self }
    }

    fn check(&self, role: NodeRole, node: &Node) -> Result<()> {
        self.confinement.check_as(role, node, &self.extensions)
    }
}

impl Factory for Confined {
    fn source(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Source>> {
        self.check(NodeRole::Source, node)?;
        Factory::source(&self.extensions, node, context)
    }

    fn operator(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Operator>> {
        self.check(node.role, node)?;
        Factory::operator(&self.extensions, node, context)
    }

    fn sink(&self, node: &Node, context: OperatorContext) -> Result<Box<dyn Sink>> {
        self.check(NodeRole::Sink, node)?;
        Factory::sink(&self.extensions, node, context)
    }

    fn committer(&self, node: &Node, context: CommitterContext) -> Result<Arc<dyn Committer>> {
        self.check(NodeRole::Sink, node)?;
        self.extensions.committer(node, context)
    }
}

#[cfg(test)]
mod tests;
