//! A user's connection to a coordinator.

use super::SecretArguments;
use crate::failure::Failure;
use clap::Args;
use std::{sync::Arc, time::Duration};
use tonic::{Code, Status, service::interceptor::InterceptedService, transport::Channel};
use weir_proto::{
    net::{SharedNetwork, TcpNetwork},
    secret::ShowSecret,
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
    /// Coordinator; several, separated by commas, are tried in turn
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR, env = "WEIR_COORDINATOR", value_delimiter = ',')]
    pub coordinator: Vec<String>,
    #[command(flatten)]
    pub secret: SecretArguments,
}

/// An open connection.
pub struct Connection {
    /// The service, which is shown the cluster's secret with every call.
    pub client: ClientClient<InterceptedService<Channel, ShowSecret>>,
}

impl ConnectionArguments {
    /// Connects to the first coordinator that answers.
    pub async fn open(&self) -> Result<Connection, Failure> {
        let network: SharedNetwork = Arc::new(TcpNetwork);
        let secret = self.secret.read()?.shown();
        let mut refused = Vec::new();
        for address in &self.coordinator {
            match transport::connect(network.clone(), address, CONNECT_TIMEOUT).await {
                Ok(channel) => {
                    let client = ClientClient::with_interceptor(channel, secret)
                        .max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
                        .max_encoding_message_size(transport::MAX_MESSAGE_BYTES);
                    return Ok(Connection { client });
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
