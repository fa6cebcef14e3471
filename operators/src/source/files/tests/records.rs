//! Records that are more than a line, and files that begin with more than a record.

use super::{packed::over, *};
use crate::source::files::compression::{Compression, compress};

fn csv_config(path: &Path) -> Value {
    let mut config = config(path);
    config["format"] = "csv".into();
    config["schema"] = json!({"ad_id": "string", "click_timestamp": "timestamp", "note": "string"});
    config
}

#[tokio::test]
async fn what_stands_in_quotes_makes_no_click() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "ad_id,click_timestamp,note\n\
        ad1,2022-03-04 00:00:01,\"hello\nad9,2022-03-04 00:00:02,made up\nworld\"\n\
        ad1,2022-03-04 00:00:03,\n\
        ad2,never,\"a\nb\"\n\
        ad3,2022-03-04 00:00:04,\"open\nad9,2022-03-04 00:00:05,swallowed\n";
    fs::write(folder.path().join("a.csv"), text).expect("written");
    let mut config = csv_config(folder.path());
    let whole = read(&config, Vec::new(), 1).await.expect("read").sorted();
    assert_eq!(whole.ads, ["ad1", "ad1"]);
    let at = |part: &str| text.find(part).expect("there");
    assert_eq!(whole.dead.len(), 2, "{:?}", whole.dead);
    assert!(whole.dead[0].starts_with(&format!("a.csv@{}: click_timestamp \"never\"", at("ad2"))), "{:?}", whole.dead);
    assert!(
        whole.dead[1].starts_with(&format!("a.csv@{}: a quoted field is not closed", at("ad3"))),
        "{:?}",
        whole.dead
    );
    config["batch_rows"] = 1.into();
    for events in 0..6 {
        let mut seen = Seen::default();
        let states = read_some(&config, events, 1, &mut seen).await;
        let rest = read(&config, states, 2).await.expect("read");
        seen.ads.extend(rest.ads);
        seen.dead.extend(rest.dead);
        assert_eq!(seen.sorted(), whole, "after {events}");
    }
}

#[tokio::test]
async fn a_quote_that_is_never_closed_costs_as_much_in_pieces_of_any_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let clicks: String = (0..40_000).map(|n| format!("ad{n},2022-03-04 00:00:{:02},x\n", n % 60)).collect();
    let text = format!("ad_id,click_timestamp,note\nopen,2022-03-04 00:00:01,\"never closed\n{clicks}");
    fs::write(folder.path().join("a.csv"), &text).expect("written");
    let mut config = csv_config(folder.path());
    config["max_line_bytes"] = 100_000.into();
    let alone = read(&config, Vec::new(), 1).await.expect("read").sorted();
    assert_eq!(alone.dead.len(), 1, "{:?}", alone.dead);
    assert!(alone.ads.len() > 35_000 && !alone.ads.contains(&"ad0".to_owned()), "{}", alone.ads.len());
    // Beside many others a file is read in smaller pieces.
    for n in 0..300 {
        fs::write(folder.path().join(format!("other{n}.csv")), "").expect("written");
    }
    assert!(read(&config, Vec::new(), 1).await.expect("read").sorted() == alone);
}

#[tokio::test]
async fn byte_order_marks_say_what_a_file_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str, mark: &[u8]| {
        fs::write(folder.path().join(name), [mark, text.as_bytes()].concat()).expect("written");
    };
    let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let mark = b"\xef\xbb\xbf";
    let declared = |format: &str| {
        let mut config = csv_config(folder.path());
        config["format"] = format.into();
        config["path"] = folder.path().join(format).display().to_string().into();
        fs::create_dir(folder.path().join(format)).expect("a folder");
        config
    };
    let json_line = |ad: &str| format!("{{\"ad_id\":\"{ad}\",\"click_timestamp\":\"2022-03-04 00:00:01\"}}\n");
    let csv_text = "\"ad_id\",click_timestamp,note\nc1,2022-03-04 00:00:01,\n";
    for (format, text, ads) in [
        ("json", json_line("a1") + &json_line("a2"), ["a1", "a2"].as_slice()),
        ("click_log", click("b1", 1) + &click("b2", 2), &["b1", "b2"]),
        ("csv", csv_text.to_owned(), &["c1"]),
    ] {
        let mut config = declared(format);
        write(&format!("{format}/a"), &text, mark);
        write(&format!("{format}/only a mark"), "", mark);
        fs::write(folder.path().join(format).join("u"), [&b"\xff\xfe"[..], &utf16(&text.repeat(50))].concat())
            .expect("written");
        config["batch_rows"] = 1.into();
        let whole = read(&config, Vec::new(), 1).await.expect("read").sorted();
        assert_eq!(whole.ads, ads, "{format}: {:?}", whole.dead);
        assert_eq!(whole.dead.len(), 1, "{:?}", whole.dead);
        assert!(whole.dead[0].starts_with("u@0: the file is text in UTF-16, little-endian"), "{:?}", whole.dead);
        for events in 0..5 {
            let mut seen = Seen::default();
            let states = read_some(&config, events, 1, &mut seen).await;
            let rest = read(&config, states, 1).await.expect("read");
            seen.ads.extend(rest.ads);
            seen.dead.extend(rest.dead);
            assert_eq!(seen.sorted(), whole, "{format} after {events}");
        }
    }
    let store = Arc::new(InMemory::new());
    let text = [mark, click("s1", 1).as_bytes()].concat();
    store.put(&"logs/a.log".into(), text.into()).await.expect("put");
    let mut source = over(store, "logs", LineFormat::ClickLog, &["ad_id"]);
    source.restore(Vec::new()).await.expect("opened");
    let mut seen = Seen::default();
    read_on(&mut source, &mut seen).await.expect("read");
    assert_eq!((seen.ads, seen.dead), (vec!["s1".to_owned()], Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_quoted_content_is_read_as_it_was_written(
        rows in proptest::collection::vec(("[a-z\",\n\r é]{0,12}", any::<bool>()), 0..25),
        (batch_rows, events) in (1usize..5, 0usize..12),
        packed: bool,
    ) {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(["note", "click_timestamp", "ad_id"]).expect("written");
        let mut expected = Vec::new();
        for (index, (text, quoted)) in rows.iter().enumerate() {
            // As the source's own columns are text, the ad is what comes back.
            let ad = format!("{index}{text}");
            let note = if *quoted { text.as_str() } else { "x" };
            writer.write_record([note, "2022-03-04 00:00:01", &ad]).expect("written");
            expected.push(ad);
        }
        expected.sort();
        let bytes = writer.into_inner().expect("flushed");
        let folder = tempfile::tempdir().expect("a folder");
        let (name, bytes) = match packed {
            true => ("a.csv.zst", compress(Compression::Zstd, &bytes)),
            false => ("a.csv", bytes),
        };
        fs::write(folder.path().join(name), bytes).expect("written");
        let mut config = csv_config(folder.path());
        config["batch_rows"] = batch_rows.into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let found = runtime.block_on(async {
            let mut found = Seen::default();
            let states = read_some(&config, events, 1, &mut found).await;
            let rest = read(&config, states, 2).await.expect("read");
            found.ads.extend(rest.ads);
            found.dead.extend(rest.dead);
            found.sorted()
        });
        prop_assert_eq!(found.ads, expected);
        prop_assert_eq!(found.dead, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_growing_file_may_begin_with_a_mark_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("\u{feff}{}{}", click("a1", 1), click("a2", 2));
    fs::write(folder.path().join("a.log"), text).expect("written");
    fs::write(folder.path().join("a.log.1.gz"), compress(Compression::Gzip, click("old", 1).as_bytes()))
        .expect("written");
    fs::write(folder.path().join("u.log"), b"\xff\xfe[\0\n\0x\0\n\0x\0\n\0").expect("written");
    let mut config = config(folder.path());
    config["follow"] = true.into();
    let mut source = source(&config, &context(0, 1)).expect("valid");
    source.restore(Vec::new()).await.expect("opened");
    let mut seen = Seen::default();
    let reading = async {
        while seen.ads.len() < 2 || seen.dead.is_empty() {
            seen.take(&source.next().await.expect("an event"));
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), reading).await.expect("read in time");
    assert_eq!((seen.ads.as_slice(), seen.dead.len()), (["a1".to_owned(), "a2".to_owned()].as_slice(), 1));
    assert!(seen.dead[0].starts_with("u.log@0: the file is text in UTF-16"), "{:?}", seen.dead);
}
