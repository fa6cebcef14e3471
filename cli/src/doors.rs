//! The ports of this process: who can reach them, and how many connections they take.

use crate::{cluster::SecretArguments, descriptors};
use std::net::SocketAddr;
use weir_http::Limits;
use weir_proto::secret::ClusterSecret;

/// The limits of a port with pages.
pub fn limits() -> Limits {
    Limits::of_pages(descriptors::raise())
}

/// Warns of a port that is open to others than this machine while nothing has to be shown there. `open` says what they can do,
/// `remedy` what helps.
pub fn warn_if_open(address: &str, secret: &ClusterSecret, open: &str, remedy: &str) {
    if let Some(warning) = warning(address, secret, open, remedy) {
        tracing::warn!("{warning}");
    }
}

fn warning(address: &str, secret: &ClusterSecret, open: &str, remedy: &str) -> Option<String> {
    let is_open = secret.is_empty() && !is_of_this_machine(address);
    is_open.then(|| format!("{address} can be reached from other machines, and there is no secret: {open}; {remedy}"))
}

/// Whether an address that is listened on is reached from this machine alone.
pub fn is_of_this_machine(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

/// A secret for a port that only shows something, and what is said where there is none.
pub fn secret_for_reading(
    arguments: &SecretArguments,
    address: &str,
) -> Result<ClusterSecret, crate::failure::Failure> {
    let secret = arguments.read()?;
    let remedy = "set one with --secret-file FILE, or put an authenticating proxy in front of that port";
    warn_if_open(address, &secret, "whoever reaches it can read all counts", remedy);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_port_is_told_of_with_what_helps() {
        let told = |address, secret: &str| warning(address, &secret.into(), "anybody can stop jobs", "set one");
        let text = told("0.0.0.0:7071", "").unwrap();
        for part in ["0.0.0.0:7071", "anybody can stop jobs", "set one"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(told("127.0.0.1:7071", ""), None);
        assert_eq!(told("0.0.0.0:7071", "open sesame"), None);
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_else_is() {
        for own in ["127.0.0.1:80", "127.8.8.8:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(is_of_this_machine(own), "{own}");
        }
        for other in ["0.0.0.0:80", "[::]:80", "10.0.0.7:80", "192.168.1.2:80", "127.evil.example:80", "nonsense"] {
            assert!(!is_of_this_machine(other), "{other}");
        }
    }
}
