//! What a small file costs, in things that can be counted: opened files, batches, memory, and bytes in a checkpoint.

use super::*;
use crate::{
    counted_memory::held_and_most,
    source::files::compression::{Compression, compress},
};
use weir_engine::env::{CrashPlan, Env};

const FILES: usize = 2_000;
const LINES: usize = 4;

/// The lines of a file.
fn lines(file: usize, format: &str) -> String {
    let line = |line: usize| {
        let (ad, second) = (file * LINES + line, line * 7 % 60);
        match format {
            "click_log" => click(&format!("ad{ad}"), second as u32),
            "csv" => format!("ad{ad},2022-03-04 00:00:{second:02}\n"),
            _ => format!("{{\"ad_id\": \"ad{ad}\", \"click_timestamp\": \"2022-03-04T00:00:{second:02}Z\"}}\n"),
        }
    };
    let header = if format == "csv" { "ad_id,click_timestamp\n" } else { "" };
    header.to_owned() + &(0..LINES).map(line).collect::<String>()
}

/// Reads many small files, and checks what that has cost.
async fn check(format: &str, compression: Option<Compression>, max_jump: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    for file in 0..FILES {
        let text = lines(file, format).into_bytes();
        let bytes = compression.map_or(text.clone(), |compression| compress(compression, &text));
        fs::write(folder.path().join(format!("{file:05}.log")), bytes).expect("written");
    }
    let mut config = config(folder.path());
    config["format"] = format.into();
    if format != "click_log" {
        config["schema"] = json!({ "ad_id": "string", "click_timestamp": "timestamp" });
    }
    if max_jump {
        config["watermark"]["max_jump_ms"] = 3_600_000.into();
    }
    let plan = CrashPlan::observe();
    let context = OperatorContext { env: Env::seeded(1).with_crash_plan(plan.clone()), ..context(0, 1) };
    let (before, _) = held_and_most();
    let mut source = source(&config, &context).expect("valid");
    source.restore(Vec::new()).await.expect("opened");
    let mut batches = Vec::new();
    loop {
        match source.next().await.expect("an event") {
            SourceEvent::Rows(_, batch) => batches.push(batch.columns.column(0).as_string::<i32>().clone()),
            SourceEvent::EndOfInput => break,
            _ => {}
        }
    }
    let count = batches.len();
    let ads: Vec<String> =
        batches.drain(..).flat_map(|ads| ads.iter().flatten().map(str::to_owned).collect::<Vec<_>>()).collect();
    let expected: Vec<String> = (0..FILES * LINES).map(|ad| format!("ad{ad}")).collect();
    assert!(ads == expected, "all of them, in the order of the files and their lines");
    drop((ads, expected));
    let (held, most) = held_and_most();
    let of_file = |bytes: isize| (bytes - before) / FILES as isize;
    let case = format!("{format} {compression:?} {max_jump}");
    println!("{case}: {count} batches, {} bytes a file held, {} at most", of_file(held), of_file(most));
    assert_eq!(plan.visits()["files.opened"], FILES as u64, "{case}: each is opened once");
    assert!(count <= 1 + FILES / 900, "{case}: {count} batches");
    assert!(of_file(held) < 1_600, "{case}: {} bytes a file", of_file(held));
    assert!(of_file(most) < 2_800, "{case}: {} bytes a file at most, with all rows", of_file(most));
    let states = serde_json::to_string(&source.snapshot().expect("a snapshot")).expect("JSON").len();
    assert!(states < 30 * FILES, "{case}: {states} bytes in a checkpoint");
}

#[tokio::test]
async fn small_files_are_opened_once_share_batches_and_leave_little_behind() {
    check("click_log", None, false).await;
    check("csv", None, true).await;
    check("json", None, false).await;
    check("click_log", Some(Compression::Gzip), true).await;
}

#[tokio::test]
async fn a_file_that_has_another_length_than_it_had_is_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    fs::write(&path, click("a1", 1)).expect("written");
    let mut file = LocalFile::new(path.clone(), false, Env::default());
    let wanted = file.wanted(0, 1 << 20).expect("opened");
    assert_eq!(wanted, click("a1", 1).len() + 1, "one more than there should be");
    fs::write(&path, click("a1", 1) + &click("a2", 2) + &click("a3", 3)).expect("written");
    let (mut space, mut text) = (vec![0; wanted], Vec::new());
    let read = file.read(&mut space, 0).expect("read");
    text.extend_from_slice(&space[..read]);
    assert!(read == wanted && !file.has_ended(), "it has grown meanwhile");
    while !file.has_ended() {
        let offset = text.len() as u64;
        let mut space = vec![0; file.wanted(offset, 50).expect("opened")];
        let read = file.read(&mut space, offset).expect("read");
        text.extend_from_slice(&space[..read]);
    }
    assert_eq!(String::from_utf8(text).expect("text"), fs::read_to_string(&path).expect("there"));
    let mut file = LocalFile::new(path.clone(), false, Env::default());
    let mut space = vec![0; file.wanted(0, 1 << 20).expect("opened")];
    fs::write(&path, "short").expect("written");
    assert_eq!(file.read(&mut space, 0).expect("read"), 5);
    assert!(!file.has_ended(), "it has shrunk meanwhile, and that may not be all");
    assert!(
        file.wanted(60, 1 << 20)
            .and_then(|_| file.read(&mut space, 60))
            .is_err_and(|error| error.message.contains("has shrunk"))
    );
}
