//! A user's connection to a cluster.

use super::{ReadTokenArguments, SecretArguments};
use crate::{failure::Failure, tls::TlsArguments};
use clap::Args;
use std::time::Duration;
use tonic::{Code, Response, Status, service::interceptor::InterceptedService, transport::Channel};
use weir_proto::{
    net::SharedNetwork,
    secret::{Keys, ShowSecret},
    transport,
    v1::client_client::ClientClient,
};
use weir_worker::root_cause;

/// Where a coordinator listens, unless it is told otherwise.
pub const DEFAULT_COORDINATOR: &str = "127.0.0.1:7070";

/// How long a coordinator may take to answer the call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which cluster.
#[derive(Clone, Debug, Args)]
pub struct ConnectionArguments {
    /// Coordinator; of several, separated by commas, the first that answers is asked: each knows who leads
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_COORDINATOR, env = "WEIR_COORDINATOR", value_delimiter = ',')]
    pub coordinator: Vec<String>,
    #[command(flatten)]
    pub secret: SecretArguments,
    #[command(flatten)]
    pub read_token: ReadTokenArguments,
    #[command(flatten)]
    pub tls: TlsArguments,
}

/// The service for users, which is shown the cluster's secret with every call.
pub type Client = ClientClient<InterceptedService<Channel, ShowSecret>>;

/// A connection to whichever coordinator answers; another one is asked when it is gone.
pub struct Connection {
    coordinators: Vec<String>,
    network: SharedNetwork,
    secret: ShowSecret,
    /// The one that is asked, by its place in the list.
    turn: usize,
    open: Option<Client>,
    /// None has answered the last call, or not to its end.
    is_away: bool,
}

impl ConnectionArguments {
    /// A connection, which is opened by the first call.
    pub fn open(&self) -> Result<Connection, Failure> {
        let Keys { secret, read_token } = self.read_token.beside(self.secret.read()?)?;
        let secret = if secret.is_empty() { read_token } else { secret }.shown();
        let network = self.tls.read()?.network();
        Ok(Connection { coordinators: self.coordinator.clone(), network, secret, turn: 0, open: None, is_away: false })
    }
}

impl Connection {
    /// Calls one coordinator after the other, until one answers: each is tried once.
    pub async fn call<T>(
        &mut self,
        call: impl AsyncFn(&mut Client) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        self.is_away = false;
        let mut in_vain: Vec<String> = Vec::new();
        for _ in 0..self.coordinators.len() {
            let answer = match self.client().await {
                Ok(client) => call(client).await,
                Err(status) => Err(status),
            };
            match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::Unavailable => in_vain.push(root_cause(&status)),
                Err(status) => {
                    // A connection that broke in the middle of the call.
                    self.is_away = matches!(status.code(), Code::Unknown | Code::Cancelled | Code::DeadlineExceeded);
                    if self.is_away {
                        self.open = None;
                    }
                    return Err(refused(&status));
                }
            }
            (self.turn, self.open) = ((self.turn + 1) % self.coordinators.len(), None);
        }
        self.is_away = true;
        in_vain.dedup();
        Err(Failure::failed(format!("{}; is `weir coordinator` running there?", in_vain.join("; "))))
    }

    /// Whether none has answered the last call, so that a later one may succeed.
    pub fn is_away(&self) -> bool {
        self.is_away
    }

    async fn client(&mut self) -> Result<&mut Client, Status> {
        let client = match self.open.take() {
            Some(client) => client,
            None => {
                let address = &self.coordinators[self.turn];
                let channel = transport::connect_watched(self.network.clone(), address, CONNECT_TIMEOUT).await?;
                ClientClient::with_interceptor(channel, self.secret.clone())
                    .max_decoding_message_size(transport::MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(transport::MAX_MESSAGE_BYTES)
            }
        };
        Ok(self.open.insert(client))
    }
}

/// What a coordinator's refusal is for the user.
fn refused(status: &Status) -> Failure {
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::PermissionDenied => Failure::refused(root_cause(status)),
        _ => Failure::failed(format!("the coordinator: {}", root_cause(status))),
    }
}
