//! Compressed files are read like others, and damaged ones as far as they are sound.

use super::*;
use crate::source::files::compression::{Compression, compress};

const ALL: [(Compression, &str); 3] =
    [(Compression::Gzip, "gz"), (Compression::Zstd, "zst"), (Compression::Bzip2, "bz2")];

fn clicks(from: u32, count: u32) -> String {
    (from..from + count).map(|n| click(&format!("ad{n:05}"), n % 60)).collect()
}

#[tokio::test]
async fn compressed_files_are_read_like_others_wherever_a_restart_falls() {
    for (compression, ending) in ALL {
        let folder = tempfile::tempdir().expect("a folder");
        // Two members, and a byte order mark in each of them.
        let mark = "\u{feff}";
        let mut bytes = compress(compression, format!("{mark}{}garbage\n", clicks(0, 900)).as_bytes());
        bytes.extend(compress(compression, format!("{mark}{}", clicks(900, 600).trim_end()).as_bytes()));
        fs::write(folder.path().join(format!("a.log.{ending}")), &bytes).expect("written");
        fs::write(folder.path().join("without an ending"), compress(compression, clicks(1_500, 10).as_bytes()))
            .expect("written");
        fs::write(folder.path().join("plain.log"), clicks(1_510, 10)).expect("written");
        let mut config = config(folder.path());
        config["batch_rows"] = 100.into();
        let whole = read(&config, Vec::new(), 2).await.expect("read").sorted();
        let expected: Vec<String> = (0..1_520).map(|n| format!("ad{n:05}")).collect();
        assert_eq!(whole.ads, expected, "{compression:?}");
        let offset = 3 + clicks(0, 900).len();
        assert_eq!(whole.dead, [format!("a.log.{ending}@{offset}: the line does not begin with [AdClickEvent]")]);
        for events in [2, 17] {
            let mut seen = Seen::default();
            let states = read_some(&config, events, 2, &mut seen).await;
            let rest = read(&config, states, 3).await.expect("read");
            seen.ads.extend(rest.ads);
            seen.dead.extend(rest.dead);
            assert_eq!(seen.sorted(), whole, "{compression:?} after {events}");
        }
    }
}

#[tokio::test]
async fn a_damaged_file_is_read_as_far_as_it_is_sound() {
    for (compression, ending) in ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let text = clicks(0, 4_000);
        let bytes = compress(compression, text.as_bytes());
        let path = folder.path().join(format!("a.log.{ending}"));
        fs::write(folder.path().join("b.log"), click("other", 1)).expect("written");
        for damage in ["cut off", "damaged"] {
            let mut damaged = bytes.clone();
            let middle = damaged.len() / 2;
            match damage {
                "cut off" => damaged.truncate(middle),
                _ => damaged[middle..middle + 40].fill(0x5a),
            }
            fs::write(&path, &damaged).expect("written");
            let mut config = config(folder.path());
            let whole = read(&config, Vec::new(), 1).await.expect("read").sorted();
            let told = whole.dead.iter().filter(|dead| dead.contains(&format!(" file is {damage} "))).count();
            assert_eq!(told, 1, "{compression:?} {damage}: {:?}", whole.dead);
            // Every whole line before the damage, and the other file. (Some damage looks like text at first.)
            if damage == "cut off" {
                let sound = whole.ads.len() - 1;
                let before: usize = text.lines().take(sound).map(|line| line.len() + 1).sum();
                assert!(whole.dead[0].starts_with(&format!("a.log.{ending}@{before}: ")), "{:?}", whole.dead);
                assert_eq!(whole.dead.len(), 1);
            }
            assert!((1..4_001).contains(&whole.ads.len()), "{compression:?} {damage}: {}", whole.ads.len());
            // The same however it is read, and said once.
            config["batch_rows"] = 300.into();
            for events in [3, 10_000] {
                let mut seen = Seen::default();
                let states = read_some(&config, events, 1, &mut seen).await;
                let rest = read(&config, states, 2).await.expect("read");
                seen.ads.extend(rest.ads);
                seen.dead.extend(rest.dead);
                assert!(seen.sorted() == whole, "{compression:?} {damage} after {events}");
            }
        }
    }
}

#[tokio::test]
async fn compressed_objects_are_read_like_files() {
    let store = Arc::new(InMemory::new());
    for (index, (compression, ending)) in ALL.into_iter().enumerate() {
        let bytes = compress(compression, clicks(2_000 * index as u32, 2_000).as_bytes());
        store.put(&format!("logs/a.{ending}").into(), bytes.clone().into()).await.expect("put");
        store.put(&format!("logs/cut.{ending}").into(), bytes[..100].to_vec().into()).await.expect("put");
    }
    store.put(&"logs/no.gz".into(), "text".to_owned().into()).await.expect("put");
    let mut source = over(store, "logs", LineFormat::ClickLog, &["ad_id"]);
    source.restore(Vec::new()).await.expect("opened");
    let mut seen = Seen::default();
    read_on(&mut source, &mut seen).await.expect("read");
    let seen = seen.sorted();
    assert!(seen.ads.len() >= 6_000, "{}", seen.ads.len());
    assert_eq!(seen.dead.len(), 4, "{:?}", seen.dead);
    assert!(seen.dead[3].starts_with("no.gz@0: by its name the file is compressed with gzip"), "{:?}", seen.dead);
}

/// A source over a store.
pub(super) fn over(store: Arc<InMemory>, path: &str, format: LineFormat, columns: &[&str]) -> SourceReader {
    let columns = columns.iter().map(ToString::to_string).collect();
    let records = RecordSettings::Lines(Arc::new(LineSettings {
        format,
        columns,
        max_line_bytes: 1 << 20,
        decoders: Decoders::default(),
    }));
    let location = Location::over(store, "memory:///", path);
    let OperatorContext { env, attempt, staging, .. } = context(0, 1);
    let path = path.to_owned();
    let connector = BoundedFiles { location, path, records, subtask: 0, parallelism: 1, env, attempt, staging };
    let settings = SourceSettings::read(&json!({"columns": []}), &context(0, 1)).expect("settings");
    SourceReader::new(settings.reader_settings(), Box::new(connector), &context(0, 1))
}
