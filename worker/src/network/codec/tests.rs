use super::*;
use crate::network::{
    Compression, NetworkSettings,
    frame::{Frame, FrameDecoder, FrameKind, HEADER_BYTES, Header, flags},
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, DictionaryArray, FixedSizeBinaryBuilder, Float64Array,
        Int64Array, ListArray, NullArray, StringArray, StringViewArray, StructArray, TimestampMillisecondArray,
        UInt32Array,
    },
    datatypes::{DataType, Field, Int8Type, Int32Type, Int64Type, Schema},
    ipc::{
        CompressionType,
        writer::{IpcWriteOptions, StreamEncoder},
    },
    record_batch::{RecordBatch, RecordBatchOptions},
};
use bytes::BufMut;
use proptest::prelude::*;
use std::sync::Arc;
use weir_engine::element::{Batch, KeyHashes};

const KINDS: u8 = 14;

fn settings(compression: Compression, max_frame_bytes: usize) -> NetworkSettings {
    NetworkSettings { compression, max_frame_bytes, ..NetworkSettings::new("a", "") }
}

/// Numbers that look like chance.
fn number(seed: u64, row: usize) -> u64 {
    (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ row as u64).wrapping_mul(0xd129_0d3a_5f5a_9d31) >> 33
}

fn text(seed: u64, row: usize) -> Option<String> {
    let number = number(seed, row);
    (!number.is_multiple_of(7)).then(|| "text ".repeat((number % 9) as usize) + &number.to_string())
}

/// A column of one of the sorts that jobs have, or could have.
fn column(kind: u8, seed: u64, rows: usize) -> ArrayRef {
    let numbers = || (0..rows).map(|row| number(seed, row) as i64);
    let nullable = || numbers().map(|number| (number % 5 != 0).then_some(number));
    let texts = || (0..rows).map(|row| text(seed, row));
    match kind % KINDS {
        0 => Arc::new(Int64Array::from_iter_values(numbers())),
        1 => Arc::new(nullable().collect::<Int64Array>()),
        2 => Arc::new(TimestampMillisecondArray::from_iter(nullable()).with_timezone("UTC")),
        3 => Arc::new(texts().collect::<StringArray>()),
        4 => Arc::new(texts().collect::<StringViewArray>()),
        5 => Arc::new(nullable().map(|number| number.map(|number| number % 2 == 0)).collect::<BooleanArray>()),
        6 => Arc::new(Float64Array::from_iter_values(numbers().map(|number| number as f64 / 3.0))),
        7 => {
            let mut ids = FixedSizeBinaryBuilder::new(16);
            numbers().for_each(|number| ids.append_value(i128::from(number).to_le_bytes()).unwrap());
            Arc::new(ids.finish())
        }
        8 => {
            let texts: Vec<_> = texts().collect();
            Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
        }
        9 => Arc::new(
            nullable().map(|n| n.map(|n| ["a", "b", "c"][(n % 3) as usize])).collect::<DictionaryArray<Int8Type>>(),
        ),
        10 => {
            let lists = numbers().map(|n| (n % 4 != 0).then(|| (0..n % 5).map(Some).collect::<Vec<_>>()));
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))
        }
        11 => {
            let fields = vec![
                (Arc::new(Field::new("n", DataType::Int64, true)), column(1, seed, rows)),
                (Arc::new(Field::new("s", DataType::Utf8, true)), column(3, seed + 1, rows)),
            ];
            if rows == 0 { column(0, seed, rows) } else { Arc::new(StructArray::from(fields)) }
        }
        12 => Arc::new(NullArray::new(rows)),
        _ => Arc::new(texts().map(|text| text.map(String::into_bytes)).collect::<BinaryViewArray>()),
    }
}

fn batch_of(columns: Vec<ArrayRef>) -> Batch {
    let fields = columns.iter().enumerate();
    let fields: Vec<_> =
        fields.map(|(index, column)| Field::new(format!("c{index}"), column.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(columns.first().map_or(3, |column| column.len())));
    Batch::new(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap())
}

/// With split watermarks (1) and key hashes (2), or none.
fn attach(mut batch: Batch, attachments: u8) -> Batch {
    let rows = batch.len();
    if attachments & 1 != 0 {
        batch.split_watermarks = Some((0..rows as i64).map(|row| row * 1000 - 5).collect());
    }
    if attachments & 2 != 0 {
        let hashes = (0..rows).map(|row| u128::from(number(9, row)) << 64 | row as u128).collect();
        let columns = vec!["ad_id".to_string(), "country".to_string()].into();
        batch.key_hashes = Some(KeyHashes { columns, hashes: Arc::new(hashes) });
    }
    batch
}

/// As a receiver gets it.
fn read(frame: &EncodedFrame, max_body: usize) -> Frame {
    let mut decoder = FrameDecoder::new(max_body);
    let bytes = frame.bytes.to_vec();
    let (head, body) = bytes.split_at(HEADER_BYTES);
    decoder.space().put_slice(head);
    if decoder.next_frame().unwrap().is_none() {
        decoder.space().put_slice(body);
    }
    decoder.next_frame().unwrap().expect("the frame is whole")
}

/// Through an encoder and a decoder; the parts of a batch put together again.
fn pass(encoder: &mut BatchEncoder, decoder: &mut BatchDecoder, batch: &Batch, max_body: usize) -> Vec<Batch> {
    let frames = encoder.encode(batch).unwrap();
    frames
        .iter()
        .map(|frame| {
            let frame_read = read(frame, max_body);
            assert_eq!(frame.cost, frame_read.header.cost());
            decoder.decode(frame_read).unwrap()
        })
        .collect()
}

fn check_same(found: &[Batch], expected: &Batch) {
    let columns: Vec<_> = found.iter().map(|batch| batch.columns.clone()).collect();
    let schema = expected.columns.schema();
    let columns =
        if let [one] = &columns[..] { one.clone() } else { arrow::compute::concat_batches(&schema, &columns).unwrap() };
    assert_eq!((columns.schema(), columns.num_rows()), (schema, expected.len()));
    for (one, other) in columns.columns().iter().zip(expected.columns.columns()) {
        assert_eq!(one.as_ref(), other.as_ref());
    }
    let watermarks = |batch: &Batch| batch.split_watermarks.as_ref().map(|watermarks| watermarks.to_vec());
    let all = found.iter().map(watermarks).collect::<Option<Vec<_>>>().map(|parts| parts.concat());
    assert_eq!(all, watermarks(expected));
    let hashes = |batch: &Batch| batch.key_hashes.as_ref().map(|key| key.hashes.to_vec());
    let all = found.iter().map(hashes).collect::<Option<Vec<_>>>().map(|parts| parts.concat());
    assert_eq!(all, hashes(expected));
    let names = |batch: &Batch| batch.key_hashes.as_ref().map(|key| key.columns.to_vec());
    assert!(found.iter().all(|batch| names(batch) == names(expected)));
}

proptest! {
    #[test]
    fn batches_arrive_as_they_were(
        kinds in proptest::collection::vec(0..KINDS, 0..6),
        batches in proptest::collection::vec((0usize..150, 0usize..40, any::<u64>(), 0u8..4, 0u8..8), 1..6),
        lz4 in any::<bool>(),
        small_frames in any::<bool>(),
    ) {
        let compression = if lz4 { Compression::Lz4 } else { Compression::None };
        let max_body = if small_frames { 16_000 } else { 1 << 20 };
        let mut encoder = BatchEncoder::new(1, 0, &settings(compression, max_body));
        let mut decoder = BatchDecoder::default();
        let mut kinds = kinds;
        for (rows, offset, seed, attachments, change) in batches {
            if change == 0 {
                kinds.push(seed as u8 % KINDS);
            }
            // Few seeds, so that dictionaries come again.
            let columns = kinds.iter().map(|kind| column(*kind, seed % 3, rows + offset + 7));
            let batch = attach(batch_of(columns.collect()), attachments);
            let batch = if kinds.is_empty() { batch } else { batch.slice(offset, rows) };
            check_same(&pass(&mut encoder, &mut decoder, &batch, max_body), &batch);
        }
    }

    #[test]
    fn a_mutated_body_gives_an_error_or_valid_columns(
        kinds in proptest::collection::vec(0..KINDS, 1..4),
        lz4 in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let compression = if lz4 { Compression::Lz4 } else { Compression::None };
        let batch = attach(batch_of(kinds.iter().map(|kind| column(*kind, 1, 20)).collect()), 3);
        let mut encoder = BatchEncoder::new(1, 0, &settings(compression, 1 << 20));
        let frames = encoder.encode(&batch).unwrap();
        let mut frame = read(&frames[0], 1 << 20);
        let mut body = frame.body.to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] ^= byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        frame.body = body.into();
        if let Ok(batch) = BatchDecoder::default().decode(frame) {
            for column in batch.columns.columns() {
                column.to_data().validate_full().unwrap();
            }
        }
    }

    #[test]
    fn noise_as_a_body_gives_an_error(body in proptest::collection::vec(any::<u8>(), 0..300), flag in 0u8..16) {
        let header = Header { flags: flag, ..Header::new(FrameKind::Batch, 1, 0, body.len()) };
        let decoded = BatchDecoder::default().decode(Frame { header, body: body.into() });
        prop_assert!(decoded.is_err());
    }
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let batch = attach(batch_of(vec![column(0, 1, 5), column(8, 1, 5)]), 3);
    let frame =
        read(&BatchEncoder::new(1, 0, &settings(Compression::None, 1 << 20)).encode(&batch).unwrap()[0], 1 << 20);
    for length in 0..frame.body.len() {
        let cut = Frame { header: frame.header, body: frame.body.slice(..length) };
        assert!(BatchDecoder::default().decode(cut).is_err(), "after {length} bytes");
    }
}

#[test]
fn a_body_that_claims_more_than_it_is_gets_no_memory_for_it() {
    let batch = batch_of(vec![Arc::new(Int64Array::from(vec![1; 1000]))]);
    let frame =
        read(&BatchEncoder::new(1, 0, &settings(Compression::Lz4, 1 << 20)).encode(&batch).unwrap()[0], 1 << 20);
    assert_ne!(frame.header.flags & flags::LZ4, 0, "it was worth compressing");
    let mut shorter = frame.clone();
    shorter.header.raw_length -= 1;
    assert!(BatchDecoder::default().decode(shorter).unwrap_err().to_string().contains("LZ4"));
    let mut longer = frame;
    longer.header.raw_length += 1;
    assert!(BatchDecoder::default().decode(longer).unwrap_err().to_string().contains("without compression"));
}

#[test]
fn buffers_compressed_one_by_one_are_refused_whatever_length_they_claim() {
    let batch = batch_of(vec![Arc::new(Int64Array::from(vec![1; 1000]))]);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let mut encoder = StreamEncoder::try_new_with_options(&batch.columns.schema(), options).unwrap();
    let columns: Vec<u8> = encoder.encode(&batch.columns).unwrap().iter().flat_map(|buffer| buffer.to_vec()).collect();
    let mut body = [1000u32, columns.len() as u32, 0].map(u32::to_le_bytes).concat();
    body.resize(PREFIX_BYTES, 0);
    body.extend_from_slice(&columns);
    let header = Header { flags: flags::SCHEMA, ..Header::new(FrameKind::Batch, 1, 0, body.len()) };
    let error = BatchDecoder::default().decode(Frame { header, body: body.into() }).unwrap_err();
    assert!(error.to_string().contains("compressed one by one"), "{error}");
}

#[test]
fn the_schema_goes_once_and_a_dictionary_when_it_changes() {
    let mut encoder = BatchEncoder::new(1, 0, &settings(Compression::None, 1 << 20));
    let mut decoder = BatchDecoder::default();
    let values: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..100).map(|value| format!("a long value {value}"))));
    let of = |values: &ArrayRef, rows: i32| {
        let keys = (0..rows).map(|row| row % values.len() as i32).collect();
        batch_of(vec![Arc::new(DictionaryArray::<Int32Type>::new(keys, values.clone()))])
    };
    let mut lengths = Vec::new();
    let grown: ArrayRef = {
        let more: ArrayRef = Arc::new(StringArray::from(vec!["one more"]));
        arrow::compute::concat(&[&values, &more]).unwrap()
    };
    for (dictionary, begins) in [(&values, true), (&values, false), (&grown, false), (&grown, false)] {
        let batch = of(dictionary, 200);
        let frame = &encoder.encode(&batch).unwrap()[0];
        let frame_read = read(frame, 1 << 20);
        assert_eq!(frame_read.header.flags & flags::SCHEMA != 0, begins);
        check_same(&[decoder.decode(frame_read).unwrap()], &batch);
        lengths.push(frame.bytes.len());
    }
    assert!(lengths[0] > lengths[3] + 1700, "schema and dictionary go with the first batch alone: {lengths:?}");
    assert_eq!(lengths[1], lengths[3]);
    assert!(lengths[2] < lengths[1] + 800, "what was added to a dictionary goes alone: {lengths:?}");
}

#[test]
fn a_dictionary_much_larger_than_its_batches_is_cut_until_it_has_earned_its_way() {
    let mut encoder = BatchEncoder::new(1, 0, &settings(Compression::None, 1 << 20));
    let mut decoder = BatchDecoder::default();
    let values: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..1000).map(|value| format!("a long value {value}"))));
    let mut lengths = Vec::new();
    for batch in 0..20 {
        let keys = (0..100).map(|row| (row % 7 != 0).then_some((batch * 37 + row) % 1000)).collect();
        let batch = batch_of(vec![Arc::new(DictionaryArray::<Int32Type>::new(keys, values.clone()))]);
        let frame = &encoder.encode(&batch).unwrap()[0];
        check_same(&[decoder.decode(read(frame, 1 << 20)).unwrap()], &batch);
        lengths.push(frame.bytes.len());
    }
    assert!(lengths[..9].iter().all(|length| *length < 5000), "values in use only: {lengths:?}");
    assert!(lengths[9] > 15_000, "once as many rows as values have come: {lengths:?}");
    assert!(lengths[10..].iter().all(|length| *length < 1200), "keys only: {lengths:?}");
}

#[test]
fn only_the_rows_of_a_slice_and_the_texts_in_use_are_sent() {
    let batch = attach(batch_of((0..KINDS).filter(|kind| *kind != 8).map(|kind| column(kind, 1, 10_000)).collect()), 3);
    let mut encoder = BatchEncoder::new(1, 0, &settings(Compression::None, 16 << 20));
    encoder.encode(&batch.slice(0, 1)).unwrap();
    let slice = encoder.encode(&batch.slice(5000, 10)).unwrap();
    assert!(slice[0].bytes.len() < 8000, "{} bytes for 10 rows", slice[0].bytes.len());
    let rows = UInt32Array::from_iter_values((0..10).map(|row| row * 1000));
    let taken = encoder.encode(&batch.take(&rows).unwrap()).unwrap();
    assert!(taken[0].bytes.len() < 8000, "{} bytes for 10 rows", taken[0].bytes.len());
}

#[test]
fn a_batch_that_is_too_long_goes_in_parts_and_a_row_that_is_too_long_is_refused() {
    let mut encoder = BatchEncoder::new(1, 0, &settings(Compression::None, 4096));
    let mut decoder = BatchDecoder::default();
    let batch = attach(batch_of(vec![column(0, 1, 5000), column(9, 1, 5000)]), 3);
    let parts = pass(&mut encoder, &mut decoder, &batch, 4096);
    assert!(parts.len() > 30);
    check_same(&parts, &batch);
    let long = batch_of(vec![Arc::new(StringArray::from(vec!["x".repeat(5000)]))]);
    assert!(encoder.encode(&long).unwrap_err().message.contains("max_frame_bytes"));
    let after = attach(batch_of(vec![column(0, 1, 10)]), 0);
    check_same(&pass(&mut encoder, &mut decoder, &after, 4096), &after);
}

#[test]
fn columns_are_used_where_they_were_read() {
    let batch = batch_of(vec![column(0, 1, 1000)]);
    let frame = &BatchEncoder::new(1, 0, &settings(Compression::None, 1 << 20)).encode(&batch).unwrap()[0];
    let frame = read(frame, 1 << 20);
    let range = frame.body.as_ptr_range();
    let decoded = BatchDecoder::default().decode(frame.clone()).unwrap();
    let values = decoded.columns.column(0).as_primitive::<Int64Type>().values().as_ptr().cast();
    assert!(range.contains(&values), "the column was copied");
}
