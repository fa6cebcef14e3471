//! What a job has committed, read as any consumer would: every file below the sinks' folders that is a result by its name, nothing else.
//!
//! Here are the rules that consumers rely on: `(record_id, revision)` is never there twice, a record id means one thing, and
//! the highest revision of it is the truth, unless it is withdrawn. Breaking one is an error, before anything is compared.

mod columns;
mod files;
pub(crate) mod held;
mod records;
mod text;

use crate::{
    oracle::{
        Block, CountKey, Everybody, Joined, JoinedKey, OtherKey, Pair, REFUSED_BY_FILTERS, REFUSED_BY_MAP, RankKey,
        RefusedClick,
    },
    table,
    workload::Click,
};
use anyhow::{Context, Result, bail, ensure};
use arrow::array::RecordBatch;
use std::{collections::BTreeMap, path::Path};

pub(crate) use columns::Columns;
pub use files::visible_files;
pub(crate) use files::{is_result, read_folder};
pub(crate) use records::{RecordVersion, Records, bytes_of_uuid};

/// Everything that the sinks of the ad-click job have made visible.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// The newest revision of every count.
    pub counts: BTreeMap<CountKey, i64>,
    /// The newest revision of what all clicks of a minute come to.
    pub everybody: BTreeMap<i64, Everybody>,
    /// The newest revision of every place in a list of top ads.
    pub top_ads: BTreeMap<RankKey, (String, i64)>,
    /// What maps behind the counts say of each, where anything is left of it.
    pub shares: BTreeMap<CountKey, i64>,
    /// Every place that somebody has in a list of top ads behind a map.
    pub top_kept: BTreeMap<RankKey, (String, i64)>,
    /// What a block of minutes comes to, behind the map.
    pub blocks: BTreeMap<CountKey, Block>,
    /// Orders with the clicks that led to them, and those without, sorted.
    pub pairs: Vec<Pair>,
    /// Orders and clicks too late to be paired, sorted.
    pub pairs_late: [Vec<Click>; 2],
    /// What a sink that takes running counts says of each: the newest revision of the closed minutes, and of the open ones.
    pub live: BTreeMap<CountKey, i64>,
    /// What a table that takes them says, where there is one.
    pub table: Option<BTreeMap<CountKey, i64>>,
    /// The newest revision of every count in windows of the other kind.
    pub others: BTreeMap<OtherKey, i64>,
    /// Their late output, sorted.
    pub others_late: Vec<Click>,
    /// Kept counts beside the numbers of clicks from abroad.
    pub window_join: BTreeMap<JoinedKey, Joined>,
    /// The late output of these numbers, sorted.
    pub window_join_late: Vec<Click>,
    /// The late output, sorted.
    pub late: Vec<Click>,
    /// The output of what was not late, sorted.
    pub on_time: Vec<Click>,
    /// File name and offset of every dead letter, sorted.
    pub dead_letters: Vec<(String, i64)>,
    /// Those of them that say that something may be lost with a file that is gone, sorted.
    pub gone: Vec<(String, i64)>,
    /// Clicks that an expression failed on, sorted.
    pub refused: Vec<RefusedClick>,
    /// The raw archive, sorted.
    pub raw: Vec<Click>,
    /// Rows of counts, all revisions.
    pub count_rows: usize,
    /// The highest revision of a count.
    pub highest_revision: i64,
}

/// Reads the sinks' folders below `folder`; one that is missing is empty.
///
/// # Errors
/// When a file cannot be read, and when a consumer could not trust what is there.
pub fn read_results(folder: &Path) -> Result<Results> {
    let mut results = Results::default();
    let records = read_counts(&folder.join("counts"))?;
    (results.count_rows, results.highest_revision) = (records.seen.len(), records.highest_revision());
    results.counts = records.newest()?;
    results.live = read_counts(&folder.join("live"))?.newest_of_all();
    results.everybody = read_everybody(&folder.join("everybody"))?.newest()?;
    results.table = table::read(folder)?;
    // Counts only rise, so that nobody leaves a list of all of them but for another.
    let places = read_places(&folder.join("top_ads"))?.newest()?;
    let nobody = places.iter().find(|(_, place)| place.is_none());
    ensure!(nobody.is_none(), "a place in a list of all ads was withdrawn: {nobody:?}");
    results.top_ads = holding(places);
    results.top_kept = holding(read_places(&folder.join("top_kept"))?.newest()?);
    results.shares = holding(read_shares(&folder.join("shares"))?.newest_of_all());
    results.blocks = holding(read_blocks(&folder.join("blocks"))?.newest()?);
    results.pairs = [held::pairs(&folder.join("pairs"))?, held::pairs(&folder.join("pairs_unmatched"))?].concat();
    results.pairs.sort();
    results.pairs_late =
        [read_clicks(&folder.join("pairs_late_orders"))?, read_clicks(&folder.join("pairs_late_clicks"))?];
    for (_, batch) in read_folder(&folder.join("dead_letters"))? {
        let columns = Columns(&batch);
        let (files, offsets, reasons) = (columns.texts("file")?, columns.integers("offset")?, columns.texts("reason")?);
        for row in 0..batch.num_rows() {
            let reason = reasons[row].as_ref().filter(|reason| !reason.is_empty());
            let reason = reason.context("a dead letter without a reason")?;
            let file = known(&files[row])?;
            let name = Path::new(&file).file_name().context("a dead letter without a file")?;
            let dead_letter = (name.to_string_lossy().into_owned(), offsets[row]);
            if reason.starts_with("it is gone: ") {
                results.gone.push(dead_letter.clone());
            }
            results.dead_letters.push(dead_letter);
        }
    }
    results.dead_letters.sort();
    results.gone.sort();
    for (folder_name, operator) in [("refused_by_map", REFUSED_BY_MAP), ("refused_by_filters", REFUSED_BY_FILTERS)] {
        results.refused.extend(read_refused(&folder.join(folder_name), operator)?);
    }
    results.refused.sort();
    results.others = read_others(&folder.join("other_windows"))?.newest()?;
    results.others_late = read_clicks(&folder.join("other_windows_late"))?;
    results.window_join = holding(read_window_join(&folder.join("window_join"))?.newest()?);
    results.window_join_late = read_clicks(&folder.join("window_join_late"))?;
    results.late = read_clicks(&folder.join("late"))?;
    results.on_time = read_clicks(&folder.join("on_time"))?;
    results.raw = read_clicks(&folder.join("raw"))?;
    Ok(results)
}

/// All revisions of all counts.
fn read_counts(folder: &Path) -> Result<Records<CountKey, i64>> {
    let mut records = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (ads, minutes, filters) =
            (columns.texts("ad_id")?, columns.times("click_minute")?, columns.texts("filter_id")?);
        let counts = columns.integers("count")?;
        for (row, record) in columns.records()?.into_iter().enumerate() {
            let key = (known(&ads[row])?, minutes[row], known(&filters[row])?);
            records.add(&file, record, key, counts[row])?;
        }
    }
    Ok(records)
}

/// All revisions of all counts in windows of another kind.
fn read_others(folder: &Path) -> Result<Records<OtherKey, i64>> {
    let mut records = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (starts, ends) = (columns.times("window_start")?, columns.times("window_end")?);
        let (ads, counts) = (columns.texts("ad_id")?, columns.integers("count")?);
        for (row, record) in columns.records()?.into_iter().enumerate() {
            records.add(&file, record, (known(&ads[row])?, starts[row], ends[row]), counts[row])?;
        }
    }
    Ok(records)
}

/// All revisions of what all clicks of a minute come to.
fn read_everybody(folder: &Path) -> Result<Records<i64, Everybody>> {
    let mut records = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (minutes, ends) = (columns.times("window_start")?, columns.times("window_end")?);
        let [clicks, usa, users] = ["clicks", "usa", "users"].map(|name| columns.integers(name));
        let (clicks, usa, users) = (clicks?, usa?, users?);
        let (last_ips, last_users_ads) = (columns.texts("last_ip")?, columns.texts("last_users_ad")?);
        let (ads, ips) = (columns.lists("ads")?, columns.lists("ips")?);
        let (medians, spreads) = (columns.floats("median")?, columns.floats("spread")?);
        for (row, record) in columns.records()?.into_iter().enumerate() {
            ensure!(ends[row] == minutes[row] + 60_000, "a minute from {} to {}", minutes[row], ends[row]);
            let everybody = Everybody {
                clicks: clicks[row],
                usa: usa[row],
                users: users[row],
                last_ip: known(&last_ips[row])?,
                last_users_ad: known(&last_users_ads[row])?,
                ads: ads[row].clone(),
                ips: ips[row].clone(),
                median: medians[row],
                spread: spreads[row],
            };
            records.add(&file, record, minutes[row], everybody)?;
        }
    }
    Ok(records)
}

/// All revisions of all places in lists of top ads; none: the place is withdrawn.
fn read_places(folder: &Path) -> Result<Records<RankKey, Option<(String, i64)>>> {
    let mut places = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (starts, ends) = (columns.times("window_start")?, columns.times("window_end")?);
        let (filters, ranks) = (columns.texts("filter_id")?, columns.integers("rank")?);
        let (ads, counts) = (columns.texts("ad_id")?, columns.values("count")?);
        for (row, record) in columns.records()?.into_iter().enumerate() {
            ensure!(starts[row] < ends[row], "a window of top ads from {} to {}", starts[row], ends[row]);
            let place = (ends[row], known(&filters[row])?, ranks[row]);
            ensure!(ads[row].is_some() == counts[row].is_some(), "half a place at {place:?}");
            places.add(&file, record, place, ads[row].clone().zip(counts[row]))?;
        }
    }
    Ok(places)
}

/// All revisions of what maps make of the counts; none: nothing is left of it.
fn read_shares(folder: &Path) -> Result<Records<CountKey, Option<i64>>> {
    let mut records = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (ads, minutes, filters) = (columns.texts("ad")?, columns.times("minute")?, columns.texts("filter_id")?);
        let shares = columns.values("share")?;
        for (row, record) in columns.records()?.into_iter().enumerate() {
            let key = (known(&ads[row])?, minutes[row], known(&filters[row])?);
            records.add(&file, record, key, shares[row])?;
        }
    }
    Ok(records)
}

/// All revisions of what blocks of minutes come to; none: there is nothing of one.
fn read_blocks(folder: &Path) -> Result<Records<CountKey, Option<Block>>> {
    let mut records = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (ads, begins, filters) =
            (columns.texts("ad_id")?, columns.times("window_start")?, columns.texts("filter_id")?);
        let [minutes, clicks, most] = ["minutes", "clicks", "most"].map(|name| columns.values(name));
        let (minutes, clicks, most) = (minutes?, clicks?, most?);
        for (row, record) in columns.records()?.into_iter().enumerate() {
            let key = (known(&ads[row])?, begins[row], known(&filters[row])?);
            let numbers = (minutes[row], clicks[row], most[row]);
            let block = match numbers {
                (Some(minutes), Some(clicks), Some(most)) => Some(Block { minutes, clicks, most }),
                (None, None, None) => None,
                _ => bail!("half a block: {key:?} is {numbers:?}"),
            };
            records.add(&file, record, key, block)?;
        }
    }
    Ok(records)
}

/// All revisions of counts beside the numbers of clicks from abroad; none: there is nothing of one.
fn read_window_join(folder: &Path) -> Result<Records<JoinedKey, Option<Joined>>> {
    let mut records = Records::default();
    for (file, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (ads, minutes, filters) =
            (columns.texts("ad_id")?, columns.times("window_start")?, columns.texts("filter_id")?);
        let (counts, clicks) = (columns.integers_or_null("count")?, columns.integers_or_null("clicks")?);
        let withdrawn = columns.booleans("withdrawn")?;
        for (row, record) in columns.records()?.into_iter().enumerate() {
            let key = (minutes[row], known(&ads[row])?, filters[row].clone());
            let joined = match (withdrawn[row], counts[row], clicks[row]) {
                (true, None, None) => None,
                (false, None, None) => bail!("{key:?} is made of nothing"),
                (false, count, clicks) if count.is_some() == key.2.is_some() => Some((count, clicks)),
                other => bail!("{key:?} is {other:?}"),
            };
            records.add(&file, record, key, joined)?;
        }
    }
    Ok(records)
}

/// What is not withdrawn.
fn holding<K: Ord, V>(newest: BTreeMap<K, Option<V>>) -> BTreeMap<K, V> {
    newest.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// The dead letters of an operator: rows as JSON.
fn read_refused(folder: &Path, operator: &'static str) -> Result<Vec<RefusedClick>> {
    let mut refused = Vec::new();
    for (_, batch) in read_folder(folder)? {
        let columns = Columns(&batch);
        let (sources, files, reasons) = (columns.texts("source")?, columns.texts("file")?, columns.texts("reason")?);
        for (row, raw) in columns.texts("raw")?.iter().enumerate() {
            ensure!(sources[row].as_deref() == Some(operator), "{:?} is not {operator}", sources[row]);
            ensure!(files[row].is_none(), "a row that has passed a map is in no file");
            let reason = known(&reasons[row])?;
            ensure!(
                reason.contains("expression `") && reason.contains("user_id"),
                "a reason that says little: {reason}"
            );
            let click: serde_json::Value = serde_json::from_str(&known(raw)?).context("a row that is no JSON")?;
            let text =
                |name: &str| click[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {click}"));
            let (ad, user, ip, time) = (text("ad_id")?, text("user_id")?, text("ip")?, text("click_timestamp")?);
            refused.push((operator, ad, time, user, ip));
        }
    }
    Ok(refused)
}

fn known(text: &Option<String>) -> Result<String> {
    text.clone().context("a result with a null where none may be")
}

/// All clicks in a folder, sorted.
fn read_clicks(folder: &Path) -> Result<Vec<Click>> {
    let mut clicks = Vec::new();
    for (_, batch) in read_folder(folder)? {
        clicks.extend(clicks_of(&batch)?);
    }
    clicks.sort();
    Ok(clicks)
}

/// The clicks that rows have, among other columns.
pub(crate) fn clicks_of(batch: &RecordBatch) -> Result<Vec<Click>> {
    let columns = Columns(batch);
    let [ads, users, ips, countries, ids] =
        ["ad_id", "user_id", "ip", "country", "event_id"].map(|name| columns.texts(name));
    let (ads, users, ips, countries, ids) = (ads?, users?, ips?, countries?, ids?);
    let times = columns.times("click_timestamp")?;
    let click = |row: usize| Click {
        ad_id: ads[row].clone().unwrap_or_default(),
        click_timestamp: times[row],
        user_id: users[row].clone().unwrap_or_default(),
        ip: ips[row].clone().unwrap_or_default(),
        country: countries[row].clone(),
        event_id: ids[row].clone(),
    };
    Ok((0..batch.num_rows()).map(click).collect())
}
