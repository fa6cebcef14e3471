//! Files of Avro: read by a program of another make, and as results are read back.

use super::{
    text::{rows, written},
    *,
};
use crate::{
    format::{avro::container, testing::cells},
    sink::files::rows_of_file,
};
use std::process::Command;
use weir_test_support::needs_python;

const COMPRESSIONS: [(Compression, &str); 4] = [
    (Compression::None, "null"),
    (Compression::Deflate, "deflate"),
    (Compression::Snappy, "snappy"),
    (Compression::Zstd, "zstandard"),
];

/// The numbers in column `n`.
pub(super) fn numbers(bytes: &[u8]) -> Vec<i64> {
    let numbers = |batch: RecordBatch| batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec();
    container::batches(bytes).unwrap().into_iter().flat_map(numbers).collect()
}

fn target(compression: Compression, rows: &RecordBatch) -> Target {
    Target::memory().with(FileFormat::Avro, compression).for_rows(rows)
}

#[tokio::test]
async fn values_come_back_as_they_do_from_parquet() {
    // But for what is not finite, and a moment that no text can say.
    let rows = rows().project(&[0, 1, 2, 3, 5, 6, 8, 9, 10]).unwrap();
    let columns = ColumnSchema::from(rows.schema_ref().as_ref());
    let read = async |target: &Target| {
        let (path, bytes) = written(target, rows.clone()).await;
        rows_of_file(&path, bytes, &columns).unwrap().iter().flat_map(cells).collect::<Vec<_>>()
    };
    let expected = read(&Target::memory()).await;
    assert_eq!(expected.len(), 2);
    for (compression, _) in COMPRESSIONS {
        assert_eq!(read(&target(compression, &rows)).await, expected, "{compression:?}");
    }
}

#[tokio::test]
async fn blocks_are_compressed_as_asked_and_damage_is_told() {
    let rows = conformance::rows(0..1_000).columns;
    let columns = ColumnSchema::from(rows.schema_ref().as_ref());
    for (compression, codec) in COMPRESSIONS {
        let (path, bytes) = written(&target(compression, &rows), rows.clone()).await;
        assert!(path.ends_with("-0-0.avro"), "{path}");
        let codec = [b"avro.codec", &[codec.len() as u8 * 2][..], codec.as_bytes()].concat();
        assert!(memchr::memmem::find(&bytes, &codec).is_some(), "{compression:?}");
        let cut_off = rows_of_file(&path, bytes.slice(..bytes.len() - 1), &columns).unwrap_err();
        assert!(cut_off.message.contains(&path) && cut_off.message.contains("ends within a block"), "{cut_off}");
    }
}

/// Polars knows no blocks of Zstandard.
#[tokio::test]
async fn others_read_what_is_written() {
    let Some(python) = needs_python(&["polars"]) else { return };
    let rows = rows().project(&[0, 1, 2, 3, 4, 6, 8, 9, 10]).unwrap();
    for compression in [Compression::None, Compression::Deflate, Compression::Snappy] {
        let (_, bytes) = written(&target(compression, &rows), rows.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.avro");
        std::fs::write(&file, bytes).unwrap();
        let script = "import polars, sys; [print(*row, sep='|') for row in polars.read_avro(sys.argv[1]).rows()]";
        let output = Command::new(&python).args(["-c", script]).arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let first = "f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2|a \"b\",\n| plain |9223372036854775807|0.5|\
                     2022-03-04 00:00:01.500000+00:00|2022-03-04|-1|False\n";
        let second = "01010101-0101-0101-0101-010101010101||None|None|nan|None|None|2|True\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), [first, second].concat(), "{compression:?}: {told}");
    }
}
