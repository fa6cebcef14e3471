//! What all clicks of a minute come to together, whatever the ad and the filter: other aggregates than counts, without a key.

use super::minute_of;
use crate::workload::Click;
use std::collections::{BTreeMap, BTreeSet};

/// Of one minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Everybody {
    /// Clicks.
    pub clicks: i64,
    /// Those from the USA.
    pub usa: i64,
    /// Different users.
    pub users: i64,
    /// The ip of the last click; of several the largest.
    pub last_ip: String,
    /// The ad that the user clicked whose name is the last in the alphabet; of several the last.
    pub last_users_ad: String,
    /// The first four ads in the alphabet.
    pub ads: Vec<String>,
    /// The ips of the first three clicks, in the order of time, and those of one moment in the alphabet's.
    pub ips: Vec<String>,
    /// The number in the middle of the users' numbers.
    pub median: f64,
    /// The variance of these numbers.
    pub spread: f64,
}

/// By start of the minute. The clicks are those that are counted, each once.
pub(super) fn everybody(clicks: &[Click]) -> BTreeMap<i64, Everybody> {
    let mut minutes: BTreeMap<i64, Vec<&Click>> = BTreeMap::new();
    clicks.iter().for_each(|click| minutes.entry(minute_of(click)).or_default().push(click));
    minutes.into_iter().filter_map(|(minute, clicks)| Some((minute, of_minute(clicks)?))).collect()
}

fn of_minute(mut clicks: Vec<&Click>) -> Option<Everybody> {
    clicks.sort_by_key(|click| (click.click_timestamp, click.ip.as_str()));
    let by_user = clicks.iter().map(|click| (click.user_id.as_str(), click.ad_id.as_str()));
    let ads: BTreeSet<&str> = clicks.iter().map(|click| click.ad_id.as_str()).collect();
    let users: BTreeSet<&str> = clicks.iter().map(|click| click.user_id.as_str()).collect();
    // Guests have no number; they were refused before.
    let mut numbers: Vec<i64> =
        clicks.iter().filter_map(|click| click.user_id.strip_prefix("user ")?.parse().ok()).collect();
    numbers.sort_unstable();
    let n = numbers.len() as i64;
    let (sum, squares): (i64, i64) = (numbers.iter().sum(), numbers.iter().map(|number| number * number).sum());
    let middle = [numbers.get(numbers.len().checked_sub(1)? / 2)?, numbers.get(numbers.len() / 2)?];
    Some(Everybody {
        clicks: clicks.len() as i64,
        usa: clicks.iter().filter(|click| click.country.as_deref() == Some("USA")).count() as i64,
        users: users.len() as i64,
        last_ip: clicks.last()?.ip.clone(),
        last_users_ad: by_user.max()?.1.to_owned(),
        ads: ads.iter().take(4).map(|ad| (*ad).to_owned()).collect(),
        ips: clicks.iter().take(3).map(|click| click.ip.clone()).collect(),
        median: (middle[0] + middle[1]) as f64 / 2.0,
        spread: (n * squares - sum * sum) as f64 / (n * n) as f64,
    })
}
