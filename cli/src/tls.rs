//! TLS of a process or a command: its arguments, and the network and ports that they make.

use crate::failure::Failure;
use clap::Args;
use std::{path::PathBuf, sync::Arc};
use tokio::net::TcpListener;
use weir_engine::env::Env;
use weir_proto::net::{Listener, SharedNetwork, TcpNetwork};
use weir_tls::{Callers, Tls, TlsFiles};

/// The files of TLS: all three, or none.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsArguments {
    /// This process's certificate, as PEM; with --tls-key and --tls-ca all connections use TLS. The files are read again as they
    /// change
    #[arg(long, value_name = "FILE", env = "WEIR_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate in --tls-cert, as PEM
    #[arg(long, value_name = "FILE", env = "WEIR_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Certificates of the CAs that all processes' certificates come from, as PEM
    #[arg(long, value_name = "FILE", env = "WEIR_TLS_CA")]
    tls_ca: Option<PathBuf>,
}

/// How a process speaks with others: with TLS, or without.
#[derive(Clone, Debug)]
pub struct Transport(Option<Tls>);

impl TlsArguments {
    /// Reads the files, where there are any.
    pub fn read(&self) -> Result<Transport, Failure> {
        match self.files()? {
            Some(files) => Tls::load(files).map(|tls| Transport(Some(tls))).map_err(Failure::refused),
            None => Ok(Transport(None)),
        }
    }

    /// How curl is called for a port with TLS by these files.
    pub fn curl(&self) -> String {
        let ca = self.tls_ca.as_ref().filter(|ca| !ca.as_os_str().is_empty());
        ca.map_or_else(|| "curl".into(), |ca| format!("curl --cacert '{}'", ca.display()))
    }

    fn files(&self) -> Result<Option<TlsFiles>, Failure> {
        // An empty variable is none.
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let all = [("cert", given(&self.tls_cert)), ("key", given(&self.tls_key)), ("ca", given(&self.tls_ca))];
        let flags = |is_given: bool| {
            let flags = all.iter().filter(|(_, path)| path.is_some() == is_given);
            flags.map(|(name, _)| format!("--tls-{name} (WEIR_TLS_{})", name.to_uppercase())).collect::<Vec<_>>()
        };
        let (there, missing) = (flags(true), flags(false));
        match all {
            [(_, Some(cert)), (_, Some(key)), (_, Some(ca))] => Ok(Some(TlsFiles { cert, key, ca })),
            _ if there.is_empty() => Ok(None),
            _ => Err(Failure::refused(format!(
                "TLS needs all three of its files: {} given, {} missing",
                there.join(" and "),
                missing.join(" and ")
            ))),
        }
    }
}

impl Transport {
    /// Whether it is TLS.
    pub fn is_encrypted(&self) -> bool {
        self.0.is_some()
    }

    /// How browsers address a port.
    pub fn scheme(&self) -> &'static str {
        if self.is_encrypted() { "https" } else { "http" }
    }

    /// The network by which processes of a cluster reach each other. Both ends verify each other, where it is TLS.
    pub fn network(&self) -> SharedNetwork {
        let plain: SharedNetwork = Arc::new(TcpNetwork);
        match &self.0 {
            Some(tls) => tls.network(plain),
            None => plain,
        }
    }

    /// A port for browsers and other programs, which show no certificate.
    pub fn pages(&self, listener: TcpListener) -> Box<dyn Listener> {
        match &self.0 {
            Some(tls) => tls.listener(Box::new(listener), Callers::Anybody),
            None => Box::new(listener),
        }
    }

    /// Follows changes of the files, for as long as it is polled.
    pub async fn watch(&self, env: &Env) {
        if let Some(tls) = &self.0 {
            tls.clone().watch(env.clone()).await;
        }
        std::future::pending().await
    }
}
