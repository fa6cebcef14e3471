//! Protobuf against samples that Google's library has written, and against any bytes.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;
use weir_engine::env::Env;

use super::settings::ProtobufSettings;
use crate::definition::{KeyPath, testing::read};
use crate::format::{
    DecodedLines, Format, FormatName, FormatSettings, MessageDecoder,
    testing::{bytes, cells, sample, sample_path},
};

static SAMPLES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&sample("clicks_protobuf.json")).expect("samples"));

/// The name, the bytes and the columns of each sample; without columns it is none that can be read.
fn samples(message: &str) -> Vec<(String, Vec<u8>, Option<Vec<String>>)> {
    let sample = |sample: &Value| {
        let body = bytes(sample["body"].as_str().expect("hex"));
        let expected = serde_json::from_value(sample["expected"].clone()).expect("texts");
        (sample["name"].as_str().expect("a name").to_owned(), body, expected)
    };
    SAMPLES[message].as_array().expect("messages").iter().map(sample).collect()
}

fn told(schema: Value) -> (Option<ProtobufSettings>, Vec<String>) {
    let keys = json!({ "format": "protobuf", "schema": schema });
    let (format, wrong) = read(keys, |keys| FormatSettings::read(keys, &FormatName::MESSAGES));
    let settings = format.and_then(|format| match format.format {
        Format::Protobuf { schema } => Some(*schema),
        _ => None,
    });
    (settings, wrong)
}

fn settings(message: &str, framed: bool, columns: Value) -> ProtobufSettings {
    let schema =
        json!({ "descriptors": sample_path("clicks.desc"), "message": message, "framed": framed, "columns": columns });
    let (settings, wrong) = told(schema);
    assert_eq!(wrong, Vec::<String>::new());
    let settings = settings.unwrap();
    let stored: ProtobufSettings = serde_json::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
    assert_eq!(stored, settings, "a restart needs no file");
    stored
}

fn decoder(settings: ProtobufSettings) -> Box<dyn MessageDecoder> {
    let mut mistakes = Vec::new();
    let columns = settings.check(&KeyPath::default(), &mut mistakes).unwrap_or_else(|| panic!("{mistakes:?}"));
    let names: Vec<String> = columns.columns.into_iter().map(|column| column.name).collect();
    let format = FormatSettings::from(Format::Protobuf { schema: Box::new(settings) });
    format.messages(&names, &Env::seeded(1)).unwrap().decoder().unwrap()
}

fn decoded(decoder: &mut dyn MessageDecoder, messages: &[Vec<u8>]) -> DecodedLines {
    for (place, message) in messages.iter().enumerate() {
        decoder.push(message, 100 + place as u64);
    }
    futures::executor::block_on(decoder.finish()).unwrap()
}

#[test]
fn fields_become_columns() {
    for message in ["ads.Click", "ads.Legacy"] {
        let samples = samples(message);
        let mut decoder = decoder(settings(message, false, json!({})));
        let found = decoded(decoder.as_mut(), &samples.iter().map(|(_, body, _)| body.clone()).collect::<Vec<_>>());
        let expected: Vec<Vec<String>> = samples.iter().filter_map(|(.., expected)| expected.clone()).collect();
        assert_eq!(cells(&found.records), expected);
        let bad: Vec<usize> =
            samples.iter().enumerate().filter(|(_, (.., good))| good.is_none()).map(|(n, _)| n).collect();
        assert_eq!(found.bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), bad);
        for bad in &found.bad_lines {
            assert!(bad.reason.starts_with("big 9223372036854775808 is not an int"), "{}", bad.reason);
        }
    }
}

#[test]
fn columns_lie_where_their_paths_lead() {
    let columns = json!({
        "at": { "type": "timestamp", "path": "page.seen_at" },
        "seconds": { "type": "timestamp", "path": "clicked_at.seconds", "unit": "s" },
        "width": { "type": "float", "path": "page.size.width" },
        "country": "string",
        "code": { "type": "string", "path": "country.value" },
        "big": "decimal(20, 0)",
    });
    let mut decoder = decoder(settings("ads.Click", false, columns));
    let (_, body, _) = samples("ads.Click").into_iter().next().unwrap();
    let found = decoded(decoder.as_mut(), &[body, Vec::new()]);
    assert!(found.bad_lines.is_empty(), "{:?}", found.bad_lines);
    let names: Vec<&str> = found.records.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["at", "big", "code", "country", "seconds", "width"]);
    let first = ["2022-03-04T00:00:01.250Z", "9223372036854775808", "USA", "USA", "2022-03-04T00:00:01Z", "3.0"];
    assert_eq!(cells(&found.records), [first, ["-", "0", "-", "-", "-", "-"]].map(|row| row.map(str::to_owned)));
}

#[test]
fn messages_of_a_registry_say_what_they_are() {
    let (_, body, _) = samples("ads.Click").into_iter().find(|(name, ..)| name == "old").unwrap();
    let mut decoder = decoder(settings("ads.Click", true, json!({ "ad_id": "string" })));
    // Of its file it is the message behind `Other` and `Page`.
    let of = |indexes: &[u8]| [&[0, 0, 0, 0, 9], indexes, &*body].concat();
    let messages = [of(&[2, 4]), of(&[0]), of(&[4, 0, 0]), of(&[2, 40]), body.clone(), vec![0, 0, 0], of(&[1])];
    let found = decoded(decoder.as_mut(), &messages);
    assert_eq!(cells(&found.records), [["ad2"]]);
    let reasons: Vec<&str> = found.bad_lines.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(reasons[0], "the message is a ads.Other, and ads.Click is expected");
    assert_eq!(reasons[1], "the message is a ads.Other.Within, and ads.Click is expected");
    assert_eq!(reasons[2], "the message is the one at [20] of its file, and there is none");
    assert!(reasons[3].contains("begins with 0x0a") && reasons[4].contains("within the number"), "{reasons:?}");
    assert_eq!(reasons.len(), 6);
}

#[test]
fn what_is_wrong_is_told_at_its_key() {
    let file = sample_path("clicks.desc");
    let wrong = |schema| told(schema).1;
    assert_eq!(wrong(json!({ "message": "ads.Click" })), ["schema: the key `descriptors` is missing"]);
    let none = wrong(json!({ "descriptors": file, "message": "Click" }));
    assert_eq!(none, ["schema.message: there is no such message in the descriptors"]);
    let none = wrong(json!({ "descriptors": sample_path("clicks.proto"), "message": "ads.Click" }));
    assert!(none[0].starts_with("schema.descriptors: this is no whole set of descriptors"), "{none:?}");
    let asked = wrong(json!({ "descriptors": file, "message": "ads.Click", "registry": "http://r" }));
    assert_eq!(asked, ["schema.registry: messages are known by the descriptors, and no registry is asked"]);
    let columns = json!({ "ad": "string", "at": { "type": "int", "path": "tags.x" }, "cost": "string", "page": "int" });
    let settings = settings("ads.Click", false, columns);
    let mut mistakes = Vec::new();
    assert!(settings.check(&KeyPath::default(), &mut mistakes).is_none());
    let told: Vec<String> = mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect();
    assert!(
        told[0].starts_with("schema.columns.ad: ads.Click has no field `ad`; its fields are: ad_id, user,"),
        "{told:?}"
    );
    assert!(told[1].contains("there is nothing below"), "{told:?}");
    assert_eq!(told[2], "schema.columns.cost: a field of type double can't be read as string");
    assert_eq!(told[3], "schema.columns.page: a field of type ads.Page can't be read as int");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_become_a_row_or_a_bad_message(
        messages in prop::collection::vec((0..6usize, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..8),
        random in prop::collection::vec(any::<u8>(), 0..60),
        framed: bool,
    ) {
        let samples = samples("ads.Click");
        let damage = |(place, at, byte, cut): (usize, prop::sample::Index, u8, bool)| {
            let mut body = samples[place].1.clone();
            if !body.is_empty() {
                let at = at.index(body.len());
                if cut { body.truncate(at) } else { body[at] = byte }
            }
            body
        };
        let mut messages: Vec<Vec<u8>> = messages.into_iter().map(damage).collect();
        messages.push(random);
        if framed {
            messages.iter_mut().for_each(|message| drop(message.splice(0..0, [0, 0, 0, 0, 1, 2, 4])));
        }
        let mut decoder = decoder(settings("ads.Click", framed, json!({})));
        let together = decoded(decoder.as_mut(), &messages);
        prop_assert_eq!(together.records.num_rows() + together.bad_lines.len(), messages.len());
        let mut found = cells(&together.records).into_iter();
        for (place, message) in messages.iter().enumerate() {
            let alone = decoded(decoder.as_mut(), std::slice::from_ref(message));
            match together.bad_lines.iter().find(|bad| bad.line == place) {
                Some(bad) => prop_assert_eq!(&bad.reason, &alone.bad_lines[0].reason),
                None => prop_assert_eq!(found.next(), cells(&alone.records).pop()),
            }
        }
    }
}
