//! What jobs of a cluster may read and write.

use crate::{doors::is_of_this_machine, failure::Failure};
use clap::Args;
use std::path::PathBuf;
use weir_operators::confinement::Confinement;
use weir_proto::secret::ClusterSecret;

/// What is allowed.
#[derive(Clone, Debug, Args)]
pub struct ConfinementArguments {
    /// A file or folder that jobs may read and write, with all that is in it; may be repeated [default: any, if
    /// only this machine reaches the cluster and it has no secret, else none]
    #[arg(long, value_name = "PATH")]
    allow_path: Vec<PathBuf>,
    /// A URL that jobs may read and write, with all below it, as s3://bucket/prefix or postgres://host/database; `*` for any;
    /// may be repeated [default: as for --allow-path]
    #[arg(long, value_name = "URL")]
    allow_url: Vec<String>,
}

impl ConfinementArguments {
    /// What is allowed in a process that reaches, or is reached by, these addresses.
    pub fn read<'a>(
        &self,
        addresses: impl IntoIterator<Item = &'a str>,
        secret: &ClusterSecret,
    ) -> Result<Confinement, Failure> {
        for url in self.allow_url.iter().filter(|url| *url != "*") {
            if !url.contains("://") || url.starts_with("file:") {
                return Err(Failure::refused(format!(
                    "--allow-url '{url}': write s3://BUCKET/PREFIX, postgres://HOST/DATABASE or '*'; for files there is --allow-path"
                )));
            }
        }
        let is_own = secret.is_empty() && addresses.into_iter().all(is_of_this_machine);
        if is_own && self.allow_path.is_empty() && self.allow_url.is_empty() {
            return Ok(Confinement::None);
        }
        let absolute = |path: &PathBuf| {
            std::path::absolute(path)
                .map_err(|error| Failure::refused(format!("--allow-path '{}': {error}", path.display())))
        };
        let paths = self.allow_path.iter().map(absolute).collect::<Result<_, _>>()?;
        Ok(Confinement::To { paths, urls: self.allow_url.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(paths: &[&str], urls: &[&str], address: &str, secret: &str) -> Result<Confinement, Failure> {
        let arguments = ConfinementArguments {
            allow_path: paths.iter().map(PathBuf::from).collect(),
            allow_url: urls.iter().map(|url| (*url).to_owned()).collect(),
        };
        arguments.read([address], &secret.into())
    }

    #[test]
    fn only_this_machines_own_cluster_is_open() {
        let nothing = Confinement::To { paths: vec![], urls: vec![] };
        assert_eq!(read(&[], &[], "127.0.0.1:7070", "").unwrap(), Confinement::None);
        assert_eq!(read(&[], &[], "localhost:7070", "").unwrap(), Confinement::None);
        assert_eq!(read(&[], &[], "0.0.0.0:7070", "").unwrap(), nothing);
        assert_eq!(read(&[], &[], "coordinator.internal:7070", "").unwrap(), nothing);
        assert_eq!(read(&[], &[], "127.0.0.1:7070", "open sesame").unwrap(), nothing);
        let some = Confinement::To { paths: vec!["/data".into()], urls: vec!["s3://bucket/clicks".into()] };
        assert_eq!(read(&["/data"], &["s3://bucket/clicks"], "127.0.0.1:7070", "").unwrap(), some);
        for wrong in ["bucket/clicks", "file:///data", "sqlite:x"] {
            assert!(read(&[], &[wrong], "127.0.0.1:7070", "").is_err(), "{wrong}");
        }
    }
}
