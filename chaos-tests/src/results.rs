//! What a job has committed, read as any consumer would: every file below the sinks' folders that is a result by its name, nothing else.
//!
//! Here are the rules that consumers rely on: `(record_id, revision)` is never there twice, a record id means one thing, and
//! the highest revision of it is the truth, unless it is withdrawn. Breaking one is an error, before anything is compared.

use crate::{
    joins,
    oracle::{
        Block, CountKey, Everybody, Joined, JoinedKey, OtherKey, Pair, REFUSED_BY_FILTERS, REFUSED_BY_MAP, RankKey,
        RefusedClick,
    },
    table, text_results,
    workload::Click,
};
use anyhow::{Context, Result, bail, ensure};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimestampMillisecondType},
};
use arrow_avro::reader::ReaderBuilder as AvroReaderBuilder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    fs::File,
    hash::Hash,
    io::BufReader,
    path::{Path, PathBuf},
};

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
    results.pairs = [joins::holding(&folder.join("pairs"))?, joins::holding(&folder.join("pairs_unmatched"))?].concat();
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

/// Identity and revision of a record.
pub(crate) type RecordVersion = (Vec<u8>, i64);

/// Versioned records: what consumers may rely on is checked at every row.
pub(crate) struct Records<K, V> {
    /// With the file that it is in.
    seen: HashMap<RecordVersion, String>,
    key_of_id: HashMap<Vec<u8>, K>,
    id_of_key: HashMap<K, Vec<u8>>,
    newest: HashMap<K, (i64, V)>,
}

impl<K, V> Default for Records<K, V> {
    fn default() -> Self {
        Records { seen: HashMap::new(), key_of_id: HashMap::new(), id_of_key: HashMap::new(), newest: HashMap::new() }
    }
}

impl<K: Clone + Debug + Eq + Hash + Ord, V: Debug> Records<K, V> {
    pub(crate) fn add(&mut self, file: &str, (id, revision): RecordVersion, key: K, value: V) -> Result<()> {
        if let Some(other) = self.seen.insert((id.clone(), revision), file.to_owned()) {
            bail!(
                "record {} revision {revision} of {key:?} is there twice, in {other} and, as {value:?}, in {file}",
                hex(&id)
            );
        }
        let known = self.key_of_id.entry(id.clone()).or_insert_with(|| key.clone());
        ensure!(*known == key, "record {} is both {known:?} and {key:?}", hex(&id));
        let named = self.id_of_key.entry(key.clone()).or_insert_with(|| id.clone());
        ensure!(*named == id, "{key:?} is both record {} and record {}", hex(named), hex(&id));
        let newest = self.newest.get(&key).map(|(newest, _)| *newest);
        if newest.is_none_or(|newest| newest < revision) {
            self.newest.insert(key, (revision, value));
        }
        Ok(())
    }

    fn highest_revision(&self) -> i64 {
        self.seen.keys().map(|(_, revision)| *revision).max().unwrap_or(0)
    }

    /// The newest values; revisions must have no gaps.
    pub(crate) fn newest(self) -> Result<BTreeMap<K, V>> {
        let mut versions: HashMap<&[u8], i64> = HashMap::new();
        self.seen.keys().for_each(|(id, _)| *versions.entry(id).or_default() += 1);
        for (key, (newest, _)) in &self.newest {
            let there = versions.get(self.id_of_key[key].as_slice()).copied().unwrap_or(0);
            ensure!(there == newest + 1, "{key:?} has {there} revisions, the newest is {newest}: one is missing");
        }
        Ok(self.newest.into_iter().map(|(key, (_, value))| (key, value)).collect())
    }
}

impl<K: Ord, V> Records<K, V> {
    /// The newest values, running counts too, which come as they come.
    fn newest_of_all(self) -> BTreeMap<K, V> {
        self.newest.into_iter().map(|(key, (_, value))| (key, value)).collect()
    }
}

/// The sixteen bytes of a UUID in text.
pub(crate) fn bytes_of_uuid(text: &str) -> Result<Vec<u8>> {
    let digits = text.replace('-', "");
    let is_uuid = digits.len() == 32 && digits.is_ascii() && text.len() == 36;
    ensure!(is_uuid, "'{text}' is no record id");
    (0..16).map(|byte| Ok(u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16)?)).collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rows of every visible file below a folder, with the file's name.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<(String, RecordBatch)>> {
    let mut batches = Vec::new();
    for path in visible_files(folder)? {
        let open = || -> Result<Vec<RecordBatch>> {
            if text_results::is_text(&path) {
                return text_results::read(&path);
            }
            if is_avro(&path) {
                let reader = AvroReaderBuilder::new().build(BufReader::new(File::open(&path)?))?;
                return Ok(reader.collect::<Result<_, _>>()?);
            }
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.build()?;
            Ok(reader.collect::<Result<_, _>>()?)
        };
        let rows = open().with_context(|| format!("a committed file cannot be read: {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        batches.extend(rows.into_iter().map(|batch| (name.to_string(), batch)));
    }
    Ok(batches)
}

/// The files that a consumer's patterns `**/*.parquet`, `**/*.jsonl`, `**/*.csv` and `**/*.avro` meet, without folders that begin with an underscore.
///
/// # Errors
/// When a folder cannot be listed.
pub fn visible_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let Ok(entries) = folder.read_dir() else { return Ok(files) };
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['_', '.']));
        if path.is_dir() && !hidden {
            files.extend(visible_files(&path)?);
        } else if is_result(&path) && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file is one that these patterns meet, by its name.
pub(crate) fn is_result(path: &Path) -> bool {
    text_results::is_text(path) || is_avro(path) || path.extension().is_some_and(|extension| extension == "parquet")
}

fn is_avro(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "avro")
}

/// Columns by name, whatever their encoding.
pub(crate) struct Columns<'a>(pub(crate) &'a RecordBatch);

impl Columns<'_> {
    fn as_type(&self, name: &str, data_type: &DataType) -> Result<ArrayRef> {
        let column = self.0.column_by_name(name).with_context(|| {
            let schema = self.0.schema();
            let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            format!("the results have no column {name}, but {}", found.join(", "))
        })?;
        Ok(cast(column, data_type)?)
    }

    fn texts(&self, name: &str) -> Result<Vec<Option<String>>> {
        let column = self.as_type(name, &DataType::Utf8)?;
        Ok(column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let column = self.as_type(name, &DataType::Int64)?;
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        Ok(column.as_primitive::<Int64Type>().values().to_vec())
    }

    pub(crate) fn integers_or_null(&self, name: &str) -> Result<Vec<Option<i64>>> {
        Ok(self.as_type(name, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect())
    }

    fn floats(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.as_type(name, &DataType::Float64)?;
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        Ok(column.as_primitive::<Float64Type>().values().to_vec())
    }

    /// Lists of texts; in a file of text they are JSON.
    fn lists(&self, name: &str) -> Result<Vec<Vec<String>>> {
        if let Some(texts) = self.0.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()) {
            return texts.iter().map(|text| Ok(serde_json::from_str(text.context("no list")?)?)).collect();
        }
        let column = self.as_type(name, &DataType::new_list(DataType::Utf8, true))?;
        let texts = |row: usize| {
            let list = column.as_list::<i32>().value(row);
            list.as_string::<i32>().iter().map(|text| text.map(str::to_owned).context("a null in a list")).collect()
        };
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        (0..column.len()).map(texts).collect()
    }

    /// Values of results, which those that are withdrawn have not.
    fn values(&self, name: &str) -> Result<Vec<Option<i64>>> {
        let values = self.integers_or_null(name)?;
        for (value, withdrawn) in values.iter().zip(self.booleans("withdrawn")?) {
            ensure!(withdrawn == value.is_none(), "{name} is {value:?} where withdrawn is {withdrawn}");
        }
        Ok(values)
    }

    fn booleans(&self, name: &str) -> Result<Vec<bool>> {
        let column = self.as_type(name, &DataType::Boolean)?;
        column.as_boolean().iter().map(|value| value.with_context(|| format!("{name} is null somewhere"))).collect()
    }

    fn times(&self, name: &str) -> Result<Vec<i64>> {
        let milliseconds = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into()));
        let column = self.as_type(name, &milliseconds)?;
        ensure!(column.null_count() == 0, "{name} is null somewhere");
        Ok(column.as_primitive::<TimestampMillisecondType>().values().to_vec())
    }

    fn records(&self) -> Result<Vec<RecordVersion>> {
        let revisions = self.integers("revision")?;
        if self.0.column_by_name("record_id").is_some_and(|ids| *ids.data_type() == DataType::Utf8) {
            let ids = self.texts("record_id")?.into_iter().map(|id| bytes_of_uuid(&id.unwrap_or_default()));
            return ids.zip(revisions).map(|(id, revision)| Ok((id?, revision))).collect();
        }
        let ids = self.as_type("record_id", &DataType::FixedSizeBinary(16))?;
        let ids = ids.as_fixed_size_binary();
        Ok((0..ids.len()).map(|row| (ids.value(row).to_vec(), revisions[row])).collect())
    }
}
