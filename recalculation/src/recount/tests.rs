//! The recount against counts done by hand.

use super::*;
use crate::recount::Buckets;
use arrow::array::TimestampMillisecondArray;
use parquet::arrow::ArrowWriter;
use std::{fs, sync::Arc};
use weir_operators::{dedup::NullKey, hour_partition::folder, map::SelectItem, source::files::archive_parts};

const HOUR: i64 = 457_320;

/// Time, ad, user, country.
type Click<'a> = (i64, &'a str, &'a str, Option<&'a str>);

fn write(root: &std::path::Path, hour: i64, name: &str, clicks: &[Click<'_>]) {
    let folder = root.join(folder(Some(hour)));
    fs::create_dir_all(&folder).unwrap();
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(clicks.iter().map(|click| click.0)));
    let text = |text: fn(&Click<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(clicks.iter().map(text).collect::<StringArray>())
    };
    let (ads, users) = (text(|click| Some(click.1.into())), text(|click| Some(click.2.into())));
    let countries = text(|click| click.3.map(str::to_owned));
    let rows =
        RecordBatch::try_from_iter([("at", times), ("ad", ads), ("user", users), ("country", countries)]).unwrap();
    let file = fs::File::create(folder.join(format!("{name}.parquet"))).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

fn counted(steps: Vec<RecountStep>) -> CountedTable {
    let filters = [("all", "true"), ("usa", "country = 'USA'")].map(|(id, text)| (id.to_owned(), text.to_owned()));
    CountedTable {
        steps,
        time: "at".into(),
        filters: filters.into(),
        filter_column: Some("filter_id".into()),
        keys: vec![("ad".into(), "ad_id".into())],
        count: "count".into(),
    }
}

fn unique() -> RecountStep {
    RecountStep::Unique {
        key: vec!["at".into(), "ad".into(), "user".into()],
        same_event_time: true,
        null_key: NullKey::Pass,
    }
}

async fn recounted(
    root: &std::path::Path,
    counted: CountedTable,
    buckets: Buckets,
) -> (Counts, Vec<(i64, u32, String, i64)>) {
    let parts = archive_parts(root.to_str().unwrap()).await.unwrap();
    let mut counts = Recounter::new(counted).unwrap().count(&parts, buckets).await.unwrap();
    let totals =
        Counts { rows: counts.rows, duplicates: counts.duplicates, misplaced: counts.misplaced, ..Counts::default() };
    let rest = std::mem::take(&mut counts).rest();
    (totals, rest.into_iter().map(|(start, filter, key, count)| (start, filter, key.into(), count)).collect())
}

fn at(minute: i64) -> i64 {
    HOUR * HOUR_MS + minute * 60_000
}

#[tokio::test]
async fn duplicates_filters_and_conditions_are_minded() {
    let root = tempfile::tempdir().unwrap();
    let usa = Some("USA");
    write(root.path(), HOUR, "a", &[(at(0), "x", "1", usa), (at(0), "x", "1", usa), (at(0) + 5, "x", "1", None)]);
    write(root.path(), HOUR, "b", &[(at(0), "x", "1", usa), (at(1), "", "1", usa), (at(60), "y", "1", usa)]);
    write(root.path(), HOUR + 1, "a", &[(at(60), "y", "1", usa), (at(90), "y", "1", usa)]);
    let steps = vec![RecountStep::Keep("ad <> ''".into()), unique()];
    let range = EventTimeRange { from_ms: at(0), to_ms: at(90) };
    let (totals, counts) = recounted(root.path(), counted(steps), Buckets { range, length_ms: 60_000 }).await;
    let row = |start, filter, key: &str, count| (start, filter, key.to_owned(), count);
    assert_eq!(counts, [row(at(0), 0, "x", 2), row(at(0), 1, "x", 1), row(at(60), 0, "y", 1), row(at(60), 1, "y", 1)]);
    assert_eq!((totals.rows, totals.duplicates, totals.misplaced), (8, 2, 1));
}

#[tokio::test]
async fn rows_without_a_key_are_nobodys_duplicates() {
    let root = tempfile::tempdir().unwrap();
    let clicks: Vec<Click<'_>> = [None, Some("USA"), None, Some("USA"), None].map(|key| (at(0), "x", "1", key)).into();
    write(root.path(), HOUR, "a", &clicks);
    for (null_key, counted_rows) in [(NullKey::Pass, 4), (NullKey::DeadLetter, 1)] {
        let step = RecountStep::Unique { key: vec!["country".into()], same_event_time: true, null_key };
        let buckets = Buckets { range: EventTimeRange::ALL, length_ms: HOUR_MS };
        let (totals, counts) = recounted(root.path(), counted(vec![step]), buckets).await;
        assert_eq!((counts[0].3, totals.duplicates), (counted_rows, 1), "{counts:?}");
    }
}

#[tokio::test]
async fn columns_are_computed_and_rows_that_fail_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        HOUR,
        "a",
        &[(at(0), "1", "a", Some("USA")), (at(0), "one", "a", None), (at(30), "2", "a", None)],
    );
    let item = |name: &str, expression: &str| SelectItem { name: name.into(), expression: expression.into() };
    let items = vec![item("at", "at"), item("ad", "cast(ad as bigint) % 2"), item("country", "country")];
    let steps = vec![RecountStep::Compute(items)];
    let buckets = Buckets { range: EventTimeRange::ALL, length_ms: HOUR_MS };
    let (_, counts) = recounted(root.path(), counted(steps), buckets).await;
    let row = |filter, key: &str, count| (at(0), filter, key.to_owned(), count);
    assert_eq!(counts, [row(0, "0", 1), row(0, "1", 1), row(1, "1", 1)]);
}

#[tokio::test]
async fn what_cannot_be_recounted_is_refused() {
    let step = RecountStep::Unique { key: vec!["user".into()], same_event_time: false, null_key: NullKey::Pass };
    assert!(Recounter::new(counted(vec![step])).unwrap_err().message.contains("depends on the order"));
    let root = tempfile::tempdir().unwrap();
    write(root.path(), HOUR, "a", &[(at(0), "x", "1", None)]);
    let parts = archive_parts(root.path().to_str().unwrap()).await.unwrap();
    let buckets = Buckets { range: EventTimeRange::ALL, length_ms: HOUR_MS };
    let mut wrong = Recounter::new(counted(vec![RecountStep::Keep("contry = 'USA'".into())])).unwrap();
    let message = wrong.count(&parts, buckets).await.unwrap_err().message;
    assert!(message.contains("a.parquet") && message.contains("contry"), "{message}");
    fs::write(root.path().join(folder(Some(HOUR))).join("b.parquet"), "no Parquet").unwrap();
    let parts = archive_parts(root.path().to_str().unwrap()).await.unwrap();
    let message = Recounter::new(counted(vec![])).unwrap().count(&parts, buckets).await.unwrap_err().message;
    assert!(message.contains("b.parquet: it is not a complete Parquet file"), "{message}");
}
