//! What went wrong with TLS, for people: what is wrong with which side, and what to do.

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};
use std::{io, time::Duration};

/// What is wrong with a certificate: continues a sentence that begins with it.
pub(crate) fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("expired {} ago: replace it", between(*not_after, *time))
        }
        CertificateError::Expired => "has expired: replace it".into(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "is valid only in {}: wait, or set the clock of this machine or of the one that issued it",
            between(*time, *not_before)
        ),
        CertificateError::NotValidYet => "is not valid yet: check the clocks of both machines".into(),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "was not issued by the CA in --tls-ca: give all processes certificates of the same CA".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "is not for '{}', only for {}: connect by one of these names, or issue a certificate with that name",
            expected.to_str(),
            names(presented)
        ),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "is not for this use: its extended key usage must have both serverAuth and clientAuth".into()
        }
        other => format!("is not accepted: {other}"),
    }
}

/// Names as the library lists them: `DnsName("localhost")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_owned()
    };
    if presented.is_empty() {
        "no name at all".into()
    } else {
        presented.iter().map(plain).collect::<Vec<_>>().join(", ")
    }
}

/// Roughly how long one moment is before another.
fn between(earlier: UnixTime, later: UnixTime) -> String {
    let seconds = Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs())).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Why the other side does not want our certificate, by its alert; continues a sentence that begins with our certificate.
fn alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => "has expired, or the clocks differ: replace it".into(),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "was not issued by the CA that the other side trusts: give all processes certificates of the same CA".into()
        }
        AlertDescription::CertificateRequired => {
            "is missing: the other side asks for one; pass --tls-cert, --tls-key and --tls-ca".into()
        }
        AlertDescription::BadCertificate => {
            "is not for the name by which the other side reached it, or cannot be read: see what the other side says"
                .into()
        }
        other => format!("is refused with the alert {other:?}: see what the other side says"),
    }
}

/// Whether an alert is about a certificate.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateExpired
            | A::UnknownCA
            | A::DecryptError
            | A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateUnknown
            | A::AccessDenied
    )
}

/// What a failed handshake with `address` means for the one who called.
pub(crate) fn called(address: &str, error: &io::Error) -> io::Error {
    let text = match of_tls(error) {
        Some(Error::InvalidCertificate(problem)) => {
            format!("TLS: the certificate of {address} {}", certificate(problem))
        }
        Some(Error::AlertReceived(received)) if is_about_certificate(*received) => {
            format!("TLS: {address} refuses this process: the certificate in --tls-cert {}", alert(*received))
        }
        Some(Error::InvalidMessage(_)) => not_tls(address),
        Some(other) => format!("TLS with {address}: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => {
            format!(
                "TLS: {address} closed the connection during the handshake ({error}); if it runs without TLS, {HELP}"
            )
        }
        None => return io::Error::new(error.kind(), format!("TLS with {address}: {error}")),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// What to do when only one side has TLS.
const HELP: &str = "start both sides with --tls-cert, --tls-key and --tls-ca, or none of them";

fn not_tls(address: &str) -> String {
    format!("TLS: {address} answers without TLS: {HELP}")
}

/// What a failed handshake means at a port: what it is called in the log, and the whole of it.
pub(crate) fn answered(error: &io::Error) -> (&'static str, String) {
    match of_tls(error) {
        Some(Error::InvalidCertificate(problem)) => {
            ("certificate", format!("the certificate of a caller {}", certificate(problem)))
        }
        Some(Error::NoCertificatesPresented) => (
            "no certificate",
            "a caller shows no certificate: processes and commands need --tls-cert, --tls-key and --tls-ca".into(),
        ),
        Some(Error::AlertReceived(received)) if is_about_certificate(*received) => {
            ("alert", format!("a caller refuses this process: the certificate in --tls-cert {}", alert(*received)))
        }
        Some(other) => ("handshake", format!("a handshake failed: {other}")),
        None => ("cut", format!("a caller left during the handshake: {error}")),
    }
}

/// What the TLS library said, if it was it.
pub(crate) fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What broke an open connection.
pub(crate) fn broken(error: io::Error) -> io::Error {
    match of_tls(&error) {
        Some(tls) => io::Error::new(error.kind(), format!("TLS: {tls}")),
        None => error,
    }
}
