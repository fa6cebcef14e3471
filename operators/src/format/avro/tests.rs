//! Avro against samples that fastavro has written, and against any bytes.

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use weir_engine::{env::Env, error::ErrorKind};

use super::{RecordSchema, settings::AvroSettings};
use crate::definition::{KeyPath, testing::read};
use crate::format::{
    DecodedLines, Format, FormatName, FormatSettings, MessageDecoder,
    registry::{RegistrySettings, testing::TestRegistry},
    testing::{cells, sample, sample_path},
};

static SAMPLES: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&sample("clicks_avro.json")).expect("samples"));
static V1: LazyLock<String> = LazyLock::new(|| sample("clicks_v1.avsc"));
static V2: LazyLock<String> = LazyLock::new(|| sample("clicks_v2.avsc"));

/// The version of its schema, its bytes and its columns, of each sample.
fn samples() -> Vec<(u32, Vec<u8>, Vec<String>)> {
    let messages = SAMPLES["messages"].as_array().expect("messages");
    let sample = |message: &Value| {
        let body = crate::format::testing::bytes(message["body"].as_str().expect("hex"));
        let expected = serde_json::from_value(message["expected"].clone()).expect("texts");
        (message["version"].as_u64().expect("a version") as u32, body, expected)
    };
    messages.iter().map(sample).collect()
}

/// What announces a record to arrow-avro, as it is used here.
const ANNOUNCED: [u8; 5] = [0, 0xc3, 0x9a, 0x71, 0xe5];

fn of_file() -> AvroSettings {
    AvroSettings {
        file: Some("clicks_v2.avsc".into()),
        pinned: super::super::pinned::Pinned::of(&**V2),
        ..AvroSettings::default()
    }
}

fn decoder(settings: AvroSettings, columns: &[&str]) -> Box<dyn MessageDecoder> {
    let all: Vec<String> = match columns {
        [] => settings.all_columns().unwrap().columns.into_iter().map(|column| column.name).collect(),
        some => some.iter().map(ToString::to_string).collect(),
    };
    let format = FormatSettings { format: Format::Avro { schema: Box::new(settings) }, max_line_bytes: Some(1 << 16) };
    format.messages(&all, &Env::seeded(1)).unwrap().decoder().unwrap()
}

async fn registry() -> (TestRegistry, AvroSettings) {
    let registry = TestRegistry::start().await;
    registry.add(1, "clicks-old", &V1);
    registry.add(2, "clicks-value", &V2);
    let place = RegistrySettings { url: registry.url.clone(), user: None, password: None, token: None };
    let settings =
        AvroSettings { registry: Some(place), subject: Some("clicks-value".into()), ..AvroSettings::default() };
    (registry, settings)
}

fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

/// Decodes messages at once; nothing is waited for.
fn decoded(decoder: &mut dyn MessageDecoder, messages: &[Vec<u8>]) -> DecodedLines {
    for (place, message) in messages.iter().enumerate() {
        decoder.push(message, 100 + place as u64);
    }
    futures::executor::block_on(decoder.finish()).unwrap()
}

fn rows(records: &RecordBatch) -> Vec<Vec<String>> {
    cells(records)
}

#[test]
fn records_of_one_schema_need_no_registry() {
    let samples: Vec<_> = samples().into_iter().filter(|(version, ..)| *version == 2).collect();
    let mut decoder = decoder(of_file(), &[]);
    let messages: Vec<Vec<u8>> = samples.iter().map(|(_, body, _)| body.clone()).collect();
    let found = decoded(decoder.as_mut(), &messages);
    assert!(found.bad_lines.is_empty(), "{:?}", found.bad_lines);
    let expected: Vec<Vec<String>> = samples.iter().map(|(_, _, expected)| expected.clone()).collect();
    assert_eq!(rows(&found.records), expected);
    assert_eq!(found.records.schema(), *decoder.schema());
    // As single objects, too.
    let fingerprint = crate::format::testing::bytes(SAMPLES["fingerprint"].as_str().unwrap());
    let single: Vec<Vec<u8>> = messages.iter().map(|body| [&[0xc3, 0x01], &*fingerprint, body].concat()).collect();
    let found = decoded(decoder.as_mut(), &single);
    assert!(found.bad_lines.is_empty(), "{:?}", found.bad_lines);
    assert_eq!(rows(&found.records), expected);
}

#[tokio::test]
async fn a_schema_that_changes_in_mid_stream_is_resolved() {
    let (registry, settings) = registry().await;
    let format = Format::Avro { schema: Box::new(settings.clone()) };
    let looked = format.look().expect("the registry is asked").await.unwrap();
    assert_eq!(looked.names().take(3).collect::<Vec<_>>(), ["clicked_at", "ad_id", "user"]);
    assert!(format.look().is_none(), "it is asked once");
    // The newest schema at the start is a part of the configuration: what is registered later changes nothing.
    registry.add(3, "clicks-value", r#"{"type":"record","name":"Click","namespace":"ads","fields":[]}"#);
    let stored: AvroSettings = serde_json::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
    assert_eq!(stored, settings);
    let mut decoder = decoder(stored, &[]);
    let samples = samples();
    for _ in 0..2 {
        for (place, (version, body, _)) in samples.iter().enumerate() {
            decoder.push(&framed(*version, body), place as u64);
        }
        let found = decoder.finish().await.unwrap();
        assert!(found.bad_lines.is_empty(), "{:?}", found.bad_lines);
        let expected: Vec<Vec<String>> = samples.iter().map(|(_, _, expected)| expected.clone()).collect();
        assert_eq!(rows(&found.records), expected, "in their order, whatever they were written with");
    }
    let asked: Vec<String> = registry.asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["/subjects/clicks-value/versions/latest", "/schemas/ids/1", "/schemas/ids/2"]);
}

#[tokio::test]
async fn a_bad_message_costs_itself_only() {
    let (registry, settings) = registry().await;
    registry.add(4, "else", r#"{"type":"record","name":"Else","fields":[{"name":"ad_id","type":"long"}]}"#);
    registry.set("/schemas/ids/5", 200, r#"{"schema":"message A {}","schemaType":"PROTOBUF"}"#);
    settings.ask().await.unwrap();
    let mut decoder = decoder(settings, &["ad_id", "user"]);
    let samples = samples();
    let good = |place: usize| framed(samples[place].0, &samples[place].1);
    let (new, body) = (good(1), &samples[1].1);
    let mut not_utf8 = new.clone();
    let ad = memchr::memmem::find(&new, b"ad1").unwrap();
    not_utf8[ad] = 0xff;
    let messages = [
        (good(0), None),
        (Vec::new(), Some("the message is empty")),
        (b"{\"ad_id\":1}".to_vec(), Some("begins with 0x7b")),
        (new[..new.len() - 1].to_vec(), Some("no record of its schema")),
        (good(1), None),
        (framed(2, &body[..body.len() / 2]), Some("it ends in the middle of a record, after")),
        ([&*new, &ANNOUNCED].concat(), Some("more bytes follow its record")),
        ([&*new, &ANNOUNCED, body].concat(), Some("more bytes follow its record")),
        ([&*new, b"x"].concat(), Some("more bytes follow its record")),
        (framed(9, body), Some("knows no schema 9")),
        (good(3), None),
        (framed(4, &[2]), Some("the schema 4 can't be read by that of the job")),
        (framed(5, &[2]), Some("one of PROTOBUF")),
        (not_utf8, Some("non UTF-8 data")),
        (framed(2, &vec![0; 1 << 16]), Some("at most 65536 are allowed")),
        (framed(1, &[]), Some("it ends in the middle")),
        (good(2), None),
    ];
    for (place, (message, _)) in messages.iter().enumerate() {
        decoder.push(message, 1_000 + place as u64);
    }
    let found = decoder.finish().await.unwrap();
    let ads: Vec<String> = rows(&found.records).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(ads, ["ad0", "ad1", "ad3", "ad2"]);
    let expected: Vec<(usize, &str)> =
        messages.iter().enumerate().filter_map(|(place, (_, part))| Some((place, (*part)?))).collect();
    assert_eq!(found.bad_lines.len(), expected.len(), "{:?}", found.bad_lines);
    for (bad, (place, part)) in found.bad_lines.iter().zip(expected) {
        assert_eq!((bad.line, bad.offset), (place, 1_000 + place as u64));
        assert!(bad.reason.contains(part), "{place}: {} should say {part}", bad.reason);
    }
}

#[tokio::test]
async fn while_the_registry_is_away_nothing_is_lost() {
    let (registry, settings) = registry().await;
    settings.ask().await.unwrap();
    let mut decoder = decoder(settings, &["ad_id"]);
    let samples = samples();
    registry.fail(Some(503));
    for (version, body, _) in &samples[..3] {
        decoder.push(&framed(*version, body), 0);
    }
    let error = decoder.finish().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert_eq!(decoder.held().messages, 3);
    // Dropped while it waits.
    let mut waiting = decoder.finish();
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(waiting);
    registry.fail(None);
    let (version, body, _) = &samples[3];
    decoder.push(&framed(*version, body), 0);
    let found = decoder.finish().await.unwrap();
    let ads: Vec<String> = rows(&found.records).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!((ads, found.bad_lines.len()), (["ad0", "ad1", "ad2", "ad3"].map(str::to_owned).to_vec(), 0));
    assert_eq!(decoder.held(), Default::default());
}

fn with_columns(columns: Value) -> AvroSettings {
    AvroSettings { columns: serde_json::from_value(columns).unwrap(), ..of_file() }
}

#[test]
fn columns_lie_where_their_paths_lead() {
    let settings = with_columns(json!({
        "url": { "type": "string", "path": "page.url" },
        "width": { "type": "float", "path": "page.size.width" },
        "seen": { "type": "timestamp", "path": "page.seen_at" },
        "page": "string",
        "cost": "decimal(8, 2)",
        "user": { "type": "timestamp", "unit": "us" },
    }));
    let mut mistakes = Vec::new();
    assert!(settings.check(&KeyPath::default(), &mut mistakes).is_some(), "{mistakes:?}");
    let all: Vec<_> = samples().into_iter().filter(|(version, ..)| *version == 2).collect();
    let mut decoder = decoder(settings, &["url", "width", "seen", "cost", "user"]);
    let found = decoded(decoder.as_mut(), &all.iter().map(|(_, body, _)| body.clone()).collect::<Vec<_>>());
    assert!(found.bad_lines.is_empty(), "{:?}", found.bad_lines);
    let rows = rows(&found.records);
    // They are those with the numbers 1, 2, 4, 5 …: with even ones there is a page, with each second of these it was seen.
    let at = |us: &str| format!("1970-01-13T17:25:11.{us}Z");
    assert_eq!(rows[0], ["-", "-", "-", "1.50", &at("627")]);
    assert_eq!(rows[1], ["/p/2", "102.0", "-", "3.00", &at("627")]);
    assert_eq!(rows[2], ["/p/4", "104.0", "2022-03-04T00:00:01.250Z", "6.00", &at("627")]);
}

#[test]
fn values_that_do_not_fit_are_refused_with_their_column() {
    let mut decoder = decoder(with_columns(json!({ "cost": "timestamp", "ad_id": "string" })), &["ad_id", "cost"]);
    let (_, body, _) = samples().into_iter().find(|(version, ..)| *version == 2).unwrap();
    let found = decoded(decoder.as_mut(), &[body]);
    assert_eq!(found.records.num_rows(), 0);
    assert!(found.bad_lines[0].reason.starts_with("cost 1.5 is not a time that exists"), "{found:?}");
}

#[test]
fn no_columns_are_rows_without_any() {
    let names: Vec<String> = Vec::new();
    let format = FormatSettings::from(Format::Avro { schema: Box::new(of_file()) });
    let mut decoder = format.messages(&names, &Env::seeded(1)).unwrap().decoder().unwrap();
    let bodies: Vec<Vec<u8>> =
        samples().into_iter().filter(|(version, ..)| *version == 2).map(|(_, body, _)| body).collect();
    let found = decoded(decoder.as_mut(), &bodies);
    assert_eq!((found.records.num_rows(), found.records.num_columns()), (bodies.len(), 0), "{:?}", found.bad_lines);
}

fn told(schema: Value) -> (Option<FormatSettings>, Vec<String>) {
    read(json!({ "format": "avro", "schema": schema }), |keys| FormatSettings::read(keys, &FormatName::MESSAGES))
}

#[test]
fn the_keys_of_a_schema_are_read() {
    let path = sample_path("clicks_v2.avsc");
    let (avro, wrong) = told(json!({ "file": path, "columns": { "url": { "type": "string", "path": "page.url" } } }));
    assert_eq!(wrong, Vec::<String>::new());
    let Some(Format::Avro { schema }) = avro.map(|avro| avro.format) else { panic!("avro") };
    assert_eq!(schema.pinned.get(), Some(&**V2), "what the file says is kept");
    let mut mistakes = Vec::new();
    let columns = schema.check(&KeyPath::default(), &mut mistakes).unwrap();
    assert_eq!((columns.columns[0].name.as_str(), mistakes.len()), ("url", 0));
    let wrong = |schema| told(schema).1;
    assert!(
        wrong(json!({ "file": "no/such.avsc" }))[0].starts_with("schema.file: the file can't be read: No such file")
    );
    let proto = sample_path("clicks.proto");
    assert!(wrong(json!({ "file": proto }))[0].starts_with("schema.file: it is no schema of records"));
    assert_eq!(wrong(json!({ "subject": "a" })), ["schema.subject: a subject is one of a registry"]);
    let told = wrong(json!({ "registry": "http://r", "fil": "a" }));
    assert_eq!(
        told,
        ["schema.registry: it has many schemas: which one is meant?", "schema.fil: the key `fil` is unknown"]
    );
    let told = wrong(json!({ "registry": "http://r", "subject": "a", "file": path }));
    assert_eq!(told, ["schema.subject: there is a file with the schema already"]);
}

#[test]
fn mistakes_are_told_at_their_columns() {
    let told = |settings: AvroSettings| {
        let mut mistakes = Vec::new();
        let none = settings.check(&KeyPath::default(), &mut mistakes).is_none();
        assert!(none);
        mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect::<Vec<_>>()
    };
    let wrong = told(with_columns(json!({
        "ad": "string",
        "deep": { "type": "string", "path": "ad_id.x" },
        "size": { "type": "int", "path": "page.length" },
        "cost": "bool",
        "page": "int",
    })));
    assert!(
        wrong[0]
            .starts_with("schema.columns.ad: the schema has no field `ad` there; the fields are: clicked_at, ad_id")
    );
    assert_eq!(wrong[1], "schema.columns.cost: a field of type Float64 can't be read as bool");
    assert!(wrong[2].contains("there is nothing below"), "{wrong:?}");
    assert!(wrong[3].ends_with("can't be read as int"), "{wrong:?}");
    assert!(wrong[4].ends_with("no field `length` there; the fields are: url, seen_at, size"), "{wrong:?}");
    assert_eq!(told(AvroSettings::default()), ["schema: no schema says which fields there are"]);
}

#[tokio::test]
async fn a_registry_without_the_subject_is_told_at_its_key() {
    let (registry, settings) = registry().await;
    let settings = AvroSettings { subject: Some("clicks".into()), ..settings };
    assert!(settings.ask().await.is_err());
    let mut mistakes = Vec::new();
    assert!(settings.check(&KeyPath::default(), &mut mistakes).is_none());
    assert_eq!(mistakes[0].path.to_string(), "schema.registry");
    assert!(
        mistakes[0].message.contains("subject 'clicks' in the registry") && mistakes[0].message.contains(&registry.url)
    );
}

/// Decoders of the samples' schemas, without a registry: one for each version, used by one test at a time.
static RAW: LazyLock<Mutex<[Box<dyn MessageDecoder>; 2]>> = LazyLock::new(|| {
    let of = |text: &str| {
        let settings = AvroSettings { pinned: super::super::pinned::Pinned::of(text), ..AvroSettings::default() };
        decoder(settings, &[])
    };
    Mutex::new([of(&V1), of(&V2)])
});

/// A sample with some bytes changed, perhaps cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let cut = proptest::option::of(any::<prop::sample::Index>());
    (0..12usize, prop::collection::vec(change, 0..3), cut).prop_map(|(place, changes, cut)| {
        let mut body = samples().swap_remove(place).1;
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_message_becomes_what_it_would_alone(
        messages in prop::collection::vec(
            prop_oneof![damaged(), prop::collection::vec(any::<u8>(), 0..80)],
            0..12,
        ),
    ) {
        for decoder in RAW.lock().iter_mut() {
            let together = decoded(decoder.as_mut(), &messages);
            prop_assert_eq!(together.records.num_rows() + together.bad_lines.len(), messages.len());
            let mut found = rows(&together.records).into_iter();
            let mut bad = together.bad_lines.iter().peekable();
            for (place, message) in messages.iter().enumerate() {
                let alone = decoded(decoder.as_mut(), std::slice::from_ref(message));
                match bad.next_if(|bad| bad.line == place) {
                    Some(bad) => prop_assert_eq!(&bad.reason, &alone.bad_lines[0].reason),
                    None => prop_assert_eq!(found.next(), rows(&alone.records).pop()),
                }
            }
        }
    }

    #[test]
    fn any_schema_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\":,a-z0-9-]{0,2}"), 1..4),
        random in ".{0,40}",
    ) {
        let _ = RecordSchema::parse(&random);
        let mut text = V2.clone();
        for (place, put) in changes {
            let place = place.index(text.len());
            if text.is_char_boundary(place) {
                text.replace_range(place..(place + put.len()).min(text.len()), &put);
            }
        }
        if let Ok(schema) = RecordSchema::parse(&text) {
            let _ = schema.columns();
        }
    }
}
