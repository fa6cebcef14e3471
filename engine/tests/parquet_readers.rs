//! Files of plain pages are ordinary Parquet: the `parquet` crate, DuckDB, pyarrow and Polars read in them what was written.
//!
//! The last three need a Python that has them (`pip install duckdb pyarrow polars`); without it they are skipped, and in CI
//! they fail.

use arrow::{
    array::*,
    compute::{cast, concat_batches},
    datatypes::*,
    util::display::array_value_to_string,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{collections::BTreeMap, collections::HashMap, fs::File, path::Path, process::Command, sync::Arc};
use weir_engine::parquet_pages::PlainParquetWriter;
use weir_test_support::needs_python;

/// The texts of each column, as `parquet_readers.py` prints them.
type Texts = BTreeMap<String, Vec<Option<String>>>;

/// Rows of each file: enough for a row group whose levels and indices take several bytes.
const ROWS: usize = 3_000;

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn texts_of(column: &ArrayRef) -> Vec<Option<String>> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let number = |column: ArrayRef| cast(&column, &DataType::Int64).unwrap();
    let column = match column.data_type() {
        DataType::FixedSizeBinary(_) => {
            return column.as_fixed_size_binary().iter().map(|value| value.map(hex)).collect();
        }
        DataType::Binary => return column.as_binary::<i32>().iter().map(|value| value.map(hex)).collect(),
        DataType::Timestamp(..) => number(cast(column, &micros()).unwrap()),
        DataType::Time32(_) | DataType::Time64(_) => {
            number(cast(column, &DataType::Time64(TimeUnit::Microsecond)).unwrap())
        }
        DataType::Date32 => cast(column, &DataType::Int32).unwrap(),
        DataType::Duration(_) => number(cast(column, &DataType::Duration(TimeUnit::Millisecond)).unwrap()),
        _ => Arc::clone(column),
    };
    let text = |row: usize| (!column.is_null(row)).then(|| array_value_to_string(&column, row).unwrap());
    (0..column.len()).map(text).collect()
}

fn texts(rows: &RecordBatch) -> Texts {
    let names = rows.schema_ref().fields().iter().map(|field| field.name().clone());
    names.zip(rows.columns().iter().map(texts_of)).collect()
}

/// What differs first, since a whole column is too much to look at.
fn assert_same(reader: &str, found: &Texts, expected: &Texts) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{reader}");
    for (name, column) in expected {
        assert_eq!(found[name].len(), column.len(), "{reader}: rows of '{name}'");
        let differs = found[name].iter().zip(column).enumerate().find(|(_, (found, expected))| found != expected);
        assert!(differs.is_none(), "{reader}, '{name}': {differs:?}");
    }
}

/// All rows in a file of three row groups, the second of several batches, read by everybody.
fn check(name: &str, rows: &RecordBatch) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.parquet"));
    let mut writer = PlainParquetWriter::try_new(File::create(&path).unwrap(), rows.schema()).unwrap();
    let third = rows.num_rows() / 3;
    writer.write(&rows.slice(0, third)).unwrap();
    writer.write_group(&[rows.slice(third, third / 2), rows.slice(third + third / 2, third - third / 2)]).unwrap();
    writer.write(&rows.slice(2 * third, rows.num_rows() - 2 * third)).unwrap();
    assert_eq!(writer.finish().unwrap().row_groups, 3);

    let expected = texts(rows);
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    assert_same("parquet", &texts(&concat_batches(&schema, &batches).unwrap()), &expected);

    let Some(python) = needs_python(&["duckdb", "pyarrow", "polars"]) else { return };
    for reader in ["duckdb", "pyarrow", "polars"] {
        assert_same(reader, &read_by(&python, reader, &path), &expected);
    }
}

fn read_by(python: &Path, reader: &str, path: &Path) -> Texts {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parquet_readers.py");
    let output = Command::new(python).arg(script).arg(reader).arg(path).output().expect("Python runs");
    assert!(output.status.success(), "{reader}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("texts of columns")
}

fn record_ids(first: usize) -> ArrayRef {
    let ids =
        (first..first + ROWS).map(|row| (row as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060).to_be_bytes());
    Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
}

/// As an aggregate's counts are: some columns are one value throughout.
#[test]
fn counts() {
    let uuid = HashMap::from([("ARROW:extension:name".to_string(), "arrow.uuid".to_string())]);
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let strings = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = Schema::new(vec![
        Field::new("record_id", DataType::FixedSizeBinary(16), false).with_metadata(uuid),
        Field::new("ad_id", DataType::Utf8View, false),
        Field::new("filter_id", strings.clone(), false),
        Field::new("window_start", millis.clone(), false),
        Field::new("count", DataType::Int64, true),
        Field::new("revision", DataType::Int32, false),
        Field::new("withdrawn", DataType::Boolean, false),
    ]);
    let ads = StringViewArray::from_iter_values((0..ROWS).map(|row| format!("ad{:06}", row * 7)));
    let filters = StringArray::from_iter_values((0..ROWS).map(|row| ["0000", "0012"][row % 2]));
    let minutes = Int64Array::from_iter_values((0..ROWS).map(|row| 1_646_352_000_000 + row as i64 / 900 * 60_000));
    let counts = Int64Array::from_iter((0..ROWS).map(|row| (row % 500 != 9).then_some(row as i64 % 40)));
    let columns: Vec<ArrayRef> = vec![
        record_ids(1),
        Arc::new(ads),
        cast(&filters, &strings).unwrap(),
        cast(&minutes, &millis).unwrap(),
        Arc::new(counts),
        Arc::new(Int32Array::from(vec![0; ROWS])),
        Arc::new(BooleanArray::from_iter((0..ROWS).map(|row| Some(row % 500 == 9)))),
    ];
    check("counts", &RecordBatch::try_new(Arc::new(schema), columns).unwrap());
}

/// As clicks are in the raw store: texts, some of them missing, some of them not ASCII, some of them empty.
#[test]
fn raw_clicks() {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let text = |row: usize, name: &str| match row % 11 {
        3 => None,
        5 => Some(String::new()),
        7 => Some(format!("{name} é 漢字 {row}")),
        _ => Some(format!("{name}{}", row % 97)),
    };
    let times = Int64Array::from_iter((0..ROWS).map(|row| (row % 13 != 4).then_some(row as i64 * 977 - 50_000)));
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![("click_timestamp", cast(&times, &millis).unwrap(), true)];
    for name in ["ad_id", "user_id", "ip", "country", "event_id"] {
        columns.push((name, Arc::new(StringArray::from_iter((0..ROWS).map(|row| text(row, name)))), true));
    }
    columns.push(("nothing", Arc::new(StringArray::new_null(ROWS)), true));
    check("clicks", &RecordBatch::try_from_iter_with_nullable(columns).unwrap());
}

/// A column of every other type that has plain pages, with nulls and without.
#[test]
fn every_type() {
    use DataType::*;
    let types = [
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Date32,
        Timestamp(TimeUnit::Second, Some("UTC".into())),
        Timestamp(TimeUnit::Microsecond, None),
        Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        LargeUtf8,
        Binary,
        FixedSizeBinary(3),
        Decimal128(9, 2),
        Decimal128(18, 0),
        Decimal128(28, 10),
        Decimal128(38, 5),
    ];
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
    for (number, data_type) in types.iter().enumerate() {
        for nullable in [false, true] {
            let value = |row: usize| (!nullable || row % 7 != 2).then_some(row as i64);
            let column = column(data_type, &(0..ROWS).map(value).collect::<Vec<_>>());
            columns.push((format!("c{number}{}", if nullable { "_nullable" } else { "" }), column, nullable));
        }
    }
    check("types", &RecordBatch::try_from_iter_with_nullable(columns).unwrap());
}

/// Numbers of both signs where the type has both, halves where it has fractions, made of small ones.
fn column(data_type: &DataType, values: &[Option<i64>]) -> ArrayRef {
    let numbers = |of: fn(i64) -> i64| Int64Array::from_iter(values.iter().map(|value| value.map(of)));
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(|value| value.map(|v| v % 3 == 0)))),
        DataType::Binary => {
            let bytes = |value: i64| value.to_be_bytes()[(value % 8) as usize..].to_vec();
            Arc::new(BinaryArray::from_iter(values.iter().map(|value| value.map(bytes))))
        }
        DataType::FixedSizeBinary(width) => {
            let bytes = |value: i64| value.to_be_bytes()[8 - *width as usize..].to_vec();
            let values = values.iter().map(|value| value.map(bytes));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *width).unwrap())
        }
        DataType::LargeUtf8 => cast(&numbers(|value| value * 31), data_type).unwrap(),
        DataType::Float32 | DataType::Float64 => {
            let halves = Float64Array::from_iter(values.iter().map(|value| value.map(|v| v as f64 / 2.0 - 700.0)));
            cast(&halves, data_type).unwrap()
        }
        DataType::Decimal128(precision, scale) => {
            let number = |value: i64| i128::from(value - 1_500) * 10i128.pow(u32::from(precision - 5)) + 1;
            let decimals = Decimal128Array::from_iter(values.iter().map(|value| value.map(number)));
            Arc::new(decimals.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Int8 => cast(&numbers(|value| value % 256 - 128), data_type).unwrap(),
        DataType::UInt8 => cast(&numbers(|value| value % 256), data_type).unwrap(),
        DataType::Date32 => {
            cast(&cast(&numbers(|value| value * 11 - 9_000), &DataType::Int32).unwrap(), data_type).unwrap()
        }
        DataType::Time32(_) => {
            cast(&cast(&numbers(|value| value * 28_000), &DataType::Int32).unwrap(), data_type).unwrap()
        }
        DataType::Time64(TimeUnit::Nanosecond) => cast(&numbers(|value| value * 28_000_001_000), data_type).unwrap(),
        DataType::Time64(_) => cast(&numbers(|value| value * 28_000_001), data_type).unwrap(),
        DataType::Timestamp(TimeUnit::Second, _) => {
            cast(&numbers(|value| value * 100_003 - 9_000_000), data_type).unwrap()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            cast(&numbers(|value| value * 1_000_003_000_000 - 9_000_000_000_000), data_type).unwrap()
        }
        DataType::Timestamp(..) => cast(&numbers(|value| value * 1_000_003 - 9_000_000), data_type).unwrap(),
        unsigned if unsigned.is_unsigned_integer() => cast(&numbers(|value| value * 9), data_type).unwrap(),
        _ => cast(&numbers(|value| value * 9 - 13_000), data_type).unwrap(),
    }
}
