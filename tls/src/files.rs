//! The files, and what is made of them.

use crate::explain;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Where certificate, key and CA are, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of this process, and those between it and the CA's.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Certificates of the CAs that the certificates of all processes come from.
    pub ca: PathBuf,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsFiles({}, {}, {})", self.cert.display(), self.key.display(), self.ca.display())
    }
}

/// What is in the files.
pub(crate) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Contents {
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, String> {
        let read = |flag: &str, path: &Path| {
            std::fs::read(path).map_err(|error| format!("{flag} '{}' cannot be read: {error}", path.display()))
        };
        Ok(Contents {
            cert: read("--tls-cert", &files.cert)?,
            key: read("--tls-key", &files.key)?,
            ca: read("--tls-ca", &files.ca)?,
        })
    }

    /// Tells contents apart, so that a change is noticed whatever the clock of the file system says.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.cert, &self.key, &self.ca).hash(&mut hasher);
        hasher.finish()
    }
}

/// Settings of handshakes, by one state of the files.
pub(crate) struct Loaded {
    /// For connecting.
    pub(crate) client: Arc<ClientConfig>,
    /// For ports where callers must show a certificate.
    pub(crate) members: Arc<ServerConfig>,
    /// For ports where they need not.
    pub(crate) anybody: Arc<ServerConfig>,
    own: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Loaded {
    /// # Errors
    /// When something in the files is unusable: which flag, and what is wrong.
    pub(crate) fn new(files: &TlsFiles, contents: &Contents) -> Result<Self, String> {
        let own = certificates("--tls-cert", &files.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| {
            format!(
                "--tls-key '{}' has no private key: it must be PEM with 'BEGIN PRIVATE KEY', not encrypted",
                files.key.display()
            )
        })?;
        let roots = Arc::new(roots(files, contents)?);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| format!("--tls-ca '{}': {error}", files.ca.display()))?;
        let wrong_key = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the key in --tls-key '{}' does not belong to the certificate in --tls-cert '{}'",
                files.key.display(),
                files.cert.display()
            ),
            other => format!("--tls-cert '{}' with --tls-key '{}': {other}", files.cert.display(), files.key.display()),
        };
        let mut client = client_builder(provider.clone())
            .with_root_certificates(roots)
            .with_client_auth_cert(own.clone(), key.clone_key())
            .map_err(wrong_key)?;
        // A resumed session would not look at certificates again.
        client.resumption = Resumption::disabled();
        let members = server_builder(provider.clone())
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(own.clone(), key.clone_key())
            .map_err(wrong_key)?;
        let mut anybody =
            server_builder(provider).with_no_client_auth().with_single_cert(own.clone(), key).map_err(wrong_key)?;
        anybody.alpn_protocols = vec![b"http/1.1".to_vec()];
        let loaded =
            Loaded { client: Arc::new(client), members: Arc::new(members), anybody: Arc::new(anybody), own, verifier };
        loaded.verify_own(Duration::ZERO).map_err(|problem| {
            format!("the certificate in --tls-cert '{}' {problem} (CA: '{}')", files.cert.display(), files.ca.display())
        })?;
        Ok(loaded)
    }

    /// Whether its own certificate will be accepted by processes with the same CA, so much later.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn verify_own(&self, later: Duration) -> Result<(), String> {
        let Some((own, between)) = self.own.split_first() else { return Err("is missing".into()) };
        let now = UnixTime::now();
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + later);
        match self.verifier.verify_client_cert(own, between, then) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(error)) => Err(explain::certificate(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Both sides are of this release or a later one, and browsers know it: no older version is spoken.
fn client_builder(provider: Arc<CryptoProvider>) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).expect("ring has suites of TLS 1.3")
}

fn server_builder(provider: Arc<CryptoProvider>) -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).expect("ring has suites of TLS 1.3")
}

fn certificates(flag: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let unusable = |why: String| format!("{flag} '{}' {why}", path.display());
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| unusable(format!("is no PEM file: {error}")))?;
    if certificates.is_empty() {
        return Err(unusable("has no certificate: it must be PEM with 'BEGIN CERTIFICATE'".into()));
    }
    Ok(certificates)
}

fn roots(files: &TlsFiles, contents: &Contents) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--tls-ca", &files.ca, &contents.ca)? {
        roots
            .add(certificate)
            .map_err(|error| format!("--tls-ca '{}' has an unusable certificate: {error}", files.ca.display()))?;
    }
    Ok(roots)
}
