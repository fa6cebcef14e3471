//! What is asked, and what the right answer is.

use super::fill::{Clicks, FILTERS, FillArguments, LISTED, MINUTE_MS, NAMED_MINUTES, START_MS, ad_id};
use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row};

/// The longest range and the longest window, in minutes.
const LONGEST: u64 = 60;
/// The most ads that one list may have.
const LONG_LIST: usize = 1_000;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clicks on an ad.
    AdCount,
    /// The most clicked ads of a window that the job names.
    NamedWindow,
    /// The most clicked ads of another window.
    OtherWindow,
    /// As many as one may ask for, of an hour.
    LongList,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::AdCount, Kind::NamedWindow, Kind::OtherWindow, Kind::LongList];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::AdCount => "clicks on an ad, 1 to 60 minutes",
            Kind::NamedWindow => "top 100 of 5 minutes, named in the job",
            Kind::OtherWindow => "top 100 of another window, 1 to 60 minutes",
            Kind::LongList => "top 1000 of 60 minutes",
        }
    }
}

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// None: the most clicked ads are asked for.
    ad: Option<String>,
    listed: usize,
    filter: &'static str,
    from_ms: i64,
    to_ms: i64,
}

/// Questions at random, about minutes that do not change any more.
pub struct Questions {
    clicks: Clicks,
    dice: StdRng,
    ads: usize,
    minutes: u64,
}

impl Questions {
    /// The same for the same seed.
    pub fn new(arguments: &FillArguments, seed: u64) -> Result<Self> {
        let clicks = Clicks::new(arguments, seed + 1_000)?;
        let dice = StdRng::seed_from_u64(seed);
        Ok(Questions { clicks, dice, ads: usize::try_from(arguments.ads)?, minutes: arguments.minutes })
    }

    /// The next one of a kind.
    pub fn next(&mut self, kind: Kind) -> Question {
        let longest = self.minutes.min(LONGEST);
        let minutes = match kind {
            Kind::NamedWindow => NAMED_MINUTES as u64,
            Kind::LongList => longest,
            _ => self.dice.random_range(1..=longest),
        };
        // A window of the job's own length is the other kind's.
        let minutes = if kind == Kind::OtherWindow && minutes == NAMED_MINUTES as u64 { minutes + 1 } else { minutes };
        let to = self.dice.random_range(minutes.min(self.minutes)..=self.minutes);
        let to_ms = START_MS + to as i64 * MINUTE_MS;
        // Half of the ads are picked as they are clicked, half evenly: most of those have few clicks or none.
        let ad = match (kind, self.dice.random_bool(0.5)) {
            (Kind::AdCount, true) => Some(ad_id(self.clicks.ad())),
            (Kind::AdCount, false) => Some(ad_id(self.dice.random_range(0..self.ads))),
            _ => None,
        };
        let listed = if kind == Kind::LongList { LONG_LIST } else { LISTED };
        let filter = FILTERS[self.dice.random_range(0..FILTERS.len())];
        Question { ad, listed, filter, from_ms: to_ms - minutes as i64 * MINUTE_MS, to_ms }
    }
}

impl Question {
    /// Over HTTP.
    pub fn path(&self) -> String {
        let Question { ad, listed, filter, from_ms, to_ms } = self;
        let (from, to, minutes) = (from_ms / 1000, to_ms / 1000, (to_ms - from_ms) / MINUTE_MS);
        match ad {
            Some(ad) => format!("/v1/ads/{ad}/aggregated_count?from={from}&to={to}&filter={filter}"),
            None => format!("/v1/ads/popular_ads?count={listed}&window={minutes}&to={to}&filter={filter}"),
        }
    }

    /// What of an answer is compared.
    pub fn says(&self, answer: &Value) -> Value {
        match self.ad {
            Some(_) => json!([answer["count"]]),
            None => json!([answer["ad_ids"], answer["counts"]]),
        }
    }

    /// The same from all counts in the range, added up.
    pub async fn plainly(&self, store: &mut AnyConnection) -> Result<Value> {
        let range = "FROM ad_counts WHERE click_minute >= $1 AND click_minute < $2 AND filter_id = $3";
        if let Some(ad) = &self.ad {
            let sql = format!("SELECT CAST(coalesce(sum(count), 0) AS BIGINT) {range} AND ad_id = $4");
            let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).bind(self.from_ms).bind(self.to_ms);
            return Ok(json!([query.bind(self.filter).bind(ad.clone()).fetch_one(store).await?]));
        }
        let sql = format!(
            "SELECT ad_id, CAST(sum(count) AS BIGINT) AS total {range} GROUP BY ad_id ORDER BY total DESC, ad_id LIMIT {}",
            self.listed
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(self.from_ms).bind(self.to_ms).bind(self.filter);
        let (mut ads, mut counts) = (Vec::<String>::new(), Vec::<i64>::new());
        for row in query.fetch_all(store).await? {
            ads.push(row.try_get(0)?);
            counts.push(row.try_get(1)?);
        }
        Ok(json!([ads, counts]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_about_minutes_that_are_in_the_store() {
        let arguments = FillArguments { minutes: 8, rate: 1, ads: 100, skew: 1.0 };
        let mut questions = Questions::new(&arguments, 1).unwrap();
        for kind in Kind::ALL {
            for _ in 0..300 {
                let Question { ad, from_ms, to_ms, .. } = questions.next(kind);
                let minutes = (to_ms - from_ms) / MINUTE_MS;
                assert!(to_ms <= START_MS + 8 * MINUTE_MS && minutes >= 1, "{from_ms} {to_ms}");
                assert_eq!(ad.is_some(), kind == Kind::AdCount);
                assert_eq!(minutes == 5, kind == Kind::NamedWindow || (minutes == 5 && ad.is_some()));
            }
        }
    }
}
