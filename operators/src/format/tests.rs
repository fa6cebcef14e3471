//! Tests of the line formats: exact rows and reasons, and the invariants for any bytes.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMillisecondType};
use proptest::prelude::*;

use super::records::RecordRule;
use super::rows::{locate_rows, whole_lines};
use super::testing::cells;
use super::*;
use crate::source::column_type::ColumnType;

const MAX_LINE: usize = 256;

fn decode(format: &LineFormat, header: &str, columns: &[&str], chunk: &[u8]) -> DecodedLines {
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let mut decoder = format.decoder("test file", header.as_bytes(), &columns, MAX_LINE).expect("a valid decoder");
    decoder.decode(chunk, 1_000, usize::MAX).expect("a decodable chunk")
}

fn click_log(chunk: &[u8]) -> DecodedLines {
    decode(&LineFormat::ClickLog, "", &["ad_id", "click_timestamp", "user_id", "ip", "country", "event_id"], chunk)
}

fn only_reason(decoded: &DecodedLines) -> &str {
    assert_eq!((decoded.records.num_rows(), decoded.bad_lines.len()), (0, 1), "{decoded:?}");
    &decoded.bad_lines[0].reason
}

const CLICK: &str = "[AdClickEvent] ad001, 2022-03-04 00:00:01, user 1, 207.148.22.22, USA\n";

#[test]
fn a_click_is_a_row() {
    let decoded = click_log(CLICK.as_bytes());
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    assert_eq!(
        cells(&decoded.records),
        [["ad001", "2022-03-04T00:00:01Z", "user 1", "207.148.22.22", "USA", "-"].map(str::to_owned)]
    );
    let times = decoded.records.column(1).as_primitive::<TimestampMillisecondType>();
    assert_eq!(times.value(0), 1_646_352_001_000);
    assert_eq!(times.data_type(), &ColumnType::Timestamp.data_type());
}

#[test]
fn clicks_in_their_variations() {
    let lines = "[AdClickEvent] ad001, 2022-03-04T00:00:01.250Z, user 1, 1.1.1.1, USA, event-7\r\n\
                 [AdClickEvent] , 1970-01-01 00:00:00, , , \n\
                 [AdClickEvent]ad2,9999-12-31 23:59:59,u,i,c,\n\
                 [AdClickEvent] ad3, , u, i, c";
    let decoded = click_log(lines.as_bytes());
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    assert_eq!(
        cells(&decoded.records),
        [
            ["ad001", "2022-03-04T00:00:01.250Z", "user 1", "1.1.1.1", "USA", "event-7"],
            ["", "1970-01-01T00:00:00Z", "-", "-", "-", "-"],
            ["ad2", "9999-12-31T23:59:59Z", "u", "i", "c", "-"],
            ["ad3", "-", "u", "i", "c", "-"],
        ]
        .map(|row| row.map(str::to_owned))
    );
}

#[test]
fn only_requested_columns_are_decoded_and_judged() {
    let lines = b"[AdClickEvent] ad001, not a time, user 1, 1.1.1.1, USA\n";
    let decoded = decode(&LineFormat::ClickLog, "", &["country", "ad_id"], lines);
    assert_eq!(cells(&decoded.records), [["USA", "ad001"].map(str::to_owned)]);
    let nothing = decode(&LineFormat::ClickLog, "", &[], CLICK.repeat(3).as_bytes());
    assert_eq!((nothing.records.num_rows(), nothing.records.num_columns()), (3, 0));
    let Err(error) = LineFormat::ClickLog.decoder("f", b"", &["ad".to_owned()], MAX_LINE) else {
        panic!("no column ad")
    };
    assert!(error.to_string().contains("the columns are ad_id, click_timestamp"), "{error}");
}

#[test]
fn bad_clicks_say_what_is_wrong() {
    let reason = |line: &[u8]| only_reason(&click_log(line)).to_owned();
    assert_eq!(reason(b"\n"), "the line is empty");
    assert_eq!(reason(b"garbage\n"), "the line does not begin with [AdClickEvent]");
    assert!(reason(b"[AdClickEvent] ad001, 2022-03-04 00:00:01\n").starts_with("the line has 2 fields, and 5 or 6"));
    assert!(reason(b"[AdClickEvent] a,2022-03-04 00:00:01,c,d,e,f,g\n").starts_with("the line has 7 fields"));
    assert_eq!(
        reason(b"[AdClickEvent] ad001, 2022-02-31 00:00:01, u, i, c\n"),
        "click_timestamp \"2022-02-31 00:00:01\" is not a time that exists: there is no day 31 in February 2022, which has 28 days"
    );
    assert_eq!(reason(b"[AdClickEvent] a\0d\n"), "the line has a NUL byte, at byte 17 of it");
    assert_eq!(reason(b"[AdClickEvent] \xff\n"), "the line is not UTF-8: byte 16 of it is 0xff");
    assert_eq!(reason(&[b'x'; 257]), "the line has 257 bytes, and at most 256 are allowed (max_line_bytes)");
}

#[test]
fn bad_lines_know_their_place() {
    let chunk = format!("{CLICK}garbage\r\n{CLICK}\u{e9}\n");
    let decoded = click_log(chunk.as_bytes());
    assert_eq!(decoded.records.num_rows(), 2);
    let places: Vec<_> = decoded.bad_lines.iter().map(|bad| (bad.offset, bad.line, bad.raw.as_str())).collect();
    let click = CLICK.len() as u64;
    assert_eq!(places, [(1_000 + click, 1, "garbage"), (1_000 + 2 * click + 9, 3, "\u{e9}")]);
    let rows = locate_rows(chunk.as_bytes(), 1_000, RecordRule::lines(MAX_LINE), &decoded.bad_lines, &[1]);
    assert_eq!((rows[0].offset, rows[0].line, rows[0].raw.as_str()), (1_009 + click, 2, CLICK.trim_end()));
}

#[test]
fn a_chunk_can_be_decoded_some_lines_at_a_time() {
    let chunk = format!("{CLICK}garbage\n{CLICK}");
    let mut decoder = LineFormat::ClickLog.decoder("f", b"", &["ad_id".to_owned()], MAX_LINE).expect("valid");
    let first = decoder.decode(chunk.as_bytes(), 0, 2).expect("decodable");
    assert_eq!((first.records.num_rows(), first.bad_lines.len(), first.bytes), (1, 1, CLICK.len() + 8));
    let rest =
        decoder.decode(&chunk.as_bytes()[first.bytes..chunk.len() - 1], first.bytes as u64, 2).expect("decodable");
    assert_eq!((rest.records.num_rows(), rest.bad_lines.len(), rest.bytes), (1, 0, CLICK.len() - 1));
}

#[test]
fn a_huge_line_costs_itself_only() {
    let mut chunk = vec![b'a'; 1 << 20];
    chunk.push(b'\n');
    chunk.extend_from_slice(CLICK.as_bytes());
    let decoded = click_log(&chunk);
    assert_eq!((decoded.records.num_rows(), decoded.bad_lines.len()), (1, 1));
    assert_eq!(decoded.bad_lines[0].raw.len(), KEPT_BYTES);
    assert_eq!(whole_lines(&chunk), chunk.len());
    assert_eq!(whole_lines(b"a\nb"), 2);
    assert_eq!(whole_lines(b"ab"), 0);
}

fn typed_schema() -> DeclaredSchema {
    DeclaredSchema::new([
        ("name", ColumnType::String),
        ("n", ColumnType::Integer),
        ("x", ColumnType::Float),
        ("ok", ColumnType::Boolean),
        ("at", ColumnType::Timestamp),
        ("day", ColumnType::Date),
    ])
}

const TYPED: [&str; 6] = ["name", "n", "x", "ok", "at", "day"];
const HEADER: &str = "day,unused,name,n,x,ok,at\n";

fn csv_format() -> LineFormat {
    LineFormat::Csv { schema: typed_schema(), delimiter: ',' }
}

fn csv(chunk: &str) -> DecodedLines {
    decode(&csv_format(), HEADER, &TYPED, chunk.as_bytes())
}

#[test]
fn csv_columns_are_found_by_their_names() {
    let decoded = csv(
        "2022-03-04,?,\"a, \"\"b\"\"\",-7,1.5,true,2022-03-04 00:00:01\n,,,,,,\r\n1970-01-02,,\"\", 9 ,2e3,FALSE,1970-01-01T00:00:00.001Z\n",
    );
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    let records = &decoded.records;
    assert_eq!(records.schema(), typed_schema().arrow_schema());
    assert_eq!(
        cells(records)[0],
        ["a, \"b\"", "-7", "1.5", "true", "2022-03-04T00:00:01Z", "2022-03-04"].map(str::to_owned)
    );
    assert_eq!(cells(records)[1], ["-"; 6].map(str::to_owned));
    assert_eq!(records.column(0).as_string::<i32>().value(2), "");
    assert_eq!(records.column(1).as_primitive::<Int64Type>().value(2), 9);
    assert!((records.column(2).as_primitive::<Float64Type>().value(2) - 2_000.0).abs() < f64::EPSILON);
    assert!(!records.column(3).as_boolean().value(2));
    assert_eq!(records.column(4).as_primitive::<TimestampMillisecondType>().value(2), 1);
    assert_eq!(records.column(5).as_primitive::<Date32Type>().value(2), 1);
}

#[test]
fn an_empty_line_is_null_where_there_is_one_column() {
    let lines = b"a\n\n\"\"\n\r\nb\n\n";
    let decoded = decode(&csv_format(), "name\n", &["name"], lines);
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    let read = [["a"], ["-"], [""], ["-"], ["b"], ["-"]];
    assert_eq!(cells(&decoded.records), read.map(|row| row.map(str::to_owned)));
    assert_eq!(decode(&csv_format(), "name\n", &["name"], b"a\n").records.num_rows(), 1, "its end begins no line");
    assert_eq!(only_reason(&decode(&csv_format(), "name,n\n", &["name"], b"\n")), "the line is empty");
    let one = LineFormat::Csv { schema: DeclaredSchema::new([("name", ColumnType::String)]), delimiter: ',' };
    let decoded = messages(&one, &["name"], &[b"", b"a", b"\n"]);
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    assert_eq!(cells(&decoded.records), [["-"], ["a"], ["-"]].map(|row| row.map(str::to_owned)));
    assert_eq!(only_reason(&messages(&csv_format(), &["name"], &[b""])), "the message is empty");
}

#[test]
fn bad_records_say_what_is_wrong() {
    let reason = |line: &str| only_reason(&csv(line)).to_owned();
    assert_eq!(reason("a,b\n"), "the line has 2 fields, and the header of its file has 7");
    assert!(reason(",,x,1.5,,,\n").starts_with("n \"1.5\" is not an int"));
    assert!(reason(",,x,1,abc,,\n").starts_with("x \"abc\" is not a float"));
    assert!(reason(",,x,1,1,yes,\n").starts_with("ok \"yes\" is not a bool"));
    assert!(reason(",,x,1,1,true,now\n").starts_with("at \"now\" is not a time"));
    assert!(reason("2022-02-29,,x,1,1,true,\n").contains("no day 29 in February 2022"));
    assert!(reason(",,a\"b,,,,\n").starts_with("a double quote is inside"));
    assert!(reason(",,\"a\"b,,,,\n").starts_with("a double quote is inside"));
}

#[test]
fn a_quoted_line_break_is_a_part_of_the_text() {
    let decoded = csv("2022-03-04,,\"two\r\n,,lines,,,,\n\",1,1,true,\n,,next,,,,\n,,\"open,,,,\n,,inside,,,,\n");
    let read = [["two\r\n,,lines,,,,\n", "1", "1.0", "true", "-", "2022-03-04"], ["next", "-", "-", "-", "-", "-"]];
    assert_eq!(cells(&decoded.records), read.map(|row| row.map(str::to_owned)));
    let reasons: Vec<_> = decoded.bad_lines.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    assert!(matches!(reasons[..], [(2, reason)] if reason.starts_with("a quoted field is not closed")), "{reasons:?}");
    let located = locate_rows(b"a,\"b\nc\"\nd\n", 10, RecordRule::csv(b',', MAX_LINE), &[], &[0, 1]);
    let located: Vec<_> = located.iter().map(|row| (row.offset, row.raw.as_str())).collect();
    assert_eq!(located, [(10, "a,\"b\nc\""), (18, "d")]);
}

#[test]
fn a_byte_order_mark_before_a_line_is_passed_over() {
    let clicks = "\u{feff}[AdClickEvent] a, 2022-02-01 00:00:01, u, 1.1.1.1, USA\n";
    assert_eq!(decode(&LineFormat::ClickLog, "", &["ad_id"], clicks.repeat(2).as_bytes()).records.num_rows(), 2);
    let json = decode(&json_format(), "", &["name"], "{\"name\":\"\u{feff}\"}\n\u{feff}{\"name\":\"b\"}\n".as_bytes());
    assert_eq!(cells(&json.records), [["\u{feff}"], ["b"]].map(|row| row.map(str::to_owned)));
}

#[test]
fn csv_headers_are_checked() {
    let error = |format: &LineFormat, header: &str| {
        let columns = TYPED.map(str::to_owned);
        format.decoder("clicks.csv", header.as_bytes(), &columns, MAX_LINE).err().expect("a bad header").to_string()
    };
    assert_eq!(
        error(&csv_format(), "name,n,x,ok,date,day\r\n"),
        "clicks.csv: its header has no column \"at\"; the columns found are: name, n, x, ok, date, day"
    );
    assert!(error(&csv_format(), "").contains("first line is empty"));
    assert!(error(&csv_format(), "name,name,n,x,ok,at,day").contains("\"name\" is there twice"));
    assert!(error(&csv_format(), "na\"me").contains("double quote"));
    let tabs = LineFormat::Csv { schema: typed_schema(), delimiter: '"' };
    assert!(error(&tabs, HEADER).contains("cannot be the delimiter"));
    let semicolons = LineFormat::Csv { schema: typed_schema(), delimiter: ';' };
    let decoded = decode(&semicolons, "\u{feff}n; name \n", &["n", "name"], b"3;a,b\n");
    assert_eq!(cells(&decoded.records), [["3", "a,b"].map(str::to_owned)]);
}

fn json_format() -> LineFormat {
    LineFormat::Json { schema: typed_schema() }
}

fn json(chunk: &str) -> DecodedLines {
    decode(&json_format(), "", &TYPED, chunk.as_bytes())
}

#[test]
fn json_objects_are_rows() {
    let decoded = json(
        "{\"name\":\"a\\\"\\u00e9\\ud83d\\ude00\\n\",\"n\":-7,\"x\":1.5e1,\"ok\":true,\"at\":\"2022-03-04T00:00:01Z\",\"day\":\"2022-03-04\"}\n\
         {}\n\
         { \"at\" : 1646352001000 , \"other\" : [1,{\"n\":2},[]], \"\\u006e\" : 3, \"x\": 2, \"name\": null }\r\n",
    );
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    assert_eq!(
        cells(&decoded.records),
        [
            ["a\"é😀\n", "-7", "15.0", "true", "2022-03-04T00:00:01Z", "2022-03-04"],
            ["-"; 6],
            ["-", "3", "2.0", "-", "2022-03-04T00:00:01Z", "-"],
        ]
        .map(|row| row.map(str::to_owned))
    );
}

#[test]
fn bad_objects_say_what_is_wrong() {
    let reason = |line: &str| only_reason(&json(line)).to_owned();
    assert_eq!(reason("[]\n"), "not JSON: at byte 1 there is '[', where an object, starting with { is expected");
    assert_eq!(reason("{\"n\":1"), "not JSON: the line ends at byte 7, where a comma or } is expected");
    assert!(reason("{\"n\":1}{}\n").ends_with("where the end of the line is expected"));
    assert!(reason("{\"n\":1.0}").starts_with("n 1.0 is not an int"));
    assert!(reason("{\"n\":9223372036854775808}").starts_with("n 9223372036854775808 is not an int"));
    assert!(reason("{\"n\":\"1\"}").starts_with("n \"1\" is not an int"));
    assert!(reason("{\"name\":1}").starts_with("name 1 is not a string"));
    assert!(reason("{\"name\":{\"a\":1}}").starts_with("name {\"a\":1} is not a string"));
    assert!(reason("{\"at\":1.5}").starts_with("at 1.5 is not a time that exists: it is a number without a unit"));
    assert!(reason("{\"at\":\"2022-02-30 00:00:00\"}").contains("no day 30 in February"));
    assert!(reason("{\"x\":1e999}").starts_with("x 1e999 is not a float"));
    assert_eq!(reason("{\"n\":1,\"n\":1}"), "the key \"n\" occurs twice");
    assert!(reason("{\"a\":\"\\ud800\"}").contains("surrogate"));
    assert!(reason("{\"a\":\"\t\"}").contains("control character"));
    assert!(reason("{\"a\":01}").contains("leading zero"));
    assert!(reason(&format!("{{\"a\":{}", "[".repeat(200))).contains("levels deep"));
}

fn nested_format() -> LineFormat {
    let schema = r#"{
        "ad_id": {"type": "string", "path": "ad.id"},
        "campaign": {"type": "int", "path": "ad.campaign.id"},
        "at": {"type": "timestamp", "path": "meta.ts", "unit": "s"},
        "day": {"type": "date", "path": "meta.day", "format": "%d.%m.%Y"},
        "tag": {"type": "string", "path": "tags.1"},
        "agent": {"type": "string", "path": "headers.\"user.agent\""},
        "price": {"type": "decimal(8, 2)", "path": "price"},
        "price_text": {"type": "float", "path": "price"},
        "user": "string"
    }"#;
    LineFormat::Json { schema: serde_json::from_str(schema).expect("a schema") }
}

const NESTED: [&str; 9] = ["ad_id", "campaign", "at", "day", "tag", "agent", "price", "price_text", "user"];

#[test]
fn nested_values_are_found_by_their_paths() {
    let nested = |chunk: &str| decode(&nested_format(), "", &NESTED, chunk.as_bytes());
    let decoded = nested(
        "{\"user\":\"u\",\"ad\":{\"id\":\"ad1\",\"campaign\":{\"x\":[1,{}],\"id\":7}},\"meta\":{\"day\":\"04.03.2022\",\"ts\":1646352001.5},\"tags\":[\"a\",\"b\"],\"headers\":{\"user.agent\":\"M\"},\"price\":1.5}\n\
         { \"ad\" : { \"campaign\" : null , \"\\u0069d\" : \"ad2\" } , \"tags\" : [ ] , \"price\" : 2.50e0 }\n\
         {\"ad\":7,\"meta\":[],\"tags\":{\"1\":\"c\"},\"headers\":null}\n\
         {}\n",
    );
    assert!(decoded.bad_lines.is_empty(), "{decoded:?}");
    assert_eq!(
        cells(&decoded.records),
        [
            ["ad1", "7", "2022-03-04T00:00:01.500Z", "2022-03-04", "b", "M", "1.50", "1.5", "u"],
            ["ad2", "-", "-", "-", "-", "-", "2.50", "2.5", "-"],
            ["-", "-", "-", "-", "c", "-", "-", "-", "-"],
            ["-"; 9],
        ]
        .map(|row| row.map(str::to_owned))
    );
    let reason = |line: &str| only_reason(&nested(line)).to_owned();
    assert!(reason("{\"ad\":{\"id\":{\"x\":1}}}").starts_with("ad_id {\"x\":1} is not a string"));
    assert_eq!(reason("{\"ad\":{\"id\":\"a\"},\"ad\":{\"id\":\"b\"}}"), "the key \"id\" occurs twice");
    assert!(reason("{\"ad\":{\"id\":\"a\"").starts_with("not JSON: the line ends"));
    assert!(reason("{\"price\":1.555}").contains("at most 6 digits before the point and 2 after it"));
    assert!(reason("{\"price\":1000000}").contains("decimal(8, 2)"));
    let one = decode(&nested_format(), "", &["tag"], b"{\"ad\":{\"id\":{}},\"tags\":[1,\"b\",3]}");
    assert_eq!(cells(&one.records), [["b".to_owned()]]);
}

#[test]
fn numbers_in_csv_are_taken_at_their_word() {
    let schema = r#"{"n": "int", "x": "float", "price": "decimal(8, 2)", "at": {"type": "timestamp", "unit": "ms"}, "guessed": "timestamp"}"#;
    let format = LineFormat::Csv { schema: serde_json::from_str(schema).expect("a schema"), delimiter: ',' };
    let read =
        |line: &str| decode(&format, "n,x,price,at,guessed\n", &["n", "x", "price", "at", "guessed"], line.as_bytes());
    let decoded = read("5, 2.5e3 ,12.30,1000,1646352001000\n,,,,\n\"7\",1,12,2022-03-04 00:00:01+00,0\n");
    assert_eq!(
        cells(&decoded.records),
        [
            ["5", "2500.0", "12.30", "1970-01-01T00:00:01Z", "2022-03-04T00:00:01Z"],
            ["-"; 5],
            ["7", "1.0", "12.00", "2022-03-04T00:00:01Z", "1970-01-01T00:00:00Z"],
        ]
        .map(|row| row.map(str::to_owned)),
        "{:?}",
        decoded.bad_lines
    );
    let refused = [
        "1e3,,,,",
        "1 000,,,,",
        "\"1,000\",,,,",
        "1.0,,,,",
        ",NaN,,,",
        ",inf,,,",
        ",1e999,,,",
        ",,1.234,,",
        ",,,,1646352001",
    ];
    for line in refused {
        assert_eq!(read(line).bad_lines.len(), 1, "{line}");
    }
    let reason = only_reason(&read(",,,,1646352001")).to_owned();
    assert!(reason.starts_with("guessed \"1646352001\"") && reason.contains("unit = \"s\""), "{reason}");
}

#[test]
fn two_objects_on_three_lines_are_not_put_together() {
    let decoded = json("{\"n\":1}{\"n\":2}\n{\"n\":\n3}\n{\"n\":4}\n");
    assert_eq!(decoded.bad_lines.len(), 3);
    assert_eq!(decoded.records.column(1).as_primitive::<Int64Type>().values(), &[4]);
}

#[test]
fn formats_are_configured_by_name() {
    let read = |text: &str| serde_json::from_str::<LineFormat>(text);
    assert_eq!(read(r#"{"format":"click_log"}"#).expect("valid"), LineFormat::ClickLog);
    let csv = read(r#"{"format":"csv","schema":{"a":"int"}}"#).expect("valid");
    assert_eq!(csv, LineFormat::Csv { schema: DeclaredSchema::new([("a", ColumnType::Integer)]), delimiter: ',' });
    assert!(csv.has_header());
    assert!(read(r#"{"format":"json"}"#).is_err());
}

fn messages(format: &LineFormat, columns: &[&str], messages: &[&[u8]]) -> DecodedLines {
    let format = match format.clone() {
        LineFormat::ClickLog => Format::ClickLog,
        LineFormat::Csv { schema, delimiter } => Format::Csv { schema, delimiter },
        LineFormat::Json { schema } => Format::Json { schema },
    };
    let settings = FormatSettings { format, max_line_bytes: Some(MAX_LINE) };
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let env = weir_engine::env::Env::seeded(1);
    let mut decoder = settings.messages(&columns, &env).expect("a format").decoder().expect("a decoder");
    for (place, message) in messages.iter().enumerate() {
        decoder.push(message, 70 + place as u64);
    }
    assert_eq!(decoder.held().messages, messages.len());
    let decoded = futures::executor::block_on(decoder.finish()).expect("decoded");
    assert_eq!(decoder.held(), Held::default());
    decoded
}

#[test]
fn a_message_of_text_is_one_record_whatever_line_breaks_are_in_it() {
    let json = messages(
        &json_format(),
        &["n", "name"],
        &[
            b"{\n  \"n\": 1,\n  \"name\": \"a\"\n}\n",
            b"",
            b"{\"n\":2}\n{\"n\":3}",
            b"\xef\xbb\xbf{\"n\":4}\r\n",
            b"{\0}",
            b"\xff",
        ],
    );
    assert_eq!(cells(&json.records), [["1", "a"], ["4", "-"]].map(|row| row.map(str::to_owned)));
    let bad: Vec<(usize, u64)> = json.bad_lines.iter().map(|bad| (bad.line, bad.offset)).collect();
    assert_eq!(bad, [(1, 71), (2, 72), (4, 74), (5, 75)]);
    assert_eq!(messages_of_rows(&json.bad_lines, &[0, 1]), [0, 3]);
    assert_eq!(json.bad_lines[0].reason, "the message is empty");
    let csv = messages(&csv_format(), &["n", "name"], &[b"a,1,,,,", b"\"b\nc\",2,,,,\n", b"d,3"]);
    assert_eq!(cells(&csv.records), [["1", "a"], ["2", "b\nc"]].map(|row| row.map(str::to_owned)));
    assert_eq!(csv.bad_lines.len(), 1);
    let long = vec![b'x'; MAX_LINE + 1];
    let log = messages(&LineFormat::ClickLog, &["ad_id"], &[CLICK.as_bytes(), b"click", &long]);
    assert_eq!((cells(&log.records), log.bad_lines.len()), (vec![vec!["ad001".to_owned()]], 2));
    assert!(log.bad_lines[1].reason.starts_with("the message has 257 bytes"), "{:?}", log.bad_lines);
}

/// One line of a mixed chunk, and whether it is a row.
fn mixed_lines(good: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let bad = prop_oneof![
        Just(Vec::new()),
        Just(b"\0\0\0".to_vec()),
        Just(vec![0xff, 0xfe]),
        Just(b"\r".to_vec()),
        Just(vec![b'z'; MAX_LINE + 1]),
        Just(b"garbage".to_vec()),
        Just(b"{\"n\":1".to_vec()),
        Just(b"\"a\"b,,".to_vec()),
        Just(b"[AdClickEvent] ad, 2022-13-01 00:00:00, u, i, c".to_vec()),
    ];
    proptest::collection::vec(
        prop_oneof![good.prop_map(|line| (line.into_bytes(), true)), bad.prop_map(|line| (line, false))],
        0..40,
    )
}

fn good_click() -> impl Strategy<Value = String> {
    ("[a-z]{0,5}", 1u32..29, "[^,\\r\\n\\x00]{0,8}")
        .prop_map(|(ad, day, user)| format!("[AdClickEvent] {ad}, 2022-02-{day:02} 00:00:01, {user}, 1.1.1.1, USA"))
}

fn good_csv() -> impl Strategy<Value = String> {
    (any::<i64>(), "[^,\"\\r\\n\\x00]{0,8}", "[^\"\\r\\n\\x00]{0,8}", any::<bool>()).prop_map(
        |(n, plain, quoted, ok)| format!("2022-02-03,{plain},\"{quoted}\",{n},{n}.5,{ok},2022-02-03 00:00:01"),
    )
}

fn good_json() -> impl Strategy<Value = String> {
    (any::<i64>(), any::<String>(), any::<f64>().prop_filter("finite", |x| x.is_finite()), any::<String>())
        .prop_filter_map("no NUL, since that is refused, and short enough", |(n, name, x, key)| {
            let mut object = serde_json::json!({ "n": n, "name": name, "x": x });
            if !TYPED.contains(&key.as_str()) {
                object[key] = serde_json::json!({ "deep": [name, null, true] });
            }
            let line = object.to_string();
            (line.len() <= MAX_LINE).then_some(line)
        })
}

fn check_mixed(
    format: &LineFormat,
    columns: &[&str],
    lines: &[(Vec<u8>, bool)],
    last_newline: bool,
) -> Result<(), TestCaseError> {
    let mut chunk = Vec::new();
    let mut expected = Vec::new();
    for (index, (line, good)) in lines.iter().enumerate() {
        if !good {
            expected.push((1_000 + chunk.len() as u64, index));
        }
        chunk.extend_from_slice(line);
        chunk.push(b'\n');
    }
    // Without a last line break an empty last line is no line.
    if !last_newline && lines.last().is_some_and(|(line, _)| !line.is_empty()) {
        chunk.pop();
    }
    let decoded = decode(format, HEADER, columns, &chunk);
    let found: Vec<_> = decoded.bad_lines.iter().map(|bad| (bad.offset, bad.line)).collect();
    prop_assert_eq!(&found, &expected, "{:?}", &decoded.bad_lines);
    let good: Vec<_> = lines.iter().filter(|(_, good)| *good).map(|(line, _)| line.as_slice()).collect();
    prop_assert_eq!(decoded.records.num_rows(), good.len());
    let alone = decode(format, HEADER, columns, &good.join(&b'\n'));
    prop_assert_eq!(cells(&decoded.records), cells(&alone.records));
    let every_row: Vec<usize> = (0..good.len()).collect();
    let raws: Vec<_> = locate_rows(&chunk, 1_000, format.records(MAX_LINE), &decoded.bad_lines, &every_row)
        .into_iter()
        .map(|row| row.raw.into_bytes())
        .collect();
    prop_assert_eq!(raws, good);
    Ok(())
}

/// JSON-like lines: well-formed objects with some characters changed.
fn nearly_json() -> impl Strategy<Value = String> {
    (
        good_json(),
        proptest::collection::vec((any::<proptest::sample::Index>(), "[\\[\\]{}:,\"\\\\0-9eE+.a-u -]{0,2}"), 0..3),
    )
        .prop_map(|(mut line, edits)| {
            for (place, text) in edits {
                let place = place.index(line.len() + 1);
                if line.is_char_boundary(place) {
                    line.insert_str(place, &text);
                }
            }
            line
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_become_rows_or_bad_lines(chunk in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b','), Just(b'"')], 0..400)) {
        for (format, columns) in [(LineFormat::ClickLog, &["ad_id", "click_timestamp"][..]), (csv_format(), &TYPED), (json_format(), &TYPED)] {
            let decoded = decode(&format, HEADER, columns, &chunk);
            let (mut records, mut rest) = (0, &chunk[..]);
            while !rest.is_empty() {
                let end = format.records(MAX_LINE).end(rest).unwrap_or(rest.len());
                (records, rest) = (records + 1, rest.get(end + 1..).unwrap_or_default());
            }
            prop_assert_eq!(decoded.records.num_rows() + decoded.bad_lines.len(), records);
        }
    }

    #[test]
    fn any_header_is_read_or_refused(header in proptest::collection::vec(any::<u8>(), 0..60), line in "\\PC{0,40}") {
        let columns = Vec::new();
        if let Ok(mut decoder) = csv_format().decoder("f", &header, &columns, MAX_LINE) {
            let _ = decoder.decode(line.as_bytes(), 0, usize::MAX).expect("decodable");
        }
    }

    #[test]
    fn clicks_and_garbage_come_apart(lines in mixed_lines(good_click()), last_newline: bool) {
        check_mixed(&LineFormat::ClickLog, &["ad_id", "click_timestamp", "user_id", "event_id"], &lines, last_newline)?;
    }

    #[test]
    fn csv_and_garbage_come_apart(lines in mixed_lines(good_csv()), last_newline: bool) {
        check_mixed(&csv_format(), &TYPED, &lines, last_newline)?;
    }

    #[test]
    fn json_and_garbage_come_apart(lines in mixed_lines(good_json()), last_newline: bool) {
        check_mixed(&json_format(), &TYPED, &lines, last_newline)?;
    }

    #[test]
    fn json_is_what_serde_json_takes_for_an_object(line in nearly_json()) {
        prop_assume!(!line.is_empty() && !line.contains('\0') && line.len() <= MAX_LINE);
        let decoded = decode(&json_format(), "", &["name", "n"], line.as_bytes());
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&line) {
            // serde_json also refuses well-formed numbers that no f64 can hold, and takes the last of two equal keys.
            Err(error) => prop_assert!(decoded.records.num_rows() == 0 || error.to_string().contains("number out of range"), "{line}"),
            Ok(object) if decoded.records.num_rows() == 1 => {
                let name = decoded.records.column(0).as_string::<i32>();
                let name = name.is_valid(0).then(|| name.value(0));
                prop_assert_eq!(object.get("name").and_then(|name| name.as_str()), name);
                let n = decoded.records.column(1).as_primitive::<Int64Type>();
                let n = n.is_valid(0).then(|| n.value(0));
                prop_assert_eq!(object.get("n").and_then(|n| n.as_i64()), n);
            }
            Ok(_) => {
                let reason = only_reason(&decoded);
                prop_assert!(!reason.starts_with("not JSON"), "{line}: {reason}");
            }
        }
    }
}
