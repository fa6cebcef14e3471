//! Messages of Protobuf.

use super::*;
use crate::format::testing::sample_path;
use arrow::{
    array::{StructArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field},
};

fn format(message: &str, rows: &RecordBatch) -> WrittenFormat {
    let schema = json!({ "descriptors": sample_path("clicks.desc"), "message": message });
    let (format, wrong) = told(json!({ "format": "protobuf", "schema": schema }), &columns_of(rows));
    assert_eq!(wrong, [""; 0]);
    stored(&format, &columns_of(rows))
}

fn clicks() -> RecordBatch {
    let page: ArrayRef = Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("url", DataType::Utf8, false)), texts(&[Some("/a"), Some("/b")])),
        (
            Arc::new(Field::new("seen_at", DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None), true)),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None])) as ArrayRef,
        ),
    ]));
    let tags = [Some(vec![Some(b"x".to_vec()), Some(b"y".to_vec())]), None];
    let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for tags in tags {
        list.append_option(tags.map(|tags| tags.into_iter().map(|tag| tag.map(|tag| String::from_utf8(tag).unwrap()))));
    }
    let columns: [(&str, ArrayRef, bool); 11] = [
        ("ad_id", texts(&[Some("ad1"), Some("")]), false),
        ("user", Arc::new(Int64Array::from(vec![7, 0])), false),
        ("clicked_at", Arc::new(TimestampMillisecondArray::from(vec![Some(1_250), None]).with_timezone("UTC")), true),
        ("cost", Arc::new(Float64Array::from(vec![0.5, -2.5])), false),
        ("kind", texts(&[Some("CLICK"), Some("OTHER")]), false),
        ("country", texts(&[Some("USA"), None]), true),
        ("ip", texts(&[None, Some("1.2.3.4")]), true),
        ("page", page, true),
        ("tags", Arc::new(list.finish()), true),
        ("number", Arc::new(Int64Array::from(vec![Some(0), None])), true),
        ("big", Arc::new(Int64Array::from(vec![i64::MAX, 0])), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let rows = clicks();
    let format = format("ads.Click", &rows);
    let records = written(&format, &rows).await;
    let names: Vec<&str> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let first = [
        "ad1",
        "7",
        "1970-01-01T00:00:01.250Z",
        "0.5",
        "CLICK",
        "USA",
        "-",
        r#"{"seen_at":"1969-12-31T23:59:59.999Z","url":"/a"}"#,
        r#"["x","y"]"#,
        "0",
        "9223372036854775807",
    ];
    let second = ["", "0", "-", "-2.5", "OTHER", "-", "1.2.3.4", r#"{"url":"/b"}"#, "[]", "-", "0"];
    assert_eq!(read_back(&format, &records, &names).await, [first, second].map(|row| row.map(str::to_owned).to_vec()));
    assert_eq!(written(&format, &rows.slice(1, 1)).await[..], records[1..]);
}

#[tokio::test]
async fn the_bytes_are_those_of_the_specification() {
    let rows = clicks().project(&[0, 1, 2, 4, 5]).unwrap();
    let records = written(&format("ads.Click", &rows), &rows).await;
    let expected = [
        // Field 1, a text; field 2, a number; field 3, a message with the seconds and the nanoseconds.
        &[0x0a, 3][..],
        b"ad1",
        &[0x10, 7],
        &[0x1a, 7, 0x08, 1, 0x10, 0x80, 0xe5, 0x9a, 0x77],
        // Field 5, the number of the name; field 6, a message with a text.
        &[0x28, 2],
        &[0x32, 5, 0x0a, 3],
        b"USA",
    ];
    assert_eq!(records[0].as_ref().unwrap()[..], expected.concat());
    // What is as it is where nothing is said takes no byte, and what may be absent is.
    assert_eq!(records[1].as_ref().unwrap().len(), 0);
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_refused_and_no_other() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(1 << 31), None, Some(3)]));
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("number", numbers, true),
        ("text", texts(&[None, None, Some("a"), Some("b")]), true),
    ]);
    let rows = rows.unwrap();
    let both = "number and text have both a value, and only one of `other` may have any";
    let large = "number is 2147483648, which its field of type Int32 can't hold";
    assert_eq!(reasons(&written(&format("ads.Click", &rows), &rows).await), [None, Some(large), None, Some(both)]);

    let rows = RecordBatch::try_from_iter([("kind", texts(&[Some("CLICK"), Some("click")]))]).unwrap();
    let reason = "kind is \"click\", which is no name of ads.Kind";
    assert_eq!(reasons(&written(&format("ads.Click", &rows), &rows).await), [None, Some(reason)]);

    let rows = RecordBatch::try_from_iter([("big", Arc::new(Int64Array::from(vec![-1, 1])) as ArrayRef)]).unwrap();
    let reason = "big is -1, which its field of type UInt64 can't hold";
    assert_eq!(reasons(&written(&format("ads.Click", &rows), &rows).await), [Some(reason), None]);

    let times = TimestampMillisecondArray::from(vec![253_402_300_799_999, 253_402_300_800_000]).with_timezone("UTC");
    let rows = one("clicked_at", Arc::new(times));
    let reason = "clicked_at is a time beyond the years 1 to 9999";
    assert_eq!(reasons(&written(&format("ads.Click", &rows), &rows).await), [None, Some(reason)]);
}
