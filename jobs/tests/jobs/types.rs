//! Whatever type a column of a Parquet file has: what `explain` accepts runs to its end, and what it refuses is named.

use std::path::Path;
use std::sync::Arc;

use crate::support::{execute, rows};
use arrow::array::{
    ArrayRef, BinaryArray, Decimal256Array, FixedSizeBinaryArray, Float32Array, Int64Array, IntervalYearMonthArray,
    ListArray, RecordBatch, StringArray, StructArray, TimestampMillisecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit, i256};
use parquet::arrow::ArrowWriter;
use weir_jobs::{CompileOptions, parse};

/// What can be done with a column `v`: a section each, NAME in place of a name of its own.
const USES: &[(&str, &str)] = &[
    (
        "key",
        "[aggregate.NAME]\ninput = \"events\"\nkey = [\"v\"]\nwindow = { tumbling = \"1m\" }\nselect = { n = \"count(*)\" }\n[sink.NAME]\ninput = \"NAME\"\nconnector = \"files\"\npath = \"OUT/NAME\"\n",
    ),
    (
        "session_key",
        "[aggregate.NAME]\ninput = \"events\"\nkey = [\"v\"]\nwindow = { session = \"1m\" }\nselect = { n = \"count(*)\" }\n[sink.NAME]\ninput = \"NAME\"\nconnector = \"files\"\npath = \"OUT/NAME\"\n",
    ),
    (
        "dedup",
        "[dedup.NAME]\ninput = \"events\"\nkey = [\"v\", \"at\"]\nttl = \"1h\"\n[sink.NAME]\ninput = \"NAME\"\nconnector = \"files\"\npath = \"OUT/NAME\"\n",
    ),
    ("count", "AGGREGATE count(v)"),
    ("sum", "AGGREGATE sum(v)"),
    ("min", "AGGREGATE min(v)"),
    ("max", "AGGREGATE max(v)"),
    ("avg", "AGGREGATE avg(v)"),
    ("distinct", "AGGREGATE approx_distinct(v)"),
    ("distinct_exactly", "AGGREGATE count(distinct v)"),
    ("variance", "AGGREGATE var(v)"),
    ("correlation", "AGGREGATE corr(v, v)"),
    ("all", "AGGREGATE bool_and(v)"),
    ("bits", "AGGREGATE bit_xor(v)"),
    ("median", "AGGREGATE median(v)"),
    ("percentile", "AGGREGATE approx_percentile_cont(v, 0.5)"),
    ("first", "AGGREGATE first_value(v)"),
    ("by", "AGGREGATE max_by(ad_id, v) filter (where v is not null)"),
    ("list", "AGGREGATE array_agg(v)"),
    ("set", "AGGREGATE array_agg(distinct v, 2)"),
    (
        "condition",
        "[map.NAME]\ninput = \"events\"\nwhere = \"v is null or v = v\"\n[sink.NAME]\ninput = \"NAME\"\nconnector = \"files\"\npath = \"OUT/NAME\"\n",
    ),
    ("file", "[sink.NAME]\ninput = \"events\"\nconnector = \"files\"\npath = \"OUT/NAME\"\n"),
    (
        "compressed",
        "[sink.NAME]\ninput = \"events\"\nconnector = \"files\"\npath = \"OUT/NAME\"\ncompression = \"zstd\"\n",
    ),
    (
        "held",
        "[sink.NAME]\ninput = \"events\"\nconnector = \"files\"\npath = \"OUT/NAME\"\nroll = { every = \"1m\" }\n",
    ),
    (
        "table",
        "[sink.NAME]\ninput = \"events\"\nconnector = \"sql\"\nurl = \"sqlite:OUT/NAME.sqlite\"\ntable = \"t\"\nkey = [\"ad_id\"]\n",
    ),
];

const AGGREGATE: &str = "[aggregate.NAME]\ninput = \"events\"\nkey = [\"ad_id\"]\nwindow = { tumbling = \"1m\" }\nselect = { x = \"CALL\" }\n[sink.NAME]\ninput = \"NAME\"\nconnector = \"files\"\npath = \"OUT/NAME\"\n";

fn section(name: &str, text: &str) -> String {
    let text = match text.strip_prefix("AGGREGATE ") {
        Some(call) => AGGREGATE.replace("CALL", call),
        None => text.to_owned(),
    };
    text.replace("NAME", name)
}

fn definition(folder: &Path, sections: &str) -> String {
    let head = "[job]\nname = \"types\"\ncheckpoint = { interval = \"20ms\" }\n\
                [source.events]\nconnector = \"files\"\npath = \"OUT/in.parquet\"\nformat = \"parquet\"\nevent_time = \"at\"\n";
    format!("{head}{sections}").replace("OUT", folder.to_str().unwrap())
}

/// Three values of every type, the second a null.
fn columns() -> Vec<ArrayRef> {
    use DataType::{
        Boolean, Date32, Date64, Decimal32, Decimal128, Dictionary, Duration, Float16, Float64, Int8, Int32, Int64,
        LargeBinary, LargeUtf8, Time32, Time64, Timestamp, UInt64, Utf8,
    };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let small = cast(&numbers, &Int32).unwrap();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"ab"[..]), None, Some(&b"cd"[..])]));
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.5), None, Some(2.5)]));
    let mut columns: Vec<ArrayRef> = vec![numbers.clone(), texts.clone(), bytes.clone(), floats.clone()];
    let utc = || Some("UTC".into());
    let of_numbers = [
        Boolean,
        Int8,
        UInt64,
        Float64,
        Date64,
        Time64(TimeUnit::Microsecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Millisecond, utc()),
        Duration(TimeUnit::Microsecond),
        Decimal32(5, 2),
        Decimal128(9, 2),
        Decimal128(18, 0),
        Decimal128(38, 10),
        Dictionary(Box::new(Int8), Box::new(Int64)),
    ];
    columns.extend(of_numbers.iter().map(|data_type| cast(&numbers, data_type).unwrap()));
    let of_small = [Int32, Date32, Time32(TimeUnit::Second), Time32(TimeUnit::Millisecond)];
    columns.extend(of_small.iter().map(|data_type| cast(&small, data_type).unwrap()));
    let of_texts = [LargeUtf8, Dictionary(Box::new(Int32), Box::new(Utf8))];
    columns.extend(of_texts.iter().map(|data_type| cast(&texts, data_type).unwrap()));
    columns.push(cast(&bytes, &LargeBinary).unwrap());
    columns.push(cast(&floats, &Float16).unwrap());
    let fixed = [Some(*b"ab"), None, Some(*b"cd")];
    columns.push(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed.into_iter(), 2).unwrap()));
    let large = [Some(i256::from_i128(1)), None, Some(i256::from_i128(3))];
    columns.push(Arc::new(Decimal256Array::from_iter(large).with_precision_and_scale(60, 4).unwrap()));
    columns.push(Arc::new(IntervalYearMonthArray::from(vec![Some(1), None, Some(3)])));
    columns.push(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1)]),
        None,
        Some(vec![]),
    ])));
    let inner = Arc::new(Field::new("a", Int64, true));
    columns.push(Arc::new(StructArray::try_new(vec![inner].into(), vec![numbers], None).unwrap()));
    columns.push(new_null_array(&DataType::Null, 3));
    columns
}

fn write(path: &Path, column: &ArrayRef) {
    let at = TimestampMillisecondArray::from(vec![1_646_352_001_000, 1_646_352_002_000, 1_646_352_063_000]);
    let columns: [(&str, ArrayRef); 3] = [
        ("ad_id", Arc::new(StringArray::from(vec!["ad1", "ad2", "ad3"]))),
        ("at", Arc::new(at)),
        ("v", column.clone()),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

#[test]
fn what_explain_accepts_runs_whatever_the_type() {
    let options = CompileOptions { parallelism: Some(1), ..CompileOptions::default() };
    let mut refused = Vec::new();
    for column in columns() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("in.parquet"), &column);
        let mut accepted = Vec::new();
        for (name, text) in USES {
            match parse("job.toml", &definition(folder.path(), &section(name, text)), &[], &options) {
                Ok(_) => accepted.push((*name, section(name, text))),
                Err(refusal) => {
                    let told = refusal.to_string();
                    let named =
                        ["`v`", "(v)", "\"v\"", "(v, ", ", v)", "distinct v"].iter().any(|named| told.contains(named));
                    assert!(named, "{name}: {told}");
                    refused.push(format!("{name} of {}", column.data_type()));
                }
            }
        }
        let sections: String = accepted.iter().map(|(_, section)| section.as_str()).collect();
        let job = parse("job.toml", &definition(folder.path(), &sections), &[], &options).unwrap();
        execute(job, &folder.path().join("checkpoints"));
        let of = |name: &str| rows(&folder.path().join(name)).iter().map(RecordBatch::num_rows).sum::<usize>();
        for (name, _) in accepted.iter().filter(|(name, _)| *name != "table") {
            assert_eq!(of(name), 3, "{name} of {}", column.data_type());
        }
    }
    // What is common is not among what is refused.
    for common in [
        "key of Decimal128",
        "sum of Decimal128",
        "min of Time",
        "key of UInt64",
        "table of Decimal128",
        "dedup of Date",
    ] {
        assert!(!refused.iter().any(|refused| refused.starts_with(common)), "{common}: {refused:#?}");
    }
    assert!(refused.iter().any(|refused| refused == "key of Float32"), "{refused:#?}");
}
