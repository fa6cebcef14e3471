//! The sending end of a channel, wherever the consumer is.

use super::LocalSender;
use crate::{element::StreamElement, error::Result};
use futures::future::BoxFuture;

/// The sending end of one channel.
pub enum ChannelSender {
    /// The consumer is in this process.
    Local(LocalSender),
    /// The consumer is in another.
    Remote(Box<dyn RemoteSender>),
}

/// The sending end of a channel to another process. What is sent arrives in order; batches wait for credit, signals do not.
pub trait RemoteSender: Send + Sync {
    /// Sends.
    ///
    /// # Errors
    /// When the consumer is out of reach.
    fn send(&self, element: StreamElement) -> BoxFuture<'_, Result<()>>;
}

impl ChannelSender {
    /// Sends; a batch waits for credit.
    ///
    /// # Errors
    /// When the consumer is gone.
    pub async fn send(&self, element: StreamElement) -> Result<()> {
        match self {
            ChannelSender::Local(channel) => channel.send(element).await,
            ChannelSender::Remote(channel) => channel.send(element).await,
        }
    }
}
