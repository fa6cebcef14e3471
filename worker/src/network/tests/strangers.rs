//! Whoever connects without being expected harms nothing, and who is expected and misbehaves harms only their own channels.

use super::{
    frame::{FrameDecoder, FrameKind, frame},
    handshake::{Channels, Hello, Welcome, from_body, to_body},
    *,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn hello() -> Hello {
    Hello {
        protocol: weir_proto::PROTOCOL_VERSION,
        job: "ad-click".into(),
        attempt: 3,
        sender: "a".into(),
        receiver: "b".into(),
        token: TOKEN.to_vec(),
    }
}

fn greeting(hello: &Hello, channels: Vec<ChannelId>) -> Vec<u8> {
    let mut bytes = frame(FrameKind::Hello, hello.attempt, 0, &to_body(hello));
    bytes.append(frame(FrameKind::Channels, hello.attempt, 0, &to_body(&Channels { channels })));
    bytes.to_vec()
}

/// Says something to a worker, and reads frames until it closes the connection.
async fn say(address: &str, bytes: &[u8]) -> Vec<frame::Frame> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    soon(read_all(&mut stream)).await
}

async fn read_all(stream: &mut TcpStream) -> Vec<frame::Frame> {
    let (mut decoder, mut frames) = (FrameDecoder::new(4096), Vec::new());
    while matches!(stream.read_buf(&mut decoder.space()).await, Ok(1..)) {
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames
}

/// Says something, and is refused for a reason with this in it.
async fn refused(address: &str, bytes: &[u8], reason: &str) {
    let frames = say(address, bytes).await;
    let refusal = frames.last().expect("there is an answer");
    assert_eq!(refusal.header.kind, FrameKind::Refused, "for {reason:?}");
    let found = link::reason_of(refusal);
    assert!(found.contains(reason), "{found:?} does not speak of {reason:?}");
}

/// That the channel still does what it is for.
async fn still_works(consumer: &mut Consumer) {
    let producer = Producer::new(1, settings("a"), consumer.plane.address()).await;
    soon(producer.network.connect()).await.unwrap();
    producer.channels[0].send(numbers(11)).await.unwrap();
    assert_eq!(consumer.next_number().await, (0, 11));
    assert!(consumer.failures.try_recv().is_err(), "nothing failed");
}

#[tokio::test]
async fn noise_is_refused() {
    let mut consumer = Consumer::new(1, settings("b")).await;
    let address = consumer.plane.address().to_string();
    refused(&address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "does not speak this protocol").await;
    refused(&address, &[0; 100_000], "does not speak this protocol").await;
    refused(&address, &frame(FrameKind::Hello, 3, 0, b"not JSON").to_vec(), "cannot be read").await;
    refused(&address, &frame(FrameKind::Hello, 3, 0, &[b'['; 4000]).to_vec(), "cannot be read").await;
    refused(&address, &frame(FrameKind::Hello, 3, 0, &[0; 5000]).to_vec(), "at most 4096 are allowed").await;
    refused(&address, &frame(FrameKind::Batch, 3, 0, &[0; 100]).to_vec(), "expected a frame of kind Hello").await;
    still_works(&mut consumer).await;
}

#[tokio::test]
async fn who_does_not_match_is_refused() {
    let mut consumer = Consumer::new(1, settings("b")).await;
    let address = consumer.plane.address().to_string();
    let wrong: [(Hello, &str); 6] = [
        (Hello { token: b"a guess".to_vec(), ..hello() }, "token is wrong"),
        (Hello { attempt: 2, ..hello() }, "attempt 2 of job \"ad-click\" is not open"),
        (Hello { job: "other".into(), ..hello() }, "is not open"),
        (Hello { receiver: "c".into(), ..hello() }, "this is worker b"),
        (Hello { protocol: 99, ..hello() }, "version"),
        (Hello { sender: "d".into(), ..hello() }, "no channels from worker \"d\""),
    ];
    for (hello, reason) in &wrong {
        refused(&address, &greeting(hello, vec![channel(0)]), reason).await;
    }
    for channels in [vec![], vec![channel(1)], vec![channel(0), channel(0)], vec![channel(0), channel(1)]] {
        refused(&address, &greeting(&hello(), channels), "are not the 1 from worker a").await;
    }
    still_works(&mut consumer).await;
    refused(&address, &greeting(&hello(), vec![channel(0)]), "connected already").await;
}

#[tokio::test]
async fn who_says_nothing_is_closed_after_a_while_and_there_are_only_so_many() {
    let mut consumer = Consumer::new(1, settings("b")).await;
    let address = consumer.plane.address().to_string();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    // One byte now and then does not help either.
    silent[0].write_all(b"W").await.unwrap();
    silent.push(TcpStream::connect(&address).await.unwrap());
    assert!(soon(read_all(&mut silent[0])).await.is_empty(), "the fifth has taken the place of the first");
    for stream in &mut silent {
        assert!(soon(read_all(stream)).await.is_empty(), "closed after the timeout");
    }
    still_works(&mut consumer).await;
}

#[tokio::test]
async fn who_is_expected_gets_in_past_any_number_of_silent_ones() {
    let mut consumer = Consumer::new(1, settings("b")).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(consumer.plane.address()).await.unwrap());
    }
    still_works(&mut consumer).await;
}

/// Connects rightly, and then says this.
async fn misbehave(bytes: Vec<u8>, reason: &str) {
    let mut consumer = Consumer::new(1, settings("b")).await;
    let mut all = greeting(&hello(), vec![channel(0)]);
    all.extend_from_slice(&bytes);
    refused(consumer.plane.address(), &all, reason).await;
    let error = soon(consumer.gate.receive()).await.unwrap_err();
    assert!(error.message.contains(reason) && error.message.contains("worker a"), "{error}");
    assert!(soon(consumer.failures.recv()).await.unwrap().error.message.contains(reason));
    // The worker itself goes on.
    consumer.network.close();
    still_works(&mut Consumer::on(consumer.plane, 1, 10_000)).await;
}

#[tokio::test]
async fn who_is_expected_and_misbehaves_fails_its_own_channels() {
    misbehave(frame(FrameKind::Watermark, 2, 0, &[0; 8]).to_vec(), "a frame of attempt 2, where it is 3").await;
    misbehave(frame(FrameKind::Idle, 3, 1, &[]).to_vec(), "a frame of channel 1, where there are 1").await;
    misbehave(frame(FrameKind::Credit, 3, 0, &[0; 8]).to_vec(), "no frames of kind Credit").await;
    misbehave(frame(FrameKind::Batch, 3, 0, &[7; 200]).to_vec(), "a batch cannot be read").await;
    misbehave(b"noise and nothing but noise, 32 of it".to_vec(), "does not speak this protocol").await;
    misbehave(vec![], "no sign of life").await;
}

#[tokio::test]
async fn a_frame_behind_the_end_of_its_channel_is_refused() {
    let mut consumer = Consumer::new(2, settings("b")).await;
    let mut all = greeting(&hello(), vec![channel(1), channel(0)]);
    all.extend_from_slice(&frame(FrameKind::EndOfInput, 3, 0, &[]).to_vec());
    all.extend_from_slice(&frame(FrameKind::Idle, 3, 0, &[]).to_vec());
    refused(consumer.plane.address(), &all, "after the end of channel").await;
    let first = soon(consumer.gate.receive()).await;
    let second = soon(consumer.gate.receive()).await;
    // The list of the handshake says which is which; its first is the gate's second.
    assert!(first.is_err() || second.is_err());
    assert!([first, second].into_iter().flatten().all(|(channel, _)| channel == 1));
}

/// A consumer that welcomes a producer, says this, and then nothing.
async fn consumer_says(bytes: Vec<u8>, reason: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut producer = Producer::new(1, settings("a"), &listener.local_addr().unwrap().to_string()).await;
    let welcome = to_body(&Welcome { channel_bytes: 1 });
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut decoder = FrameDecoder::new(4096);
        let greeted = loop {
            stream.read_buf(&mut decoder.space()).await.unwrap();
            if let Some(frame) = decoder.next_frame().unwrap() {
                break frame;
            }
        };
        assert_eq!(from_body::<Hello>(&greeted.body).unwrap().sender, "a");
        stream.write_all(&frame(FrameKind::Welcome, 3, 0, &welcome).to_vec()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream
    };
    let (connected, stream) = soon(futures::future::join(producer.network.connect(), serve)).await;
    connected.unwrap();
    let failure = soon(producer.failures.recv()).await.unwrap();
    assert!(failure.error.message.contains(reason), "{}", failure.error);
    assert!(producer.channels[0].send(numbers(0)).await.unwrap_err().message.contains(reason));
    drop(stream);
}

#[tokio::test]
async fn a_consumer_that_misbehaves_fails_its_producers() {
    consumer_says(vec![], "no sign of life").await;
    consumer_says(frame(FrameKind::Credit, 3, 1, &[1; 8]).to_vec(), "channel 1").await;
    consumer_says(frame(FrameKind::Credit, 2, 0, &[1; 8]).to_vec(), "attempt 2").await;
    consumer_says(frame(FrameKind::Idle, 3, 0, &[]).to_vec(), "no frames of kind Idle").await;
    consumer_says(frame(FrameKind::Refused, 3, 0, b"I am tired").to_vec(), "I am tired").await;
    consumer_says(b"noise and nothing but noise, 32 of it".to_vec(), "does not speak this protocol").await;
}
