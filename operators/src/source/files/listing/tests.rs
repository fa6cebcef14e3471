//! What is found below a folder or in a store, and what is passed over by name.

use super::*;
use async_trait::async_trait;
use object_store::{
    ListResult, ObjectMeta, ObjectStoreExt,
    list::{PaginatedListOptions, PaginatedListResult},
    memory::InMemory,
};
use parking_lot::Mutex;
use std::os::unix::net::UnixListener;

async fn listed(location: &Location, wanted: Wanted) -> (Vec<String>, String) {
    let (files, passed_over) = location.list_all(wanted, OtherNames::PassOver).await.expect("listed");
    (files.into_iter().map(|file| file.name).collect(), passed_over.in_brackets())
}

/// Names below a folder, and all that was passed over, without the folder.
async fn below(folder: &Path, path: &str, wanted: Wanted) -> (Vec<String>, String) {
    let base = format!("{}/", folder.display());
    let (files, passed_over) = listed(&Location::parse(&format!("{base}{path}")).expect("a path"), wanted).await;
    (files.iter().map(|file| file.replace(&base, "")).collect(), passed_over.replace(&base, ""))
}

#[tokio::test]
async fn what_is_not_read_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in ["a", "b", "_staging/job"] {
        fs::create_dir_all(path(name)).expect("a folder");
    }
    for name in ["a/1.log", "a/2.log.gz", "a/3.log.xz", "a/.4.log.swp", "a/_5", "b/6.tar.gz", "_staging/job/7"] {
        fs::write(path(name), "x").expect("written");
    }
    std::os::unix::fs::symlink("..", path("a/up")).expect("a link");
    std::os::unix::fs::symlink("gone", path("a/nowhere")).expect("a link");
    std::os::unix::fs::symlink("self", path("b/self")).expect("a link");
    let _socket = UnixListener::bind(path("b/socket")).expect("a socket");
    let (files, passed_over) = below(folder.path(), "", Wanted::Lines).await;
    assert_eq!(files, ["a/1.log", "a/2.log.gz"]);
    for (name, reason) in [
        ("a/3.log.xz", NOT_UNPACKED),
        ("a/.4.log.swp", HIDDEN),
        ("a/_5", HIDDEN),
        ("b/6.tar.gz", NOT_UNPACKED),
        ("a/up", "leads back"),
        ("a/nowhere", "leads nowhere"),
        ("b/self", "leads back"),
        ("b/socket", "a socket"),
    ] {
        let at = passed_over.find(&format!("{name}: ")).unwrap_or_else(|| panic!("{name}: {passed_over}"));
        assert!(passed_over[at..].split(';').next().expect("one").contains(reason), "{name}: {passed_over}");
    }
    assert!(!passed_over.contains("_staging"), "{passed_over}");
    let (files, passed_over) = below(folder.path(), "a", Wanted::GrowingLines).await;
    assert_eq!(files, ["a/1.log"]);
    assert!(passed_over.contains(COMPRESSED_LOG), "{passed_over}");
    // A pattern says what is meant, and what it does not fit is no file of the source.
    assert_eq!(below(folder.path(), "a/*.gz", Wanted::Lines).await, (vec!["a/2.log.gz".to_owned()], String::new()));
    assert_eq!(below(folder.path(), "a/_*", Wanted::Lines).await.0, ["a/_5"]);
    let none = Location::parse(&path("b/*").display().to_string()).expect("a path");
    let error = none.list_some(Wanted::Lines, OtherNames::PassOver).await.expect_err("nothing").message;
    assert!(error.contains("no files to read (passed over: ") && error.contains("b/6.tar.gz"), "{error}");
}

#[tokio::test]
async fn parquet_is_known_by_its_ending() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.parquet", "B.PARQUET", "c.gz.parquet", "d.parquet.gz", "readme.txt", "e.parquet.crc"] {
        fs::write(folder.path().join(name), "x").expect("written");
    }
    fs::write(folder.path().join("empty.parquet"), "").expect("written");
    let (files, passed_over) = below(folder.path(), "", Wanted::Parquet).await;
    assert_eq!(files, ["B.PARQUET", "a.parquet", "c.gz.parquet"]);
    for (name, reason) in
        [("d.parquet.gz", PACKED_PARQUET), ("readme.txt", NOT_PARQUET), ("empty.parquet", EMPTY_PARQUET)]
    {
        assert!(passed_over.contains(&format!("{name}: {reason}")), "{passed_over}");
    }
}

#[tokio::test]
async fn a_file_under_several_names_is_listed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("real")).expect("a folder");
    for (name, text) in [("real/z.log", "same\n"), ("other.log", "same\n"), ("copy.log", "same\n")] {
        fs::write(path(name), text).expect("written");
    }
    std::os::unix::fs::symlink("real/z.log", path("current.log")).expect("a link");
    std::os::unix::fs::symlink("real", path("again")).expect("a link");
    fs::hard_link(path("other.log"), path("hard.log")).expect("a link");
    let (files, passed_over) = below(folder.path(), "", Wanted::Lines).await;
    // Of links the file itself, of hard links the first by name; files with the same bytes are different files.
    assert_eq!(files, ["copy.log", "hard.log", "real/z.log"]);
    for name in ["current.log", "again/z.log", "other.log"] {
        assert!(passed_over.contains(&format!("{name}: since it is another name")), "{passed_over}");
    }
    let location = Location::parse(&folder.path().display().to_string()).expect("a path");
    assert_eq!(location.list(Wanted::Lines, OtherNames::Keep).await.expect("listed").len(), 6);
    // A link that is all that the pattern fits is read.
    assert_eq!(below(folder.path(), "cur*", Wanted::Lines).await.0, ["current.log"]);
}

#[tokio::test]
async fn objects_are_found_and_passed_over_as_files_are() {
    let store = Arc::new(InMemory::new());
    for key in [
        "logs/a.log",
        "logs/b.log.gz",
        "logs/c.zip",
        "logs/_tmp/d",
        "logs/_tmp/e",
        "logs/_staging/f",
        "logs/my%20logs/g~[1].log",
    ] {
        let key = object_store::path::Path::parse(key).expect("a key");
        store.put(&key, "x".to_owned().into()).await.expect("put");
    }
    let found = async |path: &str, wanted| listed(&Location::over(store.clone(), "s3://b/", path), wanted).await;
    let (files, passed_over) = found("logs", Wanted::Lines).await;
    assert_eq!(files, ["s3://b/logs/a.log", "s3://b/logs/b.log.gz", "s3://b/logs/my%20logs/g~[1].log"]);
    let expected = format!(" (passed over: s3://b/logs/_tmp/: {HIDDEN}; s3://b/logs/c.zip: {NOT_UNPACKED})");
    assert_eq!(passed_over, expected);
    for path in ["logs/my%20logs", "logs/my%20logs/g~[1].log", "logs/my%20logs/g*"] {
        assert_eq!(found(path, Wanted::Lines).await.0, ["s3://b/logs/my%20logs/g~[1].log"], "{path}");
    }
    let bad =
        Location::over(store, "s3://b/", "logs//x").list(Wanted::Lines, OtherNames::Keep).await.expect_err("no path");
    assert!(bad.message.contains("logs//x"), "{bad}");
}

/// Lists keys as S3 does: in pages, in order, and whatever they are. The library cannot express all of them.
struct Keys {
    keys: Vec<String>,
    requests: Mutex<usize>,
}

#[async_trait]
impl PaginatedListStore for Keys {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> object_store::Result<PaginatedListResult> {
        *self.requests.lock() += 1;
        let behind = options.page_token.or(options.offset).unwrap_or_default();
        let most = options.max_keys.unwrap_or(1_000);
        let mut wanted = self.keys.iter().filter(|key| key.starts_with(prefix.unwrap_or_default()) && **key > behind);
        let page: Vec<&String> = wanted.by_ref().take(most).collect();
        let page_token = wanted.next().and(page.last()).map(|last| (*last).clone());
        let object = |key: &&String| {
            let location = object_store::path::Path::parse(key.as_str())?;
            let last_modified = chrono::DateTime::UNIX_EPOCH;
            Ok(ObjectMeta { location, last_modified, size: 1, e_tag: None, version: None })
        };
        let objects = page.iter().map(object).collect::<object_store::Result<_>>()?;
        Ok(PaginatedListResult { result: ListResult { common_prefixes: Vec::new(), objects }, page_token })
    }
}

#[tokio::test]
async fn a_key_that_is_no_path_spoils_no_other() {
    let mut keys: Vec<String> = (0..2_500).map(|n| format!("logs/{n:04}.log")).collect();
    keys.extend((0..700).map(|n| format!("logs//{n}.log")));
    keys.extend(
        ["logs/1000//x", "logs/a/../b", "logs/a/./b", "logs/tab\there", "logs/z//", "logs/z/%20.log"]
            .map(str::to_owned),
    );
    keys.sort();
    let pages = Arc::new(Keys { keys, requests: Mutex::new(0) });
    let mut location = Location::over(Arc::new(InMemory::new()), "s3://b/", "logs");
    if let Location::Store { pages: asked, .. } = &mut location {
        *asked = Some(Pages(pages.clone()));
    }
    let (files, passed_over) = location.list_all(Wanted::Lines, OtherNames::PassOver).await.expect("listed");
    assert_eq!(files.len(), 2_501);
    assert_eq!(files[2_500].name, "s3://b/logs/z/%20.log");
    let told = passed_over.in_brackets();
    for name in ["logs//", "logs/1000//", "logs/a/../", "logs/a/./", "logs/tab\there", "logs/z//"] {
        assert!(told.contains(&format!("s3://b/{name}: ")), "{name}: {told}");
    }
    let requests = *pages.requests.lock();
    assert!(requests < 120, "{requests} requests");
}
