//! What must be there in the end, by whoever has only read the docs of the three jobs, and has the records that were sent.
//!
//! A server's records are told apart by their partition. Its time is that of its newest record, less fifteen seconds.

use super::business::{CLICKS, ORDERS, PARTITIONS, REGIONS, events_of};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A minute, a filter and an ad.
pub type Place = (i64, String, String);
/// Clicks and impressions.
pub type Counts = BTreeMap<Place, (i64, i64)>;

/// What must be there.
#[derive(Debug, Default)]
pub struct Expected {
    /// Records that were sent.
    pub sent: usize,
    /// What each region counts.
    pub regions: BTreeMap<&'static str, Counts>,
    /// Events of each region that came after their minute was settled.
    pub late: BTreeMap<&'static str, usize>,
    /// Records of each region that are no event, or none that is counted.
    pub rejected: BTreeMap<&'static str, usize>,
    /// The ad that led to each order, where one did.
    pub orders: BTreeMap<String, Option<String>>,
    /// Orders and clicks that came too late.
    pub late_orders: usize,
    /// Clicks that came too late.
    pub late_clicks: usize,
    /// Orders and clicks that nobody can read.
    pub unreadable: usize,
}

impl Expected {
    /// From the folders in which a topic's partitions are, by the topic's name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn recount(folder: &Path) -> Result<Self> {
        let mut expected = Expected::default();
        for region in REGIONS {
            expected.count(region, &servers(folder, &events_of(region))?);
        }
        let (orders, clicks) = (servers(folder, ORDERS)?, servers(folder, CLICKS)?);
        expected.attribute(&orders, &clicks);
        Ok(expected)
    }

    /// Both regions together.
    pub fn together(&self) -> Counts {
        let mut sums = Counts::new();
        for (place, (clicks, shown)) in self.regions.values().flatten() {
            let sum = sums.entry(place.clone()).or_default();
            *sum = (sum.0 + clicks, sum.1 + shown);
        }
        sums
    }

    /// All clicks on each ad of a region.
    pub fn clicks(&self, region: &str) -> BTreeMap<String, i64> {
        let mut clicks = BTreeMap::new();
        for ((_, filter, ad), (clicked, _)) in self.regions.get(region).into_iter().flatten() {
            if filter == "0000" {
                *clicks.entry(ad.clone()).or_default() += clicked;
            }
        }
        clicks
    }

    fn count(&mut self, region: &'static str, servers: &[Vec<Option<Value>>]) {
        let (mut late, mut rejected, mut counts, mut known) = (0, 0, Counts::new(), BTreeSet::new());
        for server in servers {
            self.sent += server.len();
            let mut newest = i64::MIN;
            // Nothing here is sent so early that it could be a day older than its arrival by chance, or nearly so.
            let today = server.iter().flatten().filter_map(|event| event["event_at"].as_i64()).max().unwrap_or(0);
            for event in server {
                let Some(event) = event else {
                    rejected += 1;
                    continue;
                };
                let at = event["event_at"].as_i64().unwrap_or_default();
                newest = newest.max(at);
                let (kind, ad) = (event["event_type"].as_str(), event["ad_id"].as_str());
                let (Some(kind @ ("click" | "impression")), Some(ad)) = (kind, ad) else {
                    rejected += 1;
                    continue;
                };
                if at < today - 36 * HOUR {
                    rejected += 1;
                    continue;
                }
                let minute = at.div_euclid(MINUTE) * MINUTE;
                if minute + MINUTE + 10 * MINUTE <= newest - 15 * SECOND {
                    late += 1;
                    continue;
                }
                if !known.insert(event["event_id"].to_string()) {
                    continue;
                }
                let filters = [("0000", true), ("0012", event["country"] == "USA")];
                for (filter, _) in filters.into_iter().filter(|(_, fits)| *fits) {
                    let count = counts.entry((minute, filter.into(), ad.into())).or_default();
                    match kind {
                        "click" => count.0 += 1,
                        _ => count.1 += 1,
                    }
                }
            }
        }
        self.regions.insert(region, counts);
        self.late.insert(region, late);
        self.rejected.insert(region, rejected);
    }

    fn attribute(&mut self, orders: &[Vec<Option<Value>>], clicks: &[Vec<Option<Value>>]) {
        let (clicks, late_clicks) = self.in_time(clicks, "click_timestamp", |click| {
            click["ad_id"].as_str().is_some_and(|ad| !ad.is_empty()) && click["user_id"].is_string()
        });
        let (orders, late_orders) = self.in_time(orders, "ordered_at", |_| true);
        (self.late_clicks, self.late_orders) = (late_clicks, late_orders);
        let mut of_users: BTreeMap<&str, Vec<(i64, &str)>> = BTreeMap::new();
        for (at, click) in &clicks {
            if let (Some(user), Some(ad)) = (click["user_id"].as_str(), click["ad_id"].as_str()) {
                of_users.entry(user).or_default().push((*at, ad));
            }
        }
        for (at, order) in &orders {
            let of_user = order["user_id"].as_str().and_then(|user| of_users.get(user));
            let before = of_user.into_iter().flatten().filter(|(clicked, _)| (at - 7 * DAY..=*at).contains(clicked));
            // Of clicks at one moment the ad that is last by name.
            let last = before.max().map(|(_, ad)| (*ad).to_owned());
            self.orders.insert(order["order_id"].as_str().unwrap_or_default().to_owned(), last);
        }
    }

    /// The records that count, with their times, and how many of those are no more than an hour behind their server.
    fn in_time<'a>(
        &mut self,
        servers: &'a [Vec<Option<Value>>],
        time: &str,
        counts: impl Fn(&Value) -> bool,
    ) -> (Vec<(i64, &'a Value)>, usize) {
        let (mut there, mut late) = (Vec::new(), 0);
        for server in servers {
            self.sent += server.len();
            let mut newest = i64::MIN;
            for record in server {
                let Some(record) = record else {
                    self.unreadable += 1;
                    continue;
                };
                let at = record[time].as_i64().unwrap_or_default();
                newest = newest.max(at);
                if !counts(record) {
                    continue;
                }
                if at < newest - 15 * SECOND - HOUR {
                    late += 1;
                } else {
                    there.push((at, record));
                }
            }
        }
        (there, late)
    }
}

/// The records of each partition, in their order. `None`: not to be read.
fn servers(folder: &Path, topic: &str) -> Result<Vec<Vec<Option<Value>>>> {
    let read = |partition: i32| {
        let path = folder.join(topic).join(format!("{partition}.log"));
        let lines = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(lines.lines().map(|line| serde_json::from_str(line).ok()).collect())
    };
    (0..PARTITIONS).map(read).collect()
}
