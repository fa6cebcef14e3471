//! `weir certs`: a set of TLS files to try TLS with.

use crate::{failure::Failure, run, text};
use clap::Args;
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use weir_tls::issue::{Authority, OWN_HOSTS};

/// How long the certificates are valid.
const DAYS: i64 = 365;
/// Clocks may differ by so much, in seconds.
const TOLERANCE_S: i64 = 3600;

/// Arguments of `weir certs`.
#[derive(Debug, Args)]
pub struct CertsArguments {
    /// Folder to write to: ca.pem, cert.pem and key.pem, none of which may exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// A host name or address that processes are reached by, besides localhost, 127.0.0.1 and ::1; may be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// Makes a CA and one certificate for all processes. The CA's key is not kept.
pub fn certs(arguments: &CertsArguments) -> Result<(), Failure> {
    let folder = &arguments.folder;
    let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    if let Some(there) = files.iter().find(|file| fs::symlink_metadata(file).is_ok()) {
        return Err(Failure::refused(format!(
            "'{}' exists, and is not overwritten: choose another folder, or remove it",
            there.display()
        )));
    }
    let mut hosts: Vec<String> = OWN_HOSTS.map(String::from).into();
    hosts.extend(arguments.host.iter().filter(|host| !OWN_HOSTS.contains(&host.as_str())).cloned());
    let now = run::environment()?.wall_clock_ms() / 1000;
    let issued = Authority::new(now - TOLERANCE_S..now + DAYS * 86_400)
        .and_then(|authority| Ok((authority.cert().to_owned(), authority.issue(&hosts)?)));
    let (ca, issued) = issued.map_err(|error| {
        Failure::refused(format!(
            "no certificate can be issued for {} ({error}); is each a host name or an address?",
            hosts.join(", ")
        ))
    })?;
    make_folder(folder)?;
    let [ca_file, cert_file, key_file] = &files;
    write(key_file, &issued.key, 0o600)?;
    write(cert_file, &issued.cert, 0o644)?;
    write(ca_file, &ca, 0o644)?;
    text::print(&told(&files, &hosts))
}

fn told([ca, cert, key]: &[PathBuf; 3], hosts: &[String]) -> String {
    format!(
        "certificates for {}, valid for {DAYS} days; give them to every process and command:\n  \
         export WEIR_TLS_CA='{}' WEIR_TLS_CERT='{}' WEIR_TLS_KEY='{}'\n",
        hosts.join(", "),
        ca.display(),
        cert.display(),
        key.display()
    )
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::failed(format!("cannot create the folder '{}': {error}", folder.display())))
}

fn write(path: &Path, pem: &str, mode: u32) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Failure::failed(format!("cannot write '{}': {error}", path.display())))
}
