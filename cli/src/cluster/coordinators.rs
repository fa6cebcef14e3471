//! `weir coordinators`: who the coordinators of a cluster are, and what they have decided as a file.

use super::{
    connection::{Client, ConnectionArguments},
    list::render_coordinators,
};
use crate::{data_dir, failure::Failure, run, runtime, text};
use clap::{Args, Subcommand};
use std::{
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tonic::{Response, Status};
use weir_coordinator::{
    metadata::{self, open_file},
    status::MemberStatus,
};
use weir_engine::{disk, wire};
use weir_proto::v1::{BackupRequest, RemoveCoordinatorRequest};

/// What can be asked about the coordinators.
#[derive(Debug, Subcommand)]
pub enum CoordinatorsCommand {
    /// Remove a coordinator from the cluster; its number is not used again
    Remove(RemoveArguments),
    /// Write a backup of everything the coordinators have decided to a file
    Backup(BackupArguments),
    /// Make the data dir of the first coordinator of a new cluster from a backup
    Restore(RestoreArguments),
}

/// Arguments of `weir coordinators remove`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// The number of the coordinator, as `weir list` shows it
    #[arg(value_name = "N")]
    node: u64,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Arguments of `weir coordinators backup`.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// The file to write; one that is there is replaced
    file: PathBuf,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Arguments of `weir coordinators restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The backup
    file: PathBuf,
    /// Where the coordinator will store its decisions; it must not hold a coordinator's yet
    #[arg(long, value_name = "DIR", default_value = data_dir::DEFAULT)]
    data_dir: PathBuf,
}

/// Does one of them.
pub fn coordinators(command: &CoordinatorsCommand) -> Result<(), Failure> {
    match command {
        CoordinatorsCommand::Remove(arguments) => remove(arguments),
        CoordinatorsCommand::Backup(arguments) => backup(arguments),
        CoordinatorsCommand::Restore(arguments) => restore(arguments),
    }
}

/// Removes a coordinator, and prints those that are left.
fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let request = RemoveCoordinatorRequest { node: arguments.node };
    let reply = runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        connection.call(async |client| client.remove_coordinator(request).await).await
    })?;
    let left: Vec<MemberStatus> = wire::from_json(&reply.json, "the coordinator's answer")?;
    text::print(&render_coordinators(&left))
}

fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let backup = runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        connection.call(whole_backup).await
    })?;
    metadata::check_backup(&backup)?;
    write_whole(&arguments.file, &backup)
        .map_err(|error| Failure::failed(format!("cannot write '{}': {error}", arguments.file.display())))?;
    text::print(&format!("{}\n", arguments.file.display()))
}

/// All its pieces.
async fn whole_backup(client: &mut Client) -> Result<Response<Vec<u8>>, Status> {
    let mut pieces = client.backup(BackupRequest {}).await?.into_inner();
    let mut backup = Vec::new();
    while let Some(piece) = pieces.message().await? {
        backup.extend_from_slice(&piece.backup);
    }
    Ok(Response::new(backup))
}

/// A file that is there is whole. It is its owner's alone: definitions say where data lies.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = file.with_extension(format!("draft-{}", std::process::id()));
    let mut writing = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writing.write_all(bytes)?;
    writing.sync_all()?;
    std::fs::rename(&draft, file)?;
    File::open(folder)?.sync_all()
}

/// The metadata while it is restored: it gets its name when it is whole.
pub const RESTORING: &str = "coordinator.restoring";

fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    let backup = std::fs::read(&arguments.file)
        .map_err(|error| Failure::refused(format!("cannot read '{}': {error}", arguments.file.display())))?;
    disk::make_private_folder(&arguments.data_dir).map_err(|error| {
        Failure::failed(format!("cannot create the folder '{}': {error}", arguments.data_dir.display()))
    })?;
    let file = arguments.data_dir.join("coordinator.redb");
    if file.exists() {
        return Err(Failure::refused(format!(
            "'{}' is a coordinator's already: name another --data-dir",
            file.display()
        )));
    }
    // Under another name until it is whole.
    let draft = arguments.data_dir.join(RESTORING);
    let renamed = |error: std::io::Error| Failure::failed(format!("cannot write '{}': {error}", file.display()));
    if draft.exists() {
        std::fs::remove_file(&draft).map_err(renamed)?;
    }
    let env = run::environment()?;
    let restored = runtime()?.block_on(metadata::restore(&backup, open_file(&draft)?, env))?;
    std::fs::rename(&draft, &file).and_then(|()| File::open(&arguments.data_dir)?.sync_all()).map_err(renamed)?;
    text::print(&format!(
        "coordinator {}, {}, as of {}\n",
        restored.node,
        text::count_of(restored.jobs as u64, "job"),
        text::moment(restored.taken_at_ms)
    ))?;
    for job in restored.canceled {
        eprintln!(
            "job '{job}' was to start over, or from a savepoint, and is canceled: submit it again, with --fresh or --from-savepoint to do so"
        );
    }
    Ok(())
}
