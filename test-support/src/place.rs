//! Where a server or a process of a test runs: on this machine's loopback address, or in a network namespace with an address of
//! its own. For tests alone.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
};

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    address: Ipv4Addr,
    /// The file by which the namespace is known.
    namespace: Option<PathBuf>,
}

impl Place {
    /// This machine.
    pub fn loopback() -> Self {
        Place { address: Ipv4Addr::LOCALHOST, namespace: None }
    }

    /// A namespace that others reach at this address.
    pub fn in_namespace(namespace: &Path, address: Ipv4Addr) -> Self {
        Place { address, namespace: Some(namespace.into()) }
    }

    /// The address at which others reach it.
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// Whether nobody but this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback()
    }

    /// A program that runs there. Its process is the one that is started: signals reach it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_of(None, program)
    }

    /// The same, as another user; for root.
    pub fn command_as(&self, user: u32, program: impl AsRef<OsStr>) -> Command {
        self.command_of(Some(user), program)
    }

    fn command_of(&self, user: Option<u32>, program: impl AsRef<OsStr>) -> Command {
        let Some(namespace) = &self.namespace else {
            let mut command = Command::new(program);
            if let Some(user) = user {
                use std::os::unix::process::CommandExt;
                command.gid(user).uid(user);
            }
            return command;
        };
        // The user changes in there: nobody else may enter.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display()));
        if let Some(user) = user {
            command.args(["--setgid", &user.to_string(), "--setuid", &user.to_string()]);
        }
        command.arg(program);
        command
    }
}
