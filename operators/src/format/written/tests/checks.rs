//! What can never be written is told before a job starts, and where.

use super::*;
use crate::{format::testing::sample_path, schema::Column};
use arrow::datatypes::{DataType, TimeUnit};

fn columns(of: &[(&str, DataType, bool)]) -> ColumnSchema {
    let column = |(name, data_type, nullable): &(&str, DataType, bool)| Column {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        nullable: *nullable,
    };
    ColumnSchema { columns: of.iter().map(column).collect() }
}

fn told_of(keys: Value, of: &[(&str, DataType, bool)]) -> Vec<String> {
    told(keys, &columns(of)).1
}

#[test]
fn columns_and_fields_must_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.avsc");
    let fields = json!([
        { "name": "ad", "type": "string" },
        { "name": "count", "type": "int" },
        { "name": "rate", "type": ["null", "float"] },
        { "name": "other", "type": ["null", "int", "string"] },
        { "name": "cost", "type": ["null", { "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 }] },
    ]);
    std::fs::write(&path, json!({ "type": "record", "name": "A", "fields": fields }).to_string()).unwrap();
    let keys = || json!({ "format": "avro", "schema": { "file": path } });
    let fine = [
        ("ad", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), false),
        ("count", DataType::Int64, false),
        ("cost", DataType::Decimal128(38, 1), true),
    ];
    assert_eq!(told_of(keys(), &fine), [""; 0]);
    let wrong = [
        ("ad_id", DataType::Utf8, false),
        ("count", DataType::Int64, true),
        ("rate", DataType::Float64, true),
        ("other", DataType::Utf8, true),
        ("cost", DataType::Decimal128(9, 3), true),
    ];
    assert_eq!(
        told_of(keys(), &wrong),
        [
            "input: the schema has no field for the column `ad_id`",
            "input: `count` may be null, and its field of type int takes no null",
            "input: `rate` is a float, which its field of type float can't hold",
            "input: `other` is a string, which its field of type union can't hold",
            "input: `cost` is a decimal(9, 3), which its field of type decimal(9, 2) can't hold",
            "schema: the field `ad` must have a value, and there is no column for it",
        ]
    );
}

#[test]
fn a_message_may_lack_columns_but_no_column_a_field() {
    let schema = json!({ "descriptors": sample_path("clicks.desc"), "message": "ads.Click" });
    let keys = json!({ "format": "protobuf", "schema": schema });
    let found = told_of(
        keys,
        &[
            ("ad", DataType::Utf8, false),
            ("ad_id", DataType::Utf8, true),
            ("user", DataType::Utf8, false),
            ("counts", DataType::new_list(DataType::Int64, true), true),
            ("page", DataType::Utf8, true),
            ("clicked_at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        ],
    );
    assert_eq!(
        found,
        [
            "input: the schema has no field for the column `ad`",
            "input: `ad_id` may be null, and its field of type string takes no null",
            "input: `user` is a string, which its field of type int64 can't hold",
            "input: `counts` is a list, which its field of type map can't hold",
            "input: `page` is a string, which its field of type ads.Page can't hold",
        ]
    );
}

#[test]
fn what_is_wrong_with_keys_is_told_there() {
    let of = [("a", DataType::Utf8, false)];
    let avro = |schema: Value| told_of(json!({ "format": "avro", "schema": schema }), &of);
    assert_eq!(told_of(json!({ "schema": {} }), &of), ["schema: JSON has no schema"]);
    assert_eq!(told_of(json!({ "format": "avro" }), &of), ["the key `schema` is missing"]);
    assert_eq!(told_of(json!({ "format": "csv" }), &of), ["format: there is no format called `csv`"]);
    assert_eq!(avro(json!({})), ["schema: this names no schema"]);
    assert_eq!(avro(json!({ "registry": "http://r" })), ["schema.registry: it has many subjects: which one is meant?"]);
    assert_eq!(
        avro(json!({ "file": "/no/such", "subject": "a", "register": true })),
        [
            "schema.subject: `subject` is for a registry",
            "schema.register: `register` is for a registry",
            "schema.file: the file can't be read: No such file or directory (os error 2)"
        ]
    );
    assert_eq!(
        avro(json!({ "registry": "http://r", "subject": "a", "register": true, "columns": {} })),
        ["schema.columns: the key `columns` is unknown"]
    );
    let span = [("a b", DataType::Utf8, false)];
    let registering =
        json!({ "format": "avro", "schema": { "registry": "http://r", "subject": "a", "register": true } });
    let told = told_of(registering, &span);
    assert!(told[0].starts_with("input: `a b` is no name of a field of Avro"), "{told:?}");
    let schema = json!({ "descriptors": sample_path("clicks.desc"), "message": "ads.Click", "framed": true,
        "columns": { "ad_id": "string" } });
    assert_eq!(
        told_of(json!({ "format": "protobuf", "schema": schema }), &[]),
        [
            "schema.framed: the number of a schema would stand there, and no registry is asked for it",
            "schema.columns: a column is written to the field of its name"
        ]
    );
}
