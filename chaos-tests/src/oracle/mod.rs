//! What the results must be: a single-threaded recount of the input files, line by line, with hash maps and nothing else.
//!
//! It shares no code with the engine, the operators or the definitions: own line parsers, own watermark, own window
//! arithmetic. Where it disagrees with the job, one of the two is wrong, and it is the shorter.

mod everybody;
mod kept;
mod others;
mod pairs;
mod parse;
pub mod replayed;
mod split_time;
mod window_join;

pub use everybody::Everybody;
pub use kept::Block;
pub use others::{OtherKey, Others};
pub use pairs::{Pair, Pairs};
pub use parse::{Parsed, parse_lines, parse_parquet, parse_records, parse_time};
pub use split_time::{Doubts, SplitTime};
pub use window_join::{JoinKind, Joined, JoinedKey, WindowJoin};

use crate::workload::{Click, InputFormat, timestamp_text};
use anyhow::Result;
use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

/// What the job is told, as far as its results depend on it. All times in milliseconds.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How the files are written.
    pub format: InputFormat,
    /// The topic that the lines are in, a record each, every file a partition of its own; none: they are in the files.
    pub in_a_topic: Option<&'static str>,
    /// The longest line that is read, in bytes.
    pub max_line_bytes: usize,
    /// How far a split's watermark stays behind.
    pub delay_ms: i64,
    /// When a click's clock is doubted; none: never.
    pub doubts: Option<Doubts>,
    /// How long a minute is corrected after its end.
    pub allowed_lateness_ms: i64,
    /// Of clicks with an ad and a country, those that an expression of the map fails on.
    pub fails_in_map: Filter,
    /// Of clicks that are no duplicates, those that a filter's condition fails on.
    pub fails_in_filters: Filter,
    /// The filters: id and condition.
    pub filters: Vec<(&'static str, Filter)>,
    /// Minutes of a window of the top ads.
    pub top_minutes: i64,
    /// Ads of a list of top ads.
    pub top_n: usize,
    /// Minutes of a block.
    pub block_minutes: i64,
    /// How far a click may be from the order that it led to; none: nobody asks.
    pub pairs: Option<Pairs>,
    /// Windows of another kind, that clicks are counted in before those that are repeated are dropped; none: there are none.
    pub others: Option<Others>,
    /// How the kept counts are put beside the numbers of clicks from abroad; none: they are not.
    pub window_join: Option<WindowJoin>,
}

/// The condition of a filter, in Rust.
pub type Filter = fn(&Click) -> bool;

/// A counted group: ad, start of the minute, filter.
pub type CountKey = (String, i64, String);

/// Operator, ad, event time, user and ip of a click that an expression failed on.
pub type RefusedClick = (&'static str, String, String, String, String);

/// A place in a list of top ads: end of the window, filter, rank from 1.
pub type RankKey = (i64, String, i64);

/// Everything that a job must have put out at its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// Clicks per ad, minute and filter.
    pub counts: BTreeMap<CountKey, i64>,
    /// What all clicks of a minute come to.
    pub everybody: BTreeMap<i64, Everybody>,
    /// Ad and clicks by place.
    pub top_ads: BTreeMap<RankKey, (String, i64)>,
    /// Of the counts that a map keeps, what another makes of them.
    pub shares: BTreeMap<CountKey, i64>,
    /// Ad and clicks by place, of the counts that the map keeps alone.
    pub top_kept: BTreeMap<RankKey, (String, i64)>,
    /// What the counts that the map keeps come to in each block of minutes.
    pub blocks: BTreeMap<CountKey, Block>,
    /// Orders with the clicks that led to them, and those without, sorted.
    pub pairs: Vec<Pair>,
    /// Orders and clicks too late to be paired, sorted.
    pub pairs_late: [Vec<Click>; 2],
    /// Clicks per ad and window of the other kind, repeated ones included.
    pub others: BTreeMap<OtherKey, i64>,
    /// Rows too late to be counted there, sorted.
    pub others_late: Vec<Click>,
    /// Kept counts beside the numbers of clicks from abroad.
    pub window_join: BTreeMap<JoinedKey, Joined>,
    /// Rows too late for these numbers, sorted.
    pub window_join_late: Vec<Click>,
    /// Rows too late to be counted, sorted.
    pub late: Vec<Click>,
    /// Those that were not, with all that are repeated, sorted.
    pub on_time: Vec<Click>,
    /// File name and offset of every record that cannot be read or believed, sorted.
    pub dead_letters: Vec<(String, i64)>,
    /// Clicks that an expression failed on, sorted.
    pub refused: Vec<RefusedClick>,
    /// Every click that was read and believed, sorted.
    pub valid: Vec<Click>,
    /// Every click that the map lets through, sorted.
    pub let_through: Vec<Click>,
    /// Clicks dropped because they are repeated.
    pub duplicates: u64,
    /// Clicks without an ad or a country.
    pub refused_by_where: u64,
    /// Clicks that no filter matches.
    pub matched_by_no_filter: u64,
    /// Clicks counted at least once.
    pub counted: u64,
}

const MINUTE_MS: i64 = 60_000;

/// Clicks that are to be counted, file by file.
#[derive(Default)]
struct Found {
    /// In minutes.
    on_time: Vec<Click>,
    /// In windows of another kind.
    elsewhere: Vec<Click>,
    /// To be paired with one another.
    pairable: Vec<Click>,
    /// Beside the kept counts.
    beside: Vec<Click>,
}

/// Recounts all files in a folder.
///
/// # Errors
/// When a file cannot be read at all.
pub fn recount(folder: &Path, rules: &Rules) -> Result<Expected> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    files.sort_by_key(|entry| entry.file_name());
    let mut expected = Expected::default();
    let mut found = Found::default();
    for (number, entry) in files.into_iter().enumerate() {
        let name = match rules.in_a_topic {
            Some(topic) => format!("{topic}-{number}"),
            None => entry.file_name().to_string_lossy().into_owned(),
        };
        let parsed = match rules.format {
            InputFormat::Parquet => parse_parquet(&entry.path())?,
            format if rules.in_a_topic.is_some() => {
                parse_records(&std::fs::read(entry.path())?, format, rules.max_line_bytes)
            }
            format => parse_lines(&std::fs::read(entry.path())?, format, rules.max_line_bytes),
        };
        recount_split(&name, parsed, rules, &mut expected, &mut found);
    }
    let Found { on_time, elsewhere, pairable, beside } = found;
    expected.on_time.clone_from(&on_time);
    expected.on_time.sort();
    let kept = count(on_time, rules, &mut expected);
    if let Some(join) = rules.window_join {
        expected.window_join = window_join::joined(join, &kept, &beside);
    }
    expected.window_join_late.sort();
    if let Some(near) = rules.pairs {
        expected.pairs = pairs::paired(near, &pairable);
    }
    expected.pairs_late.iter_mut().for_each(|late| late.sort());
    if let Some(kind) = rules.others {
        let clicks = elsewhere.iter().map(|click| (click.ad_id.as_str(), click.click_timestamp));
        expected.others = others::counted(kind, clicks);
    }
    expected.others_late.sort();
    expected.late.sort();
    expected.valid.sort();
    expected.let_through.sort();
    expected.dead_letters.sort();
    expected.refused.sort();
    Ok(expected)
}

/// One file from its first line to its last: what is late follows from the lines before it in the same file.
fn recount_split(name: &str, parsed: Vec<Parsed>, rules: &Rules, expected: &mut Expected, found: &mut Found) {
    let mut time = SplitTime::of(&parsed, rules.doubts, rules.delay_ms);
    for record in parsed {
        let (click, offset) = match record {
            Parsed::DeadLetter { offset } => {
                expected.dead_letters.push((name.to_owned(), offset));
                continue;
            }
            Parsed::Click { click, offset } => (click, offset),
        };
        let watermark = time.watermark(rules.delay_ms);
        let believed = time.hears(click.click_timestamp, rules.delay_ms);
        if !believed && rules.doubts.is_some_and(|doubts| doubts.put_aside) {
            expected.dead_letters.push((name.to_owned(), offset));
            continue;
        }
        expected.valid.push(click.clone());
        if click.ad_id.is_empty() || click.country.is_none() {
            expected.refused_by_where += 1;
            continue;
        }
        if (rules.fails_in_map)(&click) {
            expected.refused.push(refused_click(REFUSED_BY_MAP, click));
            continue;
        }
        expected.let_through.push(click.clone());
        let is_over = |end: i64| watermark.is_some_and(|watermark| end + rules.allowed_lateness_ms <= watermark);
        if let Some(kind) = rules.others {
            let all_over = kind.of(click.click_timestamp).iter().all(|window| is_over(window.1));
            if all_over { &mut expected.others_late } else { &mut found.elsewhere }.push(click.clone());
        }
        if rules.pairs.is_some() {
            let is_late = watermark.is_some_and(|mark| click.click_timestamp < mark - rules.allowed_lateness_ms);
            let [orders, clicks] = &mut expected.pairs_late;
            match (is_late, pairs::is_order(&click)) {
                (false, _) => found.pairable.push(click.clone()),
                (true, true) => orders.push(click.clone()),
                (true, false) => clicks.push(click.clone()),
            }
        }
        let window_end = minute_of(&click) + MINUTE_MS;
        if let Some(join) = rules.window_join.filter(|_| window_join::is_abroad(&click)) {
            let is_late = is_over(window_end + join.more_lateness_minutes * MINUTE_MS);
            if is_late { &mut expected.window_join_late } else { &mut found.beside }.push(click.clone());
        }
        if is_over(window_end) { &mut expected.late } else { &mut found.on_time }.push(click);
    }
}

/// Drops what is repeated and counts the rest. Returns the counts that are kept.
fn count(on_time: Vec<Click>, rules: &Rules, expected: &mut Expected) -> BTreeMap<CountKey, i64> {
    let mut seen = HashSet::new();
    let mut unique = Vec::new();
    for click in on_time {
        let id = (click.ad_id.clone(), click.click_timestamp, click.user_id.clone(), click.ip.clone());
        if !seen.insert(id) {
            expected.duplicates += 1;
            continue;
        }
        unique.push(click.clone());
        if (rules.fails_in_filters)(&click) {
            expected.refused.push(refused_click(REFUSED_BY_FILTERS, click));
            continue;
        }
        let mut matched = false;
        for (filter, matches) in &rules.filters {
            if matches(&click) {
                matched = true;
                *expected.counts.entry((click.ad_id.clone(), minute_of(&click), (*filter).into())).or_default() += 1;
            }
        }
        if matched {
            expected.counted += 1;
        } else {
            expected.matched_by_no_filter += 1;
        }
    }
    expected.everybody = everybody::everybody(&unique);
    expected.top_ads = top_ads(&expected.counts, rules);
    let kept = kept::kept(&expected.counts);
    expected.shares = kept::shares(&kept);
    expected.top_kept = top_ads(&kept, rules);
    expected.blocks = kept::blocks(&kept, rules.block_minutes);
    kept
}

/// The operator that calls itself the source of a dead letter of the map.
pub const REFUSED_BY_MAP: &str = "map.valid";
/// The same of the filters.
pub const REFUSED_BY_FILTERS: &str = "filters.clicks_per_minute";

fn refused_click(operator: &'static str, click: Click) -> RefusedClick {
    let time = timestamp_text(click.click_timestamp).replace(' ', "T") + "Z";
    (operator, click.ad_id, time, click.user_id, click.ip)
}

/// The most clicked ads of every window of some minutes that begins with each minute; ties by ad.
fn top_ads(counts: &BTreeMap<CountKey, i64>, rules: &Rules) -> BTreeMap<RankKey, (String, i64)> {
    let mut windows: BTreeMap<(i64, &str), BTreeMap<&str, i64>> = BTreeMap::new();
    for ((ad, minute, filter), clicks) in counts {
        for later in 1..=rules.top_minutes {
            let window = windows.entry((minute + later * MINUTE_MS, filter)).or_default();
            *window.entry(ad).or_default() += clicks;
        }
    }
    let mut top = BTreeMap::new();
    for ((end, filter), ads) in windows {
        let mut ads: Vec<(&str, i64)> = ads.into_iter().collect();
        ads.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
        for (place, (ad, clicks)) in ads.into_iter().take(rules.top_n).enumerate() {
            top.insert((end, filter.to_owned(), place as i64 + 1), (ad.to_owned(), clicks));
        }
    }
    top
}

fn minute_of(click: &Click) -> i64 {
    click.click_timestamp.div_euclid(MINUTE_MS) * MINUTE_MS
}

#[cfg(test)]
mod tests;
