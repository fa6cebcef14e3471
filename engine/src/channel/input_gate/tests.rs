//! The gate, by hand and against what any interleaving of its channels must keep to.

use super::*;
use crate::{
    channel::{LocalSender, local_channels},
    element::{WATERMARK_MAX, WATERMARK_MIN},
    ids::CheckpointId,
};
use arrow::{
    array::{ArrayRef, AsArray, Int64Array},
    datatypes::Int64Type,
    record_batch::RecordBatch,
};
use futures::FutureExt;
use proptest::prelude::*;
use std::sync::Arc;

fn barrier(checkpoint: u64) -> StreamElement {
    StreamElement::Barrier(Barrier { checkpoint: CheckpointId(checkpoint), last: false })
}

/// One row that says where it comes from, and that it is no older than the watermark before it.
fn row(channel: usize, position: usize, watermark: i64) -> StreamElement {
    let column = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let columns = [
        ("channel", column(channel as i64)),
        ("position", column(position as i64)),
        ("time", column(watermark.saturating_add(1))),
    ];
    StreamElement::Batch(Batch::new(RecordBatch::try_from_iter(columns).unwrap()))
}

fn values(batch: &Batch) -> (usize, usize, i64) {
    let of = |column: usize| batch.columns.column(column).as_primitive::<Int64Type>().value(0);
    (of(0) as usize, of(1) as usize, of(2))
}

/// A gate over channels that feed these inputs, each from a source of its own.
fn gate(inputs: &[usize]) -> (Vec<LocalSender>, InputGate) {
    let (senders, receiver) = local_channels(inputs.len(), 1 << 30);
    let channel =
        |(group, input): (usize, &usize)| GateChannel { input: *input, time: ChannelTime { group, from_source: true } };
    let channels: Vec<GateChannel> = inputs.iter().enumerate().map(channel).collect();
    (senders, InputGate::new(receiver, &channels))
}

#[tokio::test]
async fn what_follows_a_barrier_waits_for_the_other_barriers() {
    let (senders, mut gate) = gate(&[0, 0]);
    senders[0].send(barrier(1)).await.unwrap();
    senders[0].send(StreamElement::Watermark(9)).await.unwrap();
    senders[1].send(StreamElement::Watermark(3)).await.unwrap();
    assert!(gate.next().now_or_never().is_none(), "watermark 9 stands behind the barrier");
    senders[1].send(barrier(1)).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Barrier(_)));
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Watermark(3)));
}

#[tokio::test]
async fn ends_complete_an_alignment_and_then_the_stream() {
    let (senders, mut gate) = gate(&[0, 1]);
    senders[0].send(barrier(4)).await.unwrap();
    senders[1].send(StreamElement::EndOfInput).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Barrier(_)));
    senders[0].send(StreamElement::EndOfInput).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::EndOfInput));
}

#[tokio::test]
async fn rows_come_with_their_input_and_inputs_share_barriers_and_time() {
    let (senders, mut gate) = gate(&[0, 1, 1]);
    for (channel, sender) in senders.iter().enumerate() {
        sender.send(row(channel, 0, 0)).await.unwrap();
        let GateEvent::Batch { input, batch } = gate.next().await.unwrap() else { panic!("expected rows") };
        assert_eq!((input, values(&batch).0), ([0, 1, 1][channel], channel));
    }
    senders[0].send(StreamElement::Watermark(10)).await.unwrap();
    senders[1].send(StreamElement::Watermark(20)).await.unwrap();
    assert!(gate.next().now_or_never().is_none(), "one channel of the second input has said nothing");
    senders[2].send(StreamElement::Watermark(30)).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Watermark(10)));
    senders[0].send(barrier(1)).await.unwrap();
    senders[0].send(row(0, 1, 10)).await.unwrap();
    senders[1].send(barrier(1)).await.unwrap();
    senders[1].send(row(1, 1, 20)).await.unwrap();
    assert!(gate.next().now_or_never().is_none(), "both wait for the third channel");
    senders[2].send(barrier(1)).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Barrier(_)));
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Batch { .. }));
}

#[tokio::test]
async fn an_input_without_news_leaves_time_to_the_other() {
    let (senders, mut gate) = gate(&[0, 1]);
    senders[0].send(StreamElement::Watermark(10)).await.unwrap();
    assert!(gate.next().now_or_never().is_none());
    senders[1].send(StreamElement::Idle).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Watermark(10)));
    senders[0].send(StreamElement::Idle).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Idle));
    senders[1].send(row(1, 0, 10)).await.unwrap();
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Active(10)), "before the rows");
    assert!(matches!(gate.next().await.unwrap(), GateEvent::Batch { input: 1, .. }));
}

/// What happens on a channel, besides the barriers, which are on all.
#[derive(Clone, Copy, Debug)]
enum Say {
    Row,
    Watermark(i64),
    Idle,
}

/// What channels say between barriers, and in which order it is sent and taken.
#[derive(Clone, Debug)]
struct Script {
    inputs: Vec<usize>,
    /// By channel: what is said before each barrier, and after the last.
    said: Vec<Vec<Vec<Say>>>,
    /// Whose turn it is to send; `None`: the gate is read until it waits.
    turns: Vec<Option<prop::sample::Index>>,
}

fn scripts(speaks: impl Strategy<Value = Say> + Clone + 'static) -> impl Strategy<Value = Script> {
    let said = move |barriers| {
        let between = prop::collection::vec(speaks.clone(), 0..4);
        prop::collection::vec(between, barriers + 1..barriers + 2)
    };
    (2usize..5, 0usize..4).prop_flat_map(move |(channels, barriers)| {
        let inputs = prop::collection::vec(0usize..2, channels);
        let turns = prop::collection::vec(prop::option::weighted(0.8, any::<prop::sample::Index>()), 0..80);
        (inputs, prop::collection::vec(said(barriers), channels), turns).prop_map(|(inputs, said, turns)| Script {
            inputs,
            said,
            turns,
        })
    })
}

fn speaks() -> impl Strategy<Value = Say> + Clone {
    prop_oneof![3 => Just(Say::Row), 1 => (1i64..20).prop_map(Say::Watermark)]
}

impl Script {
    /// All that a channel sends.
    fn elements(&self, channel: usize) -> Vec<StreamElement> {
        let mut elements = Vec::new();
        let (mut time, mut position) = (0, 0);
        for (barriers, between) in self.said[channel].iter().enumerate() {
            if barriers > 0 {
                elements.push(barrier(barriers as u64));
            }
            for say in between {
                elements.push(match say {
                    Say::Row => {
                        position += 1;
                        row(channel, position, time)
                    }
                    Say::Watermark(more) => {
                        time += more;
                        StreamElement::Watermark(time)
                    }
                    Say::Idle => StreamElement::Idle,
                });
            }
        }
        elements.push(StreamElement::Watermark(WATERMARK_MAX));
        elements.push(StreamElement::EndOfInput);
        elements
    }

    /// Rows of a channel before a barrier.
    fn rows_before(&self, channel: usize, barrier: usize) -> usize {
        self.said[channel][..barrier].iter().flatten().filter(|say| matches!(say, Say::Row)).count()
    }

    /// Sends everything in the order of the script, and gives what the gate made of it.
    fn run(&self, is_aligned: impl Fn(usize) -> bool) -> Result<Vec<GateEvent>> {
        let (senders, mut gate) = gate(&self.inputs);
        let mut waiting: Vec<VecDeque<StreamElement>> =
            (0..senders.len()).map(|channel| self.elements(channel).into()).collect();
        let mut out = Vec::new();
        let sends = (0..senders.len()).flat_map(|channel| std::iter::repeat_n(Some(channel), waiting[channel].len()));
        let turns: Vec<Option<usize>> = self
            .turns
            .iter()
            .map(|turn| turn.map(|turn| turn.index(senders.len())))
            .chain(sends.collect::<Vec<_>>())
            .chain(std::iter::once(None))
            .collect();
        for turn in turns {
            match turn {
                Some(channel) => {
                    if let Some(element) = waiting[channel].pop_front() {
                        senders[channel].send(element).now_or_never().expect("there is credit for all").unwrap();
                    }
                }
                None => read(&mut gate, &is_aligned, &mut out)?,
            }
        }
        Ok(out)
    }

    /// What must hold for every interleaving.
    fn check(&self, events: Result<Vec<GateEvent>>) -> Result<(), TestCaseError> {
        let events = events.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let channels = self.inputs.len();
        let (mut rows, mut barriers, mut time) = (vec![0; channels], 0, WATERMARK_MIN);
        for event in &events {
            match event {
                GateEvent::Batch { input, batch } => {
                    let (channel, position, row_time) = values(batch);
                    rows[channel] += 1;
                    prop_assert_eq!((position, *input), (rows[channel], self.inputs[channel]));
                    prop_assert!(row_time > time, "a row of {} after the watermark {}", row_time, time);
                }
                GateEvent::Barrier(barrier) => {
                    barriers += 1;
                    prop_assert_eq!(barrier.checkpoint.0, barriers as u64);
                    for (channel, rows) in rows.iter().enumerate() {
                        prop_assert_eq!(*rows, self.rows_before(channel, barriers), "barrier {}", barriers);
                    }
                }
                GateEvent::Watermark(watermark) => {
                    prop_assert!(*watermark > time);
                    time = *watermark;
                }
                GateEvent::Idle | GateEvent::Active(_) | GateEvent::EndOfInput => {}
            }
        }
        prop_assert!(matches!(events.last(), Some(GateEvent::EndOfInput)));
        prop_assert_eq!((barriers + 1, time), (self.said[0].len(), WATERMARK_MAX));
        for (channel, rows) in rows.iter().enumerate() {
            prop_assert_eq!(*rows, self.rows_before(channel, barriers + 1));
        }
        Ok(())
    }
}

/// Reads until the gate waits. Channels of inputs that are not aligned go on behind a barrier.
fn read(gate: &mut InputGate, is_aligned: &impl Fn(usize) -> bool, out: &mut Vec<GateEvent>) -> Result<()> {
    while let Some(received) = gate.receiver.receive().now_or_never() {
        let (channel, element) = received?;
        gate.accept(channel, element)?;
        if !is_aligned(gate.inputs[channel]) && gate.aligner.is_blocked(channel) {
            gate.receiver.unblock_all();
            let blocked = |other: &usize| gate.aligner.is_blocked(*other) && is_aligned(gate.inputs[*other]);
            let blocked: Vec<usize> = (0..gate.inputs.len()).filter(blocked).collect();
            blocked.into_iter().for_each(|other| gate.receiver.block(other));
        }
        out.extend(gate.pending.drain(..));
    }
    Ok(())
}

proptest! {
    #[test]
    fn barriers_cut_every_input_where_they_were_sent(script in scripts(speaks())) {
        let events = script.run(|_| true);
        script.check(events)?;
    }

    /// With silence rows may come late, but nothing is lost, and barriers cut where they must.
    #[test]
    fn silence_changes_no_cut(script in scripts(prop_oneof![3 => speaks(), 1 => Just(Say::Idle)])) {
        let events = script.run(|_| true).unwrap();
        let late = |event: &GateEvent| matches!(event, GateEvent::Watermark(time) if *time != WATERMARK_MAX);
        let without_time: Vec<GateEvent> = events.into_iter().filter(|event| !late(event)).collect();
        script.check(Ok(without_time))?;
    }
}

/// A gate that does not align its second input is noticed.
#[test]
fn a_gate_that_forgets_to_align_an_input_is_noticed() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let found = runner.run(&scripts(speaks()), |script| {
        let events = script.run(|input| input != 1);
        script.check(events)
    });
    assert!(found.is_err(), "a gate that reads on behind the barrier of its second input passed all checks");
}
