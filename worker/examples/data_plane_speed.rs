//! How fast batches go from one worker to another over loopback: `cargo run --release -p weir-worker --example data_plane_speed`.
//!
//! Both workers are in this process, each data plane on a thread of its own, as are the producing and the consuming subtasks.
//! An argument sets the number of rows (default: 20 million).

use arrow::{
    array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, TimestampMillisecondArray},
    datatypes::Int32Type,
    record_batch::RecordBatch,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use weir_engine::{
    channel::{ChannelReceiver, RemoteSender, local_channels},
    element::{Batch, KeyHashes, StreamElement},
    env::Env,
    error::Result,
    ids::{Attempt, ChannelId, SubtaskId},
};
use weir_proto::net::TcpNetwork;
use weir_worker::network::{AttemptKey, AttemptNetwork, Compression, DataPlane, NetworkSettings, Token, TrafficCounts};

const BATCH_ROWS: usize = 8192;

fn main() -> Result<()> {
    let argument = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let rows: usize = argument.unwrap_or(20_000_000);
    println!(
        "{rows} rows in batches of {BATCH_ROWS}; columns: time, two numbers, text, dictionary; key hashes beside them"
    );
    for (compression, rows) in [(Compression::None, rows), (Compression::Lz4, rows / 4)] {
        for channels in [1, 4] {
            measure(compression, channels, rows)?;
        }
    }
    Ok(())
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn measure(compression: Compression, channels: usize, rows: usize) -> Result<()> {
    let (network_a, network_b, tasks) = (runtime()?, runtime()?, runtime()?);
    let batches = rows / BATCH_ROWS / channels;
    let env = Env::from_entropy();
    let (elapsed, traffic) = tasks.block_on(async {
        let (planes, networks, senders, gate) = connect(compression, channels, &env, [&network_a, &network_b]).await?;
        let begin = env.now();
        let mut subtasks = JoinSet::new();
        for sender in senders {
            subtasks.spawn(produce(sender, batches));
        }
        let consumed = tasks.spawn(consume(gate, channels)).await.map_err(std::io::Error::other)??;
        assert_eq!(consumed, batches * BATCH_ROWS * channels, "every row has arrived");
        let elapsed = env.now() - begin;
        while let Some(produced) = subtasks.join_next().await {
            produced.map_err(std::io::Error::other)??;
        }
        networks[0].finish().await;
        let traffic: TrafficCounts = planes[0].traffic();
        Result::<_>::Ok((elapsed.as_secs_f64(), traffic))
    })?;
    let (rows, bytes) = ((batches * BATCH_ROWS * channels) as f64, traffic.sent_bytes as f64);
    println!(
        "{compression:?}, {channels} channels: {:.1} M rows/s, {:.0} MB/s, {:.1} bytes a row, {rows} rows in {elapsed:.2} s",
        rows / elapsed / 1e6,
        bytes / elapsed / 1e6,
        bytes / rows,
    );
    Ok(())
}

type Connected = ([DataPlane; 2], [AttemptNetwork; 2], Vec<Box<dyn RemoteSender>>, ChannelReceiver);

async fn connect(
    compression: Compression,
    channels: usize,
    env: &Env,
    [runtime_a, runtime_b]: [&Runtime; 2],
) -> Result<Connected> {
    let settings = |worker: &str| NetworkSettings { compression, ..NetworkSettings::new(worker, "127.0.0.1:0") };
    let network = Arc::new(TcpNetwork);
    let a = DataPlane::start(network.clone(), env.clone(), settings("a"), runtime_a.handle().clone()).await?;
    let b = DataPlane::start(network, env.clone(), settings("b"), runtime_b.handle().clone()).await?;
    let key = AttemptKey { job: "speed".into(), attempt: Attempt(1) };
    let token = Token::new(*b"of no importance");
    let channel = |index| ChannelId {
        edge: 0,
        producer: SubtaskId { task: 0, index },
        consumer: SubtaskId { task: 1, index: 0 },
    };
    let (ends, gate) = local_channels(channels, 1 << 20);
    let inbound: BTreeMap<_, _> =
        ends.into_iter().enumerate().map(|(index, end)| (("a".to_string(), channel(index)), end)).collect();
    let complain = Arc::new(|failure: weir_worker::network::ConnectionFailure| eprintln!("{}", failure.error));
    let receiving = b.open(key.clone(), token.clone(), inbound, complain.clone())?;
    let sending = a.open(key, token, BTreeMap::new(), complain)?;
    let senders =
        (0..channels).map(|index| sending.sender("b", b.address(), channel(index))).collect::<Result<Vec<_>>>()?;
    sending.connect().await?;
    Ok(([a, b], [sending, receiving], senders, gate))
}

async fn produce(sender: Box<dyn RemoteSender>, batches: usize) -> Result<()> {
    // Slices of a larger batch, as a source or a partitioner gives them.
    let large = clicks(BATCH_ROWS * 4)?;
    for index in 0..batches {
        sender.send(StreamElement::Batch(large.slice(index % 4 * BATCH_ROWS, BATCH_ROWS))).await?;
        tokio::task::coop::consume_budget().await;
    }
    sender.send(StreamElement::EndOfInput).await
}

async fn consume(mut gate: ChannelReceiver, channels: usize) -> Result<usize> {
    let (mut rows, mut ended) = (0, 0);
    while ended < channels {
        match gate.receive().await?.1 {
            StreamElement::Batch(batch) => rows += batch.len(),
            StreamElement::EndOfInput => ended += 1,
            _ => {}
        }
    }
    Ok(rows)
}

/// Something like clicks.
fn clicks(rows: usize) -> Result<Batch> {
    let numbers = || (0..rows as i64).map(|row| row.wrapping_mul(0x9e37_79b9) % 1_000_003);
    let time: ArrayRef =
        Arc::new(TimestampMillisecondArray::from_iter_values(numbers().map(|n| 1_700_000_000_000 + n / 100)));
    let ad: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers().map(|n| n % 2000)));
    let user: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
    let ip: ArrayRef = Arc::new(StringArray::from_iter_values(
        numbers().map(|n| format!("{}.{}.{}.7", n % 223, n / 223 % 256, n / 60_000 % 256)),
    ));
    let countries: ArrayRef = Arc::new(StringArray::from(vec!["USA", "DEU", "FRA", "JPN", "BRA", "IND"]));
    let keys = Int32Array::from_iter_values(numbers().map(|n| (n % 6) as i32));
    let country: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, countries)?);
    let columns = [("time", time), ("ad", ad), ("user", user), ("ip", ip), ("country", country)];
    let hashes = Arc::new(numbers().map(|n| u128::from(n as u64) << 64 | n as u128).collect());
    let key_hashes = Some(KeyHashes { columns: vec!["ad".to_string()].into(), hashes });
    Ok(Batch { key_hashes, ..Batch::new(RecordBatch::try_from_iter(columns)?) })
}
