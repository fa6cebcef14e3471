//! Orders and the clicks that led to them, by looking at every pair of them.

use crate::workload::Click;

/// How far a click may be from an order, both ends included, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// How much earlier.
    pub before_ms: i64,
    /// How much later.
    pub after_ms: i64,
}

/// The ip and the time of an order, and the ad and the time of the click, if there is one.
pub type Pair = (String, i64, Option<(String, i64)>);

/// Clicks on the first ad stand for orders.
pub(super) fn is_order(click: &Click) -> bool {
    click.ad_id == "ad000"
}

/// Each order with the last click of its user that is near it; of those of one moment that on the last ad in the alphabet.
pub(super) fn paired(near: Pairs, clicks: &[Click]) -> Vec<Pair> {
    let pair = |order: &Click| {
        let times = order.click_timestamp - near.before_ms..=order.click_timestamp + near.after_ms;
        let led_to_it = |click: &&Click| {
            !is_order(click) && click.user_id == order.user_id && times.contains(&click.click_timestamp)
        };
        let last = clicks.iter().filter(led_to_it).map(|click| (click.click_timestamp, click.ad_id.clone())).max();
        (order.ip.clone(), order.click_timestamp, last.map(|(time, ad)| (ad, time)))
    };
    let mut pairs: Vec<Pair> = clicks.iter().filter(|click| is_order(click)).map(pair).collect();
    pairs.sort();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_by_hand() {
        let click = |ad: &str, at: i64, user: &str| Click {
            ad_id: ad.into(),
            click_timestamp: at,
            user_id: user.into(),
            ip: format!("ip{at}"),
            country: None,
            event_id: None,
        };
        let clicks = [
            click("ad000", 100, "u1"),
            click("ad000", 50, "u2"),
            click("ad000", 99, "u1"),
            click("ad001", 40, "u1"),
            click("ad002", 105, "u1"),
            click("ad003", 105, "u1"),
            click("ad004", 106, "u1"),
            click("ad001", 39, "u2"),
        ];
        let pairs = paired(Pairs { before_ms: 10, after_ms: 5 }, &clicks);
        let with = Some(("ad003".to_owned(), 105));
        assert_eq!(pairs, [("ip100".into(), 100, with), ("ip50".into(), 50, None), ("ip99".into(), 99, None)]);
    }
}
