//! What plain Parquet pages save: rows of counts and raw clicks into files, by our own pages and by the `parquet` crate's
//! `ArrowWriter` with dictionaries off, and with them.
//!
//! One thread, and no disk: the bytes of a row group are dropped as soon as they are there. All write the same row groups
//! with the same statistics, as the files sink does; they take turns within a round, in another order each time.

use anyhow::{Context, Result, ensure};
use arrow::{
    array::{
        ArrayRef, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
        TimestampMillisecondArray,
    },
    datatypes::{DataType, SchemaRef},
};
use clap::Args;
use parquet::{
    arrow::ArrowWriter,
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use weir_engine::{env::Env, parquet_pages::PlainParquetWriter};

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// Of a row group in memory, as the files sink has it.
const ROW_GROUP_BYTES: usize = 4 << 20;

/// Arguments of `weir-bench pages`.
#[derive(Debug, Args)]
pub struct PagesArguments {
    /// Rows of each shape
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    rows: usize,
    /// Ads, clicked by Zipf's law
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    ads: u64,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Rows that jobs write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Counts,
    Clicks,
}

impl Shape {
    const ALL: [Shape; 2] = [Shape::Counts, Shape::Clicks];

    fn name(self) -> &'static str {
        match self {
            Shape::Counts => "counts",
            Shape::Clicks => "raw clicks",
        }
    }
}

/// How they become a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    PlainPages,
    NoDictionaries,
    Dictionaries,
}

impl Way {
    const ALL: [Way; 3] = [Way::PlainPages, Way::NoDictionaries, Way::Dictionaries];

    fn name(self) -> &'static str {
        match self {
            Way::PlainPages => "plain pages",
            Way::NoDictionaries => "ArrowWriter, dictionaries off",
            Way::Dictionaries => "ArrowWriter, dictionaries on",
        }
    }
}

/// One way to write one shape, over all rounds.
struct Measured {
    shape: Shape,
    way: Way,
    spans: Vec<Duration>,
    bytes: usize,
}

impl Measured {
    fn seconds(&self) -> f64 {
        let mut spans = self.spans.clone();
        spans.sort();
        spans.get(spans.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// Measures.
///
/// # Errors
/// When a writer refuses.
pub fn pages(arguments: &PagesArguments) -> Result<()> {
    ensure!(arguments.rows > 0 && arguments.rounds > 0, "--rows and --rounds must not be 0");
    let env = Env::from_entropy();
    let mut all = Vec::new();
    for shape in Shape::ALL {
        let groups = groups(rows(shape, arguments)?);
        let mut measured = Way::ALL.map(|way| Measured { shape, way, spans: Vec::new(), bytes: 0 });
        // The first round is not counted: whoever begins would pay for the first touch of the memory.
        for round in 0..=arguments.rounds {
            for turn in 0..measured.len() {
                let one = &mut measured[(round + turn) % Way::ALL.len()];
                let before = env.now();
                let file = write(one.way, &groups, Keep::Length)?;
                if round > 0 {
                    one.spans.push(env.now().duration_since(before));
                }
                one.bytes = file.bytes;
            }
        }
        all.extend(measured);
    }
    report(arguments, &all);
    Ok(())
}

fn report(arguments: &PagesArguments, all: &[Measured]) {
    let rows = arguments.rows as f64;
    if arguments.json {
        let of = |one: &Measured| {
            json!({ "shape": one.shape.name(), "way": one.way.name(), "rows_per_second": rows / one.seconds(),
                "seconds": one.spans.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
                "bytes_per_row": one.bytes as f64 / rows })
        };
        println!("{}", json!({ "rows": arguments.rows, "runs": all.iter().map(of).collect::<Vec<_>>() }));
        return;
    }
    println!("| rows | written by | M rows/s | ns a row | bytes a row | as fast as dictionaries off |");
    println!("|---|---|--:|--:|--:|--:|");
    for one in all {
        let peer = all.iter().find(|other| other.shape == one.shape && other.way == Way::NoDictionaries);
        let ratio = peer.map_or(f64::NAN, |peer| peer.seconds() / one.seconds());
        println!(
            "| {} | {} | {:.2} | {:.0} | {:.1} | {ratio:.2} |",
            one.shape.name(),
            one.way.name(),
            rows / one.seconds() / 1e6,
            one.seconds() * 1e9 / rows,
            one.bytes as f64 / rows
        );
    }
}

/// What is kept of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Length,
    #[cfg(test)]
    Content,
}

#[derive(Debug, Default)]
struct Written {
    bytes: usize,
    content: Vec<u8>,
}

impl Written {
    fn take(&mut self, bytes: Vec<u8>, keep: Keep) {
        self.bytes += bytes.len();
        if keep != Keep::Length {
            self.content.extend(bytes);
        }
    }
}

fn write(way: Way, groups: &[Vec<RecordBatch>], keep: Keep) -> Result<Written> {
    let schema = groups.first().and_then(|group| group.first()).context("no rows")?.schema();
    let mut written = Written::default();
    match way {
        Way::PlainPages => {
            let mut writer = PlainParquetWriter::try_new(Vec::with_capacity(ROW_GROUP_BYTES), schema)?;
            for group in groups {
                writer.write_group(group)?;
                let next = Vec::with_capacity(writer.output_mut().len() / 16 * 17);
                written.take(std::mem::replace(writer.output_mut(), next), keep);
            }
            written.take(writer.finish()?.output, keep);
        }
        Way::NoDictionaries | Way::Dictionaries => {
            let properties = properties(&schema, way == Way::Dictionaries);
            let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
            for group in groups {
                for batch in group {
                    writer.write(batch)?;
                }
                writer.flush()?;
                writer.sync()?;
                written.take(std::mem::take(writer.inner_mut()), keep);
            }
            written.take(writer.into_inner()?, keep);
        }
    }
    Ok(written)
}

/// As the files sink has them: uncompressed, statistics of timestamps alone, and never a dictionary of hashes.
fn properties(schema: &SchemaRef, dictionaries: bool) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_dictionary_enabled(dictionaries);
    for field in schema.fields() {
        let column = ColumnPath::new(vec![field.name().clone()]);
        match field.data_type() {
            DataType::FixedSizeBinary(_) => properties = properties.set_column_dictionary_enabled(column, false),
            DataType::Timestamp(..) => {
                properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
            }
            _ => {}
        }
    }
    properties.build()
}

/// Batches by row group.
fn groups(batches: Vec<RecordBatch>) -> Vec<Vec<RecordBatch>> {
    let mut groups = vec![Vec::new()];
    let mut bytes = 0;
    for batch in batches {
        if bytes >= ROW_GROUP_BYTES {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += batch.get_array_memory_size();
        if let Some(group) = groups.last_mut() {
            group.push(batch);
        }
    }
    groups
}

fn rows(shape: Shape, arguments: &PagesArguments) -> Result<Vec<RecordBatch>> {
    let mut dice = StdRng::seed_from_u64(7);
    let zipf = Zipf::new(arguments.ads as f64, 1.1)?;
    let mut batches = Vec::new();
    let mut done = 0;
    while done < arguments.rows {
        let rows = BATCH_ROWS.min(arguments.rows - done);
        let ads: Vec<u64> = (0..rows).map(|_| zipf.sample(&mut dice) as u64).collect();
        batches.push(match shape {
            Shape::Counts => counts(&ads, done, &mut dice)?,
            Shape::Clicks => clicks(&ads, done, &mut dice)?,
        });
        done += rows;
    }
    Ok(batches)
}

/// Rows of an aggregate: of one minute, mostly in their first revision.
fn counts(ads: &[u64], done: usize, dice: &mut StdRng) -> Result<RecordBatch> {
    let minute = 1_646_352_000_000 + (done / 500_000) as i64 * 60_000;
    let ids = FixedSizeBinaryArray::try_from_iter(ads.iter().map(|_| dice.random::<u128>().to_be_bytes()))?;
    let times = |time: i64| -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(vec![time; ads.len()]).with_timezone("UTC"))
    };
    let filters = ads.iter().map(|_| if dice.random_bool(0.5) { "0000" } else { "0012" }).collect::<Vec<_>>();
    let counts = ads.iter().map(|ad| 1 + dice.random_range(0..(1_000 / (*ad as i64).clamp(1, 500))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("record_id", Arc::new(ids)),
        ("window_start", times(minute)),
        ("window_end", times(minute + 60_000)),
        ("ad_id", Arc::new(StringArray::from_iter_values(ads.iter().map(|ad| format!("ad{ad:06}"))))),
        ("filter_id", Arc::new(StringArray::from(filters))),
        ("count", Arc::new(Int64Array::from_iter_values(counts))),
        ("revision", Arc::new(Int32Array::from(vec![0; ads.len()]))),
        ("withdrawn", Arc::new(BooleanArray::from(vec![false; ads.len()]))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Clicks as the raw store keeps them, 10,000 a second.
fn clicks(ads: &[u64], done: usize, dice: &mut StdRng) -> Result<RecordBatch> {
    let mut text = |of: &mut dyn FnMut(u64, &mut StdRng) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(ads.iter().map(|ad| of(*ad, dice))))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ad_id", text(&mut |ad, _| format!("ad{ad:06}"))),
        ("user_id", text(&mut |_, dice| format!("user{}", dice.random_range(0..5_000_000)))),
        (
            "ip",
            text(&mut |_, dice| {
                let [a, b, c, d] = dice.random::<u32>().to_be_bytes();
                format!("{a}.{b}.{c}.{d}")
            }),
        ),
        ("country", text(&mut |_, dice| ["USA", "DEU", "JPN", "BRA", "IND"][dice.random_range(0..5)].into())),
        ("event_id", text(&mut |_, dice| format!("{:032x}", dice.random::<u128>()))),
    ];
    let times = (done..done + ads.len()).map(|row| 1_646_352_000_000 + row as i64 / 10);
    let mut all: Vec<(&str, ArrayRef, bool)> = columns.into_iter().map(|(name, column)| (name, column, true)).collect();
    let times = TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC");
    all.push(("click_timestamp", Arc::new(times), true));
    Ok(RecordBatch::try_from_iter_with_nullable(all)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::compute::concat_batches;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn every_way_writes_the_same_rows() {
        let arguments = PagesArguments { rows: 120_000, ads: 1_000, rounds: 1, json: false };
        for shape in Shape::ALL {
            let batches = rows(shape, &arguments).unwrap();
            let expected = concat_batches(&batches[0].schema(), &batches).unwrap();
            assert_eq!(expected.num_rows(), arguments.rows);
            let groups = groups(batches);
            assert!(groups.len() > 1, "{shape:?}: one row group");
            for way in Way::ALL {
                let file = write(way, &groups, Keep::Content).unwrap();
                assert_eq!(file.bytes, file.content.len());
                let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.content)).unwrap();
                assert_eq!(reader.metadata().num_row_groups(), groups.len());
                let schema = Arc::clone(reader.schema());
                let found: Vec<RecordBatch> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
                let found = concat_batches(&schema, &found).unwrap();
                assert!(found.columns() == expected.columns(), "{shape:?} by {way:?} are other rows");
            }
        }
    }
}
