//! On virtual time, with connections in memory.

use super::*;
use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits =
    Limits { connections: 3, introduction: Duration::from_secs(10), silence: Duration::from_secs(60), spared: SECOND };

/// Accepts what is sent, errors included.
struct Queue(mpsc::UnboundedReceiver<io::Result<BoxConnection>>);

#[async_trait]
impl Listener for Queue {
    async fn accept(&mut self) -> io::Result<BoxConnection> {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        "here:1".into()
    }
}

/// A port whose connections are answered by nobody, unless the test does it.
struct Rig {
    callers: mpsc::UnboundedSender<io::Result<BoxConnection>>,
    accepted: mpsc::UnboundedReceiver<Limited>,
}

impl Rig {
    fn new() -> Self {
        let (callers, queue) = mpsc::unbounded_channel();
        let (seated, accepted) = mpsc::unbounded_channel();
        let mut listener = LimitedListener::new(Box::new(Queue(queue)), LIMITS, Env::default());
        tokio::spawn(async move { while seated.send(listener.accept().await).is_ok() {} });
        Rig { callers, accepted }
    }

    /// Somebody connects; the caller's end.
    fn call(&self) -> DuplexStream {
        let (far, near) = duplex(64);
        self.callers.send(Ok(Box::new(near))).unwrap();
        far
    }

    async fn seated(&mut self) -> Limited {
        self.accepted.recv().await.unwrap()
    }
}

/// Whether the other end has been closed by now.
async fn is_closed(caller: &mut DuplexStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(1), caller.read(&mut byte))
        .await
        .is_ok_and(|read| read.is_ok_and(|n| n == 0))
}

async fn pass(duration: Duration) {
    Env::default().sleep(duration).await;
}

#[tokio::test(start_paused = true)]
async fn strangers_have_ten_seconds_and_those_who_were_let_in_a_minute_of_silence() {
    let mut rig = Rig::new();
    let (mut stranger, _near) = (rig.call(), rig.seated().await);
    let (mut guest, near) = (rig.call(), rig.seated().await);
    near.visitor().let_in();
    // Bytes that come do not keep a stranger there.
    stranger.write_all(b"GET / HT").await.unwrap();
    pass(SECOND * 9).await;
    assert!(!is_closed(&mut stranger).await && !is_closed(&mut guest).await);
    pass(SECOND * 2).await;
    assert!(is_closed(&mut stranger).await, "its time is over");
    assert!(!is_closed(&mut guest).await);
    pass(SECOND * 40).await;
    // Nor do they one that was let in.
    guest.write_all(b"GET / HT").await.unwrap();
    pass(SECOND * 12).await;
    assert!(is_closed(&mut guest).await, "silent for a minute");
}

#[tokio::test(start_paused = true)]
async fn answers_and_work_are_no_silence() {
    let mut rig = Rig::new();
    let (mut answered, mut near) = (rig.call(), rig.seated().await);
    let (mut waiting, busy) = (rig.call(), rig.seated().await);
    near.visitor().let_in();
    busy.visitor().let_in();
    let asking = busy.visitor().asks();
    for _ in 0..4 {
        pass(SECOND * 50).await;
        near.write_all(b"an answer").await.unwrap();
        answered.read_exact(&mut [0; 9]).await.unwrap();
    }
    assert!(!is_closed(&mut answered).await && !is_closed(&mut waiting).await);
    drop(asking);
    pass(SECOND * 59).await;
    assert!(!is_closed(&mut waiting).await, "counted from the answer on");
    pass(SECOND * 62).await;
    assert!(is_closed(&mut waiting).await && is_closed(&mut answered).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_takes_the_place_of_the_oldest_stranger() {
    let mut rig = Rig::new();
    let mut callers = Vec::new();
    let mut seated = Vec::new();
    for _ in 0..100 {
        callers.push(rig.call());
        seated.push(rig.seated().await);
    }
    let mut open = Vec::new();
    for (number, caller) in callers.iter_mut().enumerate() {
        if !is_closed(caller).await {
            open.push(number);
        }
    }
    assert_eq!(open, [97, 98, 99]);
}

#[tokio::test(start_paused = true)]
async fn those_who_were_let_in_make_room_when_they_are_silent_and_no_stranger_is_there() {
    let mut rig = Rig::new();
    let mut guests = Vec::new();
    for _ in 0..3 {
        let (caller, near) = (rig.call(), rig.seated().await);
        near.visitor().let_in();
        guests.push((caller, near));
        pass(Duration::from_millis(10)).await;
    }
    // All have just spoken: whoever comes is sent away.
    let mut sent_away = rig.call();
    pass(Duration::from_millis(10)).await;
    assert!(is_closed(&mut sent_away).await);
    pass(SECOND * 2).await;
    let _asking = guests[0].1.visitor().asks();
    let (mut newcomer, _near) = (rig.call(), rig.seated().await);
    assert!(!is_closed(&mut newcomer).await);
    assert!(!is_closed(&mut guests[0].0).await, "it waits for an answer");
    assert!(is_closed(&mut guests[1].0).await, "of the others it was silent for longest");
    assert!(!is_closed(&mut guests[2].0).await);
    // The next one takes the newcomer's place, who is a stranger.
    let (_caller, _near) = (rig.call(), rig.seated().await);
    assert!(is_closed(&mut newcomer).await && !is_closed(&mut guests[2].0).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_connection_that_is_closed_is_told() {
    let mut rig = Rig::new();
    let (_caller, mut near) = (rig.call(), rig.seated().await);
    let reading = tokio::spawn(async move { near.read(&mut [0]).await });
    pass(SECOND * 11).await;
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test(start_paused = true)]
async fn failed_accepts_are_waited_out_and_strangers_go_for_them() {
    let mut rig = Rig::new();
    let (mut first, _one) = (rig.call(), rig.seated().await);
    let (mut second, _two) = (rig.call(), rig.seated().await);
    let began = Env::default().now();
    rig.callers.send(Err(io::Error::from_raw_os_error(24))).unwrap();
    let (_third, _three) = (rig.call(), rig.seated().await);
    assert!(Env::default().now() - began >= ACCEPT_PAUSE);
    assert!(is_closed(&mut first).await && !is_closed(&mut second).await);
}

#[test]
fn a_port_takes_a_quarter_of_the_descriptors() {
    assert_eq!(Limits::of_pages(1024).connections, 256);
    assert_eq!(Limits::of_pages(u64::MAX).connections, 4096);
    let patient = Limits::of_callers(256, Duration::from_secs(60));
    assert_eq!((patient.connections, patient.spared), (64, Duration::from_secs(120)));
}
