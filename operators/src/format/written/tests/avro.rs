//! Records of Avro.

use super::*;
use crate::format::{avro::RecordSchema, registry::testing::TestRegistry};
use proptest::prelude::*;
use std::{fs, io::Write, process::Command};
use weir_engine::error::ErrorKind;
use weir_test_support::needs_python;

/// The schema of a file, and what is told of it for rows.
fn of_file(schema: &Value, rows: &RecordBatch) -> WrittenFormat {
    let (format, wrong) = told_of_file(schema, rows);
    assert_eq!(wrong, [""; 0]);
    stored(&format, &columns_of(rows))
}

fn told_of_file(schema: &Value, rows: &RecordBatch) -> (WrittenFormat, Vec<String>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(schema.to_string().as_bytes()).unwrap();
    told(json!({ "format": "avro", "schema": { "file": file.path() } }), &columns_of(rows))
}

fn record(fields: Value) -> Value {
    json!({ "type": "record", "name": "Row", "namespace": "ads", "fields": fields })
}

fn derived(rows: &RecordBatch) -> Value {
    serde_json::from_str(&crate::format::avro::derived("Row", &columns_of(rows)).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let rows = rows();
    let format = of_file(&derived(&rows), &rows);
    let records = written(&format, &rows).await;
    let names: Vec<&str> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let ids = ["f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2", "01010101-0101-0101-0101-010101010101"];
    let first = [
        "ad1",
        "1970-01-01T00:00:01.500Z",
        "2022-03-04",
        "9223372036854775807",
        "0.5",
        "-1.50",
        "true",
        "AP8=",
        "[1,-2]",
        "0",
    ];
    let second = ["-", "-", "-", "-1", "-", "-", "-", "-", "-", "3"];
    let expected: Vec<Vec<String>> = [(ids[0], first), (ids[1], second)]
        .map(|(id, rest)| std::iter::once(id).chain(rest).map(str::to_owned).collect())
        .into();
    assert_eq!(read_back(&format, &records, &names).await, expected);
    // However a batch has its texts, and wherever it was cut out of a larger one.
    assert_eq!(written(&format, &rows.slice(1, 1)).await[..], records[1..]);
}

#[tokio::test]
async fn the_bytes_are_those_of_the_specification() {
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(vec![-3])) as ArrayRef, false),
        ("kind", texts(&[Some("CLICK")]), false),
        ("note", texts(&[None]), true),
        ("id", Arc::new(FixedSizeBinaryArray::try_from_iter([[7u8; 16]].into_iter()).unwrap()), false),
    ]);
    let schema = record(json!([
        { "name": "id", "type": { "type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid" } },
        { "name": "note", "type": ["string", "null"] },
        { "name": "n", "type": "int" },
        { "name": "kind", "type": { "type": "enum", "name": "Kind", "symbols": ["VIEW", "CLICK"] } },
        { "name": "absent", "type": ["null", "long"], "default": null },
    ]));
    let rows = rows.unwrap();
    let records = written(&of_file(&schema, &rows), &rows).await;
    // Sixteen bytes, the second branch, zigzag of -3, the second symbol, the first branch.
    assert_eq!(records[0].as_ref().unwrap()[..], [&[7; 16][..], &[2], &[5], &[2], &[0]].concat());
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_refused_and_no_other() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::from(i32::MAX) + 1, 3]));
    let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let records = written(&of_file(&record(json!([{ "name": "n", "type": "int" }])), &rows), &rows).await;
    let reason = "n is 2147483648, which its field of type Int32 can't hold";
    assert_eq!(reasons(&records), [None, Some(reason), None]);
    assert_eq!((&records[0].as_ref().unwrap()[..], &records[2].as_ref().unwrap()[..]), (&[2][..], &[6][..]));

    let schema = record(json!([{ "name": "k", "type": ["null", { "type": "enum", "name": "K", "symbols": ["A"] }] }]));
    let rows = one("k", texts(&[Some("A"), Some("B"), None]));
    let records = written(&of_file(&schema, &rows), &rows).await;
    assert_eq!(reasons(&records), [None, Some("k is \"B\", which is no name of its enum: A"), None]);

    let uuid = record(json!([{ "name": "id", "type": ["null", { "type": "string", "logicalType": "uuid" }] }]));
    let rows = one("id", texts(&[Some("f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2"), Some("me")]));
    let records = written(&of_file(&uuid, &rows), &rows).await;
    assert_eq!(reasons(&records), [None, Some("id is \"me\", and no UUID")]);

    let lists: [Option<Vec<Option<i64>>>; 4] =
        [Some(vec![Some(1)]), Some(vec![Some(2), None]), Some(vec![]), Some(vec![Some(1 << 40)])];
    let rows = one("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)));
    let schema = record(json!([{ "name": "l", "type": ["null", { "type": "array", "items": "int" }] }]));
    let format = of_file(&schema, &rows);
    let null = Some("an item of l is null, and its field takes no null");
    let large = Some("an item of l is 1099511627776, which its field of type Int32 can't hold");
    assert_eq!(reasons(&written(&format, &rows).await), [None, null, None, large]);
    assert_eq!(reasons(&written(&format, &rows.slice(1, 2)).await), [null, None]);

    // Scaled to two digits behind the point it has too many.
    let rows = one("c", Arc::new(Int64Array::from(vec![99, 100])));
    let schema = record(json!([{ "name": "c", "type":
        ["null", { "type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2 }] }]));
    let found = written(&of_file(&schema, &rows), &rows).await;
    assert_eq!(reasons(&found), [None, Some("c is 100, which its field of type Decimal128(4, 2) can't hold")]);
}

#[tokio::test]
async fn a_registry_knows_the_schema_by_its_number() {
    let (registry, rows) = (TestRegistry::start().await, rows());
    let columns = columns_of(&rows);
    let keys = |more: Value| {
        let mut schema = json!({ "registry": registry.url, "subject": "counts-value" });
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "format": "avro", "schema": schema })
    };
    let (format, wrong) = told(keys(json!({ "register": true })), &columns);
    assert!(wrong.is_empty() && format.look().is_none(), "{wrong:?}");
    let registering = stored(&format, &columns);
    let records = written(&registering, &rows).await;
    assert_eq!(records[0].as_ref().unwrap()[..5], [0, 0, 0, 0, 100]);
    assert_eq!(read_back(&registering, &records, &["ad_id"]).await, [["ad1"], ["-"]]);
    assert_eq!(written(&registering, &rows).await, records, "again it has the same number");
    // One who may not register finds it there, as the newest or by its file.
    let schema = registry.schema(100);
    registry.add(100, "counts-value", &schema);
    let (newest, _) = told(keys(json!({})), &columns);
    newest.look().expect("it is asked").await.unwrap();
    let mut mistakes = Vec::new();
    newest.check(&columns, &KeyPath::default(), &KeyPath::default(), &mut mistakes);
    assert_eq!(mistakes, []);
    assert_eq!(written(&stored(&newest, &columns), &rows).await, records);
    let asked: Vec<String> = registry.asked().into_iter().map(|(path, _)| path).collect();
    let last = ["/subjects/counts-value/versions/latest", "/subjects/counts-value"];
    assert_eq!(asked[asked.len() - 2..], last);
    // Nobody else's schema is written by.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.avsc");
    fs::write(&path, &schema).unwrap();
    let (other, wrong) = told(keys(json!({ "subject": "other", "file": path })), &columns);
    assert_eq!(wrong, [""; 0]);
    let error = RowWriter::new(stored(&other, &columns), Env::seeded(1)).prepare().await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("subject 'other'"), "{error}");
    registry.set("/subjects/counts-value/versions", 409, r#"{"message":"incompatible: n is new"}"#);
    let error = RowWriter::new(registering.clone(), Env::seeded(1)).prepare().await.unwrap_err();
    assert!(error.kind == ErrorKind::Definition && error.message.contains("n is new"), "{error}");
    registry.fail(Some(503));
    let error = RowWriter::new(registering, Env::seeded(1)).prepare().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

/// A container of one block, put together by the book.
fn container(schema: &RecordSchema, records: &WrittenRows) -> Vec<u8> {
    let number = |out: &mut Vec<u8>, number: usize| prost::encoding::encode_varint((number as u64) << 1, out);
    let mut out = b"Obj\x01".to_vec();
    number(&mut out, 1);
    for text in ["avro.schema", schema.text()] {
        number(&mut out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    number(&mut out, 0);
    out.extend_from_slice(&[9; 16]);
    let body: Vec<u8> = records.iter().flat_map(|record| record.as_ref().unwrap().to_vec()).collect();
    number(&mut out, records.len());
    number(&mut out, body.len());
    out.extend(body);
    out.extend_from_slice(&[9; 16]);
    out
}

#[tokio::test]
async fn others_read_what_is_written() {
    let Some(python) = needs_python(&["polars"]) else { return };
    let rows = rows().project(&[0, 1, 2, 3, 4, 5, 7, 8, 10]).unwrap();
    let schema = derived(&rows).to_string();
    let format = of_file(&derived(&rows), &rows);
    let records = written(&format, &rows).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.avro");
    fs::write(&file, container(&RecordSchema::parse(&schema).unwrap(), &records)).unwrap();
    let script = "import polars, sys; [print(*row, sep='|') for row in polars.read_avro(sys.argv[1]).rows()]";
    let output = Command::new(python).args(["-c", script]).arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let found = String::from_utf8_lossy(&output.stdout);
    let found: Vec<&str> = found.lines().collect();
    let first = "f2f2f2f2-f2f2-f2f2-f2f2-f2f2f2f2f2f2|ad1|1970-01-01 00:00:01.500000+00:00|2022-03-04|9223372036854775807|0.5|True|b'\\x00\\xff'|0";
    let second = "01010101-0101-0101-0101-010101010101|None|None|None|-1|None|None|None|3";
    assert_eq!(found, [first, second], "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A number that four bytes hold, and a text that is one of two names, are written; rows with others are refused.
    #[test]
    fn each_row_is_written_as_it_is_or_refused(
        of in prop::collection::vec((prop::option::of(any::<i64>().prop_map(|n| n >> (n & 63))), 0..4usize), 0..20),
        cut: prop::sample::Index,
    ) {
        const NAMES: [Option<&str>; 4] = [None, Some("A"), Some("B"), Some("C")];
        let numbers: ArrayRef = Arc::new(of.iter().map(|(number, _)| *number).collect::<Int64Array>());
        let names: Vec<Option<&str>> = of.iter().map(|(_, name)| NAMES[*name]).collect();
        let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("k", texts(&names), true)]).unwrap();
        let from = if of.is_empty() { 0 } else { cut.index(of.len()) };
        let (rows, of) = (rows.slice(from, of.len() - from), &of[from..]);
        let schema = record(json!([
            { "name": "n", "type": ["null", "int"] },
            { "name": "k", "type": ["null", { "type": "enum", "name": "K", "symbols": ["A", "B"] }] },
        ]));
        let format = of_file(&schema, &rows);
        let (good, bad): (WrittenRows, WrittenRows) =
            futures::executor::block_on(written(&format, &rows)).into_iter().partition(Result::is_ok);
        let fits = |(number, name): &&(Option<i64>, usize)| {
            number.is_none_or(|number| (-(1 << 31)..1 << 31).contains(&number)) && *name < 3
        };
        let text = |(number, name): &(Option<i64>, usize)| {
            vec![number.map_or("-".to_owned(), |number| number.to_string()), NAMES[*name].unwrap_or("-").to_owned()]
        };
        let expected: Vec<Vec<String>> = of.iter().filter(fits).map(text).collect();
        prop_assert_eq!(bad.len(), of.len() - expected.len());
        prop_assert_eq!(futures::executor::block_on(read_back(&format, &good, &["n", "k"])), expected);
    }
}
