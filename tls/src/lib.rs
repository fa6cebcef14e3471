//! TLS for all ports and connections of a cluster, by one set of files: a certificate, its key, and the CA that issued the
//! certificates of all processes.
//!
//! It lies over any [`Network`](weir_proto::net::Network): [`Tls::network`] is one whose connections are encrypted and verified, so
//! nobody above it knows of TLS. [`issue`] makes certificates to try it with.
//!
//! Invariants: a connection carries nothing before both sides are verified; a handshake uses the newest files that are usable;
//! no key is printed.

mod accept;
mod explain;
mod files;
pub mod issue;
mod network;
mod plain;
mod reload;
mod rewound;
mod stream;

#[cfg(test)]
mod tests;

pub use files::TlsFiles;
pub use network::Callers;
pub use reload::Tls;
