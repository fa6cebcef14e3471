//! A worker's stream to a coordinator in the same process: queues.

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use weir_coordinator::rpc::WorkerService;
use weir_engine::error::EngineError;
use weir_proto::v1::{WorkerMessage, worker_message::Kind};
use weir_worker::{ControlLink, OpenLink};

/// Opens streams to a coordinator.
pub fn to(service: WorkerService) -> OpenLink {
    Box::new(move |registration| {
        let service = service.clone();
        Box::pin(async move {
            let (outbound, messages) = mpsc::unbounded_channel();
            let first = WorkerMessage { kind: Some(Kind::Register(registration)) };
            outbound.send(first).map_err(|_| EngineError::internal("a new stream is closed"))?;
            // It never ends: a worker that is dropped goes with the process, and must not be considered lost.
            let messages = UnboundedReceiverStream::new(messages).map(Ok).chain(stream::pending());
            let orders = service.attend(messages).await;
            let orders = orders.map_err(|status| EngineError::internal(status.message()))?;
            Ok(ControlLink { outbound, inbound: orders.map(Ok).boxed() })
        })
    })
}
