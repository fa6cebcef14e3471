//! Windows of other kinds beside the minutes, by their definition: which of them a click is in, told one by one.

use std::collections::BTreeMap;

/// A kind of windows of the aggregate beside the one of minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Of 150 seconds, one each minute.
    Remainder,
    /// Of five minutes, from 17 seconds past on.
    Offset,
    /// Of ten minutes, one each four minutes, from one and a half past on.
    LateHops,
    /// Of an hour by the clocks of India, which are half an hour apart from others'.
    Kolkata,
    /// Of a day in the Azores, an hour behind UTC.
    Azores,
    /// From the beginning of each twelve minutes to the end of every third.
    Growing,
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

impl Others {
    /// All of them.
    pub const ALL: [Others; 6] =
        [Others::Remainder, Others::Offset, Others::LateHops, Others::Kolkata, Others::Azores, Others::Growing];

    /// Those of the random job of a seed: in every second one there are some.
    pub fn of_seed(seed: u64) -> Option<Self> {
        let kind = usize::try_from(seed / 2).map_or(0, |half| half % Others::ALL.len());
        (seed % 2 == 1).then_some(Others::ALL[kind])
    }

    /// As a definition says it.
    pub fn written(self) -> &'static str {
        match self {
            Others::Remainder => "hopping = \"150s\", slide = \"1m\"",
            Others::Offset => "tumbling = \"5m\", offset = \"17s\"",
            Others::LateHops => "hopping = \"10m\", slide = \"4m\", offset = \"90s\"",
            Others::Kolkata => "tumbling = \"1h\", timezone = \"Asia/Kolkata\"",
            Others::Azores => "tumbling = \"1d\", timezone = \"Atlantic/Azores\"",
            Others::Growing => "cumulating = \"12m\", step = \"3m\"",
        }
    }

    /// Start and end of each window that a moment is in.
    pub(super) fn of(self, time: i64) -> Vec<(i64, i64)> {
        let from = |first: i64, each: i64, long: i64| {
            // The last one that has begun, and as many before it as may not be over.
            let begun = first + (time - first).div_euclid(each) * each;
            let all = (0..=long / each).map(move |n| (begun - n * each, begun - n * each + long));
            all.filter(|window| time < window.1).collect::<Vec<_>>()
        };
        match self {
            Others::Remainder => from(0, MINUTE, 150 * SECOND),
            Others::Offset => from(17 * SECOND, 5 * MINUTE, 5 * MINUTE),
            Others::LateHops => from(90 * SECOND, 4 * MINUTE, 10 * MINUTE),
            Others::Kolkata => from(HOUR / 2, HOUR, HOUR),
            Others::Azores => from(HOUR, 24 * HOUR, 24 * HOUR),
            Others::Growing => {
                let begun = time.div_euclid(12 * MINUTE) * 12 * MINUTE;
                (1..=4).map(|n| (begun, begun + n * 3 * MINUTE)).filter(|window| time < window.1).collect()
            }
        }
    }
}

/// Ad, start and end of the window.
pub type OtherKey = (String, i64, i64);

/// Counts by ad and window of clicks, repeated ones included.
pub(super) fn counted<'a>(kind: Others, clicks: impl Iterator<Item = (&'a str, i64)>) -> BTreeMap<OtherKey, i64> {
    let mut counts = BTreeMap::new();
    for (ad, time) in clicks {
        for (start, end) in kind.of(time) {
            *counts.entry((ad.to_owned(), start, end)).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_by_hand() {
        let minutes = |windows: Vec<(i64, i64)>| -> Vec<(f64, f64)> {
            windows.iter().map(|(start, end)| (*start as f64 / MINUTE as f64, *end as f64 / MINUTE as f64)).collect()
        };
        assert_eq!(minutes(Others::Remainder.of(10 * MINUTE)), [(10.0, 12.5), (9.0, 11.5), (8.0, 10.5)]);
        assert_eq!(minutes(Others::Remainder.of(10 * MINUTE + 45 * SECOND)), [(10.0, 12.5), (9.0, 11.5)]);
        assert_eq!(Others::Offset.of(16 * SECOND), [(17 * SECOND - 5 * MINUTE, 17 * SECOND)]);
        assert_eq!(minutes(Others::LateHops.of(6 * MINUTE)), [(5.5, 15.5), (1.5, 11.5), (-2.5, 7.5)]);
        assert_eq!(minutes(Others::Kolkata.of(0)), [(-30.0, 30.0)]);
        assert_eq!(minutes(Others::Azores.of(0)), [(-23.0 * 60.0, 60.0)]);
        assert_eq!(minutes(Others::Growing.of(5 * MINUTE)), [(0.0, 6.0), (0.0, 9.0), (0.0, 12.0)]);
    }
}
