//! A user's connection to a coordinator.

use super::SecretArguments;
use crate::failure::Failure;
use clap::Args;
use std::{sync::Arc, time::Duration};
use tonic::{Code, Status, transport::Channel};
use weir_proto::{
    net::{SharedNetwork, TcpNetwork},
    transport,
    v1::client_client::ClientClient,
};

/// Where a coordinator listens, unless it is told otherwise.
pub const DEFAULT_COORDINATOR: &str = "127.0.0.1:7070";

/// How long a coordinator may take to answer the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which cluster.
#[derive(Clone, Debug, Args)]
pub struct ConnectionArguments {
    /// A coordinator; several, with commas between them, are tried in turn
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR, env = "WEIR_COORDINATOR", value_delimiter = ',')]
    pub coordinator: Vec<String>,
    #[command(flatten)]
    pub secret: SecretArguments,
}

/// An open connection, with the secret to show.
pub struct Connection {
    /// The service.
    pub client: ClientClient<Channel>,
    /// The cluster's secret.
    pub secret: String,
}

impl ConnectionArguments {
    /// Connects to the first coordinator that answers.
    pub async fn open(&self) -> Result<Connection, Failure> {
        let network: SharedNetwork = Arc::new(TcpNetwork);
        let secret = self.secret.read()?;
        let mut refused = Vec::new();
        for address in &self.coordinator {
            match transport::connect(network.clone(), address, CONNECT_TIMEOUT).await {
                Ok(channel) => {
                    let client = ClientClient::new(channel)
                        .max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
                        .max_encoding_message_size(transport::MAX_MESSAGE_BYTES);
                    return Ok(Connection { client, secret });
                }
                Err(status) => refused.push(status.message().to_string()),
            }
        }
        Err(Failure::failed(format!("{}; is `weir coordinator` running there?", refused.join("; "))))
    }
}

/// What a coordinator's refusal is for the user.
pub fn refused(status: &Status) -> Failure {
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::PermissionDenied => Failure::refused(status.message()),
        _ => Failure::failed(format!("the coordinator: {}", status.message())),
    }
}
