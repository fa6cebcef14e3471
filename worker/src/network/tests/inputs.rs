//! Two inputs of one subtask that another, on another worker, feeds both: two edges between the same subtasks are two channels,
//! each with its own rows, and the gate behind them aligns both.

use super::*;
use weir_engine::{
    align::ChannelTime,
    channel::{GateChannel, GateEvent, InputGate},
    element::Barrier,
    ids::CheckpointId,
};

/// The edge into each input.
const EDGES: [usize; 2] = [4, 7];

fn over(edge: usize) -> ChannelId {
    ChannelId { edge, ..channel(0) }
}

fn barrier(checkpoint: u64) -> StreamElement {
    StreamElement::Barrier(Barrier::new(CheckpointId(checkpoint)))
}

async fn linked() -> (DataPlane, DataPlane, (AttemptNetwork, AttemptNetwork), Vec<Box<dyn RemoteSender>>, InputGate) {
    let (consumer, producer) = (plane(settings("b")).await, plane(settings("a")).await);
    let (senders, receiver) = local_channels(EDGES.len(), 10_000);
    let inbound = EDGES.iter().zip(senders).map(|(edge, sender)| (("a".to_string(), over(*edge)), sender)).collect();
    let into = consumer.open(key(), Token::new(TOKEN), inbound, recording().0).unwrap();
    let from = producer.open(key(), Token::new(TOKEN), BTreeMap::new(), recording().0).unwrap();
    let channels = EDGES.map(|edge| from.sender("b", consumer.address(), over(edge)).unwrap());
    soon(from.connect()).await.unwrap();
    let time = ChannelTime { group: 0, from_source: true };
    let gate = InputGate::new(receiver, &[0, 1].map(|input| GateChannel { input, time }));
    (consumer, producer, (into, from), channels.into(), gate)
}

#[tokio::test]
async fn two_edges_between_the_same_subtasks_are_two_inputs() {
    let (_consumer, _producer, _networks, channels, mut gate) = linked().await;
    for input in [1, 0, 1] {
        channels[input].send(numbers(input as i64)).await.unwrap();
        let GateEvent::Batch { input: found, batch } = soon(gate.next()).await.unwrap() else {
            panic!("expected rows")
        };
        assert_eq!((found, first_number(&batch)), (input, input as i64));
    }
    channels[0].send(barrier(1)).await.unwrap();
    channels[0].send(numbers(10)).await.unwrap();
    channels[1].send(numbers(11)).await.unwrap();
    channels[1].send(barrier(1)).await.unwrap();
    let before = soon(gate.next()).await.unwrap();
    assert!(matches!(&before, GateEvent::Batch { input: 1, batch } if first_number(batch) == 11), "{before:?}");
    assert!(matches!(soon(gate.next()).await.unwrap(), GateEvent::Barrier(_)));
    assert!(matches!(soon(gate.next()).await.unwrap(), GateEvent::Batch { input: 0, .. }));
}
