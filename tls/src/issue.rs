//! Certificates to try TLS with, and for tests: a CA, and one certificate of it for all processes.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use std::{ops::Range, time::Duration};

/// Names that processes of one machine are reached by.
pub const OWN_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate with its key, as PEM.
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

/// A CA, whose key is in no file and lasts as long as this value.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert: String,
    valid: Range<i64>,
}

impl Authority {
    /// A new one, whose certificates are valid for this time (seconds since the epoch).
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(valid: Range<i64>) -> Result<Self, Error> {
        let mut params = params(Vec::new(), "Weir test CA", &valid)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?.pem();
        Ok(Authority { issuer: Issuer::new(params, key), cert, valid })
    }

    /// Its own certificate, as PEM.
    pub fn cert(&self) -> &str {
        &self.cert
    }

    /// A certificate for servers and clients with these names and addresses.
    ///
    /// # Errors
    /// When something is neither a name nor an address.
    pub fn issue(&self, hosts: &[String]) -> Result<Issued, Error> {
        self.issue_for(hosts, self.valid.clone())
    }

    /// The same, valid for another time.
    ///
    /// # Errors
    /// When something is neither a name nor an address.
    pub fn issue_for(&self, hosts: &[String], valid: Range<i64>) -> Result<Issued, Error> {
        let mut params = params(hosts.to_vec(), "Weir", &valid)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued { cert: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn params(hosts: Vec<String>, name: &str, valid: &Range<i64>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let moment = |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.max(0).unsigned_abs());
    (params.not_before, params.not_after) = (moment(valid.start), moment(valid.end));
    Ok(params)
}
