//! `weir submit`: a job for a cluster.

use super::connection::ConnectionArguments;
use crate::{definition::DefinitionArguments, failure::Failure, runtime, savepoint::FromSavepointArguments, text};
use clap::Args;
use weir_engine::wire;
use weir_operators::Extensions;
use weir_proto::v1::SubmitRequest;

/// Arguments of `weir submit`.
#[derive(Debug, Args)]
pub struct SubmitArguments {
    #[command(flatten)]
    definition: DefinitionArguments,
    /// Start over: first remove the job's checkpoints and everything that it has written
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    from_savepoint: FromSavepointArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Checks and compiles a definition here, hands it in, and prints the job's id, alone.
pub fn submit(arguments: &SubmitArguments, extensions: &Extensions) -> Result<(), Failure> {
    let job = arguments.definition.load(extensions)?;
    let request = SubmitRequest {
        graph: wire::to_json(&job.graph)?,
        fingerprint: job.definition.clone(),
        definition: arguments.definition.text()?,
        fresh: arguments.fresh,
        from_savepoint: arguments.from_savepoint.read()?,
    };
    let reply = runtime()?.block_on(async {
        let mut connection = arguments.connection.open()?;
        connection.call(async |client| client.submit(request.clone()).await).await
    })?;
    reply.notices.iter().for_each(|notice| eprintln!("{notice}"));
    text::print(&format!("{}\n", reply.job))
}
