//! The ports of this process: who can reach them, and how many connections they take.

use crate::{
    cluster::{ReadTokenArguments, SecretArguments},
    descriptors,
    failure::Failure,
    tls::{TlsArguments, Transport},
};
use clap::Args;
use std::net::SocketAddr;
use weir_http::Limits;
use weir_proto::secret::{Keys, Right};

/// The limits of a port with pages.
pub fn limits() -> Limits {
    Limits::of_pages(descriptors::raise())
}

/// What is said of ports on loopback addresses.
pub const OWN_MACHINE: &str = "reached from this machine alone";

/// Warns of a port that is open to others than this machine while nothing has to be shown there. `open` says what they can do,
/// `remedy` what helps.
pub fn warn_if_open(address: &str, is_locked: bool, open: &str, remedy: &str) {
    if let Some(warning) = open_to_all(address, is_locked, open, remedy) {
        tracing::warn!("{warning}");
    }
}

fn open_to_all(address: &str, is_locked: bool, open: &str, remedy: &str) -> Option<String> {
    let is_open = !is_locked && !is_of_this_machine(address);
    is_open.then(|| format!("{address} can be reached from other machines, and there is no secret: {open}; {remedy}"))
}

/// Warns of a port without TLS that is open to others than this machine.
pub fn warn_if_readable(address: &str, transport: &Transport) {
    if let Some(warning) = readable(address, transport.is_encrypted()) {
        tracing::warn!("{warning}");
    }
}

fn readable(address: &str, is_encrypted: bool) -> Option<String> {
    let is_readable = !is_encrypted && !is_of_this_machine(address);
    is_readable.then(|| {
        format!(
            "{address} can be reached from other machines, and has no TLS: what is sent there, secrets too, can be read on the \
             way; pass --tls-cert, --tls-key and --tls-ca, or bind it to a loopback address"
        )
    })
}

/// Warns of a data port on a loopback address, where coordinators are elsewhere, and so are other workers.
pub fn warn_if_out_of_reach(address: &str, coordinators: &[String]) {
    if let Some(warning) = out_of_reach(address, coordinators) {
        tracing::warn!("{warning}");
    }
}

fn out_of_reach(address: &str, coordinators: &[String]) -> Option<String> {
    let elsewhere = coordinators.iter().find(|coordinator| !is_of_this_machine(coordinator))?;
    is_of_this_machine(address).then(|| {
        format!(
            "the data port {address} is {OWN_MACHINE}, and the coordinator {elsewhere} is on another: workers elsewhere cannot \
             send data here; pass --listen HOST:0"
        )
    })
}

/// Whether an address that is listened on is reached from this machine alone.
pub fn is_of_this_machine(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|address| address.ip().to_canonical().is_loopback())
        || address.rsplit_once(':').is_some_and(|(host, _)| host == "localhost")
}

/// Who is let in at a port that only shows something, and how it is encrypted.
#[derive(Clone, Debug, Args)]
pub struct PagesArguments {
    #[command(flatten)]
    secret: SecretArguments,
    #[command(flatten)]
    read_token: ReadTokenArguments,
    #[command(flatten)]
    tls: TlsArguments,
}

/// The same, read from files.
pub struct Pages {
    /// What has to be shown, where there is something.
    pub keys: Keys,
    /// With TLS or without.
    pub transport: Transport,
}

impl PagesArguments {
    /// For a port at this address. Warns of what it lacks.
    pub fn read(&self, address: &str) -> Result<Pages, Failure> {
        let (keys, transport) = (self.read_token.beside(self.secret.read()?)?, self.tls.read()?);
        let remedy = "set one with --read-token-file FILE or --secret-file FILE, or put an authenticating proxy in front of that port";
        warn_if_readable(address, &transport);
        warn_if_open(address, !keys.is_open(Right::Read), "whoever reaches it can read all counts", remedy);
        Ok(Pages { keys, transport })
    }

    /// How curl is called for such a port.
    pub fn curl(&self) -> String {
        self.tls.curl()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_port_is_told_of_with_what_helps() {
        let told = |address, is_locked| open_to_all(address, is_locked, "anybody can stop jobs", "set one");
        let text = told("0.0.0.0:7071", false).unwrap();
        for part in ["0.0.0.0:7071", "anybody can stop jobs", "set one"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(told("127.0.0.1:7071", false), None);
        assert_eq!(told("0.0.0.0:7071", true), None);
        assert!(readable("0.0.0.0:7071", false).unwrap().contains("--tls-cert"));
        let coordinators = |address: &str| [address.to_owned()];
        assert!(out_of_reach("127.0.0.1:0", &coordinators("weir.internal:7070")).unwrap().contains("--listen"));
        assert_eq!(out_of_reach("10.0.0.7:0", &coordinators("weir.internal:7070")), None);
        assert_eq!(out_of_reach("127.0.0.1:0", &coordinators("localhost:7070")), None);
        assert_eq!((readable("0.0.0.0:7071", true), readable("127.0.0.1:7071", false)), (None, None));
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_else_is() {
        for own in ["127.0.0.1:80", "127.8.8.8:80", "localhost:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(is_of_this_machine(own), "{own}");
        }
        for other in ["0.0.0.0:80", "[::]:80", "10.0.0.7:80", "192.168.1.2:80", "127.evil.example:80", "nonsense"] {
            assert!(!is_of_this_machine(other), "{other}");
        }
    }
}
