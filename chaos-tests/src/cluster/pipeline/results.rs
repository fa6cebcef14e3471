//! What is in the topics, the stores and the files in the end, and whether that is what a recount says.

use super::{
    business::{CLICKS, ORDERS, REGIONS, events_of},
    jobs::{self, ATTRIBUTED, UNMATCHED, counts_of, running_counts_of},
    pacing::{Pacing, to_stop},
    recount::{Counts, Expected},
    store,
};
use crate::{
    check::compare_maps,
    cluster::{kafka::records, processes::ClusterProcesses},
    oracle::parse_time,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// What was compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Records that were sent.
    pub sent: usize,
    /// Counts of both regions together.
    pub counts: usize,
    /// Records of all topics that the jobs write, all revisions.
    pub records: usize,
    /// Orders that an ad led to, and those that none did.
    pub orders: [usize; 2],
    /// Clicks that are paid for.
    pub paid: i64,
    /// Events and orders that were late, and those that were rejected.
    pub not_counted: [usize; 2],
}

/// Recounts what was sent.
///
/// # Errors
/// When it cannot be read.
pub fn recount(python: &Path, brokers: &str, folder: &Path) -> Result<Expected> {
    for topic in REGIONS.map(events_of).into_iter().chain([ORDERS, CLICKS].map(String::from)) {
        records::read_to_files(python, brokers, &topic, &folder.join(&topic))?;
    }
    Expected::recount(folder)
}

/// Compares all of it.
///
/// # Errors
/// With every difference.
pub fn check(
    python: &Path,
    brokers: &str,
    cluster: &ClusterProcesses,
    expected: &Expected,
    pacing: &Pacing,
) -> Result<Compared> {
    let written = [REGIONS.map(counts_of), REGIONS.map(running_counts_of), [ATTRIBUTED, UNMATCHED].map(String::from)];
    let names: Vec<&str> = written.iter().flatten().map(String::as_str).collect();
    let topics = records::read(python, brokers, &names)?;
    let records = |topic: &str| topics.get(topic).map(Vec::as_slice).unwrap_or_default();
    let mut differences = Vec::new();
    for (region, counted) in &expected.regions {
        for topic in [counts_of(region), running_counts_of(region)] {
            let found = counts(records(&topic)).with_context(|| topic.clone())?;
            compare_maps(&topic, counted, &found, &mut differences);
        }
    }
    let orders = orders(records(ATTRIBUTED), records(UNMATCHED))?;
    compare_maps("orders in topics", &expected.orders, &orders, &mut differences);
    let stored = store::orders(&jobs::orders_store(cluster))?;
    compare_maps("orders in the store", &expected.orders, &stored, &mut differences);
    let (together, stored) = (expected.together(), store::counts(&jobs::store(cluster))?);
    compare_maps("counts in the store", &together, &stored, &mut differences);
    let paid = expected.clicks(REGIONS[0]);
    compare_maps("clicks that are paid for", &paid, &pacing.paid()?, &mut differences);
    compare_maps("ads that are to stop", &to_stop(&paid), &pacing.stopped()?, &mut differences);
    let beside = beside(expected);
    let lines = |name: &String| Ok((name.clone(), lines_below(&cluster.path(name))?));
    let lines = beside.keys().map(lines).collect::<Result<BTreeMap<_, _>>>()?;
    compare_maps("rows beside the results", &beside, &lines, &mut differences);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    let matched = orders.values().flatten().count();
    Ok(Compared {
        sent: expected.sent,
        counts: together.len(),
        records: topics.values().map(Vec::len).sum(),
        orders: [matched, orders.len() - matched],
        paid: paid.values().sum(),
        not_counted: [
            expected.late.values().sum::<usize>() + expected.late_orders + expected.late_clicks,
            expected.rejected.values().sum::<usize>() + expected.unreadable,
        ],
    })
}

/// The newest revision of each count.
fn counts(records: &[Value]) -> Result<Counts> {
    let mut counts = Counts::new();
    for value in records::newest(records)? {
        let text = |key: &str| value[key].as_str().with_context(|| format!("no {key}: {value}"));
        let int = |key: &str| value[key].as_i64().with_context(|| format!("no {key}: {value}"));
        ensure!(value["withdrawn"] == false, "no count is ever withdrawn here: {value}");
        let minute = parse_time(text("click_minute")?).with_context(|| format!("no time: {value}"))?;
        let place = (minute, text("filter_id")?.to_owned(), text("ad_id")?.to_owned());
        ensure!(counts.insert(place, (int("clicks")?, int("impressions")?)).is_none(), "two records of {value}");
    }
    Ok(counts)
}

/// The ad of each order. An order is in one of the topics, or withdrawn in one of them.
fn orders(attributed: &[Value], unmatched: &[Value]) -> Result<BTreeMap<String, Option<String>>> {
    let mut orders = BTreeMap::new();
    for topic in [attributed, unmatched] {
        for value in records::newest(topic)? {
            if value["withdrawn"] == true {
                continue;
            }
            let order = value["order_id"].as_str().with_context(|| format!("no order: {value}"))?;
            let ad = value["ad_id"].as_str().map(str::to_owned);
            ensure!(orders.insert(order.to_owned(), ad).is_none(), "{order} is there twice: {value}");
        }
    }
    Ok(orders)
}

/// Rows that must be in each folder of files beside the results.
fn beside(expected: &Expected) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::from([
        ("attribution/late_orders".to_owned(), expected.late_orders),
        ("attribution/late_clicks".to_owned(), expected.late_clicks),
        ("attribution/dead_letters".to_owned(), expected.unreadable),
        ("union/late".to_owned(), 0),
        ("union/dead_letters".to_owned(), 0),
    ]);
    for region in REGIONS {
        rows.insert(format!("{region}/late"), expected.late[region]);
        rows.insert(format!("{region}/dead_letters"), expected.rejected[region]);
    }
    rows
}

/// Committed lines below a folder; none where there is no folder.
fn lines_below(folder: &Path) -> Result<usize> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(0) };
    let mut lines = 0;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            lines += if name.starts_with('_') { 0 } else { lines_below(&path)? };
        } else if !name.starts_with(['_', '.']) {
            lines += std::fs::read_to_string(&path)?.lines().count();
        }
    }
    Ok(lines)
}
