//! Avro container files, as fastavro has written them, and damaged ones.

use super::{Seen, context, read, read_on, read_some};
use crate::{
    definition::testing,
    format::{
        avro::RecordSchema,
        testing::{cells, sample, sample_path},
    },
    source::{
        connector::look,
        files::{
            KIND,
            avro_split::AvroFileSettings,
            bounded::{BoundedFiles, RecordSettings},
            listing::Location,
            source,
        },
        reader::SourceReader,
        settings::SourceSettings,
    },
};
use object_store::{ObjectStoreExt, memory::InMemory};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    sync::{Arc, LazyLock},
};
use weir_engine::{
    element::Port,
    operator::{OperatorContext, Source, SourceEvent},
};

const CODECS: [&str; 5] = ["null", "deflate", "snappy", "zstandard", "bzip2"];

/// The columns of each sample.
static EXPECTED: LazyLock<BTreeMap<String, Vec<Vec<String>>>> =
    LazyLock::new(|| serde_json::from_str(&sample("clicks_files.json")).expect("rows"));

/// A source of all columns, read by the newer schema; of the ads alone, they come first.
fn config(path: &Path, columns: &[&str]) -> Value {
    let text = sample("clicks_v2.avsc");
    let schema = RecordSchema::parse(&text).unwrap().columns().arrow_schema();
    let wanted = |name: &str| columns.is_empty() || columns.contains(&name);
    let columns: Vec<Value> = schema
        .fields()
        .iter()
        .filter(|field| wanted(field.name()))
        .map(|field| json!({ "name": field.name(), "type": field.data_type().to_string() }))
        .collect();
    json!({ "path": path.display().to_string(), "format": "avro", "schema": { "pinned": text }, "columns": columns })
}

async fn all_rows(config: &Value) -> Vec<Vec<String>> {
    let mut source = source(config, &context(0, 1)).unwrap();
    source.restore(Vec::new()).await.unwrap();
    let mut rows = Vec::new();
    loop {
        match source.next().await.unwrap() {
            SourceEvent::EndOfInput => return rows,
            SourceEvent::Rows(port, batch) if port == Port::MAIN => rows.extend(cells(&batch.columns)),
            SourceEvent::Rows(_, letters) => panic!("{letters:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn files_of_all_compressions_are_read() {
    for codec in CODECS {
        let name = format!("clicks_{codec}.avro");
        assert_eq!(all_rows(&config(&sample_path(&name), &[])).await, EXPECTED[&name], "{name}");
    }
}

#[tokio::test]
async fn files_of_an_older_schema_are_resolved_to_the_newer() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["clicks_v1.avro", "clicks_snappy.avro"] {
        fs::copy(sample_path(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("readme.txt"), "none of them").unwrap();
    let expected = [&*EXPECTED["clicks_snappy.avro"], &*EXPECTED["clicks_v1.avro"]].concat();
    let mut found = all_rows(&config(folder.path(), &[])).await;
    found.sort();
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(found, sorted);
}

#[tokio::test]
async fn the_columns_are_those_of_the_last_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(sample_path("clicks_v1.avro"), folder.path().join("1.avro")).unwrap();
    fs::copy(sample_path("clicks_null.avro"), folder.path().join("2.avro")).unwrap();
    fs::write(folder.path().join("3.avro"), "damaged").unwrap();
    let keys = json!({ "path": folder.path().display().to_string(), "format": "avro" });
    let (files, wrong) = testing::read(keys, KIND.read);
    assert_eq!(wrong, Vec::<String>::new());
    let looked = look(files.as_ref()).expect("it looks").expect("columns");
    assert_eq!(looked.names().take(3).collect::<Vec<_>>(), ["clicked_at", "ad_id", "user"]);
    let stored = files.config();
    let pinned = stored["schema"]["pinned"].as_str().expect("the schema is kept");
    assert_eq!(RecordSchema::parse(pinned).unwrap().columns().columns.len(), 17);
    let none = tempfile::tempdir().unwrap();
    let keys = json!({ "path": none.path().display().to_string(), "format": "avro" });
    let why = look(testing::read(keys, KIND.read).0.as_ref()).unwrap().unwrap_err();
    assert_eq!(why, "there is no Avro file yet to take the columns from");
    let growing =
        json!({ "path": "a", "format": "avro", "follow": true, "schema": { "file": sample_path("clicks_v2.avsc") } });
    let (growing, _) = testing::read(growing, KIND.read);
    assert!(look(growing.as_ref()).is_none(), "the file has said it");
    let mut mistakes = Vec::new();
    let watermark = Default::default();
    let given = crate::source::SourceGiven { has_event_time: false, watermark: &watermark, looked: None };
    growing.columns(&given, &Default::default(), &mut mistakes);
    assert!(mistakes[0].message.contains("is not read before it is complete"), "{mistakes:?}");
}

/// Some kilobytes that become as many megabytes as anybody likes.
#[tokio::test]
async fn a_block_that_would_fill_the_memory_is_a_dead_letter_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.avro");
    let whole = fs::read(sample_path("clicks_deflate.avro")).unwrap();
    let marks: Vec<usize> = memchr::memmem::find_iter(&whole, b"0123456789abcdef").map(|at| at + 16).collect();
    let bomb = {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        (0..65).for_each(|_| encoder.write_all(&zeros).unwrap());
        encoder.finish().unwrap()
    };
    assert!(bomb.len() < 1 << 20, "it is small");
    let block = |records: u64, body: &[u8]| {
        let mut block = Vec::new();
        prost::encoding::encode_varint(records << 1, &mut block);
        prost::encoding::encode_varint((body.len() as u64) << 1, &mut block);
        [&*block, body, b"0123456789abcdef"].concat()
    };
    let empty = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast()).finish().unwrap();
    for (added, why) in [
        (block(1, &bomb), "is too large (decompressed it takes more than 64 MiB"),
        (block(1 << 40, &empty), "is too large (it has 1099511627776 records in 0 bytes"),
    ] {
        fs::write(&path, [&whole[..marks[1]], &added, &whole[marks[1]..]].concat()).unwrap();
        let found = read(&config(&path, &["ad_id"]), Vec::new(), 1).await.unwrap();
        assert_eq!((found.ads.len(), found.dead.len()), (40, 1));
        let reason = format!("a.avro@{}: the block at byte {} {why}", marks[1], marks[1]);
        assert!(found.dead[0].starts_with(&reason), "{:?}", found.dead);
    }
}

#[tokio::test]
async fn what_is_damaged_is_a_dead_letter_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.avro");
    let whole = fs::read(sample_path("clicks_snappy.avro")).unwrap();
    let read = async |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        read(&config(&path, &["ad_id"]), Vec::new(), 1).await.unwrap()
    };
    let good = read(&whole).await;
    assert_eq!((good.ads.len(), good.dead.len()), (40, 0));
    // The marker ends the header and each block.
    let marks: Vec<usize> = memchr::memmem::find_iter(&whole, b"0123456789abcdef").map(|at| at + 16).collect();
    assert!(marks.len() > 3, "{marks:?}");
    let mut damaged = whole.clone();
    damaged[marks[1] + 10] ^= 0x55;
    let found = read(&damaged).await;
    assert_eq!(found.dead.len(), 1);
    let reason = format!("a.avro@{}: the block at byte {} is damaged (", marks[1], marks[1]);
    assert!(
        found.dead[0].starts_with(&reason) && found.dead[0].ends_with(&format!("before byte {}", marks[2])),
        "{found:?}"
    );
    assert!(found.ads.len() < 40 && found.ads.iter().all(|ad| good.ads.contains(ad)));
    assert_eq!((&found.ads[0], found.ads.last()), (&good.ads[0], good.ads.last()), "the blocks around it are read");
    // A head that says nonsense.
    let mut damaged = whole.clone();
    damaged[marks[1]..marks[1] + 4].fill(0xff);
    let nonsense = read(&damaged).await;
    assert_eq!((nonsense.ads, nonsense.dead.len()), (found.ads, 1));
    let cut = read(&whole[..whole.len() - 20]).await;
    assert!(cut.dead[0].contains("the file ends before the block does") && cut.ads.len() < 40, "{cut:?}");
    for (bytes, part) in [
        (&b""[..], "it is empty"),
        (b"Obj", "does not begin as one does"),
        (b"PAR1 and more", "does not begin as one does"),
        (&whole[..100], "the file is no Avro container: "),
    ] {
        let none = read(bytes).await;
        assert!(none.ads.is_empty() && none.dead.len() == 1 && none.dead[0].starts_with("a.avro@0: "), "{none:?}");
        assert!(none.dead[0].contains(part), "{none:?}");
    }
}

#[tokio::test]
async fn objects_are_read_in_large_pieces() {
    let store = Arc::new(InMemory::new());
    let bytes = fs::read(sample_path("clicks_zstandard.avro")).unwrap();
    store.put(&"in/a.avro".into(), bytes.into()).await.unwrap();
    let schema = RecordSchema::parse(&sample("clicks_v2.avsc")).unwrap();
    let requested = schema.columns().project(&["ad_id".to_owned()]).unwrap();
    let OperatorContext { env, attempt, staging, .. } = context(0, 1);
    let connector = BoundedFiles {
        location: Location::over(store, "memory:///", "in"),
        path: "in".to_owned(),
        records: RecordSettings::Avro(Arc::new(AvroFileSettings { schema, requested })),
        subtask: 0,
        parallelism: 1,
        env,
        attempt,
        staging,
    };
    let settings = SourceSettings::read(&json!({ "columns": [] }), &context(0, 1)).unwrap();
    let mut source = SourceReader::new(settings.reader_settings(), Box::new(connector), &context(0, 1));
    source.restore(Vec::new()).await.unwrap();
    let mut seen = Seen::default();
    read_on(&mut source, &mut seen).await.unwrap();
    assert_eq!((seen.ads.len(), seen.dead.len()), (40, 0), "{seen:?}");
}

#[tokio::test]
async fn records_that_do_not_fit_are_dead_letters_of_their_block() {
    let mut config = config(&sample_path("clicks_null.avro"), &["ad_id"]);
    config["schema"]["columns"] = json!({ "ad_id": "string", "user": "decimal(12, 0)" });
    config["columns"] = json!([{ "name": "ad_id", "type": "Utf8" }, { "name": "user", "type": "Decimal128(12, 0)" }]);
    let found = read(&config, Vec::new(), 1).await.unwrap();
    assert_eq!((found.ads.len(), found.dead.len()), (0, 40));
    let (first, last) = (&found.dead[0], &found.dead[39]);
    assert!(
        first.contains("user 1099511627776 is not a decimal(12, 0)")
            && first.contains("(record 0 of the block at byte"),
        "{first}"
    );
    assert!(!last.contains("(record 0 "), "{last}");
}

#[tokio::test]
async fn a_restart_anywhere_reads_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, copy) in
        [("clicks_v1.avro", "1.avro"), ("clicks_deflate.avro", "2.avro"), ("clicks_null.avro", "3.avro")]
    {
        fs::copy(sample_path(name), folder.path().join(copy)).unwrap();
    }
    let mut damaged = fs::read(sample_path("clicks_snappy.avro")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(folder.path().join("4.avro"), damaged).unwrap();
    let mut config = config(folder.path(), &["ad_id"]);
    config["batch_rows"] = 7.into();
    let expected = read(&config, Vec::new(), 1).await.unwrap().sorted();
    assert!(expected.ads.len() > 90 && expected.dead.len() == 1, "{expected:?}");
    for events in 0..24 {
        let mut found = Seen::default();
        let states = read_some(&config, events, 2, &mut found).await;
        let rest = read(&config, states, 3).await.unwrap();
        found.ads.extend(rest.ads);
        found.dead.extend(rest.dead);
        assert_eq!(found.sorted(), expected, "after {events} events");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_damage_ends_a_job(
        codec in prop::sample::select(&CODECS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = fs::read(sample_path(&format!("clicks_{codec}.avro"))).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.avro");
        fs::write(&path, bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut seen = Seen::default();
        runtime.block_on(async {
            let mut source = source(&config(&path, &["ad_id"]), &context(0, 1)).unwrap();
            source.restore(Vec::new()).await.unwrap();
            read_on(source.as_mut(), &mut seen).await.unwrap();
        });
        prop_assert!(seen.ads.len() <= 1_000);
    }
}
